"""Operators on codes that ONNX Runtime computes in float32, in its order of operations.

A fused multiply-add is taken in float64 and rounded to float32: the product of a code and a
float32 is exact there. Oracle: tests/oracle/ort.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import saturate, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def add_ratios(
    a: Codes,
    b: Codes,
    a_ratio: float,
    b_ratio: float,
    offset: float,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Round a * a_ratio + (b * b_ratio + offset), both sums fused; ties to even.

    Source: MlasQLinearAdd for AVX2; `offset` holds all three zero points.
    """
    for i in range(out.size):
        inner = float(np.float32(float(widen(b[i])) * b_ratio + offset))
        exact = float(np.float32(float(widen(a[i])) * a_ratio + inner))
        out[i] = saturate(int(np.rint(exact)), qmin, qmax)


@jit
def multiply_ratio(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    ratio: float,
    offset: float,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Round (a - a_zero) * (b - b_zero) * ratio + offset, each step in float32; ties to even.

    Source: MlasQLinearMul for SSE2; `offset` is the output's zero point.
    """
    for i in range(out.size):
        product = np.float32(float((a[i] - a_zero) * (b[i] - b_zero))) * np.float32(ratio)
        exact = float(np.float32(product) + np.float32(offset))
        out[i] = saturate(int(np.rint(exact)), qmin, qmax)


@jit
def average_pool_float32(
    x: Codes,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    origin: tuple[int, int],
    count_padding: bool,
    reals: NDArray[np.float32],
    first: int,
    scale: float,
    offset: float,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Average the reals of codes row by row in float32, divide by `scale`, add `offset`, round.

    `reals[0]` belongs to the code `first`. Source: QLinearAveragePool of ONNX Runtime.
    """
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            top = row * stride[0] - origin[0]
            for col in range(out.shape[2]):
                left = col * stride[1] - origin[1]
                for c in range(out.shape[3]):
                    total, count = np.float32(0), 0
                    for y in range(max(top, 0), min(top + kernel[0], x.shape[1])):
                        for z in range(max(left, 0), min(left + kernel[1], x.shape[2])):
                            total += reals[x[b, y, z, c] - first]
                            count += 1
                    if count_padding:
                        count = kernel[0] * kernel[1]
                    mean = np.float32(total / np.float32(float(count)))
                    scaled = np.float32(mean / np.float32(scale))
                    exact = float(scaled + np.float32(offset))
                    out[b, row, col, c] = saturate(int(np.rint(exact)), qmin, qmax)


@jit
def softmax_table_rows(
    x: Codes,
    table: NDArray[np.float32],
    steps: float,
    zero: int,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Replace rows of codes by exp / sum, `steps` output codes to the unit, ties to even.

    `table[255]` is the exponential of a row's largest code. Source: QLinearSoftmax of ONNX Runtime.
    """
    for row in range(x.shape[0]):
        largest = widen(x[row, 0])
        for c in range(1, x.shape[1]):
            largest = max(largest, widen(x[row, c]))
        shift = 255 - largest
        total = np.float32(0)
        for c in range(x.shape[1]):
            total += table[x[row, c] + shift]
        for c in range(x.shape[1]):
            part = np.float32(table[x[row, c] + shift] * np.float32(steps))
            exact = float(np.float32(part / total))
            out[row, c] = saturate(int(np.rint(exact)) + zero, qmin, qmax)
