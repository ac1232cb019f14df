"""Vectors of exact integers wider than 64 bits, as limbs of 62 bits.

A float is a whole number over a power of two, so a table of floats becomes a table of integers
without rounding; those integers need 80 to 120 bits. A `Wide` holds n of them as int64 arrays of
shape (n,), most significant limb first, each limb in [0, 2**62). All values are >= 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMB_BITS = 62
_MASK = (1 << LIMB_BITS) - 1

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Wide = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How integers up to a known total are stored.

    Args:
        limbs: Number of limbs.
        shift: Left shift of every value, so that the first limb tells most values apart.
    """

    limbs: int
    shift: int

    @classmethod
    def holding(cls, total: int) -> "Layout":
        """Return the layout that holds every integer in [0, total]."""
        bits = max(total.bit_length(), 1)
        limbs = -(-bits // LIMB_BITS)
        return cls(limbs, LIMB_BITS * limbs - bits if limbs > 1 else 0)

    def pack(self, values: Sequence[int]) -> Wide:
        """Return non-negative integers as limbs."""
        shifted = [value << self.shift for value in values]
        return tuple(
            np.array([value >> LIMB_BITS * place & _MASK for value in shifted], np.int64)
            for place in reversed(range(self.limbs))
        )

    def value(self, wide: Wide, index: int) -> int:
        """Return one integer of a vector."""
        total = 0
        for limb in wide:
            total = (total << LIMB_BITS) + int(limb[index])
        return total >> self.shift

    def at_most(self, wide: Wide, limit: int) -> Mask:
        """Return which values are <= limit, shape (n,)."""
        if limit < 0 or (limit << self.shift).bit_length() > LIMB_BITS * self.limbs:
            return np.full(len(wide[0]), limit >= 0)
        bounds = [int(limb[0]) for limb in self.pack([limit])]
        fits: Mask = wide[-1] <= bounds[-1]
        for limb, bound in zip(wide[-2::-1], bounds[-2::-1], strict=True):
            fits = (limb < bound) | ((limb == bound) & fits)
        return fits


def take(wide: Wide, index: Index) -> Wide:
    """Return the values at `index`."""
    return tuple(limb[index] for limb in wide)


def add(left: Wide, right: Wide) -> Wide:
    """Return the sums of two vectors of one length; each sum must fit the layout."""
    limbs = []
    carry: NDArray[np.int64] | None = None
    for place in reversed(range(len(left))):
        limb = left[place] + right[place]  # < 2**63: both below 2**62
        if carry is not None:
            limb += carry
        if place:
            carry = limb >> LIMB_BITS
            limb &= _MASK
        limbs.append(limb)
    return tuple(reversed(limbs))


def ranks(wide: Wide) -> NDArray[np.int64]:
    """Return the dense rank of every value, equal for equal values, shape (n,)."""
    order = np.lexsort(wide[::-1])
    steps = np.zeros(len(order), np.int64)
    for limb in wide:
        placed = limb[order]
        steps[1:] |= placed[1:] != placed[:-1]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.cumsum(steps)
    return rank


def staircase(costs: Wide, scores: Wide) -> Index:
    """Return the nondominated (cost, score) pairs, in rising cost and falling score.

    Of equal pairs the first stays.
    """
    order = np.argsort(costs[0], kind="stable")
    first = costs[0][order]
    if np.any(first[1:] == first[:-1]):
        order = np.lexsort((*scores[::-1], *costs[::-1]))
    key = scores[0][order]
    keep, tied = _new_minima(key)
    if len(scores) > 1 and tied:
        keep, _ = _new_minima(ranks(scores)[order])
    return order[keep]


def _new_minima(key: NDArray[np.int64]) -> tuple[Mask, bool]:
    """Return where `key` falls below all before it, and whether it ever ties with their least."""
    least = np.minimum.accumulate(key)[:-1]
    keep = np.ones(len(key), np.bool_)
    keep[1:] = key[1:] < least
    return keep, bool(np.any(key[1:] == least))


def _under_a_staircase(table: NDArray[np.int64], *, block: int = 1024) -> Mask:
    """Return which points a point of an earlier block dominates.

    Args:
        table: Distinct points, shape (3, n), in rising order of the first row.
        block: Points between updates of the staircase of (second, third) coordinates.
    """
    _, second, third = table
    beaten = np.zeros(len(second), np.bool_)
    stairs = np.array([-1]), np.array([third.max(initial=0) + 1])
    for start in range(0, len(second), block):
        part = slice(start, start + block)
        below = np.searchsorted(stairs[0], second[part], side="right") - 1
        beaten[part] = stairs[1][below] <= third[part]
        left = np.concatenate((stairs[0], second[part]))
        right = np.concatenate((stairs[1], third[part]))
        order = np.lexsort((right, left))
        keep, _ = _new_minima(right[order])
        stairs = left[order][keep], right[order][keep]
    return beaten


def undominated(columns: Sequence[Wide], *, reach: int = 16) -> Index:
    """Return a subset of the points that still holds every nondominated one, in rising order.

    Exact duplicates fall, the first stays. Each other point is compared with its `reach`
    neighbors in the order of every column, so some dominated points may remain.

    Args:
        columns: One vector per coordinate, all to be small.
        reach: Neighbors compared, in each order.
    """
    table = np.stack([ranks(column) for column in columns])
    order = np.lexsort(table[::-1])
    table = table[:, order]
    distinct = np.ones(len(order), np.bool_)
    distinct[1:] = np.any(table[:, 1:] != table[:, :-1], axis=0)
    order, table = order[distinct], table[:, distinct]
    beaten = np.zeros(len(order), np.bool_)
    if len(table) == 3:
        beaten |= _under_a_staircase(table)
        order, table = order[~beaten], table[:, ~beaten]
        beaten = np.zeros(len(order), np.bool_)
    for row in table:
        by_row = np.argsort(row, kind="stable")
        placed = table[:, by_row]
        for step in range(1, min(reach, len(order) - 1) + 1):
            worse = np.all(placed[:, :-step] <= placed[:, step:], axis=0)
            beaten[by_row[step:][worse]] = True
    return order[~beaten]
