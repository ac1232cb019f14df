"""Pooling and means of integer codes, NHWC. Oracles: tests/oracle/pool.py and mean.py."""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, saturate, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def max_pool_2d(
    x: Codes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    origin: tuple[int, int],
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Take the largest code of each window; padded positions do not take part."""
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            top = row * stride[0] - origin[0]
            for col in range(out.shape[2]):
                left = col * stride[1] - origin[1]
                for c in range(out.shape[3]):
                    best = -(1 << 62)
                    for y in range(max(top, 0), min(top + kernel[0], x.shape[1])):
                        for z in range(max(left, 0), min(left + kernel[1], x.shape[2])):
                            best = max(best, widen(x[b, y, z, c]))
                    out[b, row, col, c] = saturate(best, qmin, qmax)


@jit
def average_pool_codes(
    x: Codes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    origin: tuple[int, int],
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Average raw codes over the valid positions of each window, ties away from zero.

    Source: tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h.
    """
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            top = row * stride[0] - origin[0]
            for col in range(out.shape[2]):
                left = col * stride[1] - origin[1]
                for c in range(out.shape[3]):
                    total, count = 0, 0
                    for y in range(max(top, 0), min(top + kernel[0], x.shape[1])):
                        for z in range(max(left, 0), min(left + kernel[1], x.shape[2])):
                            total += widen(x[b, y, z, c])
                            count += 1
                    magnitude = (abs(total) + count // 2) // count
                    mean = magnitude if total > 0 else -magnitude
                    out[b, row, col, c] = saturate(mean, qmin, qmax)


@jit
def average_pool_scaled(
    x: Codes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    origin: tuple[int, int],
    count_padding: bool,
    x_zero: int,
    by_count: Scaling,
    out: Codes,
) -> None:
    """Requantize the centered sum of each window; entry n of `by_count` divides by n."""
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            top = row * stride[0] - origin[0]
            for col in range(out.shape[2]):
                left = col * stride[1] - origin[1]
                for c in range(out.shape[3]):
                    total, count = 0, 0
                    for y in range(max(top, 0), min(top + kernel[0], x.shape[1])):
                        for z in range(max(left, 0), min(left + kernel[1], x.shape[2])):
                            total += x[b, y, z, c] - x_zero
                            count += 1
                    if count_padding:
                        count = kernel[0] * kernel[1]
                    out[b, row, col, c] = requantize(total, by_count, count)


@jit
def mean_rows(x: Codes, x_zero: int, scaling: Scaling, out: Codes) -> None:
    """Requantize the centered sum of each row of `x` (rows, reduced)."""
    for row in range(x.shape[0]):
        total = 0
        for i in range(x.shape[1]):
            total += widen(x[row, i])
        out[row] = requantize(total - x_zero * x.shape[1], scaling, 0)
