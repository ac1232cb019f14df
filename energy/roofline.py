"""The roofline of a platform, and where the units of a network stand under it.

Attainable rate = min(peak, intensity * bandwidth), in MACs per second; intensity is the MACs of a
unit over the bytes that it moves through one memory level.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.errors import PlatformError
from hwsim.platform import GpuPlatform, NpuPlatform, Platform
from hwsim.tables import CostTable, Option


@dataclass(frozen=True, slots=True)
class Roofline:
    """Peak and bandwidths of a platform at one option.

    Args:
        peak_macs_per_s: Rate of the native precision that the option runs at.
        bandwidth_bytes_per_s: Rate of every memory level whose bandwidth is known.
    """

    peak_macs_per_s: float
    bandwidth_bytes_per_s: Mapping[str, float]

    def attainable_macs_per_s(self, level: str, macs_per_byte: float) -> float:
        """Return the rate that a memory level allows at an intensity."""
        return min(self.peak_macs_per_s, macs_per_byte * self.bandwidth_bytes_per_s[level])

    def ridge_macs_per_byte(self, level: str) -> float:
        """Return the intensity from which the array, not the level, is the limit."""
        return self.peak_macs_per_s / self.bandwidth_bytes_per_s[level]


@dataclass(frozen=True, slots=True)
class Point:
    """A unit under the roofline of one memory level."""

    unit: str
    macs_per_byte: float
    macs_per_s: float


def roofline(platform: Platform, option: Option) -> Roofline:
    """Return the roofline of a platform at one option.

    Raises:
        PlatformError: If the platform has no roofline (a dataflow design, a formula), or does
            not support the option.
    """
    if not isinstance(platform, NpuPlatform | GpuPlatform):
        raise PlatformError(
            f"{platform.name}: kind must be npu or gpu for a roofline, not {platform.kind}"
        )
    if not platform.supports(option):
        raise PlatformError(
            f"{platform.name}: a roofline's option must be a supported one, not {option}"
        )
    peak = platform.native(option).macs_per_cycle.value * platform.clock.si
    return Roofline(
        peak, {level.name: level.bandwidth.si for level in platform.memory if level.bandwidth}
    )


def points(table: CostTable, level: str) -> tuple[Point, ...]:
    """Return the units of a table's selection that multiply and use a memory level."""
    return tuple(
        Point(row.unit, row.macs / row.memory_bytes[level], row.macs / row.latency_s)
        for row in table.selected_rows
        if row.macs and row.latency_s and row.memory_bytes.get(level)
    )
