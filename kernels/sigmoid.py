"""LOGISTIC and TANH of 16-bit codes: 256 entries, straight lines between them.

tanh(x) = 2 * logistic(2 x) - 1, so one table serves both. Source: arm_nn_activation_s16 of CMSIS-NN
and tensorflow/lite/kernels/internal/reference/integer_ops/{logistic,tanh}.h; numerics.md, 3.4.
Oracle: tests/oracle/sigmoid.py.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .arith import widen
from .jit import jit

_LAST = 255


def logistic_entries() -> NDArray[np.int64]:
    """Return 65536 / (1 + exp(-i / 24)) for i = 0 ... 255, in unsigned 16 bits.

    An entry is corrected by half of what a straight line to the next one misses in the middle.
    """

    def exact(i: float) -> float:
        return 65536.0 / (1.0 + math.exp(-i / 24.0))

    entries = [
        math.floor(exact(i) + (exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2) / 2 + 0.5)
        for i in range(_LAST)
    ]
    return np.array([*entries, 65535], np.int64)


@jit
def _interpolated(entries: NDArray[np.int64], magnitude: int, bits: int, beyond: int) -> int:
    """Return the table at magnitude / 2**bits, in units of 2**-bits of an entry."""
    whole = magnitude >> bits
    if whole >= _LAST:
        return beyond
    first = widen(entries[whole])
    rest = magnitude & ((1 << bits) - 1)
    return (first << bits) + rest * (widen(entries[whole + 1]) - first)


@jit
def logistic_16(x: int, entries: NDArray[np.int64]) -> int:
    """Return logistic in Q0.15 of `x` in units of 2**-12 / 3."""
    result = _interpolated(entries, abs(x), 9, 0x7FFF << 10)
    if x >= 0:
        return (result + (1 << 9)) >> 10
    return ((1 << 25) - result + (1 << 9) - 1) >> 10


@jit
def tanh_16(x: int, entries: NDArray[np.int64]) -> int:
    """Return tanh in Q0.15 of `x` in units of 2**-12 / 3."""
    result = _interpolated(entries, abs(x), 8, 0xFFFF << 8)
    if x >= 0:
        return (result - (1 << 23) + (1 << 7)) >> 8
    return (-result + (1 << 23) + (1 << 7) - 1) >> 8
