"""The exact multiple-choice knapsack with several budgets.

A Lagrangian bound prices the budgets; options whose reduced cost exceeds the gap to the best known
answer fall; a dominance program over (cost of every budget, score) settles the rest. The program
first runs with few states to find a good answer, then with more until it needed to drop none: that
run is the proof.

Source: Everett 1963 (prices), Marsten & Morin 1978 (dominance and bound in one program).
Oracle: tests/oracle/allocation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from hwsim.errors import SearchError
from hwsim.mckp import MAX_STATES, SLACK, Knapsack, Rows
from hwsim.prices import dual_prices
from hwsim.wide import Index, Layout, add, take, undominated

WIDTHS = (500, 5_000, 50_000, 500_000)  # states of the successive sweeps
CROWD = 4  # candidates per state that a narrow sweep looks at
MOVES = 600  # options that a polish combines, those of least reduced cost


@dataclass(frozen=True, slots=True)
class Optimum:
    """A proved optimum within all budgets; of equal scores, always the same one.

    Args:
        choice: Index of the chosen option, by unit.
        objective: Summed score; no choice within the budgets has less.
        duals: Score that one more unit of each budget buys, from the relaxation; >= 0.
    """

    choice: tuple[int, ...]
    objective: int
    duals: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No choice meets the budgets together.

    Args:
        budget: Index of the first budget that cannot join those before it.
        smallest: The least cost of that resource with the budgets before it kept.
    """

    budget: int
    smallest: int


def solve_all(
    costs: Sequence[Rows], scores: Rows, budgets: Sequence[int], *, max_states: int = MAX_STATES
) -> Optimum | Unreachable:
    """Choose one option per unit, of least summed score, within every budget.

    Args:
        costs: By budget, unit and option; any integers.
        scores: By unit and option, smaller is better.
        budgets: Largest summed cost, by budget; at least one.
        max_states: Most states that the search may hold at once.

    Returns:
        The optimum, or which budget is out of reach.

    Raises:
        SearchError: If the proof would outgrow `max_states`.
    """
    sacks = [Knapsack.of(table, scores) for table in costs]
    for index, (sack, limit) in enumerate(zip(sacks, budgets, strict=True)):
        if sack.base > limit:
            return Unreachable(index, sack.base)
    if len(sacks) == 1:
        found = sacks[0].solve(budgets[0], max_states=max_states)
        return Optimum(found.choice, found.objective, (found.dual,))
    for index, (sack, limit) in enumerate(zip(sacks, budgets, strict=True)):
        # An optimum of one budget that also meets the others is the optimum of all.
        try:
            alone = sack.solve(limit, max_states=max_states)
        except SearchError:
            continue
        if all(_total(t, alone.choice) <= most for t, most in zip(costs, budgets, strict=True)):
            duals = [alone.dual if other == index else Fraction(0) for other in range(len(sacks))]
            return Optimum(alone.choice, alone.objective, tuple(duals))
    return _search(costs, scores, budgets, _Problem.of(sacks, budgets), max_states)


def _total(table: Rows, choice: Sequence[int]) -> int:
    """Return the sum of the chosen entries."""
    return sum(row[k] for row, k in zip(table, choice, strict=True))


