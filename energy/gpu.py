"""Time and energy on a GPU with tensor cores.

A pair runs at the smallest native precision that holds both widths. One kernel per layer:

    alone = launch + MACs / (peak * fill * efficiency) + outputs * output + weights * unpack
    t = max(chained * alone, bytes / bandwidth of each memory)

`fill` is the useful part of the output tiles and of the last wave of tiles over the processors.
The third term, requantization and write of the outputs, does not shrink with the bits; it is what
keeps INT4 from twice INT8's speed on layers with short reductions. Weights are stored packed at
their own width, activations at the smallest native width that holds them; weights narrower than
the native width save bytes and pay for unpacking. Kernels that follow one another in a network
take `chained` of the time that they take alone, so the sum of measured layers is no network time.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from hwsim.platform import GpuPlatform, Precision
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .movement import Streaming
from .mover import Mover
from .traffic import FIXED, latency_s, memory_energy_j


def stored_activation_bits(platform: GpuPlatform, activation_bits: int) -> int:
    """Return the width at which activations lie in memory."""
    widths = [row.native_bits for row in platform.precision]
    return min((width for width in widths if width >= activation_bits), default=activation_bits)


def rows(
    platform: GpuPlatform, unit: Unit, options: Sequence[Option | None], mover: Mover
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    What bounds it: the memory whose bytes take longest, else "compute", or "overhead" where
    launch, outputs and unpacking together take longer than the multiply-accumulates. Work without
    multiply-accumulates is launch and memory only; a layer that only moves data in place is no
    kernel.
    """
    found: list[UnitCost] = []
    priced: dict[tuple[int, int, int], UnitCost] = {}  # many pairs run and are stored alike
    for option in options:
        widths = option or FIXED
        precision = platform.native(widths)
        held = stored(platform, widths)
        alike = (held.weight_bits, held.activation_bits, precision.native_bits)
        if alike in priced:
            found.append(replace(priced[alike], option=option))
            continue
        moved = mover.move(unit, held)
        placed = moved.levels(platform.memory)
        compute = sum(compute_s(platform, layer, precision) for layer in unit.layers)
        overhead = sum(overhead_s(platform, layer, widths) for layer in unit.layers)
        kernels = platform.cores.chained.value * (compute + overhead)
        name = "overhead" if overhead > compute else "compute"
        latency, bound_by = latency_s(platform.memory, {name: kernels}, placed)
        found.append(
            UnitCost(
                unit=unit.name,
                option=option,
                macs=unit.macs,
                energy_mac_j=unit.macs * precision.energy_per_mac.si,
                energy_memory_j=memory_energy_j(platform.memory, placed),
                energy_static_j=platform.idle_power_w * latency,
                latency_s=latency,
                bound_by=bound_by,
                weight_bytes=moved.traffic.weight_bytes,
                activation_bytes=moved.traffic.activation_bytes,
                memory_bytes={name: level.bytes for name, level in placed.items()},
            )
        )
        priced[alike] = found[-1]
    return found


def streaming(platform: GpuPlatform) -> Streaming:
    """Return what the cores add to the memories: nothing, kernels' own tiles are in efficiencies.

    The innermost level is read once for every operand: how often thread blocks read theirs again
    depends on a kernel's own tiling, which nothing published tells.
    """
    return Streaming(max(row.accumulator_bits for row in platform.precision))


def stored(platform: GpuPlatform, widths: Option) -> Option:
    """Return the widths at which weights and activations lie in memory."""
    return Option(widths.weight_bits, stored_activation_bits(platform, widths.activation_bits))


def kernel_s(platform: GpuPlatform, layer: Layer, widths: Option) -> float:
    """Return the time of a layer's kernel that runs alone, its operands at hand."""
    precision = platform.native(widths)
    return compute_s(platform, layer, precision) + overhead_s(platform, layer, widths)


def compute_s(platform: GpuPlatform, layer: Layer, precision: Precision) -> float:
    """Return the arithmetic time of a layer, with tile and wave quantization.

    Source: the tile and wave rule of NVIDIA's matrix-multiplication guide; one tile per
    processor at a time.
    """
    if layer.macs == 0:
        return 0.0
    assert precision.efficiency is not None  # the schema demands it of a GPU
    rate = precision.macs_per_cycle.value * platform.clock.si * precision.efficiency.value
    return padded_macs(platform, layer) / rate


def padded_macs(platform: GpuPlatform, layer: Layer) -> int:
    """Return the multiply-accumulates of whole waves of whole tiles."""
    cores = platform.cores
    rows_per_tile, columns_per_tile = cores.tile_rows.count, cores.tile_columns.count
    tiles = layer.groups * ceil(layer.m / rows_per_tile) * ceil(layer.n / columns_per_tile)
    waves = ceil(tiles / cores.processors.count)
    return waves * cores.processors.count * rows_per_tile * columns_per_tile * layer.k


def overhead_s(platform: GpuPlatform, layer: Layer, widths: Option) -> float:
    """Return a layer's time beyond its arithmetic: launch, outputs, weights to be unpacked."""
    if layer.work is Work.MOVE:
        return 0.0
    cores = platform.cores
    cycles = 0.0
    if layer.macs:
        cycles = layer.groups * layer.m * layer.n * cores.epilogue.value
    if widths.weight_bits < platform.native(widths).native_bits:
        cycles += layer.weight_elements * cores.unpack.value
    return cores.launch.si + cycles / platform.clock.si
