"""LOGISTIC and TANH of 8-bit codes in Q4.27 fixed point, one table entry at a time.

Source: tensorflow/lite/kernels/internal/reference/integer_ops/logistic.h and tanh.h, and
gemmlowp's fixedpoint.h. Oracle: tests/oracle/tflm.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hwsim.ops import Op

from .arith import INT32_MAX, rounding_shift, scale_twice
from .softmax import exp_on_negative, mirrored_reciprocal, reciprocal

_INTEGER_BITS = 4
_FRACTION_BITS = 31 - _INTEGER_BITS


def _logistic(a: int) -> int:
    """Return 1 / (1 + exp(-x)) in Q0.31 for x in Q4.27."""
    if a == 0:
        return 1 << 30
    above = reciprocal(exp_on_negative(-abs(a), _INTEGER_BITS))
    return above if a > 0 else INT32_MAX - above


def _tanh(a: int) -> int:
    """Return tanh(x) in Q0.31 for x in Q4.27, which is 2x in Q5.26."""
    if a == 0:
        return 0
    above = mirrored_reciprocal(exp_on_negative(-abs(a), _INTEGER_BITS + 1))
    return above if a > 0 else -above


# The function and the bits that its Q0.31 result loses.
_FUNCTIONS: Mapping[Op, tuple[Callable[[int], int], int]] = MappingProxyType(
    {Op.LOGISTIC: (_logistic, 23), Op.TANH: (_tanh, 24)}
)


@dataclass(frozen=True)
class Sigmoid:
    """LOGISTIC or TANH of one input scale.

    Args:
        op: Which.
        multiplier: From code - zero_point to Q4.27, with `left_shift`.
        left_shift: May be negative.
        radius: Smallest |code - zero_point| whose result saturates.
    """

    op: Op
    multiplier: int
    left_shift: int
    radius: int

    @classmethod
    def of(cls, op: Op, input_scale: float) -> "Sigmoid":
        """Return the constants of an input scale."""
        fraction, left_shift = math.frexp(math.ldexp(input_scale, _FRACTION_BITS))
        multiplier = math.floor(math.ldexp(fraction, 31) + 0.5)
        largest = ((1 << _INTEGER_BITS) - 1) << _FRACTION_BITS
        return cls(op, multiplier, left_shift, math.floor(math.ldexp(largest, -left_shift)))

    def scaled(self, centered: int) -> int:
        """Return the unclamped output code, less its zero point, of code - zero_point."""
        if abs(centered) >= self.radius:
            # The ends of the output type, and what is beyond is clamped.
            return 256 if centered > 0 else -256
        function, lost = _FUNCTIONS[self.op]
        return rounding_shift(
            function(scale_twice(centered, self.multiplier, -self.left_shift)), lost
        )
