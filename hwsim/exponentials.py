"""Integer exponentials of a code difference, exact, and what each costs in bits and error.

A softmax subtracts the largest code of a row first, so its exponential has one integer argument in
[-(2**bits - 1), 0]: whatever a datapath computes is a table here. Python integers do not overflow,
so the width that a datapath would need is found, not assumed.

Sources: quant_modules.py of I-BERT (arXiv 2101.01321) and I-ViT (arXiv 2207.01405); QAOF's
clip(a * x + b, l, u) with the bounds of numerics.md, section 4.3.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import GraphError
from hwsim.profile import Method, OperatorRule

INTEGER_BITS = 63  # of a non-negative int64
_LN2 = -0.6931
_IBERT = (0.35815147, 0.96963238)  # a x**2 + b x + 1 on (-ln 2, 0]
_IBERT_SHIFT = 30
_IBERT_LARGEST = (1 << 15) - 1  # exp(0) after the requantization to 16 bits
_STEPS = 60  # bisections; float64 has no more bits


@dataclass(frozen=True, eq=False)
class Exponential:
    """An integer exponential over a range of arguments.

    Args:
        first: Smallest argument.
        codes: int64, its value at first, first + 1 ...
        scale: Real value of one argument.
        unit: Real value of one code.
        bits: Width of the widest intermediate integer, with a sign where one can be negative.
    """

    first: int
    codes: NDArray[np.int64]
    scale: float
    unit: float
    bits: int

    @property
    def keeps_order(self) -> bool:
        """Whether no larger argument has a smaller code."""
        return not np.any(self.codes[1:] < self.codes[:-1])

    @property
    def errors(self) -> NDArray[np.float64]:
        """|code - exp| at every argument up to 0, as reals."""
        arguments = self.scale * np.arange(self.first, 1)
        errors: NDArray[np.float64] = self.codes[: len(arguments)] * self.unit - np.exp(arguments)
        return np.abs(errors)


@lru_cache(maxsize=16)
def softmax_exponential(rule: OperatorRule, scale: float, span: int) -> Exponential:
    """Return the exponential of a softmax by its rule, over [-span, 0].

    Args:
        rule: Its method and that method's fields; not GEMMLOWP.
        scale: Real value of one code difference.
        span: Largest code difference.

    Raises:
        GraphError: If exp(0) is no positive integer, or an integer leaves 64 bits.
    """
    match rule.method:
        case Method.IBERT:
            made = _ibert(scale, span)
        case Method.IVIT:
            made = shift_exponential(scale, -span, 0, rule.fraction_bits)
        case Method.PIECEWISE:
            made = _piecewise(rule, scale, span)
        case _:
            exact = np.exp(scale * np.arange(-span, 1)) * 2.0**rule.fraction_bits
            codes = np.floor(exact + 0.5).astype(np.int64)
            made = Exponential(-span, codes, scale, 2.0**-rule.fraction_bits,
                               rule.fraction_bits + 1)  # fmt: skip
    if made.codes[-1] < 1:
        raise GraphError(
            f"exponential of 0 by {rule.method.value} must be a positive integer, not "
            f"{made.codes[-1]}; the input's scale {scale:g} is too coarse for it"
        )
    # No slope is negative, and each line is clipped to where its neighbors begin and end.
    assert made.keeps_order or rule.method is Method.IBERT
    return made


def _fitting(values: list[int], bits: int, method: str, scale: float) -> NDArray[np.int64]:
    if bits > INTEGER_BITS:
        raise GraphError(
            f"exponential by {method} must fit {INTEGER_BITS} bits, not {bits}; the input's scale "
            f"{scale:g} is too fine for it"
        )
    return np.array(values, np.int64)


def dyadic(value: int, ratio: float) -> int:
    """Return value times the 31-bit dyadic number nearest to a positive ratio, ties to even."""
    fraction, exponent = math.frexp(ratio)
    product = value * math.floor(math.ldexp(fraction, 31) + 0.5)
    shift = 31 - exponent
    if shift <= 0:
        return product << -shift
    whole, rest = product >> shift, product & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return whole + (1 if rest > half or (rest == half and whole & 1) else 0)


def _ibert(scale: float, span: int) -> Exponential:
    """Return I-BERT's polynomial, its result requantized to 16 bits, exp(0) to 32767."""
    ln2 = math.floor(_LN2 / scale)
    b = math.floor(_IBERT[1] / _IBERT[0] / scale)
    c = math.floor(1.0 / _IBERT[0] / scale**2)

    def polynomial(x: int) -> int:
        quotient, r = divmod(max(x, _IBERT_SHIFT * ln2), ln2)
        return max((r * (r + b) + c) << (_IBERT_SHIFT - quotient), 0)

    largest = polynomial(0)
    if largest < 1:
        raise GraphError(
            f"exponential of 0 by ibert must be a positive integer, not {largest}; the input's "
            f"scale {scale:g} is too coarse for it"
        )
    wide = [polynomial(x) for x in range(-span, 1)]
    bits = max(wide).bit_length()
    _fitting([], bits, "ibert", scale)
    ratio = _IBERT_LARGEST / largest
    codes = [min(dyadic(value, ratio), _IBERT_LARGEST) for value in wide]
    return Exponential(-span, np.array(codes, np.int64), scale, 1 / _IBERT_LARGEST, bits)


