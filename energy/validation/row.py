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
        group: What a demand counts, as a chip; "" where rows are judged alone.
        series: Rows whose order is compared, as the tasks of one system.
    """

    against: str
    case: str
    measured: float
    predicted: float
    unit: str
    held_out: bool = True
    group: str = ""
    series: str = ""

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
        groups: Least number of groups whose rows all keep `worst`; None if all rows must.
        ranked: Least number of groups that predict the order of the rows of each of their series.
        mean_difference: Largest mean of |predicted - measured|, in the rows' unit.
        rank: Smallest Spearman correlation of predicted and measured.
        median: Largest median of |error|.
        p95: Largest 95th percentile of |error|, linear between rows.
    """

    against: str
    text: str
    worst: float | None = None
    mean: float | None = None
    groups: int | None = None
    ranked: int | None = None
    mean_difference: float | None = None
    rank: float | None = None
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
        mean_difference: Mean of |predicted - measured|.
        rank: Spearman correlation of predicted and measured, 0 where one of them is constant.
        state: "reached", "missed", or "reported" where nothing is demanded.
        text: The demand.
    """

    against: str
    rows: int
    mean: float
    worst: float
    mean_difference: float
    rank: float
    state: str
    text: str


def judged(rows: Sequence[Row], targets: Sequence[Target]) -> tuple[Verdict, ...]:
    """Return one verdict per source of figures, in the order of the rows."""
    demands = {target.against: target for target in targets}
    verdicts = []
    for against in dict.fromkeys(row.against for row in rows):
        own = [row for row in rows if row.against == against]
        errors = [abs(row.error) for row in own]
        mean, worst = sum(errors) / len(errors), max(errors)
        difference = sum(abs(row.predicted - row.measured) for row in own) / len(own)
        rank = rank_correlation([row.measured for row in own], [row.predicted for row in own])
        target = demands.get(against)
        state, text = "reported", ""
        if target is not None:
            met, counts = _met(own, mean, worst, target)
            met = met and (target.mean_difference is None or difference <= target.mean_difference)
            met = met and (target.rank is None or rank >= target.rank)
            for share, limit in ((0.5, target.median), (0.95, target.p95)):
                met = met and (limit is None or quantile(errors, share) <= limit)
            if target.p95 is not None:
                median, p95 = (100 * quantile(errors, share) for share in (0.5, 0.95))
                counts += f": {median:.2f} %, {p95:.2f} %"
            state = "reached" if met else "missed"
            text = f"{target.text}{counts}"
        verdicts.append(Verdict(against, len(own), mean, worst, difference, rank, state, text))
    return tuple(verdicts)


def _met(rows: Sequence[Row], mean: float, worst: float, target: Target) -> tuple[bool, str]:
    """Return whether a demand is met, and what was counted for it."""
    met = target.mean is None or mean <= target.mean
    if target.groups is None:
        met = met and (target.worst is None or worst <= target.worst)
    if target.groups is None and target.ranked is None:
        return met, ""
    groups = tuple(dict.fromkeys(row.group for row in rows))
    counts = []
    if target.groups is not None and target.worst is not None:
        limit = target.worst
        kept = sum(all(abs(r.error) <= limit for r in rows if r.group == g) for g in groups)
        met = met and kept >= target.groups
        counts.append(f"{kept} of {len(groups)} within")
    if target.ranked is not None:
        ordered = sum(_in_order([r for r in rows if r.group == g]) for g in groups)
        met = met and ordered >= target.ranked
        counts.append(f"{ordered} ranked right")
    return met, f": {', '.join(counts)}"


def _in_order(rows: Sequence[Row]) -> bool:
    """Return whether the predictions of every series have the order of the measurements."""
    for series in dict.fromkeys(row.series for row in rows):
        own = [row for row in rows if row.series == series]
        by_measured = sorted(own, key=lambda row: row.measured)
        if by_measured != sorted(own, key=lambda row: row.predicted):
            return False
    return True


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation, equal values at their mean rank; 0 for constant values."""
    a, b = _ranks(first), _ranks(second)
    middle = (len(a) + 1) / 2
    products = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    squares = sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b)
    return float(products / squares**0.5) if squares else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1."""
    order = sorted(values)
    first = {value: order.index(value) for value in set(order)}
    return [first[value] + (order.count(value) + 1) / 2 for value in values]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies, linear between neighbors."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
