import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from hwsim.allocation import allocate, price_selection, uniform_allocations
from hwsim.errors import BudgetError, InputError
from hwsim.fronts import pareto
from hwsim.percentiles import percentile_allocation, price_percentile
from hwsim.tables import Option, SensitivityTable
from tests.allocation_tables import options, random_table, tables
from tests.oracle import allocation as oracle

W2, W3, W4 = options(3)
SCORES = [[3.0, 1.0], [5.0, 0.5]]
ENERGY = [[1e-6, 2e-6], [2e-6, 4e-6]]
LATENCY = [[2e-3, 1e-3], [3e-3, 1e-3]]


@pytest.mark.parametrize("seed", range(4))
def test_float_tables_equal_brute_force(seed):
    rng = random.Random(seed)
    for _ in range(150):
        shape = [rng.randint(1, 3) for _ in range(rng.randint(1, 4))]
        scores = random_table(rng, shape, lambda rng: rng.uniform(-1, 10) ** 3)
        energy = random_table(rng, shape, lambda rng: rng.choice([0.0, 1e-9, rng.random() * 1e-6]))
        latency = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-6, -2))
        fixed = rng.choice([0.0, 1e-7])
        pipelined = rng.random() < 0.3
        sensitivity, costs = tables(
            scores, energy, latency, fixed=[(fixed, 0.0)], pipelined=pipelined
        )
        limits = [rng.uniform(1e-9, 3e-6), 10 ** rng.uniform(-5, -1)]
        fits = []
        for choice, score, spent in oracle.configurations(scores, [energy, latency]):
            times = [Fraction(row[k]) for row, k in zip(latency, choice, strict=True)]
            seconds = max(times) if pipelined else spent[1]
            joules = spent[0] + Fraction(fixed)
            if joules <= Fraction(limits[0]) and seconds <= Fraction(limits[1]):
                fits.append(score)
        try:
            found = allocate(sensitivity, costs, max_energy_j=limits[0], max_latency_s=limits[1])
        except BudgetError:
            assert not fits
            continue
        assert found.score == float(min(fits)) == found.lower_bound
        assert found.gap == 0
        assert found.resources["energy_j"] <= limits[0]
        assert found.resources["latency_s"] <= limits[1]
        total = costs.select(found.bits).total
        assert found.resources["energy_j"] == total.energy_j
        assert found.resources["latency_s"] == total.latency_s
        assert found.score == sensitivity.score(found.bits)


@pytest.mark.parametrize("seed", range(3))
def test_a_front_equals_brute_force(seed):
    rng = random.Random(seed)
    for _ in range(60):
        shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 4))]
        scores = random_table(rng, shape, lambda rng: rng.choice([0.5, rng.random()]))
        energy = random_table(rng, shape, lambda rng: rng.choice([0.0, 1e-9, rng.random()]))
        sensitivity, costs = tables(scores, energy)
        front = pareto(sensitivity, costs)
        assert front.exact
        index = {option: k for k, option in enumerate(options(4))}
        points = [
            tuple(
                oracle.exact_sum(
                    row[index[o]] for row, o in zip(rows, p.bits.values(), strict=True)
                )
                for rows in (energy, scores)
            )
            for p in front.points
        ]
        assert points == sorted(oracle.front(scores, energy))


def random_tables(units, count, seed=0, **kinds):
    rng = random.Random(seed)
    shape = [count] * units
    scores = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-6, 0))
    energy = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-9, -6))
    latency = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-6, -3))
    return tables(scores, energy, latency, fixed=[(1e-8, 1e-5)], **kinds)


def test_a_front_point_is_enough_budget_for_itself():
    sensitivity, costs = random_tables(10, 5)
    points = pareto(sensitivity, costs).points
    assert len(points) > 20
    for point in points[::5]:
        again = allocate(sensitivity, costs, max_energy_j=point.resources["energy_j"])
        assert again.score == point.score
        assert again.resources["energy_j"] == point.resources["energy_j"]
    for left, right in zip(points, points[1:], strict=False):
        assert left.resources["energy_j"] <= right.resources["energy_j"]
        assert left.score >= right.score


def test_a_pipelined_latency_front_has_the_slowest_row():
    sensitivity, costs = random_tables(6, 4, pipelined=True)
    front = pareto(sensitivity, costs, objectives=("latency_s", "score"))
    assert front.exact and len(front.points) > 2
    for left, right in zip(front.points, front.points[1:], strict=False):
        assert left.resources["latency_s"] < right.resources["latency_s"]
        assert left.score > right.score
    for point in front.points:
        found = allocate(sensitivity, costs, max_latency_s=point.resources["latency_s"])
        assert found.score == point.score


