"""How sure a total is: its interval, and the constants of the platform file that matter most.

One way for every kind of platform: a constant is moved to the ends of its range, the network is
priced again, and what changes is the constant's doing. A corner of the interval has every constant
at the end that moves the total that way; ends are exchanged one by one until none moves it
further, because a constant may matter only where others stand elsewhere (a bandwidth, once the
array is fast). A constant without a range widens nothing; it is doubled and halved to see how
much the total hangs on it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from pydantic import BaseModel

from hwsim.errors import HwsimError, InputError
from hwsim.platform import Platform, quantities
from hwsim.quantity import Quantity
from hwsim.tables import CostTable, Option
from hwsim.workload import Unit

from .model import cost

_Model = TypeVar("_Model", bound=BaseModel)
_Ends = dict[str, float]
_Metrics = tuple[float | None, float | None]
_ENERGY, _LATENCY = 0, 1


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of the platform file that a total depends on.

    Args:
        path: Its field, as "memory[0].energy_read".
        quantity: Its value, unit, range and source.
        span: Change of the total from one end of its range to the other; 0 without a range.
        doubled: The total with the constant doubled, over the total; None if nobody asked or the
            network cannot run so.
        halved: The same of half the constant, of a count at least one.
    """

    path: str
    quantity: Quantity
    span: float
    doubled: float | None
    halved: float | None

    @property
    def weight(self) -> float:
        """How far doubling or halving moves the total, in logarithms."""
        return max(abs(math.log(r)) if r else 0.0 for r in (self.doubled, self.halved))


@dataclass(frozen=True, slots=True)
class Interval:
    """A total between its corners.

    Args:
        low: Every constant at the end of its range that lowers it.
        value: Every constant at its value.
        high: Every constant at the end that raises it.
        constants: What the total depends on: those with a range by span, then the others by
            weight, the largest first.
    """

    low: float
    value: float
    high: float
    constants: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """How sure energy and latency are.

    Args:
        energy: In J.
        latency: In s; None where the platform states no time.
        refused: Ends of ranges at which the platform cannot run the network, and why; the
            intervals leave them out.
    """

    energy: Interval
    latency: Interval | None
    refused: tuple[str, ...]


def uncertainty(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option] | Option,
    *,
    unit: str | None = None,
    without_range: bool = True,
    batch: int = 1,
) -> Uncertainty:
    """Return the energy and latency of a selection with their intervals and constants.

    Args:
        units: The network, in graph order.
        platform: What it runs on.
        selection: One option for all units that have a choice, or one for each by name.
        unit: The row that is asked about; the total unless given.
        without_range: Whether constants are doubled and halved too.
        batch: Inferences priced together; totals are of one of them.

    Raises:
        HwsimError: As `cost` does, or if no row has the unit's name.
    """
    known = quantities(platform)
    refused: dict[str, str] = {}
    priced: dict[frozenset[tuple[str, float]], _Metrics] = {}

    def price(ends: _Ends) -> _Metrics:
        key = frozenset(ends.items())
        if key not in priced:
            table = cost(units, _changed(platform, ends), selection, [], batch)
            priced[key] = _metrics(table, unit)
        return priced[key]

    def moved(path: str, value: float) -> _Metrics | None:
        try:
            return price({path: value})
        except HwsimError as error:
            refused[path] = f"{path} at {value:g} {known[path].unit}: {error}"
            return None

    value = price({})
    ranges = {path: _ends(quantity) for path, quantity in known.items()}
    single: dict[str, dict[float, _Metrics]] = {}
    for path, ends in ranges.items():
        found = {end: moved(path, end) for end in ends}
        single[path] = {end: metrics for end, metrics in found.items() if metrics is not None}
    scaled: dict[str, tuple[_Metrics | None, ...]] = {}
    sentences = tuple(refused.values())  # of ends alone: nobody claims the double or the half
    if without_range:
        for path, quantity in known.items():
            scaled[path] = tuple(moved(path, value) for value in _scaled(quantity))

    def interval(which: int) -> Interval | None:
        middle = value[which]
        if middle is None:
            return None
        low, high = (_corner(price, single, which, sign) for sign in (-1, 1))
        constants = []
        for path, quantity in known.items():
            ends = [metrics[which] for metrics in single[path].values()]
            reached = [middle, *(end for end in ends if end is not None)]
            span = max(reached) - min(reached)
            ratios = (_ratio(metrics, middle, which) for metrics in scaled.get(path, (None, None)))
            constant = Constant(path, quantity, span, *ratios)
            if span > 0 or constant.weight > 0:
                constants.append(constant)
        constants.sort(key=lambda one: (-one.span, -one.weight))
        return Interval(low, middle, high, tuple(constants))

    energy, latency = interval(_ENERGY), interval(_LATENCY)
    assert energy is not None  # every platform states energies
    return Uncertainty(energy, latency, sentences)


