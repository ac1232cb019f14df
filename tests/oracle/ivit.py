"""I-ViT's Shiftmax, ShiftGELU and I-LayerNorm in exact integers, one element at a time.

Formulas and constants: quant_modules.py of I-ViT (Li and Gu, arXiv 2207.01405), `IntSoftmax`,
`IntGELU` and `IntLayerNorm`. The published code emulates integers in float32; here every integer
is exact.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from tests.oracle import ibert

SOFTMAX_SHIFT = 15
GELU_SHIFT = 23
SIGMOID = 1.702
LARGEST = 2**31 - 1
SQRT_START = 2**16
SQRT_STEPS = 10


def unit_step(scale: float) -> int:
    """Return x0, the (negative) code of -1."""
    return math.floor(-1.0 / scale)


def shift_exp(x: int, scale: float, n: int) -> int:
    """Return exp(x * scale) in units of scale / 2**n; x may be positive."""
    x = x + (x >> 1) - (x >> 4)
    x0 = unit_step(scale)
    x = max(x, n * x0)
    q = x // x0
    r = x - x0 * q
    return max(math.floor((Fraction(r, 2) - x0) * Fraction(2) ** (n - q)), 0)


def softmax(row: Sequence[int], scale: float, bits: int = 8) -> list[int]:
    """Return Shiftmax of a row in units of 2**-(bits - 1), saturated at 2**(bits - 1) - 1."""
    largest = max(row)
    exps = [shift_exp(x - largest, scale, SOFTMAX_SHIFT) for x in row]
    factor = LARGEST // min(sum(exps), LARGEST)
    top = 2 ** (bits - 1) - 1
    return [min(e * factor // 2 ** (31 - bits + 1), top) for e in exps]


def gelu(row: Sequence[int], scale: float, bits: int = 8) -> list[int]:
    """Return x * sigmoid(1.702 x) of a row in units of scale * 2**-(bits - 1).

    The largest code of the row is subtracted first, so an element depends on its neighbors.
    """
    largest = max(row)
    wide = scale * SIGMOID
    other = shift_exp(-largest, wide, GELU_SHIFT)
    made = []
    for x in row:
        e = shift_exp(x - largest, wide, GELU_SHIFT)
        factor = LARGEST // min(e + other, LARGEST)
        made.append(x * (e * factor // 2 ** (31 - bits + 1)))
    return made


def integer_sqrt(value: int) -> int:
    """Return sqrt(value) as exactly ten halvings from 2**16 leave it; coarse below 34,596."""
    k = SQRT_START
    for _ in range(SQRT_STEPS):
        k = (k + value // k) // 2
    return k


def normalize(row: Sequence[int]) -> list[int]:
    """Return (x - mean) / std in units of sqrt(channels) / 2**30."""
    center = ibert.mean(row)
    y = [x - center for x in row]
    factor = LARGEST // integer_sqrt(sum(v * v for v in y))
    return [v * factor // 2 for v in y]
