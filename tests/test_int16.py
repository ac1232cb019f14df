"""int16 against LiteRT itself: every code of every table, and softmax rows of every kind."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.litert import LiteRT, available
from tests.selfcheck_cases import WIDE_SCALES, Tally, judge, wide_sweep
from tests.strategies import Draw, softmax_16

SWEEPS = [(operator, scale) for operator, scales in WIDE_SCALES.items() for scale in scales]
SOFTMAX_CASES = 150


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip(f"ai_edge_litert is missing: {len(SWEEPS)} sweeps are not compared")
    with LiteRT() as worker:
        yield worker


@pytest.mark.parametrize(("operator", "scale"), SWEEPS)
def test_every_code_equals_litert(litert: LiteRT, operator: str, scale: float) -> None:
    tally = Tally(operator)
    judge(litert, tally, wide_sweep(operator, scale))
    assert (tally.run, tally.wrong, tally.note) == (1, 0, "")
    assert tally.elements == (1 << 15 if operator == "RSQRT" else 1 << 16)


def test_softmax_equals_litert(litert: LiteRT) -> None:
    tally = Tally("SOFTMAX")
    for seed in range(SOFTMAX_CASES):
        judge(litert, tally, softmax_16(Draw([seed, 16])))
    assert (tally.run, tally.wrong, tally.note) == (SOFTMAX_CASES, 0, "")
    assert tally.elements > 50_000


def test_float32_softmax_tables_are_others() -> None:
    """TFLite Micro and CMSIS-NN form the tables in float32; 1 / (1 + x) differs in two entries."""
    from hwsim.kernels.lower_interpolate import softmax_tables
    from hwsim.profile import Method

    double, single = (
        softmax_tables(method) for method in (Method.LUT_513_FLOAT64, Method.LUT_513_FLOAT32)
    )
    assert np.array_equal(double[0], single[0])
    assert np.flatnonzero(double[1] != single[1]).tolist() == [160, 294]
