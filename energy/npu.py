"""Cycles, time and energy on an Ethos-U-like NPU.

Cycles follow the block engine's equations (Arm Vela, npu_performance.py). A layer is cut into
output blocks, the fewest that the engine's buffer allows (each block fetches its input anew);
blocks overlap array and output stage, the last one does not. Left out: memory
latency and burst efficiency, start-up delays of single micro-blocks, the command floor, and the
weight stream's buffering behind the previous layer.
"""

from collections.abc import Sequence
from itertools import product
from math import ceil

from hwsim.platform import NpuArray, NpuPlatform
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from . import arrays
from .traffic import FIXED, memory_energy_j, memory_latency_s, place, traffic_of

_SUB_KERNEL = 8  # the array walks kernels in pieces of at most 8 x 8
_MATRICES = (Work.FULLY_CONNECTED, Work.MATMUL, Work.RECURRENT)
_INPUT_DEPTH = 32  # channels of an 8-bit input block
_BLOCK_LIMIT = (64, 32, 128)  # width, height, depth
_ACCUMULATOR_BYTES = 4


def rows(
    platform: NpuPlatform, unit: Unit, options: Sequence[Option | None], network_bits: int
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    Latency is the longest of the engine (array and output stage, overlapped as blocks) and each
    memory's bytes over its bandwidth, for the unit as a whole. A pair runs at the rate and energy
    of its precision, so that narrower weights only shrink the weight stream; a precision slower
    than the fastest scales the array's cycles. The peak rate is never exceeded.
    """
    if not isinstance(platform.array, NpuArray):
        return arrays.rows(platform, platform.array, unit, options, network_bits)
    work = [(layer.macs, *layer_cycles(platform.array, layer)) for layer in unit.layers]
    fastest = max(row.macs_per_cycle.value for row in platform.precision)
    where = f"{platform.name}: unit {unit.name!r}"
    found = []
    for option in options:
        traffic = traffic_of(unit, option or FIXED)
        precision = platform.native(option or FIXED)
        rate = precision.macs_per_cycle.value
        engine = {"compute": 0.0, "output": 0.0}
        for macs, cycles, bound in work:
            slowed = cycles * fastest / rate if bound == "compute" else cycles
            engine[bound] += max(slowed, macs / rate) / platform.clock.si
        placed = place(traffic, platform.memory, network_bits, where)
        memory = memory_latency_s(platform.memory, placed)
        busy = sum(engine.values())
        latency = max(busy, *memory.values())
        times = memory if latency > busy else engine
        found.append(
            UnitCost(
                unit=unit.name,
                option=option,
                macs=unit.macs,
                energy_mac_j=unit.macs * precision.energy_per_mac.si,
                energy_memory_j=memory_energy_j(platform.memory, placed),
                energy_static_j=platform.static_power.si * latency,
                latency_s=latency,
                bound_by=max(times, key=lambda name: times[name]),
                weight_bytes=traffic.weight_bytes,
                activation_bytes=traffic.activation_bytes,
                memory_bytes={name: level.bytes for name, level in placed.items()},
            )
        )
    return found


def layer_cycles(array: NpuArray, layer: Layer) -> tuple[float, str]:
    """Return the cycles of array and output stage, and which of them sets the time.

    Source: Arm Vela 5.2.0, npu_performance.py (Apache-2.0), the equations of its blocks.
    """
    if layer.work is Work.MOVE:
        return 0.0, "compute"
    if layer.work is Work.SOFTMAX:
        once = max(array.pass_overhead.value, array.add_cycles.value * layer.out_elements)
        return array.softmax_passes.value * once, "output"
    if layer.work in (Work.ELEMENTWISE, Work.NORM):
        return _at_least(array, array.add_cycles.value * layer.out_elements), "output"
    if layer.work is Work.TABLE:
        return _at_least(array, array.output_cycles.value * layer.out_elements), "output"
    plane = _plane(layer)
    blocks = _blocks(array, layer, plane)
    fewest = min(_count(plane, block) for block in blocks)
    total, compute, output = min(
        _blocked(array, layer, plane, block) for block in blocks if _count(plane, block) == fewest
    )
    repeats = layer.groups if layer.work is Work.MATMUL else 1
    return total * repeats, "compute" if compute >= output else "output"


def _at_least(array: NpuArray, cycles: float) -> float:
    """Return the cycles of an elementwise pass."""
    return max(array.pass_overhead.value, cycles)


def _plane(layer: Layer) -> tuple[int, int, int]:
    """Return height, width and channels of the output; the rows of a matrix are its width."""
    if layer.work in _MATRICES:
        return 1, layer.m, layer.n
    if len(layer.out_shape) == 4:
        return layer.out_shape[1], layer.out_shape[2], layer.out_shape[3]
    depth = layer.out_shape[-1] if layer.out_shape else 1
    return 1, max(layer.out_elements // max(depth, 1), 1), depth


def _blocks(
    array: NpuArray, layer: Layer, plane: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    """Return the output blocks whose double-buffered operands fit the engine's buffer.

    The stride is not known here; the input of a block is taken at stride 1.
    """
    height, width, depth = plane
    micro = array.micro_block_depth.count
    widest, highest, deepest = _BLOCK_LIMIT
    depths = sorted({min(ceil(depth / micro) * micro, d) for d in range(micro, deepest + 1, micro)})
    heights = sorted({min(height, h) for h in (1, 2, 4, 8, 16, highest)})
    widths = sorted({min(width, w) for w in (2, 4, 8, 16, 32, widest)})
    kernel_h, kernel_w = (min(size, _SUB_KERNEL) for size in layer.kernel)
    input_depth = min(_INPUT_DEPTH, ceil(_channels(layer) / 8) * 8)
    found = []
    for h, w, d in product(heights, widths, depths):
        operands = (h + kernel_h - 1) * (w + kernel_w - 1) * input_depth
        accumulators = h * w * d * _ACCUMULATOR_BYTES
        if 2 * (operands + accumulators) <= array.buffer.si:
            found.append((h, w, d))
    return found or [(1, min(width, array.micro_block_width.count), micro)]


def _count(plane: tuple[int, int, int], block: tuple[int, int, int]) -> int:
    """Return how many blocks cover a plane."""
    return ceil(plane[0] / block[0]) * ceil(plane[1] / block[1]) * ceil(plane[2] / block[2])


def _blocked(
    array: NpuArray, layer: Layer, plane: tuple[int, int, int], block: tuple[int, int, int]
) -> tuple[float, float, float]:
    """Return cycles of a layer cut into blocks: the total, the array's and the output stage's.

    One block costs max(array, output) as long as the next follows; the last adds the shorter.
    """
    height, width, depth = plane
    count = _count(plane, block)
    compute = float(_array_cycles(array, layer, block))
    per_element = array.pool_cycles if layer.work is Work.POOL else array.output_cycles
    output = ceil(per_element.value * height * width * depth / count)
    total = max(compute, output) * count + min(compute, output)
    return total, compute * count, output * count


def _array_cycles(array: NpuArray, layer: Layer, block: tuple[int, int, int]) -> int:
    """Return the array's cycles of one output block, all input channels.

    A convolution walks its input depth first, or in parts of the kernel: the better one counts.
    """
    height, width, depth = block
    high, wide = array.micro_block_height.count, array.micro_block_width.count
    n_xy = ceil(height / high) * ceil(width / wide)
    n_z = ceil(depth / array.micro_block_depth.count)
    step = max(4 * array.micro_block_depth.count, 4 * n_xy)
    parts = [h * w for h in _cut(layer.kernel[0]) for w in _cut(layer.kernel[1])]
    if layer.work in (Work.POOL, Work.REDUCE):
        return sum(max(4, s) * n_xy * n_z for s in parts)
    if layer.work is Work.DEPTHWISE:
        return sum(step * ceil(s / 4) * n_z for s in parts)
    channels = _channels(layer)
    input_block = min(_INPUT_DEPTH, ceil(channels / 8) * 8)
    folds = ceil(channels / input_block)
    depth_first = sum(step * s * n_z for s in parts)
    part_kernel = sum(step * ceil(s / 4) * ceil(input_block / 8) * n_z for s in parts)
    if layer.work in _MATRICES:
        part_kernel = depth_first
    return folds * min(depth_first, part_kernel)


def _cut(size: int) -> list[int]:
    """Return a kernel side in pieces of at most 8."""
    return [min(_SUB_KERNEL, size - start) for start in range(0, size, _SUB_KERNEL)]


def _channels(layer: Layer) -> int:
    """Return the input channels of one output element."""
    return max(layer.k // (layer.kernel[0] * layer.kernel[1]), 1)
