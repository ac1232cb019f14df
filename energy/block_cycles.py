"""Cycles and memory traffic of one pass of a block engine.

Source: the equations of Arm Vela 5.2.0 (Apache-2.0), performance model of the Ethos-U55. Vela
truncates where it says "int"; so does this.
"""

from dataclasses import dataclass
from enum import Enum
from math import ceil

from .block_engine import Engine, Port
from .block_pass import BRICK, Pass, Plane, Stage, clipped, elements, stored_depth
from .block_search import Block

_SUB_KERNEL = 8
_SCALE_BYTES = 10
_LONGEST_WRITE = 64  # bytes of a linear write that does not cover its rows


class Place(Enum):
    """Where a slice stands among the slices of an operator."""

    ALONE = (True, True)
    FIRST = (True, False)
    MIDDLE = (False, False)
    LAST = (False, True)

    @property
    def opens(self) -> bool:
        """Whether it waits for its first input block."""
        return self.value[0]

    @property
    def closes(self) -> bool:
        """Whether its last output block is waited for."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Cycles:
    """What a pass takes of the engine.

    Args:
        total: Cycles, array and output stage overlapped.
        array_bound: Whether the array sets the time, else the output stage.
    """

    total: int
    array_bound: bool


def pass_cycles(
    engine: Engine, work: Pass, block: Block, place: Place = Place.ALONE, *, staged: bool = False
) -> Cycles:
    """Return the engine's cycles of a pass.

    Args:
        engine: What it runs on.
        work: The pass.
        block: Its blocks.
        place: Among the slices of its operator.
        staged: Whether scales and biases come from the inner memory, not the weights' own.
    """
    if work.stage is Stage.ELEMENTWISE:
        return _elementwise_cycles(engine, work, block)
    out = clipped(block.ofm, work.ofm)
    micro = _micro_block(engine, work)
    in_block = _product(_counts(out, micro))
    blocks = _product(_counts(work.ofm, micro)) / in_block

    output = float(ceil(engine.output_cycles(work.output) * elements(out)))
    if work.biased:
        latency = (engine.activations if staged else engine.weights).read_latency
        output = max(output, _SCALE_BYTES * out[2] * latency / 256)
    array = float(_array_cycles(engine, work, block))

    first = _fetch_cycles(engine, work, block)
    last = _store_cycles(engine, work, block)
    waiting = abs(last - first) if blocks > 1 else 0
    command = (waiting + array + output) / 4
    array_bound = max(array, command) > max(output, command)
    array, output = max(array, command), max(output, command)
    if array_bound:
        total = int(array * blocks)
        total = int(total + output) if place.closes else total
    else:
        total = int(output * blocks + array)
    total += last if place.closes else 0
    total += first if place.opens else 0
    return Cycles(total, array_bound)


def _elementwise_cycles(engine: Engine, work: Pass, block: Block) -> Cycles:
    """Return the cycles of an elementwise pass: its output stage, or the issue of commands."""
    rate = engine.output_cycles(work.output)
    depth = stored_depth(work.ofm[2], linear=work.linear_out)
    codes = work.ofm[0] * work.ofm[1] * depth
    moved = max(_fetch_cycles(engine, work, block), _store_cycles(engine, work, block))
    issued = ceil((moved / elements(block.ofm) + rate) / 4 * codes)
    return Cycles(max(issued, ceil(rate * codes)), array_bound=False)


def _array_cycles(engine: Engine, work: Pass, block: Block) -> int:
    """Return the array's cycles of one block: sub-kernels, micro-blocks, input folds, start-up."""
    out = clipped(block.ofm, work.ofm)
    in_depth = min(block.ifm[2], work.ifm[2])
    micro = _micro_block(engine, work)
    high, wide, deep = _counts(out, micro)
    area = high * wide
    step = max(4 * micro[2], 4 * area)
    parts = ceil(in_depth / 8)
    total = 0
    for taps in _sub_kernels(work.kernel):
        if work.stage is Stage.POOL:
            steps = 1
            cycles = max(4, taps) * area * deep * (1 if engine.small else work.ifm_bits // 2)
        elif work.stage is Stage.DEPTHWISE:
            steps = ceil(taps / 4)
            cycles = max(4 * micro[2], 4 * area * (work.ifm_bits // 8)) * steps * deep
        elif work.stage is Stage.REDUCE or not block.part_kernel:
            steps = taps
            cycles = step * steps * deep
        else:
            steps = ceil(taps / (2 if work.ifm_bits == 16 else 4))
            cycles = step * steps * deep * parts
        delay = 0
        if area == 1:
            if deep == 1:
                delay = engine.startup * steps
            elif steps > 1:
                delay = engine.startup * (steps - 1) * deep
        if work.stage is Stage.CONV and block.part_kernel:
            delay *= parts
        total += cycles + delay
    if work.stage in (Stage.CONV, Stage.REDUCE):
        total *= ceil(work.ifm[2] / in_depth)
    return total


def _sub_kernels(kernel: tuple[int, int]) -> list[int]:
    """Return the taps of each piece of at most 8 x 8 of a kernel."""
    rows, columns = (
        [min(_SUB_KERNEL, size - start) for start in range(0, size, _SUB_KERNEL)] for size in kernel
    )
    return [high * wide for high in rows for wide in columns]


def _micro_block(engine: Engine, work: Pass) -> Plane:
    """Return the micro-block: 1 x 4 for a row of even width where it is 2 x 2 otherwise."""
    high, _, deep = engine.micro_block
    one_row = work.ofm[0] == 1 and work.ofm[1] % 2 == 0 and work.kernel[0] == 1
    if high == 2 and work.stage is Stage.CONV and one_row:
        return (1, 4, deep)
    return engine.micro_block


def _counts(plane: Plane, block: Plane) -> Plane:
    """Return how many blocks cover a plane along each axis."""
    return (ceil(plane[0] / block[0]), ceil(plane[1] / block[1]), ceil(plane[2] / block[2]))


def _product(sizes: Plane) -> int:
    return sizes[0] * sizes[1] * sizes[2]


def _fetch_cycles(engine: Engine, work: Pass, block: Block) -> int:
    """Return the cycles until the first input block is there."""
    port = engine.activations
    codes = elements(clipped(block.ifm, work.ifm))
    moved = _read_bytes(port, work, block, codes)
    cycles = port.read_latency + int(moved / port.bytes_per_cycle)
    if not work.constant:
        return cycles
    port = engine.weights
    moved = _bus_bytes(port, work.ifm_bits, work.ifm_bits * block.ifm[2], 1)
    return max(cycles, port.read_latency + int(moved / port.bytes_per_cycle))


def _store_cycles(engine: Engine, work: Pass, block: Block) -> int:
    """Return the cycles until an output block is gone."""
    port = engine.activations
    codes = elements(clipped(block.ofm, work.ofm))
    moved = _written_bytes(port, work, block, codes)
    return port.write_latency + int(moved / port.bytes_per_cycle)


def _read_bytes(port: Port, work: Pass, block: Block, codes: int) -> int:
    """Return bytes of bus time that reading so many codes takes, short bursts as full ones."""
    bits, (_, wide, deep) = work.ifm_bits, block.ifm
    if not work.linear_in:
        covers = work.ifm[1] * bits * BRICK // 8 == deep
        burst = bits * wide * deep if covers else BRICK * bits * wide
    else:
        covers = work.ifm[2] * bits // 8 == deep
        burst = bits * wide * deep if covers else bits * deep
    return _bus_bytes(port, bits, burst, codes)


def _written_bytes(port: Port, work: Pass, block: Block, codes: int) -> int:
    """Return bytes of bus time that writing so many codes takes."""
    bits, (_, wide, deep) = work.ofm_bits, block.ofm
    if not work.linear_out:
        covers = work.ofm[1] * bits * BRICK // 8 == deep
        burst = bits * wide * deep if covers else BRICK * bits * wide
    elif deep <= BRICK and work.ofm[2] * bits // 8 == deep:
        burst = bits * wide * deep
    else:
        burst = min(8 * _LONGEST_WRITE, BRICK * bits, deep * bits)
    return _bus_bytes(port, bits, burst, codes)


def _bus_bytes(port: Port, bits: int, burst_bits: int, codes: int) -> int:
    return codes * bits // 8 * port.burst // max(min(port.burst, burst_bits // 8), 1)


@dataclass(frozen=True, slots=True)
class Access:
    """What a pass moves.

    Args:
        feature_map_bytes: Bus bytes of feature maps, short bursts as full ones.
        input_bytes: Bytes of feature maps read, as they are.
        weight_fetches: Times that all weights are read: once for every block of the plane.
    """

    feature_map_bytes: int
    input_bytes: int
    weight_fetches: int


def access_of(engine: Engine, work: Pass, block: Block) -> Access:
    """Return the memory accesses of a pass."""
    port = engine.activations
    depth = stored_depth(work.ofm[2], linear=work.linear_out)
    written = _written_bytes(port, work, block, work.ofm[0] * work.ofm[1] * depth)
    if work.stage is Stage.ELEMENTWISE:
        in_depth = stored_depth(work.ofm[2], linear=work.linear_in)
        codes = work.ofm[0] * work.ofm[1] * in_depth
        maps = work.operands - work.constant
        read = _read_bytes(port, work, block, codes) * maps
        return Access(read + written, codes * maps * work.ifm_bits // 8, 1)
    high, wide, deep = _counts(work.ofm, clipped(block.ofm, work.ofm))
    if work.stage in (Stage.DEPTHWISE, Stage.POOL):
        deep = 1
    ifm = clipped(block.ifm, work.ifm)
    in_depth = stored_depth(work.ifm[2], linear=work.linear_in)
    codes = ifm[0] * ifm[1] * in_depth * len(_sub_kernels(work.kernel)) * high * wide * deep
    read = _read_bytes(port, work, block, codes)
    return Access(read + written, codes * work.ifm_bits // 8, high * wide)
