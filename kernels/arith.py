"""Fixed-point primitives, in one place: a cached kernel does not notice an edit elsewhere.

Everything here is exact in int64 for 32-bit accumulators. Oracle: tests/oracle/arith.py.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.profile import Requant

from .jit import jit

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1
_LIMB = (1 << 31) - 1

_DOUBLE = int(Requant.DOUBLE_ROUNDING)
_DOUBLE_UP = int(Requant.DOUBLE_HALF_UP)
_HALF_EVEN = int(Requant.HALF_EVEN)
_HALF_UP = int(Requant.HALF_UP)
_HALF_AWAY = int(Requant.HALF_AWAY)
_FLOOR = int(Requant.FLOOR)
_TRUNC = int(Requant.TRUNC)
_REAL = int(Requant.REAL_HALF_AWAY)
_FLOAT32 = int(Requant.FLOAT32_HALF_EVEN)
_SHIFTED = int(Requant.FLOAT32_SHIFTED)
_NONE = int(Requant.NONE)


class Scaling(NamedTuple):
    """How a kernel turns accumulators into codes; arrays have one entry per output channel.

    Args:
        rule: A `Requant` number.
        fraction: Fraction bits of the multiplier; 31 where rounding is double.
        multiplier: int64, Q0.fraction.
        right_shift: int64, in [-30, 31].
        real: float64 scale ratio, read by the floating-point rules alone.
        zero_point: Added after scaling.
        qmin: Smallest code of the output after its fused activation.
        qmax: Largest code.
    """

    rule: int
    fraction: int
    multiplier: NDArray[np.int64]
    right_shift: NDArray[np.int64]
    real: NDArray[np.float64]
    zero_point: int
    qmin: int
    qmax: int


@jit
def widen(code: Any) -> Any:
    """Return a code of any storage as int64."""
    return np.int64(code)


@jit
def saturate(value: int, low: int, high: int) -> int:
    """Clamp to [low, high]."""
    return min(max(value, low), high)


@jit
def wrap_int32(value: int) -> int:
    """Keep the low 32 bits, as a reference that shifts in int32."""
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


@jit
def doubling_high_multiply(a: int, b: int) -> int:
    """Return round(a * b / 2**31), ties toward +inf, saturated to int32."""
    return min((a * b + (1 << 30)) >> 31, INT32_MAX)


@jit
def rounding_shift(x: int, exponent: int) -> int:
    """Return round(x / 2**exponent), ties away from zero."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


@jit
def scale_twice(x: int, multiplier: int, right_shift: int) -> int:
    """Return x * multiplier * 2**-(31 + right_shift) with two roundings.

    Source: MultiplyByQuantizedMultiplier of gemmlowp and TensorFlow Lite.
    """
    left = max(-right_shift, 0)
    shifted = wrap_int32(x << left)
    return rounding_shift(doubling_high_multiply(shifted, multiplier), max(right_shift, 0))


@jit
def shift_once(x: int, shift: int, rule: int) -> int:
    """Return x / 2**shift rounded by a rule of one rounding; shift in [-30, 62]."""
    if shift <= 0:
        return x << -shift
    whole = x >> shift
    rest = x - (whole << shift)
    if rule == _FLOOR:
        return whole
    if rule == _TRUNC:
        return whole + (1 if x < 0 and rest > 0 else 0)
    half = 1 << (shift - 1)
    if rest > half:
        return whole + 1
    if rest < half:
        return whole
    if rule == _HALF_EVEN:
        return whole + (whole & 1)
    if rule == _HALF_AWAY:
        return whole + (1 if x >= 0 else 0)
    return whole + 1


@jit
def round_half_away(x: float) -> float:
    """Return the nearest integer of a float64, ties away from zero."""
    whole = np.trunc(x)
    if abs(x - whole) >= 0.5:
        whole += 1.0 if x > 0 else -1.0
    return float(whole)


@jit
def scale_float32(acc: int, ratio: float) -> int:
    """Return acc * ratio in float32, ties to even, saturated to int32."""
    exact = float(np.rint(np.float32(acc) * np.float32(ratio)))
    return int(min(max(exact, float(INT32_MIN)), float(INT32_MAX)))


@jit
def requantize_float32(acc: int, ratio: float, zero_point: int, qmin: int, qmax: int) -> int:
    """Return clamp(acc * ratio + zero_point), all in float32, rounded last, ties to even."""
    shifted = np.float32(acc) * np.float32(ratio) + np.float32(zero_point)
    return int(np.rint(min(max(float(shifted), float(qmin)), float(qmax))))


@jit
def scale(acc: int, scaling: Scaling, channel: int) -> int:
    """Scale one accumulator by the rule; the result is an unclamped int64."""
    rule = scaling.rule
    if rule == _DOUBLE:
        return scale_twice(acc, scaling.multiplier[channel], scaling.right_shift[channel])
    if rule in (_FLOAT32, _SHIFTED):
        return scale_float32(acc, scaling.real[channel])
    if rule == _REAL:
        exact = round_half_away(float(acc) * scaling.real[channel])
        return int(min(max(exact, float(INT32_MIN)), float(INT32_MAX)))
    right_shift = scaling.right_shift[channel]
    if rule == _DOUBLE_UP:
        shifted = wrap_int32(acc << max(-right_shift, 0))
        high = doubling_high_multiply(shifted, scaling.multiplier[channel])
        return shift_once(high, max(right_shift, 0), _HALF_UP)
    if rule == _NONE:
        return acc
    return shift_once(acc * scaling.multiplier[channel], scaling.fraction + right_shift, rule)


@jit
def scale_wide(acc: int, scaling: Scaling, channel: int) -> int:
    """Scale an accumulator of up to 62 bits by a ratio below 1, ties to even, exactly.

    The product of up to 93 bits is held in two limbs, high * 2**31 + low.
    """
    multiplier = int(scaling.multiplier[channel])
    low = (acc & _LIMB) * multiplier
    high = (acc >> 31) * multiplier + (low >> 31)
    low &= _LIMB
    shift = int(scaling.right_shift[channel])
    whole = high >> shift
    rest = high - (whole << shift)
    half = (1 << shift) >> 1  # of the high limb; a shift of 0 has its half in the low one
    if shift == 0:
        rest, half, low = low, 1 << 30, 0
    if rest > half or (rest == half and (low > 0 or whole & 1)):
        whole += 1
    return int(whole)


@jit
def requantize_wide(acc: int, scaling: Scaling, channel: int) -> int:
    """Return the output code of one wide accumulator."""
    scaled = scale_wide(widen(acc), scaling, channel)
    return saturate(scaled + scaling.zero_point, scaling.qmin, scaling.qmax)


@jit
def requantize(acc: int, scaling: Scaling, channel: int) -> int:
    """Return the output code of one accumulator."""
    # Compiled integers are 64 bits wide; interpreted, an int32 accumulator would overflow.
    if scaling.rule == _SHIFTED:
        ratio, zero_point = scaling.real[channel], scaling.zero_point
        return requantize_float32(widen(acc), ratio, zero_point, scaling.qmin, scaling.qmax)
    scaled = scale(widen(acc), scaling, channel)
    return saturate(scaled + scaling.zero_point, scaling.qmin, scaling.qmax)


@jit
def requantize_row(acc: NDArray[np.integer], scaling: Scaling, out: Any) -> None:
    """Write the output codes of one accumulator per channel."""
    for channel in range(acc.size):
        out[channel] = requantize(acc[channel], scaling, channel)
