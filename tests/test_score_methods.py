"""Scores by other methods and on the integer engine, each recomputed one image at a time."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import hwsim
from hwsim import networks
from hwsim.attributes import SoftmaxAttrs
from hwsim.calibration import Ranges, calibrate
from hwsim.errors import InputError
from hwsim.floats import run_floats
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.quantizer import quantize
from hwsim.tables import Option
from tests.float_graphs import FAMILIES, Maker, samples

OPTIONS = (Option(8, 8), Option(4, 8), Option(3, 4))
COUNT = 13  # one full block of 8 and one that is moved back


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on few cores: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(x - max(logits)) for x in logits]
    return [p / math.fsum(powers) for p in powers]


def entropy(p: list[float]) -> float:
    return -math.fsum(x * math.log(x) for x in p if x > 0)


def jsd(p: list[float], q: list[float]) -> float:
    """Return the divergence by its other form: H(M) - (H(P) + H(Q)) / 2."""
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return entropy(m) - (entropy(p) + entropy(q)) / 2


def first_of_largest(row: list[float]) -> int:
    return row.index(max(row))


def sqnr(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    signal = math.fsum(float(x) ** 2 for full, _ in pairs for x in full.ravel())
    noise = math.fsum(
        (float(x) - float(y)) ** 2
        for full, made in pairs
        for x, y in zip(full.ravel(), made.ravel(), strict=True)
    )
    return 10 * math.log10(signal / noise)


def reals(graph: Graph, codes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for name, array in codes.items():
        quant = graph.values[name].quant
        assert quant is not None
        scale, zero = quant.broadcast(array.ndim)
        found[name] = (array.astype(np.int64) - zero) * scale
    return found


def integer_outputs(
    graph: Graph, ranges: Ranges, bits: Any, feed: dict[str, np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Return outputs as reals, each image by a run of its own."""
    made = quantize(graph, ranges, bits)
    count = next(iter(feed.values())).shape[0]
    singles = [{name: array[i : i + 1] for name, array in feed.items()} for i in range(count)]
    return [reals(made, hwsim.run(made, single)) for single in singles]


