"""The roofline of a platform, and where the units of a network stand under it."""

from hwsim.errors import PlatformError
from hwsim.platform import GpuPlatform, NpuPlatform, Platform
from hwsim.platform_mcu import McuPlatform
from hwsim.roofs import Point, Roof, Roofline
from hwsim.tables import CostTable, Option, UnitCost

from .mcu import precision_of

ALL = "all memories"


def roofline(platform: Platform, option: Option) -> Roofline:
    """Return the roofline of a platform at one option.

    A microcontroller's file states no bandwidths: its roof is flat.

    Raises:
        PlatformError: If the platform has no roofline (a dataflow design, a formula), or does
            not support the option.
    """
    if not isinstance(platform, NpuPlatform | GpuPlatform | McuPlatform):
        raise PlatformError(
            f"{platform.name}: kind must be npu, mcu or gpu for a roofline, not {platform.kind}"
        )
    if not platform.supports(option):
        raise PlatformError(
            f"{platform.name}: a roofline's option must be a supported one, not {option}"
        )
    if isinstance(platform, McuPlatform):
        rate = precision_of(platform, option).macs_per_cycle.value
        return Roofline(rate * platform.point[0].clock.si, {})
    peak = platform.native(option).macs_per_cycle.value * platform.clock.si
    return Roofline(
        peak, {level.name: level.bandwidth.si for level in platform.memory if level.bandwidth}
    )


def points(table: CostTable, level: str) -> tuple[Point, ...]:
    """Return the units of a table's selection that multiply and use a memory level."""
    return tuple(
        Point(row.unit, row.macs / moved, row.macs / row.latency_s, row.bound_by, row.latency_s)
        for row in table.selected_rows
        if row.macs and row.latency_s and (moved := _moved(row, level))
    )


def roofs(platform: Platform, table: CostTable) -> tuple[Roof, ...]:
    """Return one picture per memory level of known bandwidth, or one without.

    Raises:
        PlatformError: If the platform has no roofline.
    """
    options = sorted(set(table.selection.values()))
    lines = {option: roofline(platform, option) for option in options}
    if not lines:
        raise PlatformError(f"{platform.name}: a roofline must have a unit that multiplies")
    peaks: dict[str, float] = {}
    for option in reversed(options):  # options that share a rate are named by their widest
        rate = lines[option].peak_macs_per_s
        if rate not in peaks.values():
            peaks[str(option)] = rate
    known = lines[options[0]].bandwidth_bytes_per_s
    if not known:
        return (Roof(ALL, None, peaks, points(table, ALL)),)
    return tuple(Roof(level, rate, peaks, points(table, level)) for level, rate in known.items())


def _moved(row: UnitCost, level: str) -> float:
    """Return the bytes that cross a level, or all of them."""
    return sum(row.memory_bytes.values()) if level == ALL else row.memory_bytes.get(level, 0.0)
