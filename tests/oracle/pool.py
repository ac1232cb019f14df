"""AVERAGE_POOL_2D and MAX_POOL_2D, on raw codes."""

import numpy as np

from tests.oracle.arith import clamp, truncated_division
from tests.oracle.conv import output_size, padding_before


def pool_2d(
    ifmap: np.ndarray,
    *,
    kind: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: str,
    low: int,
    high: int,
) -> np.ndarray:
    """Pool (n,h,w,c); only positions inside the map count, and the average rounds half away."""
    batch, height, width, channels = ifmap.shape
    out_h = output_size(height, kernel[0], stride[0], 1, padding)
    out_w = output_size(width, kernel[1], stride[1], 1, padding)
    top = left = 0
    if padding == "SAME":
        top = padding_before(height, out_h, kernel[0], stride[0], 1)
        left = padding_before(width, out_w, kernel[1], stride[1], 1)
    codes = ifmap.tolist()
    result = np.zeros((batch, out_h, out_w, channels), np.int64)
    for n, y, x, c in np.ndindex(*result.shape):
        window = [
            codes[n][row][column][c]
            for row in range(y * stride[0] - top, y * stride[0] - top + kernel[0])
            for column in range(x * stride[1] - left, x * stride[1] - left + kernel[1])
            if 0 <= row < height and 0 <= column < width
        ]
        if kind == "max":
            pooled = max(window)
        else:
            total, count = sum(window), len(window)
            half = count // 2 if total > 0 else -(count // 2)
            pooled = truncated_division(total + half, count)
        result[n, y, x, c] = clamp(pooled, low, high)
    return result
