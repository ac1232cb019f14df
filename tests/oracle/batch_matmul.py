"""BATCH_MATMUL int8 and int16, per tensor."""

import numpy as np

from tests.oracle.arith import clamp, f32_mul, quantize_multiplier, requantize


def batch_matmul(
    lhs: np.ndarray,
    rhs: np.ndarray,
    *,
    lhs_scale: float,
    lhs_zero_point: int,
    rhs_scale: float,
    rhs_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
    adj_x: bool = False,
    adj_y: bool = False,
    accumulator_bits: int = 32,
) -> np.ndarray:
    """Multiply (..., m, k) with (..., k, n), batch axes broadcast; adjoint flags swap the last two.

    The multiplier is `double(float32(s_lhs * s_rhs)) / double(s_out)`.
    """
    left = np.swapaxes(lhs, -1, -2) if adj_x else lhs
    right = np.swapaxes(rhs, -1, -2) if adj_y else rhs
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, batch + left.shape[-2:])
    right = np.broadcast_to(right, batch + right.shape[-2:])
    scaling = quantize_multiplier(f32_mul(lhs_scale, rhs_scale) / output_scale)
    result = np.zeros((*batch, left.shape[-2], right.shape[-1]), np.int64)
    for index in np.ndindex(*result.shape):
        *outer, m, n = index
        a = left[(*outer, m)].tolist()
        b = right[(*outer, slice(None), n)].tolist()
        acc = sum((p - lhs_zero_point) * (q - rhs_zero_point) for p, q in zip(a, b, strict=True))
        scaled = requantize(acc, *scaling, accumulator_bits)
        result[index] = clamp(scaled + output_zero_point, low, high)
    return result
