"""The design search against all choices, one after the other."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy.circuits import Foldings, Need, block_memory
from hwsim.energy.finn import MatrixUnit
from hwsim.energy.folding import _search, choose, fastest

_OPTION = st.tuples(st.integers(1, 9), *(st.integers(0, 8),) * 3)
_LAYERS = st.lists(st.lists(_OPTION, min_size=1, max_size=5), min_size=1, max_size=4)
_BUDGET = st.tuples(*(st.integers(0, 24),) * 3)


def layer_of(options: list[tuple[int, ...]]) -> Foldings:
    table = np.array(options, dtype=np.int64)
    return Foldings(
        table[:, 0], {"all": Need(table[:, 1], table[:, 2], table[:, 3], table[:, 0])}, {}
    )


def best_of_all(layers: list[list[tuple[int, ...]]], budget: tuple[int, ...]) -> int | None:
    """Return the smallest interval by trying every choice."""
    fitting = [
        max(option[0] for option in choice)
        for choice in product(*layers)
        if all(sum(option[i + 1] for option in choice) <= budget[i] for i in range(3))
    ]
    return min(fitting, default=None)


@given(_LAYERS, _BUDGET)
@settings(max_examples=300, deadline=None)
def test_the_design_is_the_fastest_of_all_choices(
    layers: list[list[tuple[int, ...]]], budget: tuple[int, ...]
) -> None:
    found = fastest([layer_of(options) for options in layers], np.array(budget))
    expected = best_of_all(layers, budget)
    if expected is None:
        assert found is None
        return
    assert found is not None and found.interval == expected
    chosen = [options[index] for options, index in zip(layers, found.choice, strict=True)]
    assert max(option[0] for option in chosen) == expected
    assert all(sum(option[i + 1] for option in chosen) <= budget[i] for i in range(3))


@given(_LAYERS, _BUDGET)
@settings(max_examples=300, deadline=None)
def test_a_choice_is_found_exactly_where_there_is_one(
    layers: list[list[tuple[int, ...]]], budget: tuple[int, ...]
) -> None:
    needs = [np.array([option[1:] for option in options]) for options in layers]
    found = choose(needs, np.array(budget))
    assert (found is None) == (best_of_all(layers, budget) is None)


@given(_LAYERS, _BUDGET)
@settings(max_examples=300, deadline=None)
def test_the_dynamic_program_alone_decides_too(
    layers: list[list[tuple[int, ...]]], budget: tuple[int, ...]
) -> None:
    needs = [np.array([option[1:] for option in options]) for options in layers]
    found = _search(needs, np.array(budget), np.zeros(3))
    assert (found is None) == (best_of_all(layers, budget) is None)
    if found is not None:
        total = np.sum([need[index] for need, index in zip(needs, found, strict=True)], axis=0)
        assert np.all(total <= budget)


def test_of_two_equal_block_counts_the_smaller_circuit_is_kept() -> None:
    # With 5 sites for the first layer, the second would need its 4 blocks.
    needs = [np.array([[5, 0, 0], [1, 0, 0]]), np.array([[4, 0, 0], [0, 4, 0]])]
    assert _search(needs, np.array([5, 3, 0]), np.zeros(3)) == [1, 0]


def test_prices_alone_do_not_decide_this_one() -> None:
    # Each layer offers (3, 0, 0) or (0, 3, 0): only a mixture fits, no single price yields it.
    needs = [np.array([[3, 0, 0], [0, 3, 0]])] * 4
    assert choose(needs, np.array([6, 6, 0])) is not None
    assert choose(needs, np.array([6, 5, 0])) is None


@pytest.mark.parametrize("w", [1, 2, 4, 8])
def test_memory_blocks_are_finns(w: int) -> None:
    # energy.finn is held against FINN's own functions by test_finn.
    for mw, mh in ((64, 64), (576, 64), (9, 512), (2048, 1000)):
        for pe, simd in ((1, 1), (mh, 1), (1, mw), (mh // 2, mw), (mh, mw)):
            unit = MatrixUnit(mw, mh, pe, simd, 1, w, 8)
            width, depth = np.array([pe * simd * w]), np.array([unit.weight_depth])
            assert block_memory(width, depth).tolist() == [unit.bram_18k]
