import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from hwsim import networks
from hwsim.api import load
from hwsim.attributes import FullyConnectedAttrs
from hwsim.calibration import Ranges, calibrate
from hwsim.errors import InputError
from hwsim.floats import constants, evaluate, run_floats
from hwsim.fuse import LINEAR
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.scores import sensitivity
from hwsim.tables import Option
from tests.float_graphs import FAMILIES, Maker, samples


def rounded(x: torch.Tensor, scale: Any, low: int, high: int) -> torch.Tensor:
    """Return the reals that codes in [low, high] stand for, ties to even."""
    return ((x.double() / scale).round().clamp(low, high) * scale).to(x.dtype)


def by_hand(
    graph: Graph, feed: dict[str, np.ndarray], ranges: Ranges, unit: str, option: Option
) -> float:
    """Return one unit's score: the whole network, image by image, with that unit quantized."""
    parts = partition(graph)
    fused = parts.graph
    known = constants(fused)
    for node in fused.nodes:
        if node.op in LINEAR and parts.unit[node.name] == unit:
            weights = known[node.inputs[1]]
            kept = 3 if node.op is Op.DEPTHWISE_CONV_2D else 0
            others = tuple(axis for axis in range(weights.ndim) if axis != kept)
            top = 2 ** (option.weight_bits - 1) - 1
            scale = (weights.double().abs().amax(others, keepdim=True) / top).float().double()
            known[node.inputs[1]] = rounded(weights, scale, -top - 1, top)
    replaced = {}
    for name, group in parts.group.items():
        if parts.owner.get(group) != unit:
            continue
        members = parts.members(group)
        bits = option.activation_bits
        makers = [fused.producer[n].op for n in members if n in fused.producer]
        low = min(ranges.bounds[n][0] for n in members)
        high = max(ranges.bounds[n][1] for n in members)
        if Op.SOFTMAX in makers:
            edges, scale = (0, 2**bits - 1), 2.0**-bits
        elif low < 0:
            edges = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            scale = float(np.float32(max(-low, high) / edges[1]))
        else:
            edges = (0, 2**bits - 1)
            scale = float(np.float32(high / edges[1]))
        replaced[name] = lambda x, s=scale, e=edges: rounded(x, s, *e)
    total = 0.0
    for i in range(next(iter(feed.values())).shape[0]):
        single = {name: torch.from_numpy(array[i : i + 1]) for name, array in feed.items()}
        full = evaluate(fused, {**constants(fused), **single})
        made = evaluate(fused, {**known, **single}, replaced)
        for name in fused.output_names:
            total += float(((made[name] - full[name]).double() ** 2).sum())
    return float(np.sqrt(total))