@pytest.mark.parametrize("family", ["residual", "transformer", "mixed"])
def test_integer_scores_equal_full_runs(family: str) -> None:
    graph = FAMILIES[family](0)
    feed = samples(graph, COUNT, 0)
    ranges = calibrate(graph, feed)
    units = partition(graph).units
    base_bits = dict.fromkeys(units, Option(8, 8))
    base = integer_outputs(graph, ranges, base_bits, feed)
    first = graph.output_names[0]
    labels = np.random.default_rng(0).integers(0, 3, COUNT)
    tables = {
        method: hwsim.sensitivity(
            graph, feed, method=method, engine="integer", options=OPTIONS, ranges=ranges,
            labels=labels if method == "top1" else None, batch=batch, threads=threads,
        )
        for method, batch, threads in (("output_l2", 8, 1), ("jsd", 3, 2), ("top1", 64, 1))
    }  # fmt: skip
    flips = hwsim.sensitivity(
        graph, feed, method="top1", engine="integer", options=OPTIONS, ranges=ranges, batch=8
    )
    assert tables["jsd"].metric == "jsd, integer engine"
    assert flips.values.keys() == {(unit, option) for unit in units for option in OPTIONS}
    changed = 0
    for unit in units[:: max(1, len(units) // 3)]:
        for option in OPTIONS:
            made = integer_outputs(graph, ranges, {**base_bits, unit: option}, feed)
            squares = math.fsum(
                float(((a[name] - b[name]) ** 2).sum())
                for a, b in zip(base, made, strict=True)
                for name in a
            )
            rows = [(a[first][0].tolist(), b[first][0].tolist()) for a, b in zip(base, made)]
            divergence = math.fsum(jsd(softmax(a), softmax(b)) for a, b in rows) / COUNT
            tops = [(first_of_largest(a), first_of_largest(b)) for a, b in rows]
            right = [sum(t[side] == y for t, y in zip(tops, labels)) for side in (0, 1)]
            key = (unit, option)
            assert tables["output_l2"].values[key] == pytest.approx(math.sqrt(squares), rel=1e-12)
            assert tables["jsd"].values[key] == pytest.approx(divergence, rel=1e-9, abs=1e-14)
            assert tables["top1"].values[key] == (right[0] - right[1]) / COUNT
            assert flips.values[key] == sum(a != b for a, b in tops) / COUNT
            changed += squares > 0
            if option == Option(8, 8):
                assert squares == 0
                assert all(table.values[key] == 0 for table in tables.values())
    assert changed >= 4


@pytest.mark.parametrize("engine", ["float", "integer"])
def test_scores_do_not_depend_on_batch_or_threads(engine: str) -> None:
    graph = FAMILIES["residual"](1)
    feed = samples(graph, 11, 1)
    ranges = calibrate(graph, feed)
    for method in ("output_l2", "jsd", "top1", "sqnr_delta"):
        tables = [
            hwsim.sensitivity(
                graph, feed, method=method, engine=engine, options=OPTIONS, ranges=ranges,
                batch=batch, threads=threads,
            )
            for batch, threads in ((1, 1), (4, 2), (64, 3))
        ]  # fmt: skip
        # Sums of float64 in another order; a float network's own last bits depend on its batch.
        of_floats = engine == "float" or method == "sqnr_delta"
        near = {"rel": 1e-4, "abs": 1e-4} if of_floats else {"rel": 1e-12, "abs": 1e-14}
        for table in tables[1:]:
            assert table.values == pytest.approx(tables[0].values, **near)


def test_float_divergence_and_top1() -> None:
    graph = hwsim.load(networks.path("digits_cnn"))
    digits = networks.digits_split()
    x, y = digits.x_test[:24], digits.y_test[:24]
    ranges = calibrate(graph, digits.x_train[:64])
    options = (Option(8, 8), Option(2, 2))
    parts = partition(graph)
    unit = parts.units[0]
    scores = {
        method: hwsim.sensitivity(
            graph, x, method=method, options=options, ranges=ranges,
            labels=y if method == "top1" else None,
        ).values[unit, Option(2, 2)]
        for method in ("jsd", "top1")
    }  # fmt: skip
    # The unit's weights and its input, the image, rounded by hand.
    values = dict(parts.graph.values)
    node = next(n for n in parts.graph.nodes if parts.unit.get(n.name) == unit)
    weights = values[node.inputs[1]]
    assert weights.data is not None
    scale = np.abs(weights.data).max(axis=(1, 2, 3), keepdims=True).astype(np.float32)
    rounded = (np.clip(np.rint(weights.data.astype(float) / scale), -2, 1) * scale).astype("f4")
    low, high = ranges.bounds[node.inputs[0]]
    assert low >= 0
    step = float(np.float32(high / 3))
    coarse = (np.clip(np.rint(x.astype(float) / step), 0, 3) * step).astype("f4")
    values[weights.name] = replace(weights, data=rounded)
    changed = replace(parts.graph, values=values)
    name = parts.graph.output_names[0]
    before = run_floats(parts.graph, {graph.input_names[0]: x})[name].astype(float).tolist()
    after = run_floats(changed, {graph.input_names[0]: coarse})[name].astype(float).tolist()
    expected = math.fsum(jsd(softmax(a), softmax(b)) for a, b in zip(before, after)) / 24
    assert scores["jsd"] == pytest.approx(expected, rel=1e-4)
    assert 0.001 < expected < math.log(2)
    right = [sum(first_of_largest(r) == t for r, t in zip(rows, y)) for rows in (before, after)]
    assert right[0] > right[1]
    assert scores["top1"] == pytest.approx((right[0] - right[1]) / 24, abs=1e-12)


def test_a_softmax_at_the_end_is_not_taken_twice() -> None:
    m = Maker(0)
    logits = m.dense(m.input(1, 4), 3, name="unit")
    with_logits = m.done(logits)
    with_shares = m.done(m.node(Op.SOFTMAX, [logits], SoftmaxAttrs()))
    feed = samples(with_logits, 6, 0)
    tables = [
        hwsim.sensitivity(graph, feed, method="jsd", options=["W3A8"])
        for graph in (with_logits, with_shares)
    ]
    first, second = (next(iter(table.values.values())) for table in tables)
    assert first == pytest.approx(second, rel=1e-5)
    assert first > 1e-6


def test_sqnr_delta_on_the_integer_engine() -> None:
    graph = FAMILIES["chain"](2)
    feed = samples(graph, 7, 2)
    ranges = calibrate(graph, feed)
    parts = partition(graph)
    option = Option(4, 6)
    table = hwsim.sensitivity(
        graph, feed, method="sqnr_delta", engine="integer", options=[option], ranges=ranges, batch=3
    )
    made = quantize(graph, ranges, option)
    full = {**run_floats(parts.graph, feed, keep_all=True), **feed}
    whole = reals(made, hwsim.trace(made, feed))
    for unit in parts.units:
        (node,) = (n for n in parts.graph.nodes if parts.unit.get(n.name) == unit)
        reads, makes = ([(full[n], whole[n])] for n in (node.inputs[0], node.outputs[0]))
        expected = sqnr(reads) - sqnr(makes)
        assert table.values[unit, option] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert len(parts.units) >= 3


def test_sqnr_delta_of_both_engines_agrees_roughly() -> None:
    # Rounding differs, the noise is alike: within 2 dB at 4 bits.
    graph = hwsim.load(networks.path("digits_cnn"))
    digits = networks.digits_split()
    ranges = calibrate(graph, digits.x_train[:64])
    tables = [
        hwsim.sensitivity(
            graph, digits.x_test[:32], method="sqnr_delta", engine=engine, options=[4],
            ranges=ranges,
        )
        for engine in ("float", "integer")
    ]  # fmt: skip
    for key, value in tables[0].values.items():
        assert value == pytest.approx(tables[1].values[key], abs=2.0)
        assert -60 < value < 60


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "gpu"}, "sensitivity engine must be one of float, integer, not 'gpu'"),
        ({"labels": [0] * 4}, "labels must be given to top1 alone, not to output_l2"),
        (
            {"method": "top1", "labels": [0, 1]},
            "labels must be integers, one per input (4), not int64 of shape (2,)",
        ),
        (
            {"method": "top1", "labels": [0.0] * 4},
            "labels must be integers, one per input (4), not float64 of shape (4,)",
        ),
        ({"method": "top1", "labels": [0, 1, 2, 5]}, "labels must be in [0, 4], not [0, 5]"),
        ({"engine": "integer", "threads": 0}, "threads must be 1 or more, not 0"),
        ({"engine": "integer", "batch": 0}, "batch must be 1 or more, not 0"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], sentence: str) -> None:
    graph = FAMILIES["chain"](0)
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        hwsim.sensitivity(graph, samples(graph, 4, 0), **options)


def test_top1_needs_rows_of_classes() -> None:
    m = Maker(0)
    graph = m.done(m.conv(m.input(1, 4, 4, 2), 3))
    sentence = "top1 must have a first output of shape (inputs, classes), not (1, 4, 4, 3)"
    for engine in ("float", "integer"):
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            hwsim.sensitivity(graph, samples(graph, 2, 0), method="top1", engine=engine)
