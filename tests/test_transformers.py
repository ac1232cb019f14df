"""Integer-only transformers: engine against oracle, every activation; what they keep of floats."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.graph import Graph
from hwsim.kernels.plan import execute
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles import PROFILES
from hwsim.quantizer import quantize
from tests.oracle import hawq, transformers
from tests.test_hawq_engine import codes
from tests.transformer_graphs import NETWORKS, feed_of


def with_softmax(name: str, rule: OperatorRule) -> NumericProfile:
    """Return `qaof` with another softmax."""
    base = PROFILES["qaof"]
    rules = dict(base.rules) | {(Op.SOFTMAX, width): rule for width in (8, 16)}
    return replace(base, name=name, rules=rules)


_LINES = OperatorRule(Requant.NONE, Method.PIECEWISE, segments=8)
CASES: Mapping[str, tuple[NumericProfile, type[hawq.Evaluation]]] = {
    "hawq": (PROFILES["hawq"], hawq.Evaluation),
    "ibert": (PROFILES["ibert"], transformers.Ibert),
    "ivit": (PROFILES["ivit"], transformers.Ivit),
    "qaof": (PROFILES["qaof"], transformers.Piecewise),
    "eight": (with_softmax("eight", _LINES), transformers.PiecewiseEight),
    "uniform": (
        with_softmax("uniform", replace(_LINES, equal_segments=True)),
        transformers.PiecewiseUniform,
    ),
    "table": (
        with_softmax("table", OperatorRule(Requant.NONE, Method.EXP_TABLE)),
        transformers.ExpTable,
    ),
}


@pytest.fixture(scope="module")
def graphs() -> dict[str, tuple[Graph, Any]]:
    made = {}
    for name, make in NETWORKS.items():
        graph = make()
        made[name] = (graph, hwsim.calibrate(graph, feed_of(graph, 64, 0)))
    return made


def feed_codes(integer: Graph, count: int) -> dict[str, np.ndarray]:
    """Return words, or random codes with the extremes among them."""
    if integer.inputs[0].quant is None:
        return feed_of(integer, count, 1)
    return codes(integer, count, 1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("network", NETWORKS)
def test_engine_equals_oracle(network: str, case: str, graphs: Any) -> None:
    graph, ranges = graphs[network]
    profile, kind = CASES[case]
    integer = quantize(graph, ranges, 8, profile=profile)
    feed = feed_codes(integer, 3)
    made = execute(integer, profile, feed, keep_all=True)
    for entry in range(3):
        single = {name: array[entry : entry + 1] for name, array in feed.items()}
        expected = hawq.run(integer, single, kind)
        assert made.keys() == expected.keys()
        for name, array in expected.items():
            assert np.array_equal(made[name][entry : entry + 1], array), (name, entry)