def shift_exponential(scale: float, first: int, last: int, shift: int) -> Exponential:
    """Return I-ViT's exponential over [first, last]: 2**-q by shifts, a line in between."""
    one = math.floor(-1.0 / scale)

    def code(x: int) -> int:
        quotient, r = divmod(max(x + (x >> 1) - (x >> 4), shift * one), one)
        # (r / 2 - one) * 2**(shift - quotient), rounded down
        places = shift - quotient - 1
        return max((r - 2 * one) << places if places >= 0 else (r - 2 * one) >> -places, 0)

    values = [code(x) for x in range(first, last + 1)]
    bits = max(values).bit_length()
    codes = _fitting(values, bits, "ivit", scale)
    return Exponential(first, codes, scale, scale * 2.0**-shift, bits)


@dataclass(frozen=True, slots=True)
class Line:
    """One segment of a piecewise-linear exponential.

    Args:
        end: Its lower end, a real <= 0.
        slope: Its slope.
        height: Its value at 0, were it to go on.
    """

    end: float
    slope: float
    height: float


def _chord(p: float, q: float) -> tuple[float, float]:
    """Return the slope of exp's chord over [p, q] and half of its largest gap to exp."""
    slope = (math.exp(q) - math.exp(p)) / (q - p)
    return slope, (math.exp(p) + slope * (math.log(slope) - p) - slope) / 2


def _equal_errors(error: float, segments: int) -> list[float]:
    """Return the ends of segments of one minimax error, from 0 downward."""
    ends = [0.0]
    for _ in range(segments):
        near, far = 1e-9, 50.0
        for _ in range(_STEPS):
            middle = (near + far) / 2
            inside = _chord(ends[-1] - middle, ends[-1])[1] <= error
            near, far = (middle, far) if inside else (near, middle)
        ends.append(ends[-1] - near)
    return ends


@lru_cache(maxsize=64)
def exponential_lines(segments: int, equal_widths: bool) -> tuple[tuple[Line, ...], float]:
    """Return the lines nearest to exp on x <= 0 that are followed by the constant 0, and the error.

    All segments have one error E (or, by `equal_widths`, one width): chords lowered by E, so that
    neighbors meet and the last one ends at 0, where exp(x) = E.
    """
    low, high = 1e-9, 0.5 if not equal_widths else 10.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if equal_widths:
            short = math.exp(-segments * middle) > _chord(-middle, 0.0)[1]
        else:
            short = math.exp(_equal_errors(middle, segments)[-1]) > middle
        low, high = (middle, high) if short else (low, middle)
    if equal_widths:
        ends, error = [-high * index for index in range(segments + 1)], _chord(-high, 0.0)[1]
    else:
        ends, error = _equal_errors(high, segments), high
    lines = []
    for q, p in zip(ends, ends[1:], strict=False):
        slope = _chord(p, q)[0]
        lines.append(Line(p, slope, math.exp(q) - error - slope * q))
    return tuple(lines), error


@dataclass(frozen=True, slots=True)
class ClippedLine:
    """A line in integers: clip((slope * x + height + half) >> guard_bits, low, high) from `first`.

    Args:
        first: Smallest code difference that it serves.
        slope: A.
        height: B.
        low: L.
        high: U.
    """

    first: int
    slope: int
    height: int
    low: int
    high: int


def clipped_lines(rule: OperatorRule, scale: float) -> tuple[ClippedLine, ...]:
    """Return the integer coefficients of a PIECEWISE rule at an input scale, from 0 downward.

    Each line is clipped to its end values, so that a rounded slope cannot leak past a breakpoint;
    the first may reach 1, the last ends at 0.
    """
    one = 2.0 ** (rule.fraction_bits + rule.guard_bits)
    lines, _ = exponential_lines(rule.segments, rule.equal_segments)
    made: list[ClippedLine] = []
    for index, line in enumerate(lines):
        low, high = 0, made[-1].low if made else 1 << rule.fraction_bits
        if index < len(lines) - 1:
            low = round((line.slope * line.end + line.height) * 2.0**rule.fraction_bits)
        made.append(
            ClippedLine(
                math.ceil(line.end / scale), round(line.slope * scale * one),
                round(line.height * one), low, high,
            )
        )  # fmt: skip
    return tuple(made)


def _piecewise(rule: OperatorRule, scale: float, span: int) -> Exponential:
    half = (1 << rule.guard_bits) >> 1
    codes, widest = [0] * (span + 1), 0
    start = 0
    for line in clipped_lines(rule, scale):
        for x in range(start, max(line.first, -span) - 1, -1):
            total = line.slope * x + line.height + half
            widest = max(widest, abs(total))
            codes[x + span] = min(max(total >> rule.guard_bits, line.low), line.high)
        start = min(start, line.first - 1)
    bits = widest.bit_length() + 1
    unit = 2.0**-rule.fraction_bits
    return Exponential(-span, _fitting(codes, bits, "piecewise", scale), scale, unit, bits)
