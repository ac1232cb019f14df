"""1 / sqrt of integer codes by Newton steps in fixed point.

Source: GetInvSqrtQuantizedMultiplierExp, tensorflow/lite/kernels/internal/quantization_util.cc,
and RsqrtEvalQuantized, tensorflow/lite/kernels/elementwise.cc; numerics.md, section 3.3.
Oracle: tests/oracle/rsqrt.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import (
    INT32_MAX,
    INT32_MIN,
    Scaling,
    doubling_high_multiply,
    requantize,
    rounding_shift,
    saturate,
    scale_twice,
    widen,
)
from .jit import jit
from .softmax import leading_zeros_32

Codes = NDArray[np.integer]

_FRACTION_BITS = 20  # of the result before it is scaled
_HALF_SQRT_2 = 1518500250  # sqrt(1/2) in Q0.31
_THREE_HALVES = 3 << 27  # in Q3.28


@jit
def inverse_sqrt(value: int) -> tuple[int, int]:
    """Return (m, right shift) with m * 2**-(31 + shift) = 1 / sqrt(value), value in [1, 2**31)."""
    if value <= 1:
        return INT32_MAX, 0
    shift = 11
    while value >= (1 << 29):
        value //= 4
        shift += 1
    pairs = (leading_zeros_32(value) - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    half = rounding_shift(value >> 1, 1)
    x = 1 << 28
    for _ in range(5):
        cube = doubling_high_multiply(doubling_high_multiply(x, x), x)
        cube = saturate(cube << 6, INT32_MIN, INT32_MAX)
        next_x = doubling_high_multiply(_THREE_HALVES, x) - doubling_high_multiply(half, cube)
        x = saturate(next_x << 3, INT32_MIN, INT32_MAX)
    multiplier = doubling_high_multiply(x, _HALF_SQRT_2)
    if shift < 0:
        return multiplier << -shift, 0
    return multiplier, shift


@jit
def rsqrt_codes(x: Codes, x_zero: int, scaling: Scaling, out: Codes) -> None:
    """Write codes of 1 / sqrt; codes are at or above the zero point, which becomes the largest.

    `scaling` brings 20 fraction bits to the result.
    """
    for i in range(out.size):
        value = widen(x[i]) - x_zero
        if value == 0:
            out[i] = scaling.qmax
            continue
        multiplier, right_shift = inverse_sqrt(value)
        fine = scale_twice(1, multiplier, right_shift - _FRACTION_BITS)
        out[i] = requantize(fine, scaling, 0)
