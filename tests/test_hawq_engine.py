"""The integer engine equals the oracle of profile `hawq` on every activation of whole networks."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hwsim import networks
from hwsim.api import load
from hwsim.attributes import Activation, MatMulAttrs
from hwsim.calibration import calibrate
from hwsim.graph import Graph, rebuild
from hwsim.kernels.elementwise import rescale
from hwsim.kernels.plan import execute
from hwsim.kernels.scaling import Site, fixed_scaling, product_scaling
from hwsim.partition import CHOOSING, partition
from hwsim.profile import OperatorRule, Requant
from hwsim.profiles import PROFILES
from hwsim.quant import IntType, QuantParams
from hwsim.quantizer import quantize
from tests.float_graphs import FAMILIES, random_bits, samples
from tests.oracle import hawq
from tests.oracle.arith import f32_mul, quantize_multiplier

HAWQ = PROFILES["hawq"]
SEEDS = 12


def quantized(family: str, seed: int) -> Graph:
    """Return a random graph of a family at random widths."""
    graph = FAMILIES[family](seed)
    ranges = calibrate(graph, samples(graph, 16, seed))
    return quantize(graph, ranges, random_bits(partition(graph).units, seed))


def codes(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return random codes of every input; the first entries are all least, all largest."""
    rng = np.random.default_rng(seed)
    feed = {}
    for value in graph.inputs:
        dtype = value.dtype
        assert isinstance(dtype, IntType)
        shape = (count, *value.shape[1:])
        array = rng.integers(dtype.min, dtype.max, shape, dtype.storage, endpoint=True)
        array[0], array[1] = dtype.min, dtype.max
        feed[value.name] = array
    return feed


def assert_equal_everywhere(graph: Graph, feed: Mapping[str, np.ndarray]) -> None:
    """Compare engine and oracle on every activation of every entry."""
    made = execute(graph, HAWQ, feed, keep_all=True)
    count = next(iter(feed.values())).shape[0]
    for entry in range(count):
        single = {name: array[entry : entry + 1] for name, array in feed.items()}
        expected = hawq.run(graph, single)
        assert made.keys() == expected.keys()
        for name, array in expected.items():
            found = made[name][entry : entry + 1]
            assert found.shape == array.shape
            assert np.array_equal(found, array), (name, entry)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_engine_equals_oracle(family: str, seed: int) -> None:
    graph = quantized(family, seed)
    assert_equal_everywhere(graph, codes(graph, 3, seed))


def shifted(graph: Graph, seed: int) -> Graph:
    """Return the graph with random zero points; tables, softmax and accumulators keep theirs."""
    rng = np.random.default_rng(seed)
    parts = partition(graph)
    fixed = {parts.group[n.outputs[0]] for n in graph.nodes if n.op.value == "softmax"}
    zeros: dict[str, int] = {}
    values = dict(graph.values)
    for value in graph.activations:
        group = parts.group[value.name]
        dtype, quant = value.dtype, value.quant
        assert isinstance(dtype, IntType) and quant is not None
        if group in fixed or dtype.bits == 32:
            continue
        zero = zeros.setdefault(group, int(rng.integers(dtype.min, dtype.max, endpoint=True)))
        values[value.name] = replace(value, quant=QuantParams(quant.scale, (zero,), quant.axis))
    return rebuild(graph, graph.nodes, values.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_engine_equals_oracle_with_zero_points(family: str, seed: int) -> None:
    graph = shifted(quantized(family, seed), seed)
    assert any(v.quant is not None and any(v.quant.zero_point) for v in graph.activations)
    assert_equal_everywhere(graph, codes(graph, 3, seed))


@pytest.mark.parametrize("name", networks.NAMES)
def test_engine_equals_oracle_on_shipped_networks(name: str) -> None:
    rng = np.random.default_rng(0)
    graph = load(networks.path(name))
    images = rng.uniform(0, 1, (16, 1, 8, 8)).astype(np.float32)
    parts = partition(graph)
    ready = quantize(graph, calibrate(graph, images), random_bits(parts.units, 1))
    feed = codes(ready, 3, 0)
    # The first two are constant images; the third is random.
    assert_equal_everywhere(ready, {key: array[1:] for key, array in feed.items()})


def hawq_v3(accs: np.ndarray, ratio: float) -> np.ndarray:
    """HAWQ-V3's own formula, quant_utils.py @1616df69: np.round of a float64 product."""
    fraction, exponent = np.frexp(ratio)
    multiplier = np.floor(fraction * 2.0**31 + 0.5)
    return np.round(accs.astype(np.float64) * multiplier / 2.0 ** (31.0 - exponent))


def test_dyadic_product_equals_hawq_v3() -> None:
    rng = np.random.default_rng(0)
    # Powers of two make ties of every odd accumulator; the others are ratios of real layers.
    ratios = [*(2.0**-k for k in range(1, 21)), *2.0 ** rng.uniform(-20, 3, 180)]
    accs = rng.integers(-(2**22) + 1, 2**22, (6000, len(ratios)), np.int32)
    for k in range(20):
        accs[:, k] = (accs[:, k] >> (k + 1) << (k + 1)) + (1 << k)  # exact halves
    scaling = fixed_scaling(OperatorRule(Requant.HALF_EVEN), ratios, 0, -(1 << 62), 1 << 62)
    made = np.empty(accs.shape, np.int64)
    rescale(accs, np.int64(0), scaling, made)
    for k, ratio in enumerate(ratios):
        assert np.array_equal(made[:, k], hawq_v3(accs[:, k], ratio)), ratio
    assert np.array_equal(2 * hawq_v3(accs[:, 3], ratios[3]) % 4, np.zeros(6000))  # all to even
    assert made.size >= 10**6


@pytest.mark.parametrize("family", ["chain", "residual", "transformer"])
def test_multipliers_are_those_of_a_float32_product(family: str) -> None:
    """A float64 product differs in the multiplier's last bits, which few codes would show."""
    graph = quantized(family, 0)
    compared = 0
    for node in graph.nodes:
        out = graph.values[node.outputs[0]]
        if node.op not in CHOOSING or out.dtype.bits == 32:
            continue
        x, weights = (graph.values[name] for name in node.inputs[:2])
        assert x.quant is not None and weights.quant is not None and out.quant is not None
        gain = node.attrs.scale if isinstance(node.attrs, MatMulAttrs) else 1.0
        channels = len(weights.quant.scale)
        made = product_scaling(Site(graph, node, HAWQ), Activation.NONE, channels)
        for c, scale in enumerate(weights.quant.scale):
            ratio = f32_mul(x.quant.scale[0], scale) * gain / out.quant.scale[0]
            multiplier, left = quantize_multiplier(ratio)
            assert (made.multiplier[c], made.right_shift[c]) == (multiplier, -left)
            compared += 1
    assert compared > 10
