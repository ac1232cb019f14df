"""The exact multiple-choice knapsack with one budget, and its whole front.

Minimize the sum of the chosen scores with the sum of the chosen costs within a budget, one
option per unit. Everything is an integer, so a proof is a proof: linear-programming bound over the
units' lower hulls, reduced-cost fixing, then a dominance dynamic program over what is left.

Source: Sinha & Zoltners 1979 (hulls and bound), Dyer, Riha & Walker 1995 (bound and dominance in
one), Pisinger 1995 (core of the program). Oracle: tests/oracle/allocation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import BudgetError, InputError, SearchError
from hwsim.wide import Index, Layout, Wide, add, staircase, take

MAX_STATES = 2_000_000
SLACK = 1e-9  # of a reduced cost in float64: keeps a little too much, never drops an answer

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Solution:
    """A proved optimum of one budget; of equal scores, the cheapest.

    Args:
        choice: Index of the chosen option, by unit.
        cost: Summed cost, at most the budget.
        objective: Summed score; no choice within the budget has less.
        relaxed_bound: Optimum of the linear relaxation, at most `objective`.
        dual: Score that one more unit of budget buys, from the relaxation; >= 0.
        upgrade: (unit, option) that the relaxation buys next; None where the budget is slack.
        states: Most states that the dynamic program held at once.
    """

    choice: tuple[int, ...]
    cost: int
    objective: int
    relaxed_bound: Fraction
    dual: Fraction
    upgrade: tuple[int, int] | None
    states: int


class _Segment(NamedTuple):
    """One step down a unit's hull: `rise` more cost buys `fall` less score."""

    unit: int
    target: int
    rise: int
    fall: int


