"""Time and energy on a systolic or row-stationary array.

The array works on one layer after the other; it and the memories overlap where their buffers are
double (`traffic.latency_s`). What moves is in `mover`; where weights come in whole tiles, their
padding costs time.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import ceil

from hwsim.errors import PlatformError
from hwsim.platform import NpuPlatform
from hwsim.platform_array import RowStationaryArray, SystolicArray
from hwsim.tables import Option, UnitCost
from hwsim.workload import Layer, Unit, Work

from .loop_nest import MULTIPLIES, loop_nest
from .movement import Demand, OwnSchedule, Streaming
from .mover import Mover
from .row_stationary import (
    Array,
    Convolution,
    Links,
    Mapping,
    best_mapping,
    buffer_words,
    dram_words,
    input_bytes,
    sum_bytes,
)
from .row_stationary import cycles as row_stationary_cycles
from .systolic import Dataflow, Gemm, Systolic, folds, sram_accesses
from .systolic import cycles as systolic_cycles
from .traffic import FIXED, LevelTraffic, latency_s, memory_energy_j

_WORD_BYTES = 2


def rows(
    platform: NpuPlatform,
    array: SystolicArray | RowStationaryArray,
    unit: Unit,
    options: Sequence[Option | None],
    mover: Mover,
) -> list[UnitCost]:
    """Return the cost of a unit at every option.

    A precision slower than the fastest slows the multiplying cycles in proportion; the peak rate
    is never exceeded.

    Raises:
        PlatformError: If a layer does not fit the array or the memories.
    """
    where = f"{platform.name}: unit {unit.name!r}"
    output = sum(
        ceil(array.output_cycles.value * layer.out_elements)
        for layer in unit.layers
        if layer.work not in (*MULTIPLIES, Work.MOVE)
    )
    multiply: dict[float, float] = {}  # cycles by the rate of a precision
    found = []
    for option in options:
        widths = option or FIXED
        precision = platform.native(widths)
        rate = precision.macs_per_cycle.value
        if rate not in multiply:
            multiply[rate] = _multiply_cycles(platform, array, unit, rate, where)
        compute = max(multiply[rate], unit.macs / rate - output)
        moved = mover.move(unit, widths)
        placed = moved.levels(platform.memory)
        busy = {
            "compute": compute / platform.clock.si,
            "output": output / platform.clock.si,
        }
        latency, bound_by = latency_s(
            platform.memory, busy, _padded(platform, array, unit, widths, placed)
        )
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
    return found


def streaming(platform: NpuPlatform, array: SystolicArray | RowStationaryArray) -> Streaming:
    """Return what an array adds to its memories.

    A systolic array reads an operand once for each fold that it streams through, partial sums stay
    in accumulators behind it. A row-stationary one has a mapping of its own, which decides what
    comes from outside and what crosses the border of its buffer; sums return to that buffer.
    """
    sum_bits = max(row.accumulator_bits for row in platform.precision)
    elements = array.rows.count * array.columns.count
    if isinstance(array, SystolicArray):
        systole = systolic(array)

        @cache
        def demand(layer: Layer) -> Demand:
            words = sram_accesses(systole, Gemm(layer.m, layer.n, layer.k), accumulators=True)
            return Demand(layer.groups * words.input_reads, layer.groups * words.weight_reads)

        return Streaming(sum_bits, elements, demand)

    grid = row_stationary_array(array)

    @cache
    def mapped(unit: str, layer: Layer) -> OwnSchedule:
        shape, mapping = _mapped(grid, layer, f"{platform.name}: unit {unit!r}")
        nest = loop_nest(layer)
        words = dram_words(shape, mapping, nest.groups * nest.ifmap_elements)
        return OwnSchedule(
            order="strips of output rows > filters > channels",
            tile={
                "images": mapping.n, "rows": mapping.e,
                "filters": min(mapping.m, shape.filters_each),
                "channels": min(mapping.q * mapping.r, shape.channels),
            },
            ifmap=ceil(words.inputs),
            weights=int(words.filters),
            working_bits=8 * (input_bytes(shape, mapping) + sum_bytes(shape, mapping)),
        )  # fmt: skip

    @cache
    def shared(layer: Layer) -> Demand:
        shape, mapping = _mapped(grid, layer, platform.name)
        steps = ceil(shape.channels / (mapping.q * mapping.r))
        inputs = buffer_words(shape, mapping) - 2 * shape.output_words * steps
        # The last of the sums are outputs, which the unit that reads them pays for.
        return Demand(inputs, 0, shape.output_words * (steps - 1))

    return Streaming(sum_bits, elements, shared, mapped)


def _multiply_cycles(
    platform: NpuPlatform,
    array: SystolicArray | RowStationaryArray,
    unit: Unit,
    rate: float,
    where: str,
) -> float:
    """Return the cycles of a unit's layers that multiply, at the rate of a precision."""
    slowdown = max(row.macs_per_cycle.value for row in platform.precision) / rate
    return sum(
        max(layer_cycles(array, layer, slowdown, where), layer.macs / rate)
        for layer in unit.layers
        if layer.work in MULTIPLIES
    )


