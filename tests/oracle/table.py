"""LOGISTIC, TANH, EXP and GELU by table, HARD_SWISH in 16-bit fixed point."""

import math

import numpy as np

from tests.oracle import interpolate
from tests.oracle.arith import (
    clamp,
    f32,
    f32_div,
    f32_mul,
    quantize_multiplier,
    round_half_away,
    truncated_division,
)


def exp_f32(x: float) -> float:
    """expf: float64 exp rounded once."""
    return f32(math.exp(min(x, 100.0)))


def logistic_f32(x: float) -> float:
    """1.0f / (1.0f + expf(-x))."""
    return f32_div(1.0, f32(1.0 + exp_f32(-x)))


def tanh_f32(x: float) -> float:
    """tanhf: float64 tanh rounded once."""
    return f32(math.tanh(x))


FUNCTIONS = {
    "LOGISTIC": logistic_f32,
    "TANH": tanh_f32,
    "EXP": interpolate.exp_f32,
    "GELU": interpolate.gelu_f32,
}


def lookup(
    codes: np.ndarray,
    *,
    function: str,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """LOGISTIC, TANH, EXP, GELU: each step in float32, times the output scale's reciprocal."""
    inverse = f32_div(1.0, output_scale)
    table = {}
    for x in range(low, high + 1):
        real = f32_mul(input_scale, x - input_zero_point)
        scaled = f32_mul(FUNCTIONS[function](real), inverse)
        table[x] = clamp(round_half_away(min(scaled, 2.0**31)) + output_zero_point, low, high)
    return np.array([table[x] for x in codes.ravel().tolist()], np.int64).reshape(codes.shape)


def srdhm16(a: int, b: int) -> int:
    """16-bit saturating rounding doubling high multiply: ties away from zero."""
    if a == b == -(2**15):
        return 2**15 - 1
    product = a * b
    return truncated_division(product + (2**14 if product >= 0 else 1 - 2**14), 2**15)


def rdbpot16(value: int, exponent: int) -> int:
    """Divide an int16 by a power of two, ties away from zero, with an int16 mask.

    From 16 bits on the mask is -1, and the result 1 for value >= 0 and -1 for value < 0, never 0.
    """
    mask = wrap16(2**exponent - 1)
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + ((value & mask) > threshold)


def multiplier16(multiplier: int) -> int:
    """Narrow a Q0.31 multiplier to Q0.15."""
    return 2**15 - 1 if multiplier >= 2**31 - 2**15 else (multiplier + 2**15) >> 16


def sat16(value: int) -> int:
    """Clamp to int16."""
    return clamp(value, -(2**15), 2**15 - 1)


def wrap16(value: int) -> int:
    """Reduce to int16."""
    return (value + 2**15) % 2**16 - 2**15


def hard_swish(
    codes: np.ndarray,
    *,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """HARD_SWISH: x at 7 more bits, times a 16-bit factor that is (x + 3) / 6 clipped to [0, 1]."""
    fine_scale = f32_mul(f32_div(1.0, 128.0), input_scale)
    wide, output_shift = quantize_multiplier(f32_div(fine_scale, output_scale))
    output_multiplier = multiplier16(wide)
    wide, factor_shift = quantize_multiplier(f32_div(fine_scale, f32_div(3.0, 32768.0)))
    factor_multiplier = multiplier16(wide)

    def one(x: int) -> int:
        fine = wrap16((x - input_zero_point) << 7)
        before_shift = srdhm16(fine, output_multiplier)
        factor = fine
        if factor_shift > 0:
            factor = sat16(factor << (factor_shift - 1))
        factor = srdhm16(factor, factor_multiplier)
        if factor_shift > 0:
            factor = sat16(factor << 1)
        if factor_shift < 0:
            factor = rdbpot16(factor, -factor_shift)
        factor = (factor + 2**15) >> 1
        product = truncated_division(factor * before_shift, 2**15)
        return clamp(rdbpot16(product, -output_shift) + output_zero_point, low, high)

    return np.array([one(x) for x in codes.ravel().tolist()], np.int64).reshape(codes.shape)
