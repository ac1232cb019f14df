"""Elementwise integer operators over flat, already broadcast operands.

Oracle: tests/oracle/elementwise.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, rounding_shift, saturate, scale, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def add_shifted(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    left_shift: int,
    sign: int,
    a_scaling: Scaling,
    b_scaling: Scaling,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Add (sign 1) or subtract (-1) at a common scale that is 2**left_shift finer.

    Source: tensorflow/lite/kernels/internal/reference/add.h.
    """
    for i in range(out.size):
        u = requantize((a[i] - a_zero) << left_shift, a_scaling, 0)
        v = requantize((b[i] - b_zero) << left_shift, b_scaling, 0)
        out[i] = requantize(u + sign * v, scaling, 0)


@jit
def add_powers(
    kept: Codes,
    shifted: Codes,
    right_shift: int,
    kept_sign: int,
    shifted_sign: int,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Add operands of which one is in the result's scale, the other 2**right_shift finer.

    The sum saturates. Source: Add and Sub16, tensorflow/lite/kernels/internal/reference.
    """
    for i in range(out.size):
        total = kept_sign * widen(kept[i])
        total += shifted_sign * rounding_shift(widen(shifted[i]), right_shift)
        out[i] = saturate(total, qmin, qmax)


@jit
def square_difference(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    left_shift: int,
    a_scaling: Scaling,
    b_scaling: Scaling,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Square the difference at a common scale that is 2**left_shift finer.

    Source: tensorflow/lite/kernels/squared_difference.cc.
    """
    for i in range(out.size):
        u = requantize((a[i] - a_zero) << left_shift, a_scaling, 0)
        v = requantize((b[i] - b_zero) << left_shift, b_scaling, 0)
        out[i] = requantize((u - v) * (u - v), scaling, 0)


@jit
def add_once(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    a_multiplier: int,
    b_multiplier: int,
    right_shift: int,
    zero_point: int,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Add both products and shift once, ties up; subtract with a negative multiplier.

    Source: XNNPACK src/qs8-vadd/scalar.c.in.
    """
    half = 1 << (right_shift - 1)
    for i in range(out.size):
        total = a_multiplier * (a[i] - a_zero) + b_multiplier * (b[i] - b_zero)
        out[i] = saturate(((total + half) >> right_shift) + zero_point, qmin, qmax)


@jit
def add_apart(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    sign: int,
    a_scaling: Scaling,
    b_scaling: Scaling,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Scale each operand to the output, round, then add or subtract; clamp once.

    Operands are (pixels, channels), so that an accumulator with a scale per channel can be added
    without being narrowed first. Source: HAWQ-V3 residual path, quant_utils.py @1616df69.
    """
    a_channels, b_channels = a_scaling.multiplier.size, b_scaling.multiplier.size
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            p = c if a_channels > 1 else 0
            q = c if b_channels > 1 else 0
            u = scale(a[i, c] - a_zero, a_scaling, p)
            v = scale(b[i, c] - b_zero, b_scaling, q)
            out[i, c] = saturate(u + sign * v + scaling.zero_point, scaling.qmin, scaling.qmax)


@jit
def multiply(a: Codes, b: Codes, a_zero: int, b_zero: int, scaling: Scaling, out: Codes) -> None:
    """Requantize the product of two codes."""
    for i in range(out.size):
        out[i] = requantize((a[i] - a_zero) * (b[i] - b_zero), scaling, 0)


@jit
def rescale(x: Codes, x_zero: int, scaling: Scaling, out: Codes) -> None:
    """Requantize codes (pixels, channels): QUANTIZE between integers, RELU and its kin."""
    channels = scaling.multiplier.size
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[i, c] = requantize(x[i, c] - x_zero, scaling, c if channels > 1 else 0)


@jit
def leaky_relu(x: Codes, x_zero: int, above: Scaling, below: Scaling, out: Codes) -> None:
    """Scale codes at or above the zero point by one ratio, those below by another."""
    for i in range(out.size):
        code = x[i] - x_zero
        out[i] = requantize(code, above, 0) if code >= 0 else requantize(code, below, 0)


@jit
def look_up(x: Codes, table: Codes, first: int, out: Codes) -> None:
    """Replace each code by its table entry; table[0] belongs to the code `first`."""
    for i in range(out.size):
        out[i] = table[x[i] - first]
