"""Cycles, time and energy of a network on a microcontroller or small accelerator.

t = sum over layers of MACs * cycles per MAC (by kind of operator and widths) + overhead, over the
clock; E = P * t with the measured power of the operating point. Memories have no energy of their
own here: nobody publishes the split, and the measured power holds all of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hwsim.errors import BudgetError, PlatformError
from hwsim.platform import Platform
from hwsim.platform_mcu import (
    NARROW_CHANNELS,
    KernelWork,
    McuPlatform,
    McuPrecision,
    OperatingPoint,
)
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .dvfs import PointCost
from .traffic import FIXED, Traffic, traffic_of

_MULTIPLIES: Mapping[Work, KernelWork] = {
    Work.DEPTHWISE: "depthwise",
    Work.FULLY_CONNECTED: "fully_connected",
    Work.MATMUL: "matmul",
    Work.RECURRENT: "recurrent",
}


def kernel_work(layer: Layer) -> KernelWork | None:
    """Return the kind of kernel that computes a layer, None where it multiplies nothing."""
    if layer.work is Work.CONV:
        narrow = layer.k < NARROW_CHANNELS * layer.kernel[0] * layer.kernel[1]
        return "narrow_conv" if narrow else "conv"
    return _MULTIPLIES.get(layer.work)


@dataclass(frozen=True, slots=True)
class Busy:
    """Cycles of a layer or unit, counted as the platform's first file point counts them.

    Args:
        compute: In kernels that multiply.
        elements: In work that does not.
        overhead: Starting operators.
        power_cycles: The same cycles, each weighted by its power over that of the point.
    """

    compute: float = 0.0
    elements: float = 0.0
    overhead: float = 0.0
    power_cycles: float = 0.0

    @property
    def cycles(self) -> float:
        """All of them."""
        return self.compute + self.elements + self.overhead

    @property
    def bound_by(self) -> str:
        """What most of them are spent on."""
        parts = {"compute": self.compute, "elements": self.elements, "overhead": self.overhead}
        return max(parts, key=lambda name: parts[name])

    def __add__(self, other: "Busy") -> "Busy":
        """Return both, one after the other."""
        return Busy(
            self.compute + other.compute,
            self.elements + other.elements,
            self.overhead + other.overhead,
            self.power_cycles + other.power_cycles,
        )


def layer_busy(platform: McuPlatform, layer: Layer, option: Option) -> Busy:
    """Return what a layer costs; moving data within memory is free."""
    if layer.work is Work.MOVE:
        return Busy()
    started = 0.0 if platform.layer_overhead is None else platform.layer_overhead.value
    kind = kernel_work(layer)
    if kind is None:
        elements = platform.cycles_per_element.value * layer.out_elements
        return Busy(0.0, elements, started, elements + started)
    precision = precision_of(platform, option)
    cycles = precision.cycles_per_mac(kind, option.weight_bits) * layer.macs
    return Busy(cycles, 0.0, started, cycles * precision.power_ratio(kind) + started)


def unit_busy(platform: McuPlatform, unit: Unit, option: Option) -> Busy:
    """Return what a unit costs: its layers, one after the other."""
    return sum((layer_busy(platform, layer, option) for layer in unit.layers), Busy())


def point_cost(point: OperatingPoint, busy: Busy) -> PointCost:
    """Return time and energy of cycles at a point."""
    energy = point.active_power.si * busy.power_cycles * point.second_per_cycle
    return PointCost(point.name, busy.cycles * point.second_per_cycle, energy)


def rows(
    platform: McuPlatform,
    units: Sequence[Unit],
    options: Mapping[str, Sequence[Option | None]],
    selection: Mapping[str, Option],
) -> list[UnitCost]:
    """Return the cost of every unit at every option, at the platform's first point.

    Raises:
        BudgetError: If the selected weights exceed the memory that holds weights.
        PlatformError: If the activations of one unit exceed the memory that holds activations.
    """
    _refuse_overfull(platform, (traffic_of(u, selection.get(u.name, FIXED)) for u in units))
    point = platform.point[0]
    found = []
    for unit in units:
        for option in options[unit.name]:
            traffic = traffic_of(unit, option or FIXED)
            _refuse_overfull_unit(platform, unit, traffic)
            busy = unit_busy(platform, unit, option or FIXED)
            spent = point_cost(point, busy)
            found.append(
                UnitCost(
                    unit=unit.name,
                    option=option,
                    macs=unit.macs,
                    energy_mac_j=0.0,
                    energy_memory_j={},
                    energy_static_j=spent.joules,
                    latency_s=spent.seconds,
                    bound_by=busy.bound_by,
                    weight_bytes=traffic.weight_bytes,
                    activation_bytes=traffic.activation_bytes,
                    memory_bytes=_bytes(platform, traffic),
                )
            )
    return found


def at_point(platform: Platform, name: str) -> McuPlatform:
    """Return the platform that runs at another of its points.

    Raises:
        PlatformError: If it has no points, or not this one: voltages are never interpolated.
    """
    if not isinstance(platform, McuPlatform):
        raise PlatformError(
            f"{platform.name}: kind must be mcu to run at point {name!r}, not {platform.kind}"
        )
    point = point_named(platform, name)
    rest = [other for other in platform.point if other is not point]
    # Cycles stay counted at the file's first point: each point carries its own ratio to it.
    return platform.model_copy(update={"point": [point, *rest]})


def point_named(platform: McuPlatform, name: str) -> OperatingPoint:
    """Return one operating point.

    Raises:
        PlatformError: If the platform states no such point.
    """
    for point in platform.point:
        if point.name == name:
            return point
    known = ", ".join(point.name for point in platform.point)
    raise PlatformError(f"{platform.name}: point must be one of {known}, not {name!r}")


def precision_of(platform: McuPlatform, option: Option) -> McuPrecision:
    """Return the precision that a pair runs at; work without a choice takes the widest."""
    taking = [
        row
        for row in platform.precision
        if option.weight_bits in row.weight_bits and option.activation_bits in row.activation_bits
    ]
    return min(taking or platform.precision, key=lambda row: row.lane_bits)


def _refuse_overfull(platform: McuPlatform, traffic: Iterable[Traffic]) -> None:
    """Refuse a network whose weights exceed every memory that may hold them."""
    needed = sum(t.weight_bits for t in traffic) / 8
    homes = [level for level in platform.memory if "weights" in level.holds]
    if any(level.capacity is None for level in homes):
        return
    room = sum(level.capacity.si for level in homes if level.capacity is not None)
    if needed > room:
        names = " and ".join(level.name for level in homes)
        raise BudgetError(
            f"{platform.name}: weights must fit {room:.0f} bytes of {names}, not {needed:.0f}"
        )


def _refuse_overfull_unit(platform: McuPlatform, unit: Unit, traffic: Traffic) -> None:
    """Refuse a unit whose activations exceed every memory that may hold them."""
    homes = [level for level in platform.memory if "activations" in level.holds]
    if any(level.capacity is None for level in homes):
        return
    room = max(level.capacity.si for level in homes if level.capacity is not None)
    if traffic.live_bits > 8 * room:
        raise PlatformError(
            f"{platform.name}: unit {unit.name!r}: its activation tensors must fit {room:.0f} "
            f"bytes of {homes[-1].name}, not {traffic.live_bits / 8:.0f}"
        )


def _bytes(platform: McuPlatform, traffic: Traffic) -> dict[str, float]:
    """Return the bytes that cross each memory: its first home takes an operand's traffic."""
    found = {level.name: 0.0 for level in platform.memory}
    for operand, size in (
        ("weights", traffic.weight_bytes),
        ("activations", traffic.activation_bytes),
    ):
        home = next(level for level in platform.memory if operand in level.holds)
        found[home.name] += size
    return found
