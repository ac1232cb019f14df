"""Every configuration worth having: the exact front of one resource against the score."""

from collections.abc import Sequence

from hwsim.choices import Choices, Integers, proved, require
from hwsim.errors import InputError, SearchError
from hwsim.mckp import MAX_STATES, Knapsack
from hwsim.tables import RESOURCES, CostTable, Front, SensitivityTable

GRID = 200  # budgets solved where the whole front is too large


def pareto(
    sensitivity: SensitivityTable,
    costs: CostTable,
    *,
    objectives: tuple[str, str] = ("energy_j", "score"),
    max_points: int | None = None,
    max_states: int = MAX_STATES,
) -> Front:
    """Return the nondominated configurations, each proved, in rising order of the resource.

    Nondominated by the exact sums of the tables' floats; of configurations with equal sums one is
    returned. Where the whole front would outgrow `max_states`, the optimum of each of a grid of
    budgets stands for it and `exact` is False.

    Args:
        sensitivity: Score by unit and option, smaller is better.
        costs: Price by unit and option.
        objectives: A resource of `RESOURCES`, and "score".
        max_points: Most points to return, spread evenly with both ends; None returns all. A front
            that was thinned is not `exact`.
        max_states: Most partial configurations that the search may hold at once.

    Raises:
        InputError: If the tables do not fit together, the platform does not state the resource, or
            `max_points` is below 2.

    Source: the dominance program of Nemhauser & Ullmann 1969, with choices.
    Oracle: tests/oracle/allocation.py.
    """
    if len(objectives) != 2 or objectives[0] not in RESOURCES or objectives[1] != "score":
        raise InputError(
            f"objectives must be one of {', '.join(RESOURCES)}, then score, not {objectives!r}"
        )
    if max_points is not None and max_points < 2:
        raise InputError(f"max_points must be at least 2, not {max_points!r}")
    resource = objectives[0]
    choices = Choices.of(sensitivity, costs)
    require(choices, resource, "objectives[0]")
    exact = True
    if choices.is_slowest_unit(resource):
        found: Sequence[tuple[int, ...]] = _slowest_unit_front(choices, resource)
    else:
        table, scores = Integers.of(choices.table(resource)), Integers.of(choices.scores)
        sack = Knapsack.of(table.rows, scores.rows)
        try:
            found = sack.front(max_states=max_states)
        except SearchError:
            exact = False
            found = _grid_front(sack, max_points or GRID, max_states)
    if max_points is not None and len(found) > max_points:
        exact = False
        last = len(found) - 1
        found = [found[last * step // (max_points - 1)] for step in range(max_points)]
    return Front(objectives, tuple(proved(choices, choice) for choice in found), exact)


def _grid_front(sack: Knapsack, count: int, max_states: int) -> list[tuple[int, ...]]:
    """Return the distinct optima of evenly spaced budgets."""
    most = sack.base + sack.step * sum(map(max, sack.costs))
    last = sack.solve(most, max_states=max_states).cost
    steps = max(count - 1, 1)
    found = []
    for place in range(steps + 1):
        budget = sack.base + (last - sack.base) * place // steps
        found.append(sack.solve(budget, max_states=max_states).choice)
    return list(dict.fromkeys(found))


def _slowest_unit_front(choices: Choices, resource: str) -> list[tuple[int, ...]]:
    """Return the best choice under every threshold that a row's own amount sets."""
    table = choices.table(resource)
    energy = choices.table("energy_j")
    scores = Integers.of(choices.scores).rows
    floor = max((*choices.fixed(resource), *map(min, table)), default=0.0)
    found: list[tuple[int, ...]] = []
    best: int | None = None
    for limit in sorted({max(value, floor) for row in table for value in row}):
        choice = tuple(
            min(
                (k for k, value in enumerate(row) if value <= limit),
                key=lambda k: (scores[unit][k], table[unit][k], energy[unit][k], k),
            )
            for unit, row in enumerate(table)
        )
        score = sum(row[k] for row, k in zip(scores, choice, strict=True))
        if best is None or score < best:
            best = score
            found.append(choice)
    return found