@dataclass(frozen=True, slots=True)
class _Problem:
    """A priced problem, in the steps of its knapsacks.

    Args:
        costs: By budget, unit and option, each unit's least is 0.
        scores: By unit and option, each unit's least is 0.
        rooms: What the budgets leave above the least costs.
        reduced: Priced score of each option above its unit's least, >= 0.
        floor: Summed least priced scores minus the priced rooms: the bound, times `scale`.
        scale: What scores are multiplied by in `reduced` and `floor`.
        duals: Score per unit of each budget, in the caller's integers.
    """

    costs: tuple[tuple[tuple[int, ...], ...], ...]
    scores: tuple[tuple[int, ...], ...]
    rooms: tuple[int, ...]
    reduced: tuple[tuple[int, ...], ...]
    floor: int
    scale: int
    duals: tuple[Fraction, ...]

    @classmethod
    def of(cls, sacks: Sequence[Knapsack], budgets: Sequence[int]) -> "_Problem":
        """Price the budgets and reduce every option's score by its price."""
        costs, scores = tuple(sack.costs for sack in sacks), sacks[0].scores
        rooms = tuple(
            (limit - sack.base) // sack.step for sack, limit in zip(sacks, budgets, strict=True)
        )
        exact = dual_prices(costs, scores, rooms)
        scale = lcm(*(price.denominator for price in exact))
        prices = [int(price * scale) for price in exact]
        priced = [
            [
                scale * score
                + sum(p * table[unit][k] for p, table in zip(prices, costs, strict=True))
                for k, score in enumerate(row)
            ]
            for unit, row in enumerate(scores)
        ]
        return cls(
            costs=costs,
            scores=scores,
            rooms=rooms,
            reduced=tuple(tuple(value - min(row) for value in row) for row in priced),
            floor=sum(map(min, priced)) - sum(p * r for p, r in zip(prices, rooms, strict=True)),
            scale=scale,
            duals=tuple(
                price * sack.score_step / sack.step
                for price, sack in zip(exact, sacks, strict=True)
            ),
        )

    def gap(self, objective: int) -> int:
        """Return how far a feasible objective is above the bound, times `scale`."""
        return self.scale * objective - self.floor

    def polish(self, choice: tuple[int, ...]) -> tuple[int, ...]:
        """Improve a feasible choice by single and double moves until none helps."""
        moves = sorted(
            (
                (self.reduced[unit][k], unit, k)
                for unit, row in enumerate(self.scores)
                for k in range(len(row))
            ),
        )[:MOVES]
        units = np.array([unit for _, unit, _ in moves])
        tables = (self.scores, *self.costs)
        sizes = [sum(map(max, table)) or 1 for table in tables]
        while True:
            spent = [_total(table, choice) for table in self.costs]
            left = [
                (room - cost) / size
                for room, cost, size in zip(self.rooms, spent, sizes[1:], strict=True)
            ]
            score, *costs = (
                np.array([(table[u][k] - table[u][choice[u]]) / size for _, u, k in moves])
                for table, size in zip(tables, sizes, strict=True)
            )
            pairs = score[:, None] + score
            pairs[units[:, None] == units] = np.inf
            np.fill_diagonal(pairs, score)
            for cost, room in zip(costs, left, strict=True):
                both = cost[:, None] + cost
                np.fill_diagonal(both, cost)
                pairs[both > room] = np.inf
            better = list(choice)
            for index in divmod(int(np.argmin(pairs)), len(moves)):
                better[moves[index][1]] = moves[index][2]
            if _total(self.scores, better) >= _total(self.scores, choice) or any(
                _total(table, better) > room
                for table, room in zip(self.costs, self.rooms, strict=True)
            ):
                return choice
            choice = tuple(better)

    def sweep(self, objective: int | None, width: int) -> tuple[tuple[int, ...] | None, bool]:
        """Run the dominance program with at most `width` states.

        Args:
            objective: Score of a known feasible choice; nothing worse is looked at.
            width: States kept after each unit, those of least reduced cost.

        Returns:
            The best choice found, or None; and whether no state was lost to `width`, so that the
            choice is the optimum and None means that there is none.
        """
        most = max(map(max, self.reduced)) or 1
        gap = most if objective is None else self.gap(objective)
        kept = [
            [k for k, value in enumerate(row) if objective is None or value <= gap]
            for row in self.reduced
        ]
        shares = [
            np.array([row[k] / gap if gap else 0.0 for k in ks])
            for row, ks in zip(self.reduced, kept, strict=True)
        ]
        layouts = [Layout.holding(sum(map(max, table))) for table in (*self.costs, self.scores)]
        tables = (*self.costs, self.scores)
        sums = [layout.pack([0]) for layout in layouts]
        share = np.zeros(1)
        tails = [
            sum(min(table[unit][k] for k in ks) for unit, ks in enumerate(kept))
            for table in self.costs
        ]
        complete = True
        steps: list[tuple[int, Index, Index]] = []
        for unit in sorted(range(len(kept)), key=lambda unit: -float(shares[unit].max())):
            options = kept[unit]
            count = len(share)
            total = (shares[unit][:, None] + share).ravel()
            index = np.flatnonzero(total <= (np.inf if objective is None else 1 + SLACK))
            for place, table in enumerate(self.costs):
                tails[place] -= min(table[unit][k] for k in options)
                option, parent = np.divmod(index, count)
                added = layouts[place].pack([table[unit][k] for k in options])
                cost = add(take(sums[place], parent), take(added, option))
                index = index[layouts[place].at_most(cost, self.rooms[place] - tails[place])]
            option, parent = np.divmod(index, count)
            added_up = []
            for layout, table, old in zip(layouts, tables, sums, strict=True):
                added = layout.pack([table[unit][k] for k in options])
                added_up.append(add(take(old, parent), take(added, option)))
            total = total[index]
            if not len(total):
                return None, complete
            if len(total) > CROWD * width:
                complete = False
                few = np.sort(np.argsort(total, kind="stable")[: CROWD * width])
                total, option, parent = total[few], option[few], parent[few]
                added_up = [take(column, few) for column in added_up]
            stay = undominated([added_up[-1], *added_up[:-1]])
            if len(stay) > width:
                complete = False
                best = np.argsort(total[stay], kind="stable")[:width]
                stay = stay[np.sort(best)]
            share = total[stay]
            sums = [take(column, stay) for column in added_up]
            steps.append((unit, parent[stay], np.array(options)[option[stay]]))
        choice = [0] * len(kept)
        state = 0  # least score, then least costs: the order of `undominated`
        for unit, back, names in reversed(steps):
            choice[unit] = int(names[state])
            state = int(back[state])
        return tuple(choice), complete


