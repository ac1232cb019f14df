"""What one line of `platforms validate` says."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure and what the model predicts for it.

    Args:
        against: Whose figures, as "SCALE-Sim 3.0.0 cycles".
        case: The row of the data: network, array, layer.
        measured: The published or recorded figure.
        predicted: The model's.
        unit: Of both.
        held_out: Whether no constant was fitted on this row: nothing fitted, or left out.
    """

    against: str
    case: str
    measured: float
    predicted: float
    unit: str
    held_out: bool = True

    @property
    def error(self) -> float:
        """Relative error of the prediction; absolute where the figure is 0."""
        if self.measured == 0:
            return self.predicted
        return self.predicted / self.measured - 1


@dataclass(frozen=True, slots=True)
class Target:
    """What a comparison must reach.

    Args:
        against: The `Row.against` that it is for.
        text: The demand in words, as "each within 15 %, mean within 7 %".
        worst: Largest |error| of a row; None if only the mean counts.
        mean: Largest mean of |error|; None if only rows count.
        median: Largest median of |error|.
        p95: Largest 95th percentile of |error|, linear between rows.
    """

    against: str
    text: str
    worst: float | None = None
    mean: float | None = None
    median: float | None = None
    p95: float | None = None


Comparison = Callable[[Path], Iterator[Row]]
"""Rows from a folder of reference data; a missing file yields nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rows of one comparison in a line.

    Args:
        against: Whose figures.
        rows: How many.
        mean: Mean of |error|.
        worst: Largest |error|.
        state: "reached", "missed", or "reported" where nothing is demanded.
        text: The demand.
    """

    against: str
    rows: int
    mean: float
    worst: float
    state: str
    text: str


def judged(rows: Sequence[Row], targets: Sequence[Target]) -> tuple[Verdict, ...]:
    """Return one verdict per source of figures, in the order of the rows."""
    demands = {target.against: target for target in targets}
    verdicts = []
    for against in dict.fromkeys(row.against for row in rows):
        errors = [abs(row.error) for row in rows if row.against == against]
        mean, worst = sum(errors) / len(errors), max(errors)
        target = demands.get(against)
        state = "reported"
        if target is not None:
            missed = target.worst is not None and worst > target.worst
            missed = missed or (target.mean is not None and mean > target.mean)
            for share, limit in ((0.5, target.median), (0.95, target.p95)):
                missed = missed or (limit is not None and quantile(errors, share) > limit)
            state = "missed" if missed else "reached"
        text = target.text if target else ""
        if target is not None and target.p95 is not None:
            median, p95 = (100 * quantile(errors, share) for share in (0.5, 0.95))
            text += f": {median:.2f} %, {p95:.2f} %"
        verdicts.append(Verdict(against, len(errors), mean, worst, state, text))
    return tuple(verdicts)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies, linear between neighbors."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