def test_a_front_too_large_is_solved_on_a_grid():
    sensitivity, costs = random_tables(12, 6)
    whole = pareto(sensitivity, costs)
    grid = pareto(sensitivity, costs, max_states=len(whole.points) - 1)
    assert whole.exact and not grid.exact
    assert {p.score for p in grid.points} < {p.score for p in whole.points}
    thin = pareto(sensitivity, costs, max_points=7)
    assert not thin.exact and len(thin.points) == 7
    assert thin.points[0] == whole.points[0] and thin.points[-1] == whole.points[-1]


def test_without_a_budget_the_least_score_wins_and_energy_breaks_ties():
    sensitivity, costs = tables(
        [[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]], [[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]]
    )
    found = allocate(sensitivity, costs)
    assert found.bits == {"u0": W3, "u1": W4}
    assert (found.score, found.budgets, found.shadow_price) == (2.0, {}, {})
    assert found.next_upgrade is None and found.method == "exact"


def test_one_budget_names_price_and_next_upgrade():
    sensitivity, costs = tables(SCORES, ENERGY)
    found = allocate(sensitivity, costs, max_energy_j=4e-6)
    assert found.bits == {"u0": W3, "u1": W2}
    assert found.next_upgrade == ("u1", W3)
    assert found.shadow_price["energy_j"] == pytest.approx(4.5 / 2e-6)
    slack = allocate(sensitivity, costs, max_energy_j=1.0)
    assert slack.shadow_price == {"energy_j": 0.0} and slack.next_upgrade is None


def test_a_selections_total_is_enough_budget():
    sensitivity, costs = random_tables(30, 3)
    cheapest = {
        unit: min(costs.options(unit), key=lambda o, u=unit: costs.row(u, o).energy_j)
        for unit in costs.units
    }
    limit = costs.select(cheapest).total.energy_j
    found = allocate(sensitivity, costs, max_energy_j=limit)
    assert found.resources["energy_j"] == limit
    with pytest.raises(BudgetError):
        allocate(sensitivity, costs, max_energy_j=math.nextafter(limit, 0))


def test_results_do_not_depend_on_the_order_of_scores():
    sensitivity, costs = random_tables(12, 5)
    shuffled = list(sensitivity.values.items())
    random.Random(1).shuffle(shuffled)
    other = SensitivityTable("mse", dict(shuffled))
    limits = {"max_energy_j": 1e-6, "max_latency_s": 2e-3}
    assert allocate(sensitivity, costs, **limits) == allocate(other, costs, **limits)
    assert pareto(sensitivity, costs) == pareto(other, costs)


def test_uniform_allocations_are_those_that_all_units_offer():
    sensitivity, costs = tables([[3.0, 1.0], [5.0, 0.5, 0.1]], [[1.0, 2.0], [1.0, 2.0, 3.0]])
    found = uniform_allocations(sensitivity, costs)
    assert list(found) == [W2, W3]
    assert found[W3].score == 1.5 and found[W3].resources["energy_j"] == 4.0
    assert found[W3].method == "uniform" and found[W3].lower_bound is None


def test_the_percentile_rule():
    values = {(f"u{u}", Option(4, 4)): float(u) for u in range(5)}  # P25 = 1, P75 = 3
    values |= {(f"u{u}", Option(8, 8)): 0.0 for u in range(5)}
    values |= {(f"u{u}", Option(6, 6)): 0.0 for u in range(5)}
    sensitivity = SensitivityTable("mse", values)
    chosen = percentile_allocation(sensitivity)
    assert [option.weight_bits for option in chosen.values()] == [4, 6, 6, 8, 8]
    pinned = percentile_allocation(sensitivity, pinned={"u0": Option(8, 8)})
    assert [option.weight_bits for option in pinned.values()] == [8, 4, 6, 6, 8]
    level = percentile_allocation(sensitivity, at=8)
    assert {option.weight_bits for option in level.values()} == {8}


def test_the_percentile_rule_is_priced():
    sensitivity, costs = tables(SCORES, ENERGY)
    chosen = percentile_allocation(sensitivity, bits=(3, 3, 2))
    found = price_percentile(sensitivity, costs, chosen)
    assert found.bits == {"u0": W2, "u1": W3}
    assert found.method == "percentile" and found.score == 3.5
    assert found == price_selection(sensitivity, costs, chosen, method="percentile")


