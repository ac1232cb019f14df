"""What a network costs at every operating point of a platform, and where to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwsim.errors import InputError, PlatformError
from hwsim.platform import Platform
from hwsim.platform_mcu import McuPlatform
from hwsim.tables import Option
from hwsim.workload import Unit

from .dvfs import PointCost, Schedule, best_point, best_schedule
from .mcu import Busy, point_cost, unit_busy
from .traffic import FIXED


@dataclass(frozen=True, slots=True)
class PointTotal:
    """A whole network at one published point.

    Args:
        point: Its name.
        clock_hz: Frequency.
        volts: Core voltage, None where not stated.
        latency_s: Time of an inference.
        energy_j: Energy, leakage included.
        leakage_j: Part of the energy that is V * I_leak * t, None where no current is known.
    """

    point: str
    clock_hz: float
    volts: float | None
    latency_s: float
    energy_j: float
    leakage_j: float | None


@dataclass(frozen=True, slots=True)
class Operation:
    """The points of a platform for one network, and the choice among them.

    Args:
        platform: Its name.
        units: Names of the units, in graph order.
        points: The network at every point, in file order.
        chosen: The point of least energy within the deadline; None if only a schedule keeps it.
        schedule: A point for each unit, where that was asked for.
    """

    platform: str
    units: tuple[str, ...]
    points: tuple[PointTotal, ...]
    chosen: str | None
    schedule: Schedule | None


def operation(
    units: Sequence[Unit],
    platform: Platform,
    selection: Mapping[str, Option],
    max_latency: float | None = None,
    per_layer: bool = False,
    switch_time: float | None = None,
) -> Operation:
    """Return the cost at every point and the energy-optimal choice; points are never invented.

    Args:
        units: The network, in graph order.
        platform: A microcontroller with operating points.
        selection: The option of each unit with a choice.
        max_latency: Deadline of an inference in s.
        per_layer: Whether every unit may have its own point; needs a deadline.
        switch_time: Time of one change of point in s; the platform's if not given.

    Raises:
        PlatformError: If the platform is no microcontroller, or states no switching time.
        BudgetError: If no choice keeps the deadline.
        InputError: If a choice per layer has no deadline.
    """
    if not isinstance(platform, McuPlatform):
        raise PlatformError(
            f"{platform.name}: kind must be mcu for operating points, not {platform.kind}"
        )
    busy = [unit_busy(platform, unit, selection.get(unit.name, FIXED)) for unit in units]
    whole = sum(busy, Busy())
    totals = [point_cost(point, whole) for point in platform.point]
    points = tuple(_total(platform, k, cost) for k, cost in enumerate(totals))
    schedule = None
    if per_layer:
        if max_latency is None:
            raise InputError("max_latency must be given for a choice per layer, not missing")
        wait = _switch_time(platform, switch_time)
        layers = [[point_cost(point, one) for point in platform.point] for one in busy]
        watts = [point.active_power.si for point in platform.point]
        schedule = best_schedule(layers, max_latency, wait, watts)
    timely = schedule is None or any(cost.seconds <= (max_latency or 0) for cost in totals)
    chosen = best_point(totals, max_latency).point if timely else None
    return Operation(platform.name, tuple(u.name for u in units), points, chosen, schedule)


def _total(platform: McuPlatform, index: int, cost: PointCost) -> PointTotal:
    """Return the line of one point."""
    point = platform.point[index]
    volts = None if point.core_voltage is None else point.core_voltage.si
    leakage = None
    if volts is not None and platform.leakage is not None:
        leakage = volts * platform.leakage.si * cost.seconds
    return PointTotal(point.name, point.clock.si, volts, cost.seconds, cost.joules, leakage)


def _switch_time(platform: McuPlatform, asked: float | None) -> float:
    """Return the time of a change of point."""
    if asked is not None:
        return asked
    if platform.switch_time is None:
        raise PlatformError(f"{platform.name}: switch_time must be given: the platform states none")
    return platform.switch_time.si
