"""Operators that move codes: RESHAPE, SQUEEZE, TRANSPOSE, PAD, CONCATENATION, slices, SPLIT."""

from collections.abc import Sequence

import numpy as np

from tests.oracle.arith import clamp, f32, f32_div, f32_mul, round_half_away


def transpose(codes: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """TRANSPOSE: axis i of the result is axis axes[i] of the operand."""
    result = np.zeros([codes.shape[axis] for axis in axes], np.int64)
    for index in np.ndindex(*codes.shape):
        result[tuple(index[axis] for axis in axes)] = codes[index]
    return result


def pad(codes: np.ndarray, paddings: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """PAD (fill is the output's zero point) and PADV2 (fill is given)."""
    sizes = [b + n + a for n, (b, a) in zip(codes.shape, paddings, strict=True)]
    result = np.full(sizes, fill, np.int64)
    for index in np.ndindex(*codes.shape):
        result[tuple(i + before for i, (before, _) in zip(index, paddings, strict=True))] = codes[
            index
        ]
    return result


def concatenation(
    parts: Sequence[np.ndarray],
    *,
    axis: int,
    scales: Sequence[float],
    zero_points: Sequence[int],
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """CONCATENATION; only uint8 may rescale, in float32 with the reciprocal of the output scale."""
    moved = []
    for part, scale, zero_point in zip(parts, scales, zero_points, strict=True):
        codes = part.astype(np.int64)
        if (scale, zero_point) != (output_scale, output_zero_point):
            factor = f32_mul(scale, f32_div(1.0, output_scale))
            offset = f32_mul(-zero_point, factor)
            for index in np.ndindex(*codes.shape):
                real = f32(f32_mul(int(codes[index]), factor) + offset)
                codes[index] = clamp(round_half_away(real) + output_zero_point, low, high)
        moved.append(codes)
    return np.concatenate(moved, axis)


def strided_slice(
    codes: np.ndarray,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    begin_mask: int = 0,
    end_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> np.ndarray:
    """STRIDED_SLICE without ellipsis and new axes: Python's slices, axis by axis."""
    items: list[slice | int] = []
    for axis in range(len(begin)):
        if shrink_axis_mask >> axis & 1:
            items.append(int(begin[axis]))
            continue
        first = None if begin_mask >> axis & 1 else int(begin[axis])
        last = None if end_mask >> axis & 1 else int(end[axis])
        items.append(slice(first, last, int(strides[axis])))
    return codes[tuple(items)].astype(np.int64)


def slice_codes(codes: np.ndarray, begin: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """SLICE: `size` elements from `begin` on each axis, all that remain where it is -1."""
    items = tuple(
        slice(int(b), n if s == -1 else int(b) + int(s))
        for b, s, n in zip(begin, size, codes.shape, strict=True)
    )
    return codes[items].astype(np.int64)


def split(codes: np.ndarray, axis: int, count: int) -> list[np.ndarray]:
    """SPLIT into `count` equal parts along `axis`."""
    step = codes.shape[axis] // count
    return [
        np.take(codes, range(i * step, (i + 1) * step), axis).astype(np.int64) for i in range(count)
    ]


def gather(table: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    """Return slices of a table along an axis."""
    outer, inner = table.shape[:axis], table.shape[axis + 1 :]
    result = np.zeros((*outer, *indices.shape, *inner), table.dtype)
    for place in np.ndindex(*indices.shape):
        for before in np.ndindex(*outer):
            result[(*before, *place)] = table[(*before, int(indices[place]))]
    return result
