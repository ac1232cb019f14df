"""Leakage, points and schedules against algebra, enumeration and the core's knapsack."""

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim import mckp
from hwsim.energy.dvfs import (
    Measured,
    PointCost,
    best_point,
    best_schedule,
    energy_at,
    leakage_amperes,
)
from hwsim.errors import BudgetError, InputError

positive = st.floats(0.01, 100)


@given(a=positive, leakage=st.floats(0, 1), t=positive, v=st.floats(0.3, 1), up=st.floats(1.05, 2))
def test_two_points_give_back_the_law_that_made_them(
    a: float, leakage: float, t: float, v: float, up: float
) -> None:
    def law(volts: float, seconds: float) -> Measured:
        return Measured(volts, seconds, a * volts**2 + leakage * volts * seconds)

    low, high = law(v, t), law(v * up, t / up)
    assert leakage_amperes(low, high) == pytest.approx(leakage, abs=1e-9 * (1 + a / t))
    third = law(v * 1.5, t / 3)
    assert energy_at(low, v * 1.5, t / 3, leakage) == pytest.approx(third.joules)


def test_without_leakage_energy_goes_with_the_square() -> None:
    assert energy_at(Measured(0.5, 3.0, 1.0), 1.0, 1.0, 0.0) == 4.0


def test_impossible_measurements_are_refused() -> None:
    with pytest.raises(InputError, match="^time over voltage must differ between two points"):
        leakage_amperes(Measured(1.0, 1.0, 1.0), Measured(2.0, 2.0, 3.0))
    with pytest.raises(InputError, match="^leakage must be below the measured energy, not 2 A$"):
        energy_at(Measured(1.0, 1.0, 1.0), 2.0, 1.0, 2.0)


SLOW, FAST = PointCost("slow", 4.0, 1.0), PointCost("fast", 1.0, 3.0)


def test_the_best_point_is_the_cheapest_in_time() -> None:
    assert best_point([SLOW, FAST]) == SLOW
    assert best_point([SLOW, FAST], 4.0) == SLOW
    assert best_point([SLOW, FAST], 3.999) == FAST
    with pytest.raises(BudgetError) as caught:
        best_point([SLOW, FAST], 0.5)
    assert str(caught.value) == "max_latency must be at least 1 s (point fast), not 0.5 s"
    # A leaky chip pays for being slow: the fast point may also be the cheap one.
    leaky = PointCost("slow", 4.0, 9.0)
    assert best_point([leaky, FAST], 4.0) == FAST


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[PointCost]], int, int, list[float]]:
    """Return layers with whole seconds, a deadline, a switching time and powers."""
    points, count = draw(st.integers(2, 3)), draw(st.integers(1, 5))
    whole = st.integers(1, 6)
    layers = [
        [PointCost(f"p{k}", float(draw(whole)), float(draw(whole))) for k in range(points)]
        for _ in range(count)
    ]
    deadline = draw(st.integers(3, 24))
    watts = [float(draw(st.integers(0, 3))) for _ in range(points)]
    return layers, deadline, draw(st.integers(0, 3)), watts


def enumerate_all(
    layers: list[list[PointCost]], deadline: int, wait: int, watts: list[float]
) -> float | None:
    """Return the least energy over every choice, by trying them all."""
    best = None
    for choice in product(range(len(watts)), repeat=len(layers)):
        seconds = sum(row[k].seconds for row, k in zip(layers, choice, strict=True))
        joules = sum(row[k].joules for row, k in zip(layers, choice, strict=True))
        for before, after in pairwise(choice):
            if before != after:
                seconds += wait
                joules += wait * max(watts[before], watts[after])
        if seconds <= deadline and (best is None or joules < best):
            best = joules
    return best


@given(problem=problems())
@settings(max_examples=150, deadline=None)
def test_schedules_are_the_best_of_all(
    problem: tuple[list[list[PointCost]], int, int, list[float]],
) -> None:
    layers, deadline, wait, watts = problem
    best = enumerate_all(layers, deadline, wait, watts)
    if best is None:
        with pytest.raises(BudgetError):
            best_schedule(layers, deadline, wait, watts, ticks=deadline)
        return
    found = best_schedule(layers, deadline, wait, watts, ticks=deadline)
    assert found.joules == best
    assert found.seconds <= deadline
    assert found.switches == sum(a != b for a, b in pairwise(found.points))


@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_free_switching_is_the_knapsack_of_the_core(
    problem: tuple[list[list[PointCost]], int, int, list[float]],
) -> None:
    layers, deadline, _, watts = problem
    costs = [[int(cost.seconds) for cost in row] for row in layers]
    scores = [[int(cost.joules) for cost in row] for row in layers]
    if sum(map(min, costs)) > deadline:
        return
    exact = mckp.solve(costs, scores, deadline)
    least = sum(row[k] for row, k in zip(scores, exact.choice, strict=True))
    assert best_schedule(layers, deadline, 0.0, watts, ticks=deadline).joules == least


def test_switching_is_charged() -> None:
    # One slow layer fits the deadline; a free change wins, one that takes a second does not fit.
    layers = [[SLOW, FAST], [SLOW, FAST]]
    free = best_schedule(layers, 5.0, 0.0, [1.0, 1.0], ticks=5)
    assert (free.joules, free.seconds, free.switches) == (4.0, 5.0, 1)
    charged = best_schedule(layers, 5.0, 1.0, [1.0, 1.0], ticks=5)
    assert (charged.points, charged.joules) == (("fast", "fast"), 6.0)
    priced = best_schedule(layers, 6.0, 1.0, [0.5, 0.25], ticks=6)
    assert (priced.joules, priced.seconds) == (4.5, 6.0)


def test_rounding_never_loses_the_whole_network_choice() -> None:
    # 1/3 s per layer rounds up on any decimal grid; all slow still exactly keeps the deadline.
    third = [PointCost("slow", 1 / 3, 1.0), PointCost("fast", 0.1, 2.0)]
    deadline = 1 / 3 + 1 / 3 + 1 / 3
    found = best_schedule([third] * 3, deadline, 0.0, [1.0, 1.0], ticks=10)
    assert found.points == ("slow",) * 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([], 1.0, 0.0, [1.0]), "layers must hold at least one layer"),
        (([[SLOW], [FAST]], 1.0, 0.0, [1.0]), "every layer must have the points slow, not others"),
        (([[SLOW]], 1.0, 0.0, []), "switch_watts must have 1 entries, not 0"),
        (([[SLOW]], 0.0, 0.0, [1.0]), "max_latency must be a positive time, not 0 s"),
        (([[SLOW]], 9.0, -1.0, [1.0]), "switch time must be at least 0, not -1 s"),
    ],
)
def test_contradictions_are_refused(arguments: tuple, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        best_schedule(*arguments)