def _search(
    costs: Sequence[Rows], scores: Rows, budgets: Sequence[int], problem: _Problem, max_states: int
) -> Optimum | Unreachable:
    """Widen the program until it lost no state."""
    best: tuple[int, ...] | None = None
    objective: int | None = None
    widths = [width for width in WIDTHS if width < max_states]
    for width in (*widths, max_states):
        choice, complete = problem.sweep(objective, width)
        if choice is None and complete:
            break
        if choice is not None and (
            complete or objective is None or _total(problem.scores, choice) < objective
        ):
            best, objective = choice, _total(problem.scores, choice)
        if best is not None and complete:
            return Optimum(best, _total(scores, best), problem.duals)
        if best is None:
            start = _reach(costs, budgets, max_states)
            if isinstance(start, Unreachable):
                return start
            best = start
        if not complete:
            best = problem.polish(best)
            objective = _total(problem.scores, best)
    if best is None:
        start = _reach(costs, budgets, max_states)
        assert isinstance(start, Unreachable), "a complete sweep found nothing"
        return start
    raise SearchError(
        f"max_states must be more than {max_states} to prove an optimum of {len(costs)} budgets; "
        "drop a budget, merge units or offer fewer options"
    )


def _reach(
    costs: Sequence[Rows], budgets: Sequence[int], max_states: int
) -> tuple[int, ...] | Unreachable:
    """Return a choice within all budgets, adding one budget at a time, or the first to fail."""
    choice: tuple[int, ...] = ()
    for index in range(1, len(costs)):
        least = solve_all(costs[:index], costs[index], budgets[:index], max_states=max_states)
        assert isinstance(least, Optimum), "the budgets before were met"
        if least.objective > budgets[index]:
            return Unreachable(index, least.objective)
        choice = least.choice
    return choice
