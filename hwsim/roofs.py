"""A roofline and the units under it, as values: what a model computes and a plot draws.

Attainable rate = min(peak, intensity * bandwidth), in MACs per second; intensity is the MACs of a
unit over the bytes that it moves through one memory level.
"""

from collections.abc import Mapping
from dataclasses import dataclass


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
    """A unit under the roofline of one memory level.

    Args:
        unit: Its name.
        macs_per_byte: Its MACs over the bytes that cross the level.
        macs_per_s: Its MACs over its modeled time.
        bound_by: What sets that time.
        latency_s: That time.
    """

    unit: str
    macs_per_byte: float
    macs_per_s: float
    bound_by: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class Roof:
    """One memory level's picture.

    Args:
        level: Its name; "all memories" where no bandwidth is known.
        bandwidth_bytes_per_s: Its rate, None where no source states one.
        peaks: Peak rate in MACs per second by the native precision that units run at.
        points: The units.
    """

    level: str
    bandwidth_bytes_per_s: float | None
    peaks: Mapping[str, float]
    points: tuple[Point, ...]
