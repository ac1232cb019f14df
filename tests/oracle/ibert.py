"""I-BERT's exponential, softmax, GELU and LayerNorm in exact integers, one element at a time.

Formulas and constants: quant_modules.py of I-BERT (Kim et al., arXiv 2101.01321), `IntSoftmax`,
`IntGELU` and `IntLayerNorm`. The published code emulates integers in float32; here every integer
is exact, and constants are float64 quotients of the float32 scale, rounded down. Stated choices:
the 16-bit requantization of the exponential maps its largest value to 32767, as the running
maximum of `QuantAct` does, and the square root is the exact floor.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

LN2 = -0.6931
EXP = (0.35815147, 0.96963238, 1.0)
EXP_SHIFT = 30
ERF = (-0.2888, -1.769, 1.0)
ERF_SHIFT = 14
SQRT2 = 1.4142


def dyadic(value: int, ratio: float) -> int:
    """Return value times the 31-bit dyadic number nearest to the ratio, ties to even."""
    if ratio == 0:
        return 0
    fraction, exponent = math.frexp(abs(ratio))
    multiplier = math.floor(fraction * 2**31 + 0.5)
    exact = Fraction(value * multiplier) / Fraction(2) ** (31 - exponent)
    return round(exact if ratio > 0 else -exact)


def exp_constants(scale: float) -> tuple[int, int, int]:
    """Return (x0, b, c) of i-exp at an input scale; x0 is negative."""
    x0 = math.floor(LN2 / scale)
    b = math.floor((EXP[1] / EXP[0]) / scale)
    c = math.floor((EXP[2] / EXP[0]) / scale**2)
    return x0, b, c


def i_exp(x: int, scale: float) -> int:
    """Return exp(x * scale) for x <= 0, in units of 0.35815147 * scale**2 / 2**30."""
    x0, b, c = exp_constants(scale)
    x = max(x, EXP_SHIFT * x0)
    q = x // x0
    r = x - q * x0
    return max((r * (r + b) + c) * 2 ** (EXP_SHIFT - q), 0)


def exp_16(x: int, scale: float) -> int:
    """Return i-exp requantized to 16 bits: exp(0) becomes 32767."""
    return min(dyadic(i_exp(x, scale), 32767 / i_exp(0, scale)), 32767)


def softmax(row: Sequence[int], scale: float, bits: int = 8) -> list[int]:
    """Return softmax of a row in units of 2**-bits, saturated at 2**bits - 1."""
    largest = max(row)
    exps = [exp_16(x - largest, scale) for x in row]
    factor = 2**32 // sum(exps)
    return [min(e * factor // 2 ** (32 - bits), 2**bits - 1) for e in exps]


def gelu_constants(scale: float) -> tuple[int, int, int]:
    """Return (b, c, t) of i-GELU at an input scale; all three are negative."""
    k = scale / SQRT2
    b = math.floor(ERF[1] / k)
    c = math.floor((ERF[2] / ERF[0]) / k**2)
    t = math.floor(1.0 / (k**2 * ERF[0] * 2**ERF_SHIFT))
    return b, c, t


def gelu_unit(scale: float) -> float:
    """Return the (negative) real value of one unit of `i_gelu`."""
    return scale * ((scale / SQRT2) ** 2 * ERF[0] * 2**ERF_SHIFT) / 2


def i_gelu(x: int, scale: float) -> int:
    """Return GELU(x * scale) in units of `gelu_unit(scale)`."""
    b, c, t = gelu_constants(scale)
    sign = (x > 0) - (x < 0)
    y = sign * ((min(abs(x), -b) + b) ** 2 + c)
    return x * (y // 2**ERF_SHIFT + t)


def integer_sqrt(n: int) -> tuple[int, int]:
    """Return floor(sqrt(n)) and the iterations: Newton from 2**ceil(bits / 2) until it stops."""
    if n == 0:
        return 0, 0
    x, steps = 2 ** -(-n.bit_length() // 2), 0
    while True:
        steps += 1
        lower = (x + n // x) // 2
        if lower >= x:
            return x, steps
        x = lower


def norm_shift(channels: int, low: int, high: int) -> int:
    """Return the least shift that keeps the sum of squares of any row below 2**32.

    The published code raises it on calibration data; here the row is any of codes in [low, high].
    """
    widest = high - low
    shift = 0
    while channels * (-(-widest // 2**shift)) ** 2 >= 2**32:
        shift += 1
    return shift


def norm_unit(channels: int) -> float:
    """Return the real value of one unit of a normalized code."""
    return math.sqrt(channels) / 2**30


def norm_bias(gamma: float, beta: float, channels: int) -> int:
    """Return beta / gamma in units of a normalized code, rounded down."""
    return math.floor(beta / gamma / norm_unit(channels))


def mean(row: Sequence[int]) -> int:
    """Return the mean, ties to even."""
    return round(Fraction(sum(row), len(row)))


def normalize(row: Sequence[int], shift: int) -> list[int]:
    """Return (x - mean) / std in units of `norm_unit`; a constant row gives zeros."""
    center = mean(row)
    y = [x - center for x in row]
    std = math.isqrt(sum((v >> shift) ** 2 for v in y)) << shift
    factor = 2**31 // max(std, 1)
    return [v * factor // 2 for v in y]