def layer_cycles(
    array: SystolicArray | RowStationaryArray, layer: Layer, slowdown: float, where: str
) -> float:
    """Return the cycles of a layer that multiplies.

    Args:
        array: The array.
        layer: One GEMM or convolution, `groups` times.
        slowdown: Cycles that a product takes in each element.
        where: Platform and unit, for an error.

    Raises:
        PlatformError: If no mapping fits.
    """
    if isinstance(array, SystolicArray):
        return layer.groups * _systolic_cycles(array, layer, slowdown)
    grid = row_stationary_array(array)
    shape, mapping = _mapped(grid, layer, where)
    return slowdown * row_stationary_cycles(shape, mapping, grid.links)


def _mapped(grid: Array, layer: Layer, where: str) -> tuple[Convolution, Mapping]:
    """Return a layer as a convolution, and its mapping: the best for one image, for as many as fit.

    Raises:
        PlatformError: If no mapping fits.
    """
    shape = _convolution(layer)
    mapping = best_mapping(grid, shape)
    if mapping is None:
        raise PlatformError(
            f"{where}: filter height must be at most {grid.rows} and one pass must fit "
            f"{grid.buffer_bytes} bytes of buffer, not {shape.kernel_height} rows over an input "
            f"{shape.input_size} wide"
        )
    each = input_bytes(shape, mapping) + sum_bytes(shape, mapping)
    return shape, replace(mapping, n=min(shape.batch, grid.buffer_bytes // each))


def _systolic_cycles(array: SystolicArray, layer: Layer, slowdown: float) -> float:
    """Return the cycles of one GEMM."""
    grid = systolic(array)
    gemm = Gemm(layer.m, layer.n, layer.k)
    found = folds(grid, gemm)
    extra = (slowdown - 1) * found.streamed * found.row_folds * found.column_folds
    if not array.double_buffered:
        return systolic_cycles(grid, gemm) + 1 + extra
    # Loading a fold takes a cycle a row, hidden behind the fold before; the first is not.
    staged = 0 if grid.dataflow is Dataflow.OUTPUT else grid.rows
    each = max(found.streamed * slowdown, staged)
    return found.row_folds * found.column_folds * each + staged + grid.rows + grid.columns - 2


def systolic(array: SystolicArray) -> Systolic:
    """Return the array that a description means."""
    return Systolic(array.rows.count, array.columns.count, Dataflow(array.dataflow))


def row_stationary_array(array: RowStationaryArray) -> Array:
    """Return the array that a description means."""
    return Array(
        rows=array.rows.count,
        columns=array.columns.count,
        filter_words=int(array.filter_scratchpad.si) // _WORD_BYTES,
        input_words=int(array.input_scratchpad.si) // _WORD_BYTES,
        sum_words=int(array.sum_scratchpad.si) // _WORD_BYTES,
        buffer_bytes=int(array.mapping_buffer.si),
        links=Links(array.filter_link.si, array.input_link.si, array.sum_link.si),
    )


def _convolution(layer: Layer) -> Convolution:
    """Return a layer as a convolution; a matrix is a 1 x 1 one over a column."""
    height, width = layer.kernel
    pixels = layer.m // layer.batch
    plane = layer.out_shape[1:3] if len(layer.out_shape) == 4 else (pixels, 1)
    if plane[0] * plane[1] != pixels:
        plane = (pixels, 1)
    out_height, out_width = plane
    return Convolution(
        batch=layer.batch,
        input_size=(out_width - 1) * layer.stride[1] + width,
        kernel_height=height,
        kernel_width=width,
        output_height=out_height,
        output_width=out_width,
        channels=max(layer.k // (height * width), 1),
        filters=layer.n * layer.groups,
        stride=layer.stride[0],
        groups=layer.groups,
    )


def _padded(
    platform: NpuPlatform,
    array: SystolicArray | RowStationaryArray,
    unit: Unit,
    widths: Option,
    placed: dict[str, LevelTraffic],
) -> dict[str, LevelTraffic]:
    """Return the traffic with weight tiles filled up, where the array fetches whole ones."""
    if not (isinstance(array, SystolicArray) and array.whole_weight_tiles):
        return placed
    padding = sum(
        max(_tile_elements(array, layer) - layer.weight_elements, 0)
        for layer in unit.layers
        if layer.weight_elements
    )
    outermost = [level.name for level in platform.memory if "weights" in level.holds][-1]
    level = placed[outermost]
    if not level.read_bits:  # an inner level keeps the whole network
        return placed
    filled = LevelTraffic(level.read_bits + padding * widths.weight_bits, level.write_bits)
    return placed | {outermost: filled}


def _tile_elements(array: SystolicArray, layer: Layer) -> int:
    """Return the elements of all weight tiles of a layer."""
    rows, columns = array.rows.count, array.columns.count
    tiles = ceil(layer.k / rows) * ceil(layer.n / columns)
    return layer.groups * tiles * rows * columns
