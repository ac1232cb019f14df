"""Shadow prices of several budgets: where the Lagrangian bound of an allocation is highest.

Any prices >= 0 give a valid bound, so these need not be exact: they decide how fast an exact search
is, never what it answers.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def dual_prices(
    costs: Sequence[Sequence[Sequence[int]]],
    scores: Sequence[Sequence[int]],
    rooms: Sequence[int],
    *,
    cuts_per_price: int = 120,
) -> tuple[Fraction, ...]:
    """Return prices that maximize ``sum_u min_k(score + price * cost) - price * room``.

    Args:
        costs: By resource (two or more), unit and option, each unit's least is 0.
        scores: By unit and option, each unit's least is 0.
        rooms: Budget of each resource.
        cuts_per_price: Ellipsoid cuts per resource and resource.

    Returns:
        Score per unit of each resource, >= 0, near the maximum.

    Method: the ellipsoid method with deep cuts, which needs no linear-programming solver.
    Source: Shor 1977; Bland, Goldfarb & Todd 1981.
    """
    score_range = sum(map(max, scores)) or 1
    ranges = [sum(map(max, table)) or 1 for table in costs]
    score = _padded(scores, score_range)
    cost = np.stack([_padded(table, size) for table, size in zip(costs, ranges, strict=True)])
    room = np.array([limit / size for limit, size in zip(rooms, ranges, strict=True)])
    count = len(rooms)
    rows = np.arange(len(scores))

    def bound(prices: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        reduced = score + np.tensordot(prices, cost, 1)
        pick = np.argmin(reduced, axis=1)
        slope: NDArray[np.float64] = cost[:, rows, pick].sum(axis=1) - room
        return float(reduced[rows, pick].sum() - prices @ room), slope

    center = np.zeros(count)
    best, best_bound = center, bound(center)[0]
    shape = np.eye(count) * 1e6  # prices up to a thousand score ranges per cost range
    for _ in range(cuts_per_price * count * (count + 1)):
        outside = int(np.argmin(center))
        if center[outside] < 0:
            cut, depth = -np.eye(count)[outside], -center[outside]
        else:
            value, slope = bound(center)
            if value > best_bound:
                best, best_bound = center, value
            cut, depth = -slope, best_bound - value
        width = float(np.sqrt(max(cut @ shape @ cut, 0.0)))
        if width < 1e-13 or depth >= width:
            break
        step = shape @ cut / width
        ratio = depth / width
        center = center - (1 + count * ratio) / (count + 1) * step
        shape = (
            count**2
            / (count**2 - 1)
            * (1 - ratio**2)
            * (shape - 2 * (1 + count * ratio) / ((count + 1) * (1 + ratio)) * np.outer(step, step))
        )
    return tuple(
        Fraction(float(price)) * score_range / size
        for price, size in zip(best, ranges, strict=True)
    )


def _padded(table: Sequence[Sequence[int]], size: int) -> NDArray[np.float64]:
    """Return rows of different lengths as one array, in ranges; a row's last value repeats."""
    width = max(map(len, table))
    return np.array([[row[min(k, len(row) - 1)] / size for k in range(width)] for row in table])
