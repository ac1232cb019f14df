import re
from typing import Any

import numpy as np
import pytest

from hwsim.api import trace
from hwsim.attributes import FusedAttrs
from hwsim.calibration import calibrate
from hwsim.errors import InputError
from hwsim.fuse import fuse
from hwsim.graph import Graph
from hwsim.ops import Op
from tests.float_graphs import FAMILIES, Maker, samples

BINS = 8192


def whole(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


def traced(graph: Graph, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return trace(fuse(graph), feed, profile="float")


@pytest.mark.parametrize("family", FAMILIES)
def test_minmax_is_the_extremes_of_the_trace(family: str) -> None:
    graph = FAMILIES[family](0)
    feed = samples(graph, 20, 0)
    ranges = calibrate(graph, feed)
    expected = {n: (float(a.min()), float(a.max())) for n, a in traced(graph, feed).items()}
    assert ranges.bounds == expected
    assert (ranges.method, ranges.percentile, ranges.samples) == ("minmax", 100.0, 20)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("percentile", [60.0, 99.0, 99.9, 100.0])
def test_percentile_is_within_a_bin_of_the_sorted_values(family: str, percentile: float) -> None:
    graph = FAMILIES[family](0)
    feed = samples(graph, 20, 0)
    ranges = calibrate(graph, feed, method="percentile", percentile=percentile)
    assert (ranges.method, ranges.percentile) == ("percentile", percentile)
    for name, array in traced(graph, feed).items():
        low, high = ranges.bounds[name]
        magnitudes = np.sort(np.abs(array.astype(np.float64)).ravel())
        reach = magnitudes[-1]
        # The smallest magnitude that percentile % of all do not exceed.
        kept = magnitudes[max(int(np.ceil(percentile / 100 * magnitudes.size - 1e-9)) - 1, 0)]
        edge = max(-low, high)
        slack = reach / BINS * (1 + 1e-6)
        expected = min(max(-array.min(), array.max()), kept)
        assert expected - 1e-6 * reach <= edge <= kept + slack
        # Signs stay: what is never negative keeps its lowest value, and each side is only cut.
        assert low == max(float(array.min()), -edge)
        assert high == min(float(array.max()), edge)
        if percentile == 100:
            assert (low, high) == (float(array.min()), float(array.max()))


def test_batches_add_up() -> None:
    graph = FAMILIES["residual"](0)
    feed = samples(graph, 20, 0)["x"]
    for options in ({}, {"method": "percentile", "percentile": 99.0}):
        whole_set = calibrate(graph, feed, **options)
        parts = calibrate(graph, iter([feed[:3], {"x": feed[3:19]}, feed[19:]]), **options)
        assert parts.samples == whole_set.samples == 20
        assert parts.bounds.keys() == whole_set.bounds.keys()
        for name, bound in whole_set.bounds.items():
            # Float sums depend on the batch by an ulp, and may fall into the next bin.
            near = max(map(abs, bound)) * (2 / BINS if options else 1e-6)
            assert np.abs(np.subtract(parts.bounds[name], bound)).max() <= near


def test_a_value_of_zeros() -> None:
    m = Maker(0)
    x = m.input(1, 4)
    y = m.node(Op.MUL, [x, m.constant([0.0] * 4)], FusedAttrs())
    graph = m.done(y)
    for method in ("minmax", "percentile"):
        assert calibrate(graph, np.ones((2, 4), np.float32), method=method).bounds[y] == (0, 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused(wrong: float) -> None:
    graph = FAMILIES["chain"](0)
    feed = samples(graph, 4, 0)
    feed["x"][2, 1, 1, 1] = wrong
    with pytest.raises(InputError, match=whole("input 'x' must be finite, not NaN or infinite")):
        calibrate(graph, feed)


def test_values_that_are_not_finite_are_refused() -> None:
    m = Maker(0)
    x = m.input(1, 4)
    y = m.node(Op.MUL, [x, x], FusedAttrs(), "square")
    graph = m.done(m.node(Op.SUB, [y, y], FusedAttrs()))
    sentence = whole("value 'square' must be finite on the calibration data, not NaN or infinite")
    with pytest.raises(InputError, match=sentence):
        calibrate(graph, np.full((1, 4), 1e30, np.float32))


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (None, {"method": "kl"},
         "calibration method must be one of minmax, percentile, not 'kl'"),
        (None, {"percentile": 50}, "percentile must be in (50, 100], not 50"),
        (None, {"percentile": 100.5}, "percentile must be in (50, 100], not 100.5"),
        (None, {"percentile": float("nan")}, "percentile must be in (50, 100], not nan"),
        ([], {}, "calibration data must hold at least one batch, not none"),
        ({"y": np.zeros((1, 6, 6, 4), np.float32)}, {}, "input must be one of x, not 'y'"),
        (np.zeros((1, 6, 6, 3), np.float32), {},
         "input 'x' must have shape (batch, 6, 6, 4), not (1, 6, 6, 3)"),
        (np.zeros((0, 6, 6, 4), np.float32), {},
         "input 'x' must have shape (batch, 6, 6, 4), not (0, 6, 6, 4)"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(data: Any, options: dict[str, Any], sentence: str) -> None:
    graph = FAMILIES["chain"](0)
    feed = samples(graph, 4, 0) if data is None else data
    with pytest.raises(InputError, match=whole(sentence)):
        calibrate(graph, feed, **options)
