import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.errors import BudgetError, InputError, SearchError
from hwsim.mckp import Knapsack, solve
from tests.oracle import allocation as oracle

TOPS = (1, 2, 5, 30, 10**3, 2**70, 2**130)  # ties and zeros first, several limbs last


def draw_instance(rng):
    shape = [rng.randint(1, 3) for _ in range(rng.randint(1, 4))]
    low, top, high = rng.choice([0, -3]), rng.choice(TOPS), rng.choice(TOPS)
    costs = [[rng.randint(low, top) for _ in range(count)] for count in shape]
    scores = [[rng.randint(low, high) for _ in range(count)] for count in shape]
    return costs, scores


def outcome(costs, scores, budget):
    try:
        found = solve(costs, scores, budget)
    except BudgetError:
        return None
    assert found.relaxed_bound <= found.objective
    assert found.dual >= 0
    assert found.cost == sum(row[k] for row, k in zip(costs, found.choice, strict=True))
    assert found.objective == sum(row[k] for row, k in zip(scores, found.choice, strict=True))
    return found.objective, found.cost


@pytest.mark.parametrize("seed", range(10))
def test_solver_equals_brute_force(seed):
    rng = random.Random(seed)
    mismatches = 0
    for _ in range(1_100):
        costs, scores = draw_instance(rng)
        budget = rng.randint(sum(map(min, costs)) - 1, sum(map(max, costs)) + 1)
        mismatches += outcome(costs, scores, budget) != oracle.best(scores, [costs], [budget])
    assert mismatches == 0


@pytest.mark.parametrize("seed", range(4))
def test_front_equals_brute_force(seed):
    rng = random.Random(100 + seed)
    for _ in range(300):
        costs, scores = draw_instance(rng)
        points = [
            (
                sum(row[k] for row, k in zip(costs, choice, strict=True)),
                sum(row[k] for row, k in zip(scores, choice, strict=True)),
            )
            for choice in Knapsack.of(costs, scores).front()
        ]
        assert points == sorted(oracle.front(scores, costs))


def synthetic(units, count, seed=0):
    rng = random.Random(seed)
    costs = [[rng.randint(0, 2**90) for _ in range(count)] for _ in range(units)]
    scores = [[rng.randint(0, 2**90) for _ in range(count)] for _ in range(units)]
    return costs, scores


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), share=st.integers(0, 100))
def test_a_front_point_is_the_optimum_of_its_cost(seed, share):
    knapsack = Knapsack.of(*synthetic(12, 6, seed))
    front = knapsack.front()
    choice = front[(len(front) - 1) * share // 100]
    cost = knapsack.base + knapsack.step * sum(
        row[k] for row, k in zip(knapsack.costs, choice, strict=True)
    )
    found = knapsack.solve(cost)
    assert found.cost == cost
    assert sum(row[k] for row, k in zip(knapsack.scores, choice, strict=True)) == sum(
        row[k] for row, k in zip(knapsack.scores, found.choice, strict=True)
    )


def test_a_looser_budget_is_never_worse():
    costs, scores = synthetic(40, 9)
    knapsack = Knapsack.of(costs, scores)
    top = sum(map(max, costs))
    objectives = [
        knapsack.solve(knapsack.base + (top - knapsack.base) * step // 60).objective
        for step in range(61)
    ]
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] == sum(map(min, scores))


def test_the_dual_and_the_upgrade_are_those_of_the_break_segment():
    found = solve([[0, 2, 4], [0, 5]], [[10, 4, 2], [8, 0]], 3)
    assert found.choice == (1, 0)
    assert found.dual == Fraction(8, 5)
    assert found.upgrade == (1, 1)
    assert found.relaxed_bound == Fraction(52, 5)
    assert solve([[0, 2]], [[1, 0]], 5).upgrade is None


def test_errors_are_sentences():
    with pytest.raises(BudgetError, match=r"^budget must be at least 3, not 2$"):
        solve([[1, 5], [2, 9]], [[1, 0], [1, 0]], 2)
    with pytest.raises(
        InputError, match=r"^costs and scores must have the same options, at least one per unit$"
    ):
        solve([[1, 5]], [[1]], 2)
    with pytest.raises(
        SearchError,
        match=r"^max_states must be at least \d+ to go on, not 10; "
        r"merge units or offer fewer options$",
    ):
        Knapsack.of(*synthetic(12, 6)).front(max_states=10)
