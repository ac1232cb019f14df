"""FULLY_CONNECTED: one rounding in float64, int8, uint8 and int16 alike."""

from collections.abc import Sequence

import numpy as np

from tests.oracle.arith import clamp, rq_f64, wrap32


def fully_connected(
    ifmap: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    *,
    input_scale: float,
    input_zero_point: int,
    weight_scales: Sequence[float],
    weight_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
    accumulator_bits: int = 32,
) -> np.ndarray:
    """Multiply rows of `ifmap` (..., d), read flat, with `weights` (o,d); returns (rows, o)."""
    outputs, depth = weights.shape
    rows = ifmap.reshape(-1, depth).tolist()
    per_channel = len(weight_scales) > 1
    z_w = 0 if per_channel else weight_zero_point
    taps = weights.tolist()
    result = np.zeros((len(rows), outputs), np.int64)
    for n, row in enumerate(rows):
        for o in range(outputs):
            acc = sum((x - input_zero_point) * (w - z_w) for x, w in zip(row, taps[o], strict=True))
            if bias is not None:
                acc += int(bias[o])
            if accumulator_bits == 32:
                acc = wrap32(acc)
            real = input_scale * weight_scales[o if per_channel else 0] / output_scale
            result[n, o] = clamp(rq_f64(acc, real) + output_zero_point, low, high)
    return result
