"""The fastest dataflow design that fits a part, exactly.

The interval between results is that of the slowest layer. For an interval T, each layer offers
its foldings of at most T cycles; T can be kept if one folding per layer can be chosen with the
summed LUT sites, DSP blocks and memory blocks within the budget. That question is answered in
three steps, each of which is a proof: prices on the resources (a Lagrangian bound) show that no
choice fits, or their cheapest choice does fit; else a dynamic program over (DSP, BRAM) with
least LUT sites decides. A smaller T never fits where a larger one does not, so bisection over
the cycles that occur finds the least.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .circuits import Foldings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_EMPTY = np.zeros((0, 3), dtype=np.int64)
_NONE = np.zeros(0, dtype=np.int64)
_ROWS = 1_000_000  # of sums held at once
_ROUNDS = 60  # of the price search; more only save dynamic programs


@dataclass(frozen=True, slots=True)
class Design:
    """One folding per layer.

    Args:
        interval: Cycles between results.
        choice: Index of each layer's folding.
    """

    interval: int
    choice: tuple[int, ...]


def fastest(layers: Sequence[Foldings], budget: Ints) -> Design | None:
    """Return the design with the smallest interval, or None if none fits.

    Of the designs with that interval it is the one with the least summed shares of the budget
    where that one fits.

    Args:
        layers: The foldings of every layer.
        budget: Usable (lc, dsp, bram).
    """
    if not layers:
        return Design(0, ())
    needs = [layer.need for layer in layers]
    times = np.unique(np.concatenate([layer.cycles for layer in layers]))
    times = times[times >= max(int(layer.cycles.min()) for layer in layers)]

    def fit(interval: int) -> list[int] | None:
        kept = [_offered(layer.cycles, need, interval) for layer, need in zip(layers, needs)]
        found = choose([need[rows] for need, rows in zip(needs, kept)], budget)
        if found is None:
            return None
        return [int(rows[index]) for rows, index in zip(kept, found)]

    best = fit(int(times[-1]))
    if best is None:
        return None
    low, high = -1, len(times) - 1
    while high - low > 1:
        middle = (low + high) // 2
        found = fit(int(times[middle]))
        if found is None:
            low = middle
        else:
            best, high = found, middle
    interval = max(int(layer.cycles[index]) for layer, index in zip(layers, best))
    return Design(interval, tuple(best))


def _offered(cycles: Ints, need: Ints, interval: int) -> Ints:
    """Return the foldings of at most `interval` cycles that no other beats in every resource."""
    rows = np.flatnonzero(cycles <= interval)
    order = np.lexsort((need[rows, 0], need[rows, 2], need[rows, 1]))
    rows = rows[order]
    kept = need[rows]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = np.any(kept[1:, 1:] != kept[:-1, 1:], axis=1)
    rows, kept = rows[first], kept[first]
    worse = np.all(kept[:, None, :] >= kept[None, :, :], axis=2) & ~np.eye(len(kept), dtype=bool)
    unbeaten: Ints = rows[~np.any(worse, axis=1)]
    return unbeaten


def cheapest(layer: Foldings, interval: int, budget: Ints) -> int:
    """Return the folding that keeps an interval with the least summed shares of the budget.

    If none keeps it, the fastest.
    """
    rows = np.flatnonzero(layer.cycles <= interval)
    if not len(rows):
        rows = np.flatnonzero(layer.cycles == layer.cycles.min())
    shares = (layer.need[rows] / np.maximum(budget, 1)).sum(axis=1)
    return int(rows[np.lexsort((layer.cycles[rows], shares))[0]])


def choose(needs: Sequence[Ints], budget: Ints) -> list[int] | None:
    """Return one row per layer whose sum is within the budget, or None if there is none.

    Args:
        needs: By layer, shape (options, 3).
        budget: Shape (3,).
    """
    unit = np.maximum(budget, 1)
    shares = [need / unit for need in needs]
    limit = np.where(budget > 0, 1.0, 0.0)
    price = np.full(3, 1 / 3)
    best_price, best_slack = price, -np.inf
    for step in range(_ROUNDS):
        picked = [int(np.argmin(share @ price)) for share in shares]
        total = np.sum([need[i] for need, i in zip(needs, picked)], axis=0)
        if (total <= budget).all():
            return picked
        used = total / unit
        slack = float(price @ (used - limit))
        if slack > 1e-9:
            return None
        if slack > best_slack:
            best_price, best_slack = price, slack
        price = np.maximum(price + (used - limit) * 0.5 / (1 + step), 0.0)
        price = price / max(price.sum(), 1e-12)
    return _search(needs, budget, best_price)


def _search(needs: Sequence[Ints], budget: Ints, price: Floats) -> list[int] | None:
    """Decide by a dynamic program: least LUT sites by (DSP, BRAM), bounded by the prices."""
    unit = np.maximum(budget, 1)
    limit = float(price @ np.where(budget > 0, 1.0, 0.0)) + 1e-9
    order = sorted(range(len(needs)), key=lambda i: -len(needs[i]))
    floors = [need.min(axis=0) for need in needs]
    bounds = [float((need / unit @ price).min()) for need in needs]
    states = np.zeros((1, 3), dtype=np.int64)
    history: list[tuple[Ints, Ints]] = []
    for place, layer in enumerate(order):
        rest = [order[i] for i in range(place + 1, len(order))]
        floor = np.sum([floors[i] for i in rest], axis=0, dtype=np.int64) if rest else 0
        bound = sum(bounds[i] for i in rest)
        options = needs[layer]
        new, parents, picks = _EMPTY, _NONE, _NONE
        step = max(_ROWS // len(states), 1)
        for start in range(0, len(options), step):
            part = options[start : start + step]
            sums = (states[:, None, :] + part[None, :, :]).reshape(-1, 3)
            within = np.all(sums + floor <= budget, axis=1)
            within &= sums / unit @ price + bound <= limit
            kept = np.flatnonzero(within)
            new = np.concatenate([new, sums[kept]])
            parents = np.concatenate([parents, kept // len(part)])
            picks = np.concatenate([picks, start + kept % len(part)])
            first = _least_by_blocks(new, int(budget[2]))
            new, parents, picks = new[first], parents[first], picks[first]
        if not len(new):
            return None
        states = new
        history.append((parents, picks))
    shares = (states / unit).sum(axis=1)
    at = int(np.argmin(shares))
    choice = [0] * len(needs)
    for place in range(len(order) - 1, -1, -1):
        parents, picks = history[place]
        choice[order[place]] = int(picks[at])
        at = int(parents[at])
    return choice


def _least_by_blocks(states: Ints, most_memory: int) -> Ints:
    """Return the row of least LUT sites for every (DSP, BRAM) that occurs."""
    key = states[:, 1] * (most_memory + 1) + states[:, 2]
    order = np.lexsort((states[:, 0], key))
    first = np.ones(len(order), dtype=bool)
    first[1:] = key[order][1:] != key[order][:-1]
    rows: Ints = order[first]
    return rows
