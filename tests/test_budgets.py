import random

import pytest

from hwsim.budgets import Optimum, Unreachable, solve_all
from hwsim.errors import SearchError
from tests.oracle import allocation as oracle


def draw_instance(rng):
    count = rng.randint(2, 4)
    shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 4))]
    top = rng.choice((2, 5, 20, 10**3, 2**70))
    costs = [[[rng.randint(0, top) for _ in range(n)] for n in shape] for _ in range(count)]
    scores = [[rng.randint(0, top) for _ in range(n)] for n in shape]
    budgets = []
    for table in costs:
        least, most = sum(map(min, table)), sum(map(max, table))
        budgets.append(rng.randint(least - (rng.random() < 0.05), (least + most) // 2 + 1))
    return costs, scores, budgets


@pytest.mark.parametrize("seed", range(4))
def test_solver_equals_brute_force(seed):
    rng = random.Random(seed)
    unreachable = 0
    for _ in range(250):
        costs, scores, budgets = draw_instance(rng)
        expected = oracle.best(scores, costs, budgets)
        found = solve_all(costs, scores, budgets)
        if isinstance(found, Optimum):
            assert expected is not None and found.objective == expected[0]
            for table, limit in zip(costs, budgets, strict=True):
                assert sum(row[k] for row, k in zip(table, found.choice, strict=True)) <= limit
            assert all(dual >= 0 for dual in found.duals)
        else:
            assert expected is None
            unreachable += 1
            place = found.budget
            if all(sum(map(min, t)) <= b for t, b in zip(costs, budgets, strict=True)):
                least = oracle.smallest(costs[: place + 1], place, budgets[: place + 1])
                assert found.smallest == least > budgets[place]
    assert unreachable > 20


def synthetic(units, count):
    rng = random.Random(units)
    costs = [[[rng.randint(0, 2**90) for _ in range(count)] for _ in range(units)] for _ in "ab"]
    scores = [[rng.randint(0, 2**90) for _ in range(count)] for _ in range(units)]
    return (
        costs,
        scores,
        [sum(map(min, table)) * 2 // 3 + sum(map(max, table)) // 3 for table in costs],
    )


def test_a_narrow_search_widens_until_it_is_a_proof():
    costs, scores, budgets = synthetic(14, 5)
    found = solve_all(costs, scores, budgets)
    assert found == solve_all(costs, scores, budgets)
    assert isinstance(found, Optimum)


def test_a_search_that_cannot_prove_says_so():
    costs, scores, budgets = synthetic(30, 8)
    with pytest.raises(
        SearchError,
        match=r"^max_states must be more than 20 to prove an optimum of 2 budgets; "
        r"drop a budget, merge units or offer fewer options$",
    ):
        solve_all(costs, scores, budgets, max_states=20)


def test_unreachable_names_the_first_budget_in_the_way():
    costs = [[[0, 4]], [[4, 0]]]
    assert solve_all(costs, [[0, 0]], [3, 3]) == Unreachable(1, 4)
