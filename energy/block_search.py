"""The output block of a pass: the one that fetches least per output code and fits the buffer.

Source: Arm Vela 5.2.0 (Apache-2.0), its search for block configurations. The engine's buffer is
cut into banks of 1 KiB: two for the output, a table's, and between them the input block and the
accumulators, both double and rounded to the bank granules of their widths.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import PlatformError

from .block_engine import Engine
from .block_pass import Output, Pass, Plane, Stage

BANK_BYTES = 1024
_OUTPUT_BANKS = 2
_TABLE_BANKS = 2
_LARGEST = (32, 64, 128)  # height, width, depth of an output block
_SUB_KERNEL = 8
_SPLIT_DEPTH = 16  # a block that cuts the output's depth cuts it at multiples of this
_ACCUMULATOR_BITS = 32


@dataclass(frozen=True, slots=True)
class Block:
    """What one pass is cut into.

    Args:
        ifm: Input plane of a block, all of one pass over the array.
        ofm: Output plane of a block.
        part_kernel: Whether a convolution takes 4 taps of 8 channels at once, not 1 tap of 32.
    """

    ifm: Plane
    ofm: Plane
    part_kernel: bool


def takes_part_kernel(work: Pass) -> bool:
    """Return whether a convolution fills the array better with taps than with channels."""
    if work.stage is not Stage.CONV:
        return False
    depth, taps = work.ifm[2], work.kernel[0] * work.kernel[1]
    if depth <= 8:
        return True
    wide, at_once = (32, 4) if work.ifm_bits == 8 else (16, 2)
    by_depth = depth / _up(depth, wide)
    by_part = depth / _up(depth, 8) * (taps / _up(taps, at_once))
    return by_part >= by_depth


@lru_cache(maxsize=4096)
def block_of(engine: Engine, work: Pass) -> Block:
    """Return the block that a pass is cut into.

    Raises:
        PlatformError: If not even the smallest fits the buffer.
    """
    part_kernel = takes_part_kernel(work)
    height, width, depth = (axis.ravel() for axis in _candidates(engine, work))
    same_depth = work.stage not in (Stage.CONV, Stage.REDUCE)
    high = _input_side(height, work, 0, engine.micro_block[0])
    wide = _input_side(width, work, 1, engine.micro_block[1])
    deep = depth if same_depth else np.full_like(depth, _input_depth(work, part_kernel))

    one_row = work.ofm[0] == 1 and work.kernel[0] == 1 and engine.micro_block[0] == 2
    rows = np.minimum(height, 1) if one_row else height
    fits = _fits(engine, work, high * wide, deep, rows * width, depth)
    if not fits.any():
        raise PlatformError(
            f"{engine.name}: array.buffer must hold the smallest block of a {work.stage.value} "
            f"pass, not {engine.banks} KiB"
        )
    cost = _fetched(work, (rows, width, depth), (high, wide), same_depth=same_depth)
    within_two = work.ifm[0] * work.ifm[1] * work.ifm[2] < high * wide * deep * 2
    cost = np.where(within_two, cost / np.float32(2), cost)
    cost = np.where(fits, cost, np.float32(np.inf))

    best = int(np.argmin(cost))
    small = np.flatnonzero((cost == cost[best]) & (height <= 4) & (width <= 4))
    small = small[small > best]
    if small.size:  # of equal costs, the last small block that covers most of the input
        covered = np.minimum(high, work.ifm[0]) * np.minimum(wide, work.ifm[1])
        best = int(small[np.flatnonzero(covered[small] == covered[small].max())[-1]])
    return Block(
        ifm=(int(high[best]), int(wide[best]), int(deep[best])),
        ofm=(int(height[best]), int(width[best]), int(depth[best])),
        part_kernel=part_kernel,
    )


def _candidates(engine: Engine, work: Pass) -> list[NDArray[np.int64]]:
    """Return (height, width, depth) of every block tried, in the order that breaks ties."""
    high, wide, deep = engine.micro_block
    last = [
        _up(min(size, largest), micro)
        for size, largest, micro in zip(work.ofm, _LARGEST, engine.micro_block, strict=True)
    ]
    depths = []
    depth = max(deep, min(last[2], _SPLIT_DEPTH))
    while True:
        if depth < work.ofm[2]:
            depth = _up(depth, _SPLIT_DEPTH)
        if depth > last[2]:
            break
        depths.append(depth)
        depth += deep
    heights = np.arange(high, last[0] + 1, high)
    widths = np.arange(wide, last[1] + 1, wide)
    by_depth = np.meshgrid(np.array(depths or [last[2]]), heights, widths, indexing="ij")
    return [by_depth[1], by_depth[2], by_depth[0]]


def _input_side(sizes: NDArray[np.int64], work: Pass, axis: int, micro: int) -> NDArray[np.int64]:
    """Return the input rows (or columns) that so many output rows read."""
    taps = min(work.kernel[axis], _SUB_KERNEL)
    return -(-((sizes - 1) * work.stride[axis] + taps) // micro) * micro


def _input_depth(work: Pass, part_kernel: bool) -> int:
    """Return the channels of an input block that all output channels share."""
    if work.ifm_bits == 16:
        return _up(min(work.ifm[2], 16), 4)
    return _up(min(work.ifm[2], 16 if part_kernel else 32), 8)


def _fits(
    engine: Engine,
    work: Pass,
    in_pixels: NDArray[np.int64],
    in_depth: NDArray[np.int64],
    out_pixels: NDArray[np.int64],
    out_depth: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which blocks find room in the banks."""
    granule = engine.input_granule * (2 if work.ifm_bits == 32 else 1)
    in_bytes = in_pixels * (-(-(in_depth * (work.ifm_bits // 8)) // 8) * 8)
    in_banks = -(-(-(-in_bytes // BANK_BYTES) * 2) // granule) * granule
    end = _TABLE_BANKS if engine.banks > 16 or work.output is Output.TABLE else 0
    room = engine.banks - end - _OUTPUT_BANKS
    if work.stage is Stage.ELEMENTWISE:
        return np.asarray(in_banks * work.operands <= room)
    out_bytes = out_pixels * (-(-out_depth // 8) * 8) * _ACCUMULATOR_BITS // 8
    granule = engine.accumulator_granule
    out_banks = -(-(-(-out_bytes // BANK_BYTES) * 2) // granule) * granule
    return np.asarray(in_banks + out_banks <= room)


def _fetched(
    work: Pass,
    block: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    in_side: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    same_depth: bool,
) -> NDArray[np.float32]:
    """Return codes and weights fetched per output code, in the precision that decides ties."""
    single = np.float32
    out_elements = single(work.ofm[0] * work.ofm[1] * work.ofm[2])
    if work.stage is Stage.ELEMENTWISE:
        return np.asarray(out_elements / (block[0] * block[1] * block[2]).astype(single))
    high, wide, deep = (
        single(size) / side.astype(single) for size, side in zip(work.ofm, block, strict=True)
    )
    whole = [-(-size // side) for size, side in zip(work.ofm, block, strict=True)]
    weights = np.zeros(block[0].shape, single)
    if work.stage in (Stage.CONV, Stage.DEPTHWISE):
        taps = work.kernel[0] * work.kernel[1]
        weights = (taps * work.ifm[2] * whole[0] * whole[1]).astype(single)
        if work.stage is Stage.CONV:
            weights = weights * (deep * block[2].astype(single))
    repeats = -(-work.kernel[0] // _SUB_KERNEL) * -(-work.kernel[1] // _SUB_KERNEL)
    inputs = (in_side[0] * in_side[1] * work.ifm[2] * repeats).astype(single) * wide * high
    if not same_depth:
        inputs = inputs * whole[2].astype(single)
    return np.asarray((inputs + weights) / out_elements, single)


def _up(value: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-value // step) * step
