"""Real scale ratios as integer multipliers."""

import math
from dataclasses import dataclass

import numpy as np

from hwsim.errors import QuantizationError

MIN_RIGHT_SHIFT = -31
MAX_RIGHT_SHIFT = 31


@dataclass(frozen=True, slots=True)
class Multiplier:
    """The dyadic number multiplier * 2**-(31 + right_shift).

    Args:
        multiplier: 0, or Q0.31 with a magnitude in [2**30, 2**31).
        right_shift: In [-31, 31]; negative shifts left.
    """

    multiplier: int
    right_shift: int

    @property
    def real(self) -> float:
        """The number itself, exact in float64."""
        return math.ldexp(self.multiplier, -31 - self.right_shift)


def quantize_multiplier(real: float) -> Multiplier:
    """Return the dyadic number nearest to `real`, half away from zero.

    Numbers below 2**-32 become 0: no accumulator of 32 bits could tell them from it.

    Raises:
        QuantizationError: If `real` is not finite or too large for a left shift of 31.

    Source: QuantizeMultiplier, tensorflow/lite/kernels/internal/quantization_util.cc.
    """
    if not math.isfinite(real):
        raise QuantizationError(f"scale ratio must be a finite number, not {real}")
    if real == 0:
        return Multiplier(0, 0)
    fraction, exponent = math.frexp(abs(real))
    # fraction * 2**31 + 1/2 is exact in float64 (54 bits would be needed only above 2**53).
    multiplier = math.floor(math.ldexp(fraction, 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier >>= 1
        exponent += 1
    if exponent < -MAX_RIGHT_SHIFT:
        return Multiplier(0, 0)
    if exponent > -MIN_RIGHT_SHIFT:
        raise QuantizationError(f"scale ratio must be below 2**31, not {real:g}")
    return Multiplier(multiplier if real > 0 else -multiplier, -exponent)


def narrow_multiplier(wide: Multiplier, bits: int) -> Multiplier:
    """Return a Q0.31 multiplier rounded to Q0.bits, ties up, saturated to bits ones.

    The value is multiplier * 2**-(bits + right_shift) then.
    Source: MultiplyByQuantizedMultiplier for int64 accumulators, tensorflow/lite/kernels/
    internal/common.cc, where bits is 15.
    """
    dropped = 31 - bits
    if dropped == 0:
        return wide
    rounded = (wide.multiplier + (1 << (dropped - 1))) >> dropped
    return Multiplier(min(rounded, (1 << bits) - 1), wide.right_shift)


def float32_product(a: float, b: float) -> float:
    """Return a * b rounded to float32, as runtimes that multiply before they widen.

    The product is infinite, without a warning, where float32 cannot hold it.
    """
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(a) * np.float32(b))


def float32_quotient(a: float, b: float) -> float:
    """Return a / b rounded to float32; infinite, without a warning, where it must be."""
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        return float(np.float32(a) / np.float32(b))