def noise(graph: Graph, feed: dict[str, np.ndarray]) -> float:
    """Return what the last bits of float32 outputs may do to a score: it is their difference."""
    outputs = run_floats(graph, feed).values()
    return 1e-6 * float(np.sqrt(sum((array.astype(float) ** 2).sum() for array in outputs)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on few cores: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_a_recomputation(family: str, seed: int) -> None:
    graph = FAMILIES[family](seed)
    feed = samples(graph, 4, seed)
    ranges = calibrate(graph, feed)
    options = [Option(8, 8), Option(3, 5), Option(2, 2)]
    table = sensitivity(graph, feed, options=options, ranges=ranges, batch=3)
    units = partition(graph).units
    assert table.values.keys() == {(unit, option) for unit in units for option in options}
    assert (table.metric, table.samples) == ("output_l2", 4)
    near = {"rel": 1e-5, "abs": noise(graph, feed)}
    for (unit, option), score in table.values.items():
        assert score == pytest.approx(by_hand(graph, feed, ranges, unit, option), **near), unit
    assert max(table.values.values()) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_do_not_depend_on_the_batch(family: str) -> None:
    graph = FAMILIES[family](0)
    feed = samples(graph, 10, 0)
    ranges = calibrate(graph, feed)
    tables = [sensitivity(graph, feed, ranges=ranges, batch=batch) for batch in (1, 3, 10, 64)]
    allowed = noise(graph, feed)
    for table in tables[1:]:
        assert table.values == pytest.approx(tables[0].values, rel=1e-6, abs=allowed)
        assert table.data_sha256 == tables[0].data_sha256


def test_ranges_default_to_the_data() -> None:
    graph = FAMILIES["residual"](0)
    feed = samples(graph, 10, 0)
    assert sensitivity(graph, feed) == sensitivity(graph, feed, ranges=calibrate(graph, feed))


def test_weights_and_inputs_of_whole_codes_lose_nothing() -> None:
    m = Maker(0)
    weights = np.array([[127.0, -5, 3, 0], [1, -127, 9, 64]])
    y = m.node(Op.FULLY_CONNECTED, [m.input(1, 4), m.constant(weights)], FullyConnectedAttrs(), "y")
    feed = np.array([[127.0, 1, -3, 7], [-127, 0, 0, 1]], np.float32)
    table = sensitivity(m.done(y), feed, options=["W8A8", "W7A8", "W8A7"])
    assert table.values["y", Option(8, 8)] == 0.0
    assert min(table.values["y", Option(7, 8)], table.values["y", Option(8, 7)]) > 0.0


def test_one_bit_weights_are_minus_one_and_zero() -> None:
    m = Maker(0)
    weights = m.constant([[2.0, -2.0, 0.5, -1.5]])
    y = m.node(Op.FULLY_CONNECTED, [m.input(1, 4), weights], FullyConnectedAttrs(), "y")
    feed = np.eye(4, dtype=np.float32) * 127
    table = sensitivity(m.done(y), feed, options=["W1A8"])
    # The stored scale is the largest weight, 2: the codes are 0, -1, 0, -1.
    assert table.values["y", Option(1, 8)] == pytest.approx(
        127 * np.sqrt(2.0**2 + 0 + 0.5**2 + 0.5**2), rel=1e-12
    )


def test_narrower_is_worse_on_the_digits() -> None:
    # A weak check: true of this network's units from 8 to 4 to 2 bits, not a law.
    graph = load(networks.path("digits_cnn"))
    images = np.random.default_rng(0).uniform(0, 1, (32, 1, 8, 8)).astype(np.float32)
    table = sensitivity(graph, images, options=(8, 4, 2))
    for unit in table.units:
        wide, middle, narrow = (table.values[unit, Option(b, b)] for b in (8, 4, 2))
        assert 0 < wide < middle < narrow


def test_progress_counts_units_of_batches() -> None:
    graph = FAMILIES["chain"](0)
    calls: list[None] = []
    sensitivity(graph, samples(graph, 10, 0), batch=4, progress=lambda: calls.append(None))
    assert len(calls) == 3 * len(partition(graph).units)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"method": "hessian"},
            "sensitivity method must be one of output_l2, jsd, top1, sqnr_delta, not 'hessian'",
        ),
        ({"options": ["W4B4"]}, "bits must be a width or a pair such as W4A8, not 'W4B4'"),
        ({"options": [0]}, "weight_bits must be an integer in [1, 32], not 0"),
        ({"batch": 0}, "batch must be 1 or more, not 0"),
        ({"options": []}, "options must hold at least one choice of bits, not none"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    graph = FAMILIES["chain"](0)
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        sensitivity(graph, samples(graph, 4, 0), **options)


def test_inputs_that_do_not_fit_are_refused() -> None:
    graph = FAMILIES["chain"](0)
    sentence = re.escape("input 'x' must have shape (batch, 6, 6, 4), not (2, 6, 6, 3)")
    with pytest.raises(InputError, match=f"^{sentence}$"):
        sensitivity(graph, np.zeros((2, 6, 6, 3), np.float32))
