"""The one table: a row per work, a column per peer, what must be reached and whether it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PEAK = "% of peak"
MATMUL_INTEGER, ORT_LINEAR = "ORT MatMulInteger", "ORT QLinear operator"
QDQ, QOPERATOR = "ORT QDQ", "ORT QOperator"
REFERENCE, XNNPACK = "LiteRT reference", "LiteRT XNNPACK"
INT_MM, TORCH_QUANTIZED, TORCH = "torch _int_mm", "torch quantized", "torch f32"
NUMPY = "numpy f32"
COLUMNS = {  # heads, short enough for a terminal
    PEAK: "% peak",
    MATMUL_INTEGER: "ORT MMInt",
    ORT_LINEAR: "ORT QLin",
    QDQ: "ORT QDQ",
    QOPERATOR: "ORT QOp",
    REFERENCE: "LiteRT ref",
    XNNPACK: "LiteRT XNN",
    INT_MM: "t. int_mm",
    TORCH_QUANTIZED: "t. quant",
    TORCH: "torch f32",
    NUMPY: "numpy f32",
}


@dataclass(frozen=True)
class Figure:
    """One number of a row.

    Args:
        value: Median over the rounds.
        least: Smallest of them.
        most: Largest.
        goal: What it must reach, if anything.
        at_most: Whether the goal is an upper limit.
    """

    value: float
    least: float
    most: float
    goal: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the goal, if any, is reached."""
        if self.goal is None:
            return True
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass(frozen=True)
class Row:
    """One work.

    Args:
        part: What `--only` takes.
        work: What was computed.
        threads: How many.
        result: Ours in words: time, rate, bytes.
        figures: By column, or by another name for what is not a ratio.
        exact: What the timed call's result was compared with.
        seconds: Median time of everyone.
    """

    part: str
    work: str
    threads: int
    result: str
    figures: Mapping[str, Figure]
    exact: str
    seconds: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        made = asdict(self)
        for name, figure in self.figures.items():
            made["figures"][name]["reached"] = figure.reached
        return made

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Row":
        """Return the row that another process wrote."""
        figures = {
            name: Figure(**{key: value for key, value in figure.items() if key != "reached"})
            for name, figure in row["figures"].items()
        }
        return cls(**{**row, "figures": figures})


def short(value: float) -> str:
    """Return three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def seconds_in_words(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{short(seconds / size)} {unit}"
    raise AssertionError


def verdict(figures: Mapping[str, Figure]) -> str:
    """Return the goals of a row and which are missed."""
    parts = []
    for name, figure in figures.items():
        if figure.goal is None:
            continue
        sign = "≤" if figure.at_most else "≥"
        head = COLUMNS.get(name, name)
        state = "" if figure.reached else f": MISSED ({figure.value:.4g})"
        parts.append(f"{head} {sign} {figure.goal:.4g}{state}")
    return ", ".join(parts)


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the table's text; columns that nobody fills are left out."""
    used = [name for name in COLUMNS if any(name in row.figures for row in rows)]
    made = [["work", "thr.", "hwsim", *(COLUMNS[name] for name in used), "must reach"]]
    for row in rows:
        line = [row.work, str(row.threads), row.result]
        for name in used:
            figure = row.figures.get(name)
            line.append(short(figure.value) if figure else "")
        made.append([*line, verdict(row.figures)])
    return made


def markdown(rows: Sequence[Row]) -> str:
    """Return the table with columns of even width."""
    texts = cells(rows)
    widths = [max(len(line[column]) for line in texts) for column in range(len(texts[0]))]
    left = {0, len(widths) - 1}
    rule = ["-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [texts[0], rule, *texts[1:]]
    return "\n".join(
        "| "
        + " | ".join(
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def dumps(value: Any) -> str:
    """Return strict JSON."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
