"""Bytes that a unit stores and moves.

Every tensor is packed at its true width and touched as often as its owner says; no operand is
fetched twice, so these are the compulsory bytes: a floor for any schedule, never less. What
schedules add to them is in `mover`.

Where they go on a block engine, which has a schedule of its own (`place`):

- Weights and 32-bit biases are read once per inference from the outermost level that holds
  weights; an on-chip level that holds weights passes them on, and keeps them between inferences
  if its description says so and the whole network fits it at the widest weights of the platform.
- Activations are written to and read from the innermost level that holds activations. A unit
  whose tensors together exceed that level spills: all its accesses then cross the next level that
  holds activations as well. The rule looks at one unit alone, so costs stay additive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hwsim.errors import PlatformError
from hwsim.platform import MemoryLevel
from hwsim.tables import Option
from hwsim.workload import Unit

BIAS_BITS = 32
FIXED = Option(8, 8)
"""Widths of work without a choice, where its tensors state none."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one unit stores and moves at one option.

    Args:
        weight_bits: Stored weights and biases.
        activation_read_bits: Activation bits read.
        activation_write_bits: Activation bits written.
        live_bits: All its activation tensors, once.
    """

    weight_bits: int
    activation_read_bits: int
    activation_write_bits: int
    live_bits: int

    @property
    def weight_bytes(self) -> float:
        """Stored weights and biases, packed."""
        return self.weight_bits / 8

    @property
    def activation_bytes(self) -> float:
        """Activation bytes written and read."""
        return (self.activation_read_bits + self.activation_write_bits) / 8


def traffic_of(unit: Unit, option: Option) -> Traffic:
    """Return the traffic of a unit stored at the widths of `option`.

    A tensor that states its own width keeps it.
    """
    read = write = live = 0
    for tensor in unit.tensors:
        bits = tensor.elements * (tensor.bits or option.activation_bits)
        read += bits * tensor.reads
        write += bits * tensor.writes
        live += bits
    weights = unit.weight_elements * option.weight_bits + unit.bias_elements * BIAS_BITS
    return Traffic(weights, read, write, live)


def stored_weight_bits(units: Sequence[Unit], weight_bits: int) -> int:
    """Return the stored weights and biases of a network at one width."""
    return sum(traffic_of(unit, Option(weight_bits, 8)).weight_bits for unit in units)


@dataclass(frozen=True, slots=True)
class LevelTraffic:
    """Bits read from and written to one memory level."""

    read_bits: int
    write_bits: int

    @property
    def bytes(self) -> float:
        """Bytes that cross the level."""
        return (self.read_bits + self.write_bits) / 8


def keeps_weights(level: MemoryLevel, network_bits: int) -> bool:
    """Return whether a level holds a whole network's weights from inference to inference."""
    return level.keeps_weights and _fits(level, network_bits)


def place(
    traffic: Traffic,
    memory: Sequence[MemoryLevel],
    network_bits: int,
    where: str,
) -> dict[str, LevelTraffic]:
    """Return what a unit's traffic does to every level, in file order (inside out).

    Args:
        traffic: The unit's traffic.
        memory: The platform's levels.
        network_bits: Stored weights of the whole network at the platform's widest weights.
        where: Platform and unit, for an error.

    Raises:
        PlatformError: If activations exceed the chip and no outer level holds activations.
    """
    read = {level.name: 0 for level in memory}
    write = dict(read)
    for level in [level for level in memory if "weights" in level.holds]:
        read[level.name] += traffic.weight_bits
        if keeps_weights(level, network_bits):
            break
    homes = [level for level in memory if "activations" in level.holds]
    for level in homes:
        read[level.name] += traffic.activation_read_bits
        write[level.name] += traffic.activation_write_bits
        if _fits(level, traffic.live_bits):
            break
    else:
        largest = max(level.usable_bits or 0 for level in homes) / 8
        raise PlatformError(
            f"{where}: its activation tensors must fit {largest:.0f} bytes of {homes[-1].name}, "
            f"not {traffic.live_bits / 8:.0f}"
        )
    return {name: LevelTraffic(read[name], write[name]) for name in read}


def _fits(level: MemoryLevel, bits: int) -> bool:
    """Return whether so many bits fit a level; a level of unstated size holds all."""
    return level.usable_bits is None or bits <= level.usable_bits


def memory_energy_j(
    memory: Sequence[MemoryLevel], placed: dict[str, LevelTraffic]
) -> dict[str, float]:
    """Return the energy of each level's reads and writes."""
    return {
        level.name: placed[level.name].read_bits * level.energy_read.si
        + placed[level.name].write_bits * level.energy_write.si
        for level in memory
    }


def memory_latency_s(
    memory: Sequence[MemoryLevel], placed: dict[str, LevelTraffic]
) -> dict[str, float]:
    """Return the time that each level of known bandwidth needs."""
    return {
        level.name: placed[level.name].bytes / level.bandwidth.si
        for level in memory
        if level.bandwidth is not None
    }


def latency_s(
    memory: Sequence[MemoryLevel], busy_s: Mapping[str, float], placed: dict[str, LevelTraffic]
) -> tuple[float, str]:
    """Return the time of work and transfers, and what bounds it.

    Transfers overlap with the work, and those of different levels with each other; but what goes
    into a level that is not double-buffered is waited for.

    Args:
        memory: The levels.
        busy_s: The work by its name, one part after the other; of transfers and work the longest
            bounds, and of the work its longest part.
        placed: The traffic.
    """
    times = memory_latency_s(memory, placed)
    waited = {name: time for name, time in times.items() if name in _waited_for(memory)}
    busy = sum(busy_s.values())
    hidden = max((time for name, time in times.items() if name not in waited), default=0.0)
    total = max(busy, hidden) + sum(waited.values())
    if max(times.values(), default=0.0) > busy:
        return total, max(times, key=lambda name: times[name])
    return total, max(busy_s, key=lambda name: busy_s[name])


def _waited_for(memory: Sequence[MemoryLevel]) -> set[str]:
    """Return the levels from which a level is filled that has one buffer only."""
    found = set()
    for operand in ("weights", "activations"):
        chain = [level for level in memory if operand in level.holds]
        found |= {outer.name for inner, outer in pairwise(chain) if inner.double_buffered is False}
    return found
