"""GELU by I-BERT's polynomial of accumulators, and by I-ViT's shifts of rows of codes.

Oracles: tests/oracle/ibert.py, ivit.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, requantize_wide, widen
from .jit import jit

Codes = NDArray[np.integer]

_ERF_SHIFT = 14


@jit
def gelu_by_polynomial(
    x: Codes,
    x_zero: int,
    knee: NDArray[np.int64],
    height: NDArray[np.int64],
    one: NDArray[np.int64],
    scaling: Scaling,
    out: Codes,
) -> None:
    """Write x * (erf(x) + 1) for `x` (rows, channels), erf by one parabola on each side.

    erf is sgn(x) * ((min(|x|, knee) - knee)**2 + height) >> 14, `one` is 1 in its units; all three
    arrays have one entry per channel, or one for all. Source: IntGELU of I-BERT.
    """
    by_channel = knee.size > 1
    for row in range(x.shape[0]):
        for c in range(x.shape[1]):
            k = c if by_channel else 0
            code = widen(x[row, c]) - x_zero
            root = min(abs(code), knee[k]) - knee[k]
            erf = root * root + height[k]
            if code == 0:
                erf = 0
            elif code < 0:
                erf = -erf
            out[row, c] = requantize_wide(code * ((erf >> _ERF_SHIFT) + one[k]), scaling, k)


@jit
def gelu_by_shifts(
    x: Codes,
    x_zero: int,
    exponentials: NDArray[np.int64],
    first: int,
    largest_sum: int,
    right_shift: int,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Write x * sigmoid(1.702 x) for each row of `x` (rows, channels).

    The sigmoid is e(x - max) / (e(x - max) + e(-max)), max over the row; `exponentials[0]` is e of
    `first`. Source: ShiftGELU, IntGELU of I-ViT.
    """
    for row in range(x.shape[0]):
        largest = widen(x[row, 0])
        for c in range(x.shape[1]):
            largest = max(largest, widen(x[row, c]))
        largest -= x_zero
        other = exponentials[-largest - first]
        for c in range(x.shape[1]):
            code = widen(x[row, c]) - x_zero
            exponential = exponentials[code - largest - first]
            factor = largest_sum // min(exponential + other, largest_sum)
            sigmoid = (exponential * factor) >> right_shift
            out[row, c] = requantize(code * sigmoid, scaling, 0)
