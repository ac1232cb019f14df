"""Integer constants of GELU's approximations, shared by kernels and by what is said of them.

Sources: IntGELU of I-BERT (arXiv 2101.01321) and of I-ViT (arXiv 2207.01405).
"""

import math
from dataclasses import dataclass

ERF_SHIFT = 14
_ERF = (-0.2888, -1.769)  # sgn(x) * (a * (min(|x|, -b) + b)**2 + 1)
_SQRT2 = 1.4142
SIGMOID_SLOPE = 1.702


@dataclass(frozen=True, slots=True)
class Parabola:
    """I-BERT's erf at one input scale, in integers.

    Args:
        knee: |code| from which erf is 1.
        height: Added to (min(|x|, knee) - knee)**2; negative.
        one: The code of 1 after the shift, rounded down; negative.
        unit: Real value of one unit of x * (erf + one); negative.
    """

    knee: int
    height: int
    one: int
    unit: float

    @classmethod
    def at(cls, scale: float) -> "Parabola":
        """Return the constants at an input scale."""
        k = scale / _SQRT2
        knee = -math.floor(_ERF[1] / k)
        height = math.floor(1.0 / _ERF[0] / k**2)
        step = k**2 * _ERF[0] * 2**ERF_SHIFT
        return cls(knee, height, math.floor(1.0 / step), scale * step / 2)

    def apply(self, x: int) -> int:
        """Return GELU of a code in units of `unit`."""
        erf = (min(abs(x), self.knee) - self.knee) ** 2 + self.height
        erf = 0 if x == 0 else erf if x > 0 else -erf
        return x * ((erf >> ERF_SHIFT) + self.one)

    def bits(self, largest: int) -> int:
        """Return the signed width of the result for |x| <= largest; no integer before is wider."""
        factor = -(2 * min(self.height, -1) >> ERF_SHIFT) - self.one
        return max(largest * factor, self.knee**2 - self.height).bit_length() + 1
