"""Tables of non-linearities on 16-bit codes, and the interpolation between their entries.

Sources: tensorflow/lite/kernels/internal/common.h (LUTPopulateInt16, LUTLookup), reference/
softmax.h and reference/integer_ops/logistic.h; numerics.md, sections 3.4 and 3.5.
Oracle: tests/oracle/interpolate.py.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import QuantizationError

from .arith import Scaling, saturate, scale, widen
from .jit import jit
from .softmax import leading_zeros_32

Codes = NDArray[np.integer]

INT16_MIN = -(1 << 15)
INT16_MAX = (1 << 15) - 1
LUT_STEPS = 512
_LUT_STEP_BITS = 7
_SIGMOID_STEPS = 256
_SIGMOID_PER_UNIT = 24  # entries of the sigmoid table in one unit of its argument
_LOGISTIC_BITS = 9  # codes between two entries, as a power of two
_TANH_BITS = 8


def _rounded(x: Any) -> Any:
    """Return the nearest whole float of the same precision, ties away from zero."""
    whole = np.trunc(x)
    return whole + np.copysign(type(x)(1), x) if abs(x - whole) >= 0.5 else whole


def lut_513(
    function: Callable[[float], float],
    first: Any,
    last: Any,
    scaling: Any,
) -> NDArray[np.int16]:
    """Return a function over all 16-bit codes at 512 steps and the end.

    Each entry but the last is moved by half the error that a line makes in the middle of its step.

    Args:
        function: Real function; its result is rounded to the precision of the ends.
        first: Argument of the smallest code, np.float32 or np.float64.
        last: Argument of the largest code, of the same type.
        scaling: Codes per unit of the function, of the same type.

    Raises:
        QuantizationError: If an entry is not finite.
    """
    real = type(first)
    step = real((last - first) / real(LUT_STEPS))
    half = real(step / real(2))

    def at(argument: Any) -> Any:
        return real(real(function(float(argument))) * scaling)

    entries = []
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(LUT_STEPS):
            left = real(first + real(real(i) * step))
            right = real(first + real(real(i + 1) * step))
            sample = _rounded(at(left))
            line = _rounded(real(real(at(right) + sample) / real(2)))
            error = real(line - _rounded(at(real(left + half))))
            entries.append(float(sample - _rounded(real(error / real(2)))))
        entries.append(float(_rounded(at(last))))
    if not np.isfinite(entries).all():
        raise QuantizationError(
            f"function must be finite over the input's codes, from {float(first):g} "
            f"to {float(last):g}"
        )
    return np.clip(entries, INT16_MIN, INT16_MAX).astype(np.int16)


def sigmoid_table() -> NDArray[np.int64]:
    """Return 2**16 / (1 + exp(-i / 24)) for i = 0 ... 255, each moved as in `lut_513`."""

    def exact(i: float) -> float:
        return 65536.0 / (1.0 + math.exp(-i / _SIGMOID_PER_UNIT))

    entries = []
    for i in range(_SIGMOID_STEPS - 1):
        middle = exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2
        entries.append(math.floor(exact(i) + middle / 2 + 0.5))
    return np.array([*entries, 65535], np.int64)


@jit
def look_up_513(table: Codes, code: int) -> int:
    """Return the interpolated entry of a code in [-2**15, 2**15)."""
    index = (LUT_STEPS >> 1) + (code >> _LUT_STEP_BITS)
    offset = code & ((1 << _LUT_STEP_BITS) - 1)
    base = widen(table[index])
    slope = widen(table[index + 1]) - base
    moved: int = base + ((slope * offset + (1 << (_LUT_STEP_BITS - 1))) >> _LUT_STEP_BITS)
    return moved


@jit
def interpolate_513(x: Codes, table: Codes, out: Codes) -> None:
    """Replace each 16-bit code by its interpolated entry."""
    for i in range(out.size):
        out[i] = look_up_513(table, widen(x[i]))


@jit
def _sigmoid_magnitude(code: int, bits: int, table: Codes) -> int:
    """Return the table at |code| / 2**bits, in Q0.(16 + bits)."""
    magnitude = abs(code)
    index = magnitude >> bits
    if index >= _SIGMOID_STEPS - 1:
        return 0x7FFF << 10 if bits == _LOGISTIC_BITS else 0xFFFF << 8
    base = widen(table[index])
    offset = magnitude & ((1 << bits) - 1)
    level: int = (base << bits) + offset * (widen(table[index + 1]) - base)
    return level


@jit
def logistic_q15(code: int, table: Codes) -> int:
    """Return LOGISTIC in Q0.15 of a code in units of 1 / (3 * 4096)."""
    level = _sigmoid_magnitude(code, _LOGISTIC_BITS, table)
    return (level + 512 if code >= 0 else (1 << 25) - level + 511) >> 10


@jit
def tanh_q15(code: int, table: Codes) -> int:
    """Return TANH in Q0.15 of a code in units of 1 / (3 * 4096)."""
    level = _sigmoid_magnitude(code, _TANH_BITS, table) - (1 << 23)
    return (level + 128 if code >= 0 else 127 - level) >> 8


@jit
def logistic_16(x: Codes, multiplier: int, right_shift: int, table: Codes, out: Codes) -> None:
    """Write LOGISTIC in Q0.15; multiplier and shift bring codes to 1 / (3 * 4096)."""
    half = (1 << right_shift) >> 1
    for i in range(out.size):
        out[i] = logistic_q15((widen(x[i]) * multiplier + half) >> right_shift, table)


@jit
def tanh_16(x: Codes, multiplier: int, right_shift: int, table: Codes, out: Codes) -> None:
    """Write TANH in Q0.15; multiplier and shift bring codes to 1 / (3 * 4096)."""
    half = (1 << right_shift) >> 1
    for i in range(out.size):
        out[i] = tanh_q15((widen(x[i]) * multiplier + half) >> right_shift, table)


@jit
def softmax_rows_16(
    x: Codes, scaling: Scaling, exponentials: Codes, reciprocals: Codes, out: Codes
) -> None:
    """Write softmax of each row of `x` (rows, classes) in Q0.15.

    Args:
        x: 16-bit codes.
        scaling: Brings a difference to 10 / 65535, unclamped.
        exponentials: exp on [-10, 0], 513 entries.
        reciprocals: 1 / (1 + x) on [0, 1], 513 entries.
        out: As x.
    """
    for row in range(x.shape[0]):
        largest = widen(x[row, 0])
        for i in range(x.shape[1]):
            largest = max(largest, widen(x[row, i]))
        total = 0
        for i in range(x.shape[1]):
            difference = scale(widen(x[row, i]) - largest, scaling, 0) + INT16_MAX
            level = look_up_513(exponentials, saturate(difference, INT16_MIN, INT16_MAX))
            out[row, i] = level
            total += level
        zeros = leading_zeros_32(total)
        shifted = ((total << (zeros - 1)) + (1 << 13)) >> 14
        centered = saturate(shifted - 98304, INT16_MIN, INT16_MAX)
        inverse = look_up_513(reciprocals, centered)
        shift = 31 - zeros
        for i in range(x.shape[1]):
            exact = (widen(out[row, i]) * inverse + (1 << (shift - 1))) >> shift
            out[row, i] = saturate(exact, 0, INT16_MAX)
