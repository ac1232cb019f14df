"""Fixed-point primitives and float32 steps."""

import math
from fractions import Fraction

import numpy as np

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def f32(value: float) -> float:
    """Round to float32; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def f32_mul(a: float, b: float) -> float:
    """Multiply two float32 values in float32; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(a) * np.float32(b))


def f32_div(a: float, b: float) -> float:
    """Divide two float32 values in float32."""
    return float(np.float32(a) / np.float32(b))


def round_half_away(value: float | Fraction) -> int:
    """C `round`: to the nearest integer, ties away from zero."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no nearest integer")
    exact = Fraction(value)
    magnitude = math.floor(abs(exact) + Fraction(1, 2))
    return magnitude if exact >= 0 else -magnitude


def clamp(value: int, low: int, high: int) -> int:
    """Limit as C's `std::min(std::max(value, low), high)`: `high` wins where the ends cross."""
    return min(max(value, low), high)


def wrap32(value: int) -> int:
    """Reduce to int32 as two's complement hardware does."""
    return (value + 2**31) % 2**32 - 2**31


def sat32(value: int) -> int:
    """Clamp to int32."""
    return clamp(value, INT32_MIN, INT32_MAX)


def int32_of(real: float) -> int:
    """Convert a whole float to int32 as x86 does: INT32_MIN where it does not fit."""
    return int(real) if -(2.0**31) <= real < 2.0**31 else INT32_MIN


def truncated_division(a: int, b: int) -> int:
    """C division: toward zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return the Q0.31 multiplier of a double and its shift, positive to the left."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def srdhm(a: int, b: int) -> int:
    """Saturating rounding doubling high multiply: ties toward +inf."""
    return sat32((a * b + 2**30) >> 31)


def rdbpot(value: int, exponent: int) -> int:
    """Divide by a power of two, ties away from zero."""
    return round_half_away(Fraction(value, 2**exponent))


def mbqm_double(value: int, multiplier: int, shift: int) -> int:
    """Multiply by a quantized multiplier, rounding twice; a left shift wraps in int32.

    From 31 places on the shift is undefined in C, and no model of ours may ask for it.
    """
    if shift > 30:
        raise ValueError(f"left shift by {shift} is undefined")
    return rdbpot(srdhm(wrap32(value << max(shift, 0)), multiplier), max(-shift, 0))


def mbqm_s64(value: int, multiplier: int, shift: int) -> int:
    """Multiply a 64-bit accumulator by 16 bits of the multiplier and round once, ties up."""
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    return (value * reduced + 2 ** (14 - shift)) >> (15 - shift)


def requantize(acc: int, multiplier: int, shift: int, accumulator_bits: int) -> int:
    """Scale the accumulator of a convolution or product: 32 bits or (int16 activations) 64."""
    if accumulator_bits == 64:
        return mbqm_s64(acc, multiplier, shift)
    return mbqm_double(wrap32(acc), multiplier, shift)


def rq_f64(acc: int, real: float) -> int:
    """Multiply in float64 and round once, ties away from zero."""
    return round_half_away(float(acc) * real)


def hawq_dyadic(acc: int, multiplier: int, right_shift: int) -> int:
    """Multiply by `multiplier / 2**right_shift` and round once, ties to even."""
    return round(Fraction(acc * multiplier, 2**right_shift))


def activation_range(
    activation: str, scale: float, zero_point: int, qmin: int, qmax: int
) -> tuple[int, int]:
    """Return the clamp of a fused activation: quotients in float32, ties away from zero."""

    def code(real: float) -> int:
        return zero_point + round_half_away(f32_div(real, scale))

    match activation:
        case "NONE":
            return qmin, qmax
        case "RELU":
            return max(qmin, code(0.0)), qmax
        case "RELU6":
            return max(qmin, code(0.0)), min(qmax, code(6.0))
        case "RELU_N1_TO_1":
            return max(qmin, code(-1.0)), min(qmax, code(1.0))
    raise ValueError(f"no fused activation {activation!r}")
