"""RSQRT of int8 codes: integer Newton steps."""

import math

import numpy as np

from tests.oracle.arith import (
    clamp,
    f32,
    f32_div,
    f32_mul,
    mbqm_double,
    quantize_multiplier,
    rdbpot,
    sat32,
    srdhm,
)


def inverse_sqrt(value: int) -> tuple[int, int]:
    """Return (multiplier, shift), shift positive to the left."""
    if value <= 1:
        return 2**31 - 1, 0
    shift = 11
    while value >= 2**29:
        value, shift = value // 4, shift + 1
    spare = (31 - value.bit_length()) // 2 - 1
    shift, value = shift - spare, value * 4**spare
    half = rdbpot(value // 2, 1)
    x = 2**28
    for _ in range(5):
        cube = sat32(srdhm(srdhm(x, x), x) * 64)
        x = sat32((srdhm(3 * 2**27, x) - srdhm(half, cube)) * 8)
    x = srdhm(x, 1518500250)
    return (x * 2**-shift, 0) if shift < 0 else (x, -shift)


def rsqrt(
    codes: np.ndarray,
    *,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """1 / sqrt at 20 fraction bits, then requantized; the zero point gives the largest code."""
    root = f32(math.sqrt(input_scale))
    multiplier, shift = quantize_multiplier(f32_div(1.0, f32_mul(root, output_scale)))

    def one(x: int) -> int:
        if x == input_zero_point:
            return high
        mantissa, exponent = inverse_sqrt(x - input_zero_point)
        fine = mbqm_double(1, mantissa, exponent + 20)
        return clamp(mbqm_double(fine, multiplier, shift - 20) + output_zero_point, low, high)

    return np.array([one(x) for x in codes.ravel().tolist()], np.int64).reshape(codes.shape)
