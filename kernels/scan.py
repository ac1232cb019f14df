"""Every accumulator of an interval under two scalings: where they give different codes."""

from .arith import Scaling, requantize
from .jit import jit


@jit
def _first_above(scaling: Scaling, channel: int, low: int, high: int, code: int) -> int:
    """Return the smallest accumulator in [low, high] with a code above `code`, or high + 1."""
    first, last = low, high + 1
    while first < last:
        middle = (first + last) >> 1
        if requantize(middle, scaling, channel) > code:
            last = middle
        else:
            first = middle + 1
    return first


@jit
def next_apart(one: Scaling, two: Scaling, channel: int, low: int, high: int) -> int:
    """Return the smallest accumulator in [low, high] that the scalings map apart, or high + 1.

    Codes rise with the accumulator, so the ends that both clamp to one code are skipped.
    """
    bottom, top = requantize(low, one, channel), requantize(high, one, channel)
    if bottom != requantize(low, two, channel):
        return low
    first = min(
        _first_above(one, channel, low, high, bottom), _first_above(two, channel, low, high, bottom)
    )
    last = high
    if top == requantize(high, two, channel):
        last = max(
            _first_above(one, channel, low, high, top - 1),
            _first_above(two, channel, low, high, top - 1),
        )
    for acc in range(first, last + 1):
        if requantize(acc, one, channel) != requantize(acc, two, channel):
            return acc
    return high + 1


@jit
def nearest_apart(one: Scaling, two: Scaling, channel: int, limit: int) -> int:
    """Return the accumulator nearest to 0 that the scalings map apart, or limit + 1 if none.

    Positive before negative; accumulators in [-limit, limit] are tried.
    """
    for magnitude in range(limit + 1):
        for acc in (magnitude, -magnitude):
            if requantize(acc, one, channel) != requantize(acc, two, channel):
                return acc
    return limit + 1
