"""Piecewise-linear exponential with integer coefficients, and its softmax with exact division.

Form: y = clip((A * x + B + 2**(n-1)) >> n, L, U) for a code difference x <= 0, F fraction bits
and n guard bits; QAOF's clip(a * x + b, l, u), one line or several. Minimax lines: slope of the
chord, tangent at ln(slope), half the gap. Segments of one error E meet, as each is E below the
exponential at its ends: the last one ends at 0, where exp(x) = E, and beyond it the code is 0.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

Line = tuple[float, float]  # slope, height at 0
Segment = tuple[int, int, int, int, int]  # smallest code difference, A, B, L, U


def minimax_line(p: float, q: float) -> tuple[Line, float]:
    """Return the line nearest to exp on [p, q] and its error."""
    slope = (math.exp(q) - math.exp(p)) / (q - p)
    gap = math.exp(p) + slope * (math.log(slope) - p) - slope
    return (slope, math.exp(p) - slope * p - gap / 2), gap / 2


def breakpoints(error: float, segments: int) -> list[float]:
    """Return the ends of segments of one error each, from 0 downward, as far as they reach."""
    ends = [0.0]
    for _ in range(segments):
        low, high = ends[-1] - 50.0, ends[-1] - 1e-9
        if minimax_line(low, ends[-1])[1] <= error:
            return [*ends, low]
        for _ in range(200):
            middle = (low + high) / 2
            if minimax_line(middle, ends[-1])[1] > error:
                low = middle
            else:
                high = middle
        ends.append(high)
    return ends


def optimal_error(segments: int, tail: int = 1) -> float:
    """Return the least E for which `segments` lines of error E reach exp(x) = tail * E.

    A tail of 1 goes on with the constant 0, one of 2 with the constant E.
    """
    low, high = 0.0, 0.5
    for _ in range(200):
        error = (low + high) / 2
        if math.exp(breakpoints(error, segments)[-1]) > tail * error:
            low = error
        else:
            high = error
    return high


def uniform_error(segments: int) -> tuple[float, float]:
    """Return (E, width) of chords of one width, all lowered by E, that end at exp(x) = E."""
    low, high = 1e-6, 10.0
    for _ in range(200):
        width = (low + high) / 2
        if math.exp(-segments * width) > minimax_line(-width, 0.0)[1]:
            low = width
        else:
            high = width
    return minimax_line(-high, 0.0)[1], high


@cache
def lines(segments: int, *, uniform: bool) -> list[tuple[float, float, float]]:
    """Return (lower end, slope, height at 0) of each segment, from 0 downward."""
    if uniform:
        error, width = uniform_error(segments)
        ends = [-width * k for k in range(segments + 1)]
    else:
        error = optimal_error(segments)
        ends = breakpoints(error, segments)
    made = []
    for q, p in zip(ends, ends[1:], strict=False):
        slope = (math.exp(q) - math.exp(p)) / (q - p)
        made.append((p, slope, math.exp(q) - error - slope * q))
    return made


def integers(
    segments: Sequence[tuple[float, float, float]], scale: float, fraction: int, guard: int
) -> list[Segment]:
    """Return the integer coefficients of lines; each is clipped to its end values.

    The first line's upper clip is 1 and the last one's lower clip is 0.
    """
    made: list[Segment] = []
    for index, (end, slope, height) in enumerate(segments):
        last = index == len(segments) - 1
        low = 0 if last else round((slope * end + height) * 2**fraction)
        high = made[-1][3] if made else 2**fraction
        a = round(slope * scale * 2 ** (fraction + guard))
        b = round(height * 2 ** (fraction + guard))
        made.append((math.ceil(end / scale), a, b, low, high))
    return made


def clip_exp(x: int, segments: Sequence[Segment], guard_bits: int) -> int:
    """Return the exponential of a code difference; segments run from 0 downward, then comes 0."""
    for first, a, b, low, high in segments:
        if x >= first:
            code = math.floor(Fraction(a * x + b, 2**guard_bits) + Fraction(1, 2))
            return min(max(code, low), high)
    return 0


def softmax(exps: Sequence[int], bits: int = 8) -> list[int]:
    """Return e / sum(e) in units of 2**-bits, halves up, saturated at 2**bits - 1."""
    total = sum(exps)
    return [
        min(math.floor(Fraction(e * 2**bits, total) + Fraction(1, 2)), 2**bits - 1) for e in exps
    ]
