"""Time and energy on a GPU with tensor cores.

One kernel per layer: t = t_launch + max(MACs / (peak * fill * efficiency), bytes / bandwidth).
`fill` is the useful part of the output tiles and of the last wave of tiles over the processors.
A pair runs at the smallest native precision that holds both widths. Weights are stored packed at
their own width, activations at the smallest native width that holds them.
"""

from collections.abc import Sequence
from math import ceil

from hwsim.platform import GpuPlatform, Precision
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .traffic import FIXED, memory_energy_j, memory_latency_s, place, traffic_of


def stored_activation_bits(platform: GpuPlatform, activation_bits: int) -> int:
    """Return the width at which activations lie in memory."""
    widths = [row.native_bits for row in platform.precision]
    return min((width for width in widths if width >= activation_bits), default=activation_bits)


def rows(
    platform: GpuPlatform, unit: Unit, options: Sequence[Option | None], network_bits: int
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    Latency is the launch of its kernels plus the longest of arithmetic ("compute") and each
    memory of known bandwidth; "overhead" where the launches are longer than all of these. Work
    without multiply-accumulates is launch and memory only; a layer that only moves data in place
    is no kernel.
    """
    kernels = sum(layer.work is not Work.MOVE for layer in unit.layers)
    launch = kernels * platform.cores.launch.si
    where = f"{platform.name}: unit {unit.name!r}"
    found = []
    for option in options:
        widths = option or FIXED
        precision = platform.native(widths)
        held = stored_activation_bits(platform, widths.activation_bits)
        traffic = traffic_of(unit, Option(widths.weight_bits, held))
        placed = place(traffic, platform.memory, network_bits, where)
        times = {
            "compute": sum(compute_s(platform, layer, precision) for layer in unit.layers),
            **memory_latency_s(platform.memory, placed),
        }
        bound_by = max(times, key=lambda name: times[name])
        latency = launch + times[bound_by]
        found.append(
            UnitCost(
                unit=unit.name,
                option=option,
                macs=unit.macs,
                energy_mac_j=unit.macs * precision.energy_per_mac.si,
                energy_memory_j=memory_energy_j(platform.memory, placed),
                energy_static_j=platform.static_power.si * latency,
                latency_s=latency,
                bound_by="overhead" if launch > times[bound_by] else bound_by,
                weight_bytes=traffic.weight_bytes,
                activation_bytes=traffic.activation_bytes,
                memory_bytes={name: level.bytes for name, level in placed.items()},
            )
        )
    return found


def compute_s(platform: GpuPlatform, layer: Layer, precision: Precision) -> float:
    """Return the arithmetic time of a layer, with tile and wave quantization.

    Source: the tile and wave rule of NVIDIA's matrix-multiplication guide; one tile per
    processor at a time.
    """
    if layer.macs == 0:
        return 0.0
    cores = platform.cores
    rows_per_tile, columns_per_tile = cores.tile_rows.count, cores.tile_columns.count
    tiles = layer.groups * ceil(layer.m / rows_per_tile) * ceil(layer.n / columns_per_tile)
    waves = ceil(tiles / cores.processors.count)
    padded_macs = waves * cores.processors.count * rows_per_tile * columns_per_tile * layer.k
    rate = precision.macs_per_cycle.value * platform.clock.si * cores.efficiency.value
    return padded_macs / rate