@dataclass(frozen=True, slots=True)
class Knapsack:
    """A prepared problem: hulls and segments do not depend on the budget.

    Args:
        costs: By unit and option, >= 0, each unit's least is 0; in steps of `step`.
        scores: By unit and option, >= 0, each unit's least is 0; in steps of `score_step`.
        base: Summed least costs, in the caller's integers.
        step: What the costs were divided by.
        score_base: Summed least scores, in the caller's integers.
        score_step: What the scores were divided by.
        starts: The first hull point of every unit: its cheapest option.
        segments: All hull segments, steepest first.
    """

    costs: tuple[tuple[int, ...], ...]
    scores: tuple[tuple[int, ...], ...]
    base: int
    step: int
    score_base: int
    score_step: int
    starts: tuple[int, ...]
    segments: tuple[_Segment, ...]

    @classmethod
    def of(cls, costs: Rows, scores: Rows) -> "Knapsack":
        """Prepare integer tables, any sign and size, of one shape.

        Raises:
            InputError: If the tables differ in shape or a unit has no option.
        """
        if [len(row) for row in costs] != [len(row) for row in scores] or not all(costs):
            raise InputError("costs and scores must have the same options, at least one per unit")
        base, step, small_costs = _shrink(costs)
        score_base, score_step, small_scores = _shrink(scores)
        hulls = [_hull(*rows) for rows in zip(small_costs, small_scores, strict=True)]
        segments = [
            _Segment(unit, right, row[right] - row[left], fall[left] - fall[right])
            for unit, (hull, row, fall) in enumerate(
                zip(hulls, small_costs, small_scores, strict=True)
            )
            for left, right in zip(hull, hull[1:], strict=False)
        ]
        segments.sort(key=lambda segment: Fraction(-segment.fall, segment.rise))
        return cls(
            costs=small_costs,
            scores=small_scores,
            base=base,
            step=step,
            score_base=score_base,
            score_step=score_step,
            starts=tuple(hull[0] for hull in hulls),
            segments=tuple(segments),
        )

    def solve(self, budget: int, *, max_states: int = MAX_STATES) -> Solution:
        """Return the optimum within a budget.

        Raises:
            BudgetError: If every choice costs more.
            SearchError: If the program would hold more than `max_states` states.
        """
        room = (budget - self.base) // self.step
        if room < 0:
            raise BudgetError(f"budget must be at least {self.base}, not {budget}")
        relaxed, left, broken = self._relax(room)
        incumbent = self._fill(relaxed, left)
        price, weight = (broken.fall, broken.rise) if broken else (0, 1)
        reduced = [
            [weight * score + price * cost for cost, score in zip(*rows, strict=True)]
            for rows in zip(self.costs, self.scores, strict=True)
        ]
        floors = [min(row) for row in reduced]
        best = sum(row[k] for row, k in zip(self.scores, incumbent, strict=True))
        gap = weight * best - sum(floors) + price * room
        assert gap >= 0, "a relaxation bounds every feasible choice"
        kept = [
            [k for k, value in enumerate(row) if value - floor <= gap]
            for row, floor in zip(reduced, floors, strict=True)
        ]
        shares = [
            [(row[k] - floor) / gap if gap else 0.0 for k in ks]
            for row, floor, ks in zip(reduced, floors, kept, strict=True)
        ]
        choice, states = self._search(room, kept, shares, max_states)
        objective = sum(row[k] for row, k in zip(self.scores, choice, strict=True))
        cost = sum(row[k] for row, k in zip(self.costs, choice, strict=True))
        bound = Fraction(sum(floors) - price * room, weight)
        assert cost <= room and bound <= objective <= best, "the certificate must hold"
        return Solution(
            choice=choice,
            cost=cost * self.step + self.base,
            objective=objective * self.score_step + self.score_base,
            relaxed_bound=bound * self.score_step + self.score_base,
            dual=Fraction(price * self.score_step, weight * self.step),
            upgrade=(broken.unit, broken.target) if broken else None,
            states=states,
        )

    def front(self, *, max_states: int = MAX_STATES) -> tuple[tuple[int, ...], ...]:
        """Return one choice per nondominated (cost, score), in rising cost.

        Raises:
            SearchError: If a part of the front has more than `max_states` points.
        """
        kept = [list(range(len(row))) for row in self.costs]
        layers = _Layers(self.costs, self.scores, kept)
        for unit in range(len(kept)):
            layers.merge(unit)
            layers.refuse_more_than(max_states)
        return layers.choices()

    def _relax(self, room: int) -> tuple[list[int], int, _Segment | None]:
        """Walk down the hulls, steepest first; return choice, room left, the segment too big."""
        choice = list(self.starts)
        for segment in self.segments:
            if segment.rise > room:
                return choice, room, segment
            choice[segment.unit] = segment.target
            room -= segment.rise
        return choice, room, None

    def _fill(self, choice: list[int], room: int) -> list[int]:
        """Improve a choice by every segment target that still fits."""
        filled = list(choice)
        for segment in self.segments:
            costs, scores = self.costs[segment.unit], self.scores[segment.unit]
            now, then = filled[segment.unit], segment.target
            if scores[then] < scores[now] and costs[then] - costs[now] <= room:
                room -= costs[then] - costs[now]
                filled[segment.unit] = then
        return filled

    def _search(
        self, room: int, kept: list[list[int]], shares: list[list[float]], max_states: int
    ) -> tuple[tuple[int, ...], int]:
        """Run the dominance program over the kept options; return choice and most states."""
        layers = _Layers(self.costs, self.scores, kept)
        free = [unit for unit, ks in enumerate(kept) if len(ks) > 1]
        free.sort(key=lambda unit: -max(shares[unit]))
        cheapest = [min(self.costs[unit][k] for k in kept[unit]) for unit in range(len(kept))]
        tail = sum(cheapest)
        for unit in range(len(kept)):
            if len(kept[unit]) == 1:
                layers.fix(unit)
                tail -= cheapest[unit]
        most = 1
        share = np.zeros(1)
        for unit in free:
            tail -= cheapest[unit]
            share = layers.merge(unit, share, np.array(shares[unit]), room - tail)
            layers.refuse_more_than(max_states)
            most = max(most, len(share))
        return layers.last_choice(), most


