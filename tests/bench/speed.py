"""Speed beside other runtimes, as one table.

    python -m tests.bench.speed [--only gemm,conv,...] [--out reports/bench] [--quick]

Every part runs in processes of its own, where all libraries are told the number of threads ahead.
Written are `speed.md` and `speed.json`; parts that were not asked for keep their last figures.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine
from .table import Row, dumps, markdown
from .timing import FULL, QUICK, Effort

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NOTES = (
    "A ratio is a peer's time over ours in the same round, the median of all rounds: above 1, "
    "hwsim is faster. The spread, and everyone's median time, are in speed.json.",
    "One thread: CPU time of the thread. Two: wall time, which other work on the machine enters; "
    "a peer may then use one or two, whichever was faster.",
    "% peak: of the same round's rate of the tier's dot product on registers alone "
    "(tests/bench/peak.py); the tiers' rows: of the VNNI peak just before and after.",
    "GEMM: machine code of a plan from codes to codes, several layers a call; float32 rounding is "
    "the profile `ort`, the arithmetic of QLinearMatMul and QLinearConv; MatMulInteger and "
    "_int_mm leave int32 sums. Convolutions: with the copy of the input into its border, or as in "
    "a network, where the layer before writes there; QLinearConv is the better of NCHW and NHWC.",
    "Networks: `call` is hwsim.run, `program` the plan's machine code alone. ONNX Runtime runs our "
    "export on uint8 codes, its fastest form, inputs and outputs bound. hwsim equals LiteRT's "
    "reference kernels byte for byte; XNNPACK and ONNX Runtime have another arithmetic.",
    "Every timed call of ours is checked in the same process; speed.json says against what.",
)


@dataclass(frozen=True)
class Part:
    """Rows of one module.

    Args:
        module: Where `rows(effort, threads, works)` is.
        threads: How many.
        works: The name of the works in that module, or a value; and the same for a quick run.
        quick: None leaves the part out of quick runs.
    """

    module: str
    threads: int
    works: Callable[[Any], Any]
    quick: Callable[[Any], Any] | None


PARTS: Mapping[str, tuple[Part, ...]] = {
    "gemm": (Part("gemm", 1, lambda m: m.SHAPES, lambda m: m.SHAPES[:1]),),
    "conv": (Part("convolution", 1, lambda m: m.LAYERS, lambda m: m.LAYERS[4:5]),),
    "nets": (
        Part("networks", 1, lambda m: (1, m.LARGE), lambda m: (1,)),
        Part("networks", 2, lambda m: (m.LARGE,), None),
    ),
    "resnet20": (
        Part("resnet20", 2, lambda m: 1000, None),
        Part("resnet20", 1, lambda m: 200, lambda m: 4),
    ),
    "vit": (
        Part("encoder", 1, lambda m: 197, lambda m: 5),
        Part("encoder", 2, lambda m: 197, None),
    ),
    "operators": (Part("operators", 1, lambda m: m.OPERATORS, lambda m: m.OPERATORS[-1:]),),
    "tiers": (Part("tiers", 1, lambda m: m.SHAPE, None),),
    "start": (Part("start", 1, lambda m: m.ALL_BATCHES, None),),
}


def run_part(part: Part, *, quick: bool) -> list[Row]:
    """Return a part's rows, measured here."""
    module: Any = importlib.import_module(f"tests.bench.{part.module}")
    effort: Effort = QUICK if quick else FULL
    works = part.quick if quick else part.works
    assert works is not None
    rows: list[Row] = module.rows(effort, part.threads, works(module))
    return rows


def run_apart(name: str, index: int, *, quick: bool) -> dict[str, Any]:
    """Return a part's rows and what they depend on, measured by a process of its own.

    Raises:
        RuntimeError: If it fails.
    """
    threads = str(PARTS[name][index].threads)
    command = [sys.executable, "-m", "tests.bench.speed", "--part", name, str(index)]
    made = subprocess.run(
        [*command, "--quick"] if quick else command,
        env=os.environ | dict.fromkeys(POOLS, threads), capture_output=True, text=True,
        check=False, cwd=machine.ROOT,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"{name} failed:\n{made.stderr}")
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


def page(results: Mapping[str, Any]) -> str:
    """Return the Markdown page."""
    parts = [results["parts"][name] for name in PARTS if name in results["parts"]]
    rows = [Row.from_json(row) for part in parts for row in part["rows"]]
    goals = [figure for row in rows for figure in row.figures.values() if figure.goal is not None]
    lines = ["# Speed", "", "Written by `python -m tests.bench.speed` (`make bench`).", ""]
    lines += [markdown(rows), ""]
    lines.append(f"{sum(goal.reached for goal in goals)} of {len(goals)} goals reached.")
    lines += ["", *(f"- {note}" for note in NOTES), ""]
    lines += [f"- {one}" for one in _circumstances(results["parts"])]
    return "\n".join(lines) + "\n"


def _circumstances(parts: Mapping[str, Any]) -> list[str]:
    """Return what figures depend on, in words: machines and versions, then the load of each."""
    machines: dict[str, list[str]] = {}
    loads = []
    for name, part in parts.items():
        of = part["circumstances"]
        versions = ", ".join(f"{key} {made}" for key, made in of["versions"].items())
        text = (
            f"{of['cpu']}, {of['logical_cpus']} logical CPUs, {of['system']}; compiled for "
            f"{of['compiler_target']}, tier {of['tier']}; Python {of['python']}, {versions}; "
            f"threads: {of['threads']}"
        )
        machines.setdefault(text, []).append(name)
        before, after = (load[0] if load else "unknown" for load in of["load_average"])
        loads.append(f"{name} {before} to {after} ({of['date_utc']})")
    whole = len(machines) == 1
    made = [text if whole else f"{', '.join(names)}: {text}" for text, names in machines.items()]
    return [*made, f"Load average of a minute, before and after: {'; '.join(loads)}"]


def last(out: Path) -> dict[str, Any]:
    """Return the parts of the last run; nothing if there is none."""
    try:
        found: dict[str, Any] = json.loads((out / "speed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"parts": {}}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure speed beside other runtimes.")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("reports/bench"))
    parser.add_argument("--quick", action="store_true", help="one round of small works: no figures")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        name, index = options.part
        rows = run_part(PARTS[name][int(index)], quick=options.quick)
        told = {"rows": [row.as_json() for row in rows], "circumstances": machine.circumstances()}
        print(json.dumps(told, allow_nan=False))
        return 0
    names = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"--only must name parts of {', '.join(PARTS)}, not {unknown[0]!r}")
    results, failed = last(options.out), False
    for name in names:
        start, load = time.perf_counter(), machine.load_average()
        try:
            found = [
                run_apart(name, index, quick=options.quick)
                for index, part in enumerate(PARTS[name])
                if part.quick is not None or not options.quick
            ]
        except RuntimeError as error:  # the others' figures are worth having
            print(error, file=sys.stderr, flush=True)
            failed = True
            continue
        rows = [row for one in found for row in one["rows"]]
        if not rows:
            print(f"{name}: nothing is measured here", file=sys.stderr)
            continue
        of = found[0]["circumstances"] | {"load_average": [load, machine.load_average()]}
        results["parts"][name] = {"rows": rows, "circumstances": of}
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.json").write_text(dumps(results) + "\n", encoding="utf-8")
    text = page(results)
    (options.out / "speed.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
