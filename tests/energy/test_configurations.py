import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.energy import cost
from hwsim.errors import InputError
from hwsim.platforms import load_platform, names
from hwsim.tables import RESOURCES, CostTable, Option, UnitCost
from tests.energy.test_cost import NET, W8A8

# Sums of these carry, cancel nothing, and need far more than 53 bits.
AMOUNTS = st.one_of(
    st.just(0.0),
    st.floats(1e-30, 1e6, allow_subnormal=False),
    st.integers(1, 2**53).map(float),
    st.sampled_from([2.0**-60, 1.0, 1.0 + 2**-52, 2.0**52, 1 / 3]),
)


def row_of(unit: str, option: Option | None, amounts: list[float], counts: list[int]) -> UnitCost:
    energy, seconds, weights, activations = amounts
    return UnitCost(
        unit, option, 0, energy, {}, 0.0, seconds, "compute", weights, activations, {}, *counts
    )


@st.composite
def tables(draw: st.DrawFn) -> CostTable:
    def row(unit: str, option: Option | None) -> UnitCost:
        amounts = draw(st.lists(AMOUNTS, min_size=4, max_size=4))
        counts = draw(st.lists(st.integers(0, 10**9), min_size=4, max_size=4))
        return row_of(unit, option, amounts, counts)

    rows, selection = [], {}
    for index in range(draw(st.integers(0, 5))):
        options = [Option(bits, 8) for bits in range(1, draw(st.integers(2, 4)))]
        rows += [row(f"u{index}", option) for option in options]
        selection[f"u{index}"] = options[0]
    rows += [row(f"f{index}", None) for index in range(draw(st.integers(0, 2)))]
    return CostTable("drawn", tuple(rows), selection, pipelined=draw(st.booleans()))


def assert_equal(table: CostTable, choices: np.ndarray[Any, Any]) -> None:
    found = hwsim.configuration_totals(table, choices)
    stated = {name for name in (*RESOURCES, "ff") if getattr(table.total, name) is not None}
    assert found.keys() == stated
    for line, picks in enumerate(choices):
        chosen = {
            unit: table.options(unit)[pick] for unit, pick in zip(table.units, picks, strict=True)
        }
        total = table.select(chosen).total
        for name, values in found.items():
            assert values[line] == getattr(total, name), (name, picks)


@given(table=tables(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_totals_are_the_exact_ones(table: CostTable, seed: int) -> None:
    draw = np.random.default_rng(seed)
    counts = [len(table.options(unit)) for unit in table.units]
    choices = np.array([[draw.integers(count) for count in counts] for _ in range(8)])
    assert_equal(table, choices.reshape(8, len(counts)).astype(np.int32))


@pytest.mark.parametrize("name", names())
def test_totals_of_every_platform(name: str) -> None:
    table = cost(NET, load_platform(name), W8A8)
    draw = np.random.default_rng(5)
    counts = [len(table.options(unit)) for unit in table.units]
    assert_equal(table, draw.integers(0, counts, (50, len(counts))))


def test_a_sum_just_above_a_float_is_rounded_up() -> None:
    rows = tuple(
        row_of(unit, Option(8, 8), [amount, 0.0, 0.0, 0.0], [0] * 4)
        for unit, amount in (("a", 1.0), ("b", 2.0**-80))
    )
    table = CostTable("two", rows, {"a": W8A8, "b": W8A8})
    found = hwsim.configuration_totals(table, np.zeros((1, 2), int))
    assert found["energy_j"][0] == 1 + 2.0**-52


def test_an_unpriced_time_is_absent() -> None:
    table = cost(NET, load_platform("nvidia_t4"), W8A8, [])
    rows = (replace(table.rows[0], latency_s=None), *table.rows[1:])
    found = hwsim.configuration_totals(replace(table, rows=rows), np.zeros((2, 3), int))
    assert "latency_s" not in found and found["energy_j"].shape == (2,)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        (np.zeros((2, 2), int), "choices must be integers of shape (configurations, 3), not int64 "
         "of shape (2, 2)"),
        (np.zeros(3, int), "choices must be integers of shape (configurations, 3), not int64 of "
         "shape (3,)"),
        (np.zeros((2, 3)), "choices must be integers of shape (configurations, 3), not float64 of "
         "shape (2, 3)"),
        (np.array([[0, 0, 0], [0, 7, 0]]), "choices of unit 'b' must be in [0, 6], not 7"),
        (np.array([[0, 0, -1]]), "choices of unit 'c' must be in [0, 6], not -1"),
    ],
)  # fmt: skip
def test_wrong_choices_are_refused(choices: np.ndarray[Any, Any], sentence: str) -> None:
    table = cost(NET, load_platform("ethos_u55_128"), W8A8)
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        hwsim.configuration_totals(table, choices)