def _metrics(table: CostTable, unit: str | None) -> _Metrics:
    """Return energy and latency of the total, or of one unit's selected row."""
    if unit is None:
        total = table.total
        return total.energy_j, total.latency_s
    for row in table.selected_rows:
        if row.unit == unit:
            return row.energy_j, row.latency_s
    names = ", ".join(row.unit for row in table.selected_rows)
    raise InputError(f"{table.platform}: unit must be one of {names}, not {unit!r}")


def _corner(
    price: Callable[[_Ends], _Metrics],
    single: Mapping[str, Mapping[float, _Metrics]],
    which: int,
    sign: int,
) -> float:
    """Return the lowest (sign -1) or highest (1) total that exchanging ends one by one finds."""

    def reached(ends: _Ends) -> float:
        try:
            value = price(ends)[which]
        except HwsimError:  # ends that cannot stand together
            return -math.inf
        return -math.inf if value is None else sign * value

    start = reached({})
    ends: _Ends = {}
    for path, found in single.items():
        gain = {end: sign * (metrics[which] or 0.0) - start for end, metrics in found.items()}
        if gain and max(gain.values()) > 0:
            ends[path] = max(gain, key=lambda end: gain[end])
    best = reached(ends)
    if best < start:
        best, ends = start, {}
    better = True
    while better:
        better = False
        for path, end in chain.from_iterable(
            ((path, end) for end in found) for path, found in single.items()
        ):
            if ends.get(path) == end:
                continue
            value = reached({**ends, path: end})
            if value > best:
                best, better = value, True
                ends[path] = end
    return sign * best


def _ends(quantity: Quantity) -> tuple[float, ...]:
    """Return the ends of a range that differ from the value."""
    stated = (quantity.low, quantity.high)
    return tuple(end for end in stated if end is not None and end != quantity.value)


def _scaled(quantity: Quantity) -> tuple[float, float]:
    """Return twice a value and half of it; a count stays whole and at least one."""
    half = quantity.value / 2
    return 2 * quantity.value, max(1.0, math.floor(half)) if quantity.is_count else half


def _ratio(metrics: _Metrics | None, middle: float, which: int) -> float | None:
    """Return a total over the one at the values; None where there is none to compare."""
    after = None if metrics is None else metrics[which]
    return None if after is None or middle == 0 else after / middle


def _changed(platform: Platform, values: Mapping[str, float]) -> Platform:
    """Return a platform whose quantities at some paths have other values."""

    def changed(model: _Model, path: str) -> _Model:
        update: dict[str, Any] = {}
        for name in type(model).model_fields:
            here = f"{path}.{name}" if path else name
            if any(target.startswith(here) for target in values):
                update[name] = visit(getattr(model, name), here)
        return model.model_copy(update=update)

    def visit(value: Any, path: str) -> Any:
        if isinstance(value, Quantity):
            return value.model_copy(update={"value": values[path]}) if path in values else value
        if isinstance(value, BaseModel):
            return changed(value, path)
        if isinstance(value, list):
            return [visit(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    return changed(platform, "") if values else platform
