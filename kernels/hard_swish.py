"""HARD_SWISH of 8-bit codes in 16-bit fixed point, one table entry at a time.

Source: HardSwish of tensorflow/lite/kernels/internal/reference/hard_swish.h. A table of the real
function differs from it in 8,239 of 153,600 codes. Oracle: tests/oracle/table.py.
"""

from dataclasses import dataclass

from hwsim.errors import QuantizationError
from hwsim.multiplier import Multiplier, float32_product, float32_quotient, quantize_multiplier

_EXTRA_BITS = 7  # fraction bits gained by an 8-bit code in 16 bits


def _saturate16(value: int) -> int:
    return min(max(value, -(1 << 15)), (1 << 15) - 1)


def _wrap16(value: int) -> int:
    return (value + (1 << 15)) % (1 << 16) - (1 << 15)


def _high_multiply16(a: int, b: int) -> int:
    """Return round(a * b / 2**15), ties away from zero, saturated."""
    product = a * b
    magnitude = (abs(product) + (1 << 14)) >> 15
    # The reference nudges negatives by 2**14 - 1 and truncates, so their ties round up.
    if product < 0:
        magnitude = (abs(product) + (1 << 14) - 1) >> 15
    return _saturate16(magnitude if product >= 0 else -magnitude)


def _rounding_shift16(value: int, exponent: int) -> int:
    """Return round(value / 2**exponent), ties away from zero, with the mask wrapped to 16 bits."""
    mask = _wrap16((1 << exponent) - 1)
    threshold = (mask >> 1) + (1 if value < 0 else 0)
    return (value >> exponent) + (1 if (value & mask) > threshold else 0)


def _narrow(multiplier: int) -> int:
    """Round a Q0.31 multiplier to Q0.15."""
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1)


@dataclass(frozen=True)
class HardSwish:
    """The prepared constants of one HARD_SWISH.

    Args:
        output: From fine input units (128 to the code) to output codes.
        relu: From fine input units to 3 / 2**15, so that 16 bits saturate at x = -3 and 3.
    """

    output: Multiplier
    relu: Multiplier

    @classmethod
    def of(cls, input_scale: float, output_scale: float) -> "HardSwish":
        """Return the constants for two scales; every product and quotient is float32.

        Raises:
            QuantizationError: If the output's codes are finer than 128 to an input code.
        """
        fine = float32_product(input_scale, 1 / (1 << _EXTRA_BITS))
        output = quantize_multiplier(float32_quotient(fine, output_scale))
        if output.right_shift < 0:  # undefined in the reference's C
            raise QuantizationError(
                f"output scale of hard_swish must be above {fine:g}, not {output_scale:g}"
            )
        three = float32_quotient(3, 1 << 15)
        return cls(output, quantize_multiplier(float32_quotient(fine, three)))

    def scaled(self, centered: int) -> int:
        """Return the unclamped output code, less its zero point, of code - zero_point."""
        fine = _wrap16(centered << _EXTRA_BITS)
        product = _high_multiply16(fine, _narrow(self.output.multiplier))
        gate = fine
        left = -self.relu.right_shift
        if left > 0:
            gate = _saturate16(gate << (left - 1))
        gate = _high_multiply16(gate, _narrow(self.relu.multiplier))
        if left > 0:
            gate = _saturate16(gate << 1)
        elif left < 0:
            gate = _rounding_shift16(gate, -left)
        gate = (gate + (1 << 15)) >> 1
        gated = gate * product
        truncated = abs(gated) >> 15
        return _rounding_shift16(truncated if gated >= 0 else -truncated, self.output.right_shift)
