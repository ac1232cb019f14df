"""Time and energy of units on an Ethos-U-like NPU.

A layer takes the longest of three: the engine's cycles (`block_cycles`), the bus time of its
feature maps in the inner memory, and its encoded weights read once from the outer one, hidden
behind the layer itself. A compiler hides them behind the layer before as well, and sometimes has
to wait for them (`block_schedule`); that depends on the neighbors, so it stays out of a table
whose rows add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsim.platform import NpuPlatform
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit

from .block_cycles import access_of, pass_cycles
from .block_engine import Engine, engine_of
from .block_pass import Pass
from .block_passes import passes_of
from .block_search import block_of
from .traffic import (
    BIAS_BITS,
    FIXED,
    Traffic,
    memory_energy_j,
    memory_latency_s,
    place,
    traffic_of,
)
from .weight_codes import narrowed_bits

_SCALE_BITS = 80


@dataclass(frozen=True, slots=True)
class _Work:
    """Cycles of one pass at the array's fastest rate, and of what it moves."""

    engine: float
    array_bound: bool
    feature_maps: float
    layer: Layer
    share: float
    channels: int


def rows(
    platform: NpuPlatform, unit: Unit, options: Sequence[Option | None], network_bits: int
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    A pair runs at the rate and energy of its precision, so that narrower weights only shrink the
    weight stream; a precision slower than the fastest scales the array's cycles. The peak rate is
    never exceeded, and no memory moves its compulsory bytes faster than its bandwidth.

    Raises:
        PlatformError: If the engine's buffer holds not even the smallest block of a pass, or the
            activations fit nowhere.
    """
    engine = engine_of(platform, network_bits)
    work = [found for layer in unit.layers for found in _work(engine, layer)]
    fastest = max(row.macs_per_cycle.value for row in platform.precision)
    where = f"{platform.name}: unit {unit.name!r}"
    found = []
    for option in options:
        traffic = _stored(unit, option or FIXED)
        precision = platform.native(option or FIXED)
        rate = precision.macs_per_cycle.value
        placed = place(traffic, platform.memory, network_bits, where)
        memory = memory_latency_s(platform.memory, placed)
        bounds = _bounds(engine, work, option or FIXED, rate, fastest)
        times = {name: cycles / platform.clock.si for name, cycles in bounds.items()}
        busy = sum(times.values())
        latency = max(busy, unit.macs / rate / platform.clock.si, *memory.values())
        times = memory if latency > busy and latency in memory.values() else times
        found.append(
            UnitCost(
                unit=unit.name,
                option=option,
                macs=unit.macs,
                energy_mac_j=unit.macs * precision.energy_per_mac.si,
                energy_memory_j=memory_energy_j(platform.memory, placed),
                energy_static_j=platform.idle_power_w * latency,
                latency_s=latency,
                bound_by=max(times, key=lambda name: times[name]),
                weight_bytes=traffic.weight_bytes,
                activation_bytes=traffic.activation_bytes,
                memory_bytes={name: level.bytes for name, level in placed.items()},
            )
        )
    return found


def _work(engine: Engine, layer: Layer) -> list[_Work]:
    """Return what each pass of a layer takes, equal passes priced once."""
    passes = passes_of(layer)
    priced: dict[Pass, _Work] = {}
    for work in passes:
        if work in priced:
            continue
        block = block_of(engine, work)
        cycles = pass_cycles(engine, work, block)
        moved = access_of(engine, work, block).feature_map_bytes
        share = 1 / len(passes)
        channels = work.ofm[2] if work.biased else 0
        bus = moved / engine.activations.bytes_per_cycle
        priced[work] = _Work(cycles.total, cycles.array_bound, bus, layer, share, channels)
    return [priced[work] for work in passes]


def _bounds(
    engine: Engine, work: Sequence[_Work], option: Option, rate: float, fastest: float
) -> dict[str, float]:
    """Return a unit's cycles by what bounds its passes; they sum to its time."""
    bounds = {"compute": 0.0, "output": 0.0, engine.activations.name: 0.0}
    bounds.setdefault(engine.weights.name, 0.0)
    for part in work:
        busy = part.engine * (fastest / rate if part.array_bound else 1)
        bits = _weight_bits(part.layer, option) * part.share + _SCALE_BITS * part.channels
        weights = bits / 8 / engine.weights.bytes_per_cycle
        by = "compute" if part.array_bound else "output"
        longest = max((busy, by), (part.feature_maps, engine.activations.name))
        longest = max(longest, (weights, engine.weights.name))
        bounds[longest[1]] += longest[0]
    return bounds


def _stored(unit: Unit, option: Option) -> Traffic:
    """Return a unit's traffic with the weights as they are stored."""
    weights = sum(_weight_bits(layer, option) for layer in unit.layers)
    return replace(traffic_of(unit, option), weight_bits=weights + unit.bias_elements * BIAS_BITS)


def _weight_bits(layer: Layer, option: Option) -> int:
    """Return the stored bits of a layer's weights at an option: encoded where that is known."""
    if layer.encoded_weight_bits is None:
        return layer.weight_elements * option.weight_bits
    return narrowed_bits(layer.encoded_weight_bits, layer.weight_elements, option.weight_bits)
