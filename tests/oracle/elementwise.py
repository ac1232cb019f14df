"""ADD, SUB, SQUARED_DIFFERENCE, MUL, QUANTIZE, DEQUANTIZE, LEAKY_RELU and the RELU family."""

import math
from collections.abc import Callable

import numpy as np

from tests.oracle.arith import (
    INT32_MIN,
    clamp,
    f32_div,
    f32_mul,
    int32_of,
    mbqm_double,
    quantize_multiplier,
    rdbpot,
    round_half_away,
    wrap32,
)


def per_pair(a: np.ndarray, b: np.ndarray, function: Callable[[int, int], int]) -> np.ndarray:
    """Apply a function to every pair of codes, shapes broadcast."""
    left, right = np.broadcast_arrays(a, b)
    result = np.zeros(left.shape, np.int64)
    for index in np.ndindex(*left.shape):
        result[index] = function(int(left[index]), int(right[index]))
    return result


def per_code(codes: np.ndarray, function: Callable[[int], int]) -> np.ndarray:
    """Apply a function to every code."""
    return np.array([function(x) for x in codes.ravel().tolist()], np.int64).reshape(codes.shape)


def add(
    a: np.ndarray,
    b: np.ndarray,
    *,
    scale_a: float,
    zero_point_a: int,
    scale_b: float,
    zero_point_b: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
    subtract: bool = False,
    left_shift: int = 20,
) -> np.ndarray:
    """ADD, or SUB: both operands at a common scale with more bits, then one requantization.

    `left_shift` is the number of these bits: 20 for 8-bit codes, 15 for int16.
    """
    twice_largest = 2 * max(scale_a, scale_b)
    scaling_a = quantize_multiplier(scale_a / twice_largest)
    scaling_b = quantize_multiplier(scale_b / twice_largest)
    scaling = quantize_multiplier(twice_largest / (2**left_shift * output_scale))

    def one(x: int, y: int) -> int:
        u = mbqm_double((x - zero_point_a) << left_shift, *scaling_a)
        v = mbqm_double((y - zero_point_b) << left_shift, *scaling_b)
        total = u - v if subtract else u + v
        return clamp(mbqm_double(total, *scaling) + output_zero_point, low, high)

    return per_pair(a, b, one)


def add_powers(
    a: np.ndarray,
    b: np.ndarray,
    *,
    powers: tuple[int, int, int],
    low: int,
    high: int,
    subtract: bool = False,
) -> np.ndarray:
    """int16 ADD or SUB at scales 2**powers: the finer operand is shifted, the sum saturates."""

    def one(x: int, y: int) -> int:
        u, v = rdbpot(x, powers[2] - powers[0]), rdbpot(y, powers[2] - powers[1])
        return clamp(u - v if subtract else u + v, low, high)

    return per_pair(a, b, one)


def squared_difference(
    a: np.ndarray,
    b: np.ndarray,
    *,
    scale_a: float,
    zero_point_a: int,
    scale_b: float,
    zero_point_b: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """SQUARED_DIFFERENCE: 7 more bits at a common scale, then one requantization."""
    twice_largest = 2 * max(scale_a, scale_b)
    scaling_a = quantize_multiplier(scale_a / twice_largest)
    scaling_b = quantize_multiplier(scale_b / twice_largest)
    scaling = quantize_multiplier(twice_largest * twice_largest / (2**14 * output_scale))

    def one(x: int, y: int) -> int:
        u = mbqm_double((x - zero_point_a) * 2**7, *scaling_a)
        v = mbqm_double((y - zero_point_b) * 2**7, *scaling_b)
        return clamp(mbqm_double((u - v) ** 2, *scaling) + output_zero_point, low, high)

    return per_pair(a, b, one)


def mul(
    a: np.ndarray,
    b: np.ndarray,
    *,
    scale_a: float,
    zero_point_a: int,
    scale_b: float,
    zero_point_b: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """MUL; the multiplier `s_a * s_b / s_out` is computed in float32."""
    scaling = quantize_multiplier(f32_div(f32_mul(scale_a, scale_b), output_scale))

    def one(x: int, y: int) -> int:
        product = (x - zero_point_a) * (y - zero_point_b)
        return clamp(mbqm_double(product, *scaling) + output_zero_point, low, high)

    return per_pair(a, b, one)


def quantize_codes(
    codes: np.ndarray,
    *,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """QUANTIZE from integers to integers; the multiplier is a quotient of doubles."""
    scaling = quantize_multiplier(input_scale / output_scale)
    return per_code(
        codes,
        lambda x: clamp(
            wrap32(mbqm_double(x - input_zero_point, *scaling) + output_zero_point), low, high
        ),
    )


def quantize_reals(
    reals: np.ndarray, *, output_scale: float, output_zero_point: int, low: int, high: int
) -> np.ndarray:
    """QUANTIZE from float32: divides in float32, ties away from zero.

    A quotient outside int32 (infinities too) becomes INT32_MIN, and adding the zero point wraps.
    """
    result = np.zeros(reals.shape, np.int64)
    for index in np.ndindex(*reals.shape):
        quotient = f32_div(float(reals[index]), output_scale)
        whole = INT32_MIN
        if abs(quotient) <= 2.0**31:
            whole = int32_of(float(round_half_away(quotient)))
        result[index] = clamp(wrap32(whole + output_zero_point), low, high)
    return result


def dequantize(codes: np.ndarray, *, scale: float, zero_point: int) -> np.ndarray:
    """DEQUANTIZE: the exact product, rounded once to float32."""
    return np.array(
        [np.float32(scale * (x - zero_point)) for x in codes.ravel().tolist()], np.float32
    ).reshape(codes.shape)


def leaky_relu(
    codes: np.ndarray,
    *,
    alpha: float,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """LEAKY_RELU; both multipliers are computed in float32."""
    identity = quantize_multiplier(f32_div(input_scale, output_scale))
    sloped = quantize_multiplier(f32_div(f32_mul(input_scale, alpha), output_scale))

    def one(x: int) -> int:
        difference = x - input_zero_point
        scaled = mbqm_double(difference, *(identity if difference >= 0 else sloped))
        return clamp(wrap32(scaled + output_zero_point), low, high)

    return per_code(codes, one)


def relu(
    codes: np.ndarray,
    *,
    smallest: float,
    largest: float,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """RELU (0, inf), RELU6 (0, 6), RELU_N1_TO_1 (-1, 1); the multiplier is computed in float32."""
    scaling = quantize_multiplier(f32_div(input_scale, output_scale))
    lower = max(low, output_zero_point + round_half_away(f32_div(smallest, output_scale)))
    upper = high
    if not math.isinf(largest):
        upper = min(high, output_zero_point + round_half_away(f32_div(largest, output_scale)))

    def one(x: int) -> int:
        scaled = mbqm_double(x - input_zero_point, *scaling)
        return clamp(wrap32(scaled + output_zero_point), lower, upper)

    return per_code(codes, one)