CASES = {
    "alone": (
        {"max_energy_j": 2.5e-6},
        "budget max_energy_j must be at least 3e-06 J (every unit at its cheapest option), "
        "not 2.5e-06 J",
    ),
    "together": (
        {"max_energy_j": 4e-6, "max_latency_s": 4.5e-3},
        "budget max_latency_s must be at least 0.005 s with max_energy_j = 4e-06 J kept, "
        "not 0.0045 s",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_unreachable_budget_names_the_nearest(case):
    limits, sentence = CASES[case]
    energy = [[1e-6, 2e-6], [2e-6, 4e-6]]
    latency = [[4e-3, 1e-3], [4e-3, 3e-3]]
    with pytest.raises(BudgetError) as caught:
        allocate(*tables(SCORES, energy, latency), **limits)
    assert str(caught.value) == sentence


def test_a_slowest_unit_budget_is_kept_in_the_sentence():
    sensitivity, costs = tables(SCORES, [[1.0, 4.0], [2.0, 8.0]], LATENCY, pipelined=True)
    with pytest.raises(BudgetError) as caught:
        allocate(sensitivity, costs, max_energy_j=5.0, max_latency_s=2e-3)
    assert str(caught.value) == (
        "budget max_energy_j must be at least 9 J with max_latency_s = 0.002 s kept, not 5.0 J"
    )


BAD_BUDGETS = [
    ({"max_energy_j": 0}, "budget max_energy_j must be a positive finite number, not 0"),
    (
        {"max_energy_j": math.inf},
        "budget max_energy_j must be a positive finite number, not inf",
    ),
    (
        {"max_energy_j": math.nan},
        "budget max_energy_j must be a positive finite number, not nan",
    ),
    ({"max_energy_j": "1mJ"}, "budget max_energy_j must be a number, not '1mJ'"),
    (
        {"max_lut": 5},
        "budget max_lut must be one that chip states "
        "(energy_j, latency_s, weight_bytes, activation_bytes), not lut",
    ),
]


@pytest.mark.parametrize(("limits", "sentence"), BAD_BUDGETS, ids=[b[1][:40] for b in BAD_BUDGETS])
def test_a_wrong_budget_is_refused(limits, sentence):
    with pytest.raises(InputError) as caught:
        allocate(*tables(SCORES, ENERGY), **limits)
    assert str(caught.value) == sentence


def test_a_platform_without_time_has_no_latency_budget():
    sensitivity, costs = tables(SCORES, ENERGY)
    costs = replace(costs, rows=tuple(replace(row, latency_s=None) for row in costs.rows))
    with pytest.raises(InputError) as caught:
        allocate(sensitivity, costs, max_latency_s=1.0)
    assert str(caught.value) == (
        "budget max_latency_s must be one that chip states "
        "(energy_j, weight_bytes, activation_bytes), not latency_s"
    )
    assert "latency_s" not in allocate(sensitivity, costs).resources


def test_tables_that_do_not_fit_are_refused():
    sensitivity, costs = tables(SCORES, ENERGY)
    values = dict(sensitivity.values)
    without = {pair: score for pair, score in values.items() if pair[0] != "u1"}
    elsewhere = without | {("u1", Option(16, 16)): 1.0}
    cases = {
        "mse: unit 'u1' must have scores, not none": without,
        "chip: unit 'u9' must have costs, not none": values | {("u9", W2): 1.0},
        "unit 'u1' must have an option that is scored and priced; scored are W16A16, "
        "priced are W2A2, W3A3": elsewhere,
        "mse: the score of unit 'u0' at W2A2 must be a finite number, not nan": values
        | {("u0", W2): math.nan},
    }
    for sentence, scores in cases.items():
        with pytest.raises(InputError) as caught:
            allocate(SensitivityTable("mse", scores), costs)
        assert str(caught.value) == sentence
    bad = replace(costs, rows=(replace(costs.rows[0], energy_mac_j=math.nan), *costs.rows[1:]))
    with pytest.raises(InputError) as caught:
        allocate(sensitivity, bad)
    assert str(caught.value) == (
        "energy_j of unit 'u0' at W2A2 must be a finite number >= 0, not nan"
    )


def test_wrong_front_and_percentile_arguments_are_refused():
    sensitivity, costs = tables(SCORES, ENERGY)
    calls = {
        "objectives must be one of energy_j, latency_s, weight_bytes, activation_bytes, lut, dsp, "
        "bram_18k, then score, not ('watts', 'score')": lambda: pareto(
            sensitivity, costs, objectives=("watts", "score")
        ),
        "max_points must be at least 2, not 1": lambda: pareto(sensitivity, costs, max_points=1),
        "low and high must rise within [0, 100], not 80 and 75": lambda: percentile_allocation(
            sensitivity, low=80
        ),
        "pinned unit must be one of u0, u1, not 'u7'": lambda: percentile_allocation(
            sensitivity, pinned={"u7": W2}
        ),
        "mse: unit 'u0' must be scored at 9-bit weights, not only at W2A2, W3A3": lambda: (
            percentile_allocation(sensitivity, at=9)
        ),
    }
    for sentence, call in calls.items():
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == sentence


def test_scores_of_any_magnitude_are_exact():
    rng = random.Random(5)
    shape = [3] * 5
    scores = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-320, 300))
    energy = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-320, 0))
    latency = random_table(rng, shape, lambda rng: 10 ** rng.uniform(-9, 0))
    sensitivity, costs = tables(scores, energy, latency)
    limits = [1e-3, 0.2]
    least = oracle.best(scores, [energy, latency], limits)
    found = allocate(sensitivity, costs, max_energy_j=limits[0], max_latency_s=limits[1])
    assert least is not None and found.score == float(least[0])
