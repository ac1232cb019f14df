"""MEAN over any axes."""

from collections.abc import Sequence

import numpy as np

from tests.oracle.arith import clamp, mbqm_double, quantize_multiplier, truncated_division


def mean(
    codes: np.ndarray,
    *,
    axes: Sequence[int],
    keep_dims: bool,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """Sum, then requantize with a multiplier that holds the division."""
    reduced = sorted({axis % codes.ndim for axis in axes})
    kept = [1 if axis in reduced else size for axis, size in enumerate(codes.shape)]
    sums = np.zeros(kept, np.int64)
    count = 1
    for axis in reduced:
        count *= codes.shape[axis]
    for index in np.ndindex(*codes.shape):
        sums[tuple(0 if axis in reduced else i for axis, i in enumerate(index))] += int(
            codes[index]
        )
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier = truncated_division(multiplier << extra, count)
    shift -= extra
    result = np.zeros(kept, np.int64)
    for index in np.ndindex(*kept):
        scaled = mbqm_double(int(sums[index]) - count * input_zero_point, multiplier, shift)
        result[index] = clamp(scaled + output_zero_point, low, high)
    if keep_dims:
        return result
    return result.reshape([size for axis, size in enumerate(codes.shape) if axis not in reduced])