class _Layers:
    """Nondominated partial sums, unit by unit, with the way back."""

    def __init__(
        self, costs: Sequence[Sequence[int]], scores: Sequence[Sequence[int]], kept: list[list[int]]
    ) -> None:
        """Start with one empty state."""
        self._costs, self._scores, self._kept = costs, scores, kept
        self._layout = Layout.holding(sum(map(max, costs)))
        self._score_layout = Layout.holding(sum(map(max, scores)))
        self._cost: Wide = self._layout.pack([0])
        self._score: Wide = self._score_layout.pack([0])
        self._steps: list[tuple[int, Index, Index]] = []
        self._fixed = [ks[0] for ks in kept]

    def fix(self, unit: int) -> None:
        """Add the only option of a unit to every state."""
        k = self._kept[unit][0]
        self._cost = add(self._cost, self._layout.pack([self._costs[unit][k]]))
        self._score = add(self._score, self._score_layout.pack([self._scores[unit][k]]))

    def merge(
        self,
        unit: int,
        share: NDArray[np.float64] | None = None,
        shares: NDArray[np.float64] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.float64]:
        """Combine every state with every kept option of a unit and drop what is dominated.

        Args:
            unit: Whose options.
            share: Reduced cost of the states, in gaps; states above 1 are dropped.
            shares: Reduced cost of the options, in gaps.
            limit: Largest cost that can still be completed.
        """
        options = self._kept[unit]
        count = len(self._cost[0])
        if share is not None and shares is not None:
            sums = (shares[:, None] + share).ravel()
            index = np.flatnonzero(sums <= 1 + SLACK)
            sums = sums[index]
        else:
            index = np.arange(count * len(options))
            sums = np.zeros(len(index))
        option, parent = np.divmod(index, count)
        added = self._layout.pack([self._costs[unit][k] for k in options])
        cost = add(take(self._cost, parent), take(added, option))
        if limit is not None:
            fits = np.flatnonzero(self._layout.at_most(cost, limit))
            cost, sums, option, parent = take(cost, fits), sums[fits], option[fits], parent[fits]
        gained = self._score_layout.pack([self._scores[unit][k] for k in options])
        score = add(take(self._score, parent), take(gained, option))
        stairs = staircase(cost, score)
        self._cost, self._score = take(cost, stairs), take(score, stairs)
        names = np.array(options)
        self._steps.append((unit, parent[stairs], names[option[stairs]]))
        return sums[stairs]

    def refuse_more_than(self, max_states: int) -> None:
        """Stop a search that outgrows its memory."""
        count = len(self._cost[0])
        if count > max_states:
            raise SearchError(
                f"max_states must be at least {count} to go on, not {max_states}; "
                "merge units or offer fewer options"
            )

    def last_choice(self) -> tuple[int, ...]:
        """Return the choice behind the state of least score."""
        choice, state = list(self._fixed), len(self._cost[0]) - 1
        for unit, parent, option in reversed(self._steps):
            choice[unit] = int(option[state])
            state = int(parent[state])
        return tuple(choice)

    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Return the choice behind every state, in rising cost."""
        table = np.empty((len(self._cost[0]), len(self._fixed)), np.int64)
        table[:] = self._fixed
        state: Index = np.arange(len(table))
        for unit, parent, option in reversed(self._steps):
            table[:, unit] = option[state]
            state = parent[state]
        return tuple(map(tuple, table.tolist()))


def solve(costs: Rows, scores: Rows, budget: int, *, max_states: int = MAX_STATES) -> Solution:
    """Choose one option per unit, of least summed score, within a budget.

    Args:
        costs: By unit and option; any integers, monotone or not.
        scores: By unit and option, smaller is better.
        budget: Largest summed cost.
        max_states: Most states that the search may hold at once, about 50 bytes each and unit.

    Raises:
        BudgetError: If every choice costs more; the sentence names the least.
        InputError: If the tables differ in shape.
        SearchError: If the search would outgrow `max_states`.

    Source: Sinha & Zoltners 1979; Dyer, Riha & Walker 1995; Pisinger 1995.
    Oracle: tests/oracle/allocation.py.
    """
    return Knapsack.of(costs, scores).solve(budget, max_states=max_states)


def _shrink(table: Rows) -> tuple[int, int, tuple[tuple[int, ...], ...]]:
    """Return (sum of row minima, common divisor, rows shifted to 0 and divided)."""
    floors = [min(row) for row in table]
    step = gcd(*(value - floor for row, floor in zip(table, floors, strict=True) for value in row))
    step = step or 1
    rows = tuple(
        tuple((value - floor) // step for value in row)
        for row, floor in zip(table, floors, strict=True)
    )
    return sum(floors), step, rows


def _hull(costs: Sequence[int], scores: Sequence[int]) -> list[int]:
    """Return the options on a unit's lower left convex hull, in rising cost."""
    hull: list[int] = []
    for k in sorted(range(len(costs)), key=lambda k: (costs[k], scores[k])):
        if hull and scores[k] >= scores[hull[-1]]:
            continue
        while len(hull) > 1:
            i, j = hull[-2:]
            before = (scores[j] - scores[i]) * (costs[k] - costs[j])
            if before < (scores[k] - scores[j]) * (costs[j] - costs[i]):
                break
            hull.pop()
        hull.append(k)
    return hull
