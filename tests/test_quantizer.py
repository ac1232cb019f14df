import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hwsim.api import run
from hwsim.attributes import (
    Activation,
    ConcatAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GeluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NormAttrs,
    PadAttrs,
    SoftmaxAttrs,
)
from hwsim.calibration import Ranges, calibrate
from hwsim.errors import GraphError, HwsimError, InputError, QuantizationError
from hwsim.fuse import LINEAR, MOVES
from hwsim.graph import Graph
from hwsim.kernels.plan import execute
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.profiles import PROFILES
from hwsim.quant import IntType
from hwsim.quantizer import channel_axis, quantize
from hwsim.tables import Allocation, Option
from hwsim.verify import accumulator_bounds, verify
from tests.float_graphs import FAMILIES, Maker, random_bits, samples

HAWQ = PROFILES["hawq"]
CASES = [(family, seed) for family in FAMILIES for seed in range(6)]


def prepared(family: str, seed: int) -> tuple[Graph, Ranges]:
    graph = FAMILIES[family](seed)
    return graph, calibrate(graph, samples(graph, 16, seed))


def two_layers() -> tuple[Graph, Ranges]:
    """Return a graph of two units, "first" and "last"."""
    m = Maker(0)
    y = m.dense(m.input(1, 4), 6, name="first", activation=Activation.RELU)
    graph = m.done(m.dense(y, 3, name="last"))
    return graph, calibrate(graph, samples(graph, 8, 0))


def whole(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_every_value_keeps_the_rules(family: str, seed: int) -> None:
    graph, ranges = prepared(family, seed)
    parts = partition(graph)
    bits = random_bits(parts.units, seed)
    made = quantize(graph, ranges, bits)
    assert [v.name for v in made.activations] == [v.name for v in parts.graph.activations]
    for value in made.values.values():
        assert isinstance(value.dtype, IntType) and value.quant is not None
        assert min(value.quant.scale) > 0
        assert set(value.quant.zero_point) == {0}
        if value.data is not None:
            assert value.dtype.min <= value.data.min() and value.data.max() <= value.dtype.max
    for value in made.activations:
        if value.name in parts.accumulators:
            assert value.dtype == IntType(32)
            continue
        group = parts.group[value.name]
        made_by = [made.producer[n] for n in parts.members(group) if n in made.producer]
        if not any(node.op is Op.SOFTMAX for node in made_by):
            low = min(ranges.bounds[name][0] for name in parts.members(group))
            assert value.dtype.signed == (low < 0)
        if group in parts.owner:
            assert value.dtype.bits == bits[parts.owner[group]][1]
        assert value.quant == made.values[group].quant


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_weights_are_within_half_a_scale(family: str, seed: int) -> None:
    graph, ranges = prepared(family, seed)
    parts = partition(graph)
    bits = random_bits(parts.units, seed)
    made = quantize(graph, ranges, bits)
    for node in parts.graph.nodes:
        if node.op not in LINEAR:
            continue
        codes = made.values[made.producer[node.outputs[0]].inputs[1]]
        assert codes.data is not None and codes.quant is not None
        assert codes.dtype == IntType(bits[parts.unit[node.name]][0])
        reals = parts.graph.values[node.inputs[1]].data
        assert reals is not None
        scale, _ = codes.quant.broadcast(reals.ndim)
        error = np.abs(codes.data * scale - reals)
        # One ulp of float32: the scale that maps the largest weight to qmax is stored rounded.
        assert (error <= scale / 2 * (1 + 2**-20)).all()
        axis = channel_axis(node)
        others = tuple(i for i in range(reals.ndim) if i != axis)
        assert (np.abs(codes.data).max(axis=others) == codes.dtype.max).all()
        if len(node.inputs) > 2:
            bias = made.values[made.producer[node.outputs[0]].inputs[2]]
            real = parts.graph.values[node.inputs[2]].data
            assert bias.data is not None and bias.quant is not None and real is not None
            steps = np.array(bias.quant.scale)
            assert (np.abs(bias.data * steps - real) <= steps / 2 * (1 + 2**-20)).all()
            assert np.abs(bias.data).max() < 1 << 25


@pytest.mark.parametrize("depthwise", [False, True])
def test_dead_channels_do_not_blow_up_the_bias(depthwise: bool) -> None:
    m = Maker(0)
    x = m.input(1, 4, 4, 4)
    weights = m.rng.normal(0, 1, (1, 3, 3, 4) if depthwise else (4, 3, 3, 4))
    scale = np.array([1, 0, 1e-12, 1])
    weights *= scale if depthwise else scale.reshape(-1, 1, 1, 1)
    bias = [0.1, 0.9, -0.8, 0.0]
    op = Op.DEPTHWISE_CONV_2D if depthwise else Op.CONV_2D
    y = m.node(op, [x, m.constant(weights), m.constant(bias)], ConvAttrs(), "conv")
    graph = m.done(y)
    made = quantize(graph, calibrate(graph, samples(graph, 8, 0)), 8)
    codes = made.values[made.nodes[0].inputs[2]]
    assert codes.data is not None and codes.quant is not None
    assert np.abs(codes.data).max() < 1 << 25
    assert np.abs(codes.data).max() > 1 << 23  # the limited channels keep their precision
    assert np.abs(codes.data * np.array(codes.quant.scale) - bias).max() < 1e-3


def test_all_weights_zero() -> None:
    m = Maker(0)
    y = m.node(Op.FULLY_CONNECTED, [m.input(1, 4), m.constant(np.zeros((3, 4)))],
               FullyConnectedAttrs())  # fmt: skip
    graph = m.done(y)
    inputs = samples(graph, 4, 0)
    made = quantize(graph, calibrate(graph, inputs), 4)
    assert not run(made, inputs)[y].any()


@pytest.mark.parametrize("gamma", [1.0, 1e-2, 1e-4, 1e-9, 0.0])
def test_layer_norm_keeps_a_large_beta(gamma: float) -> None:
    m = Maker(0)
    x = m.input(1, 4, 8)
    inputs = [x, m.constant(np.full(8, gamma)), m.constant(m.rng.normal(0, 1, 8))]
    graph = m.done(m.node(Op.LAYER_NORM, inputs, NormAttrs(1e-5), "norm"))
    feed = samples(graph, 8, 0)
    made = quantize(graph, calibrate(graph, feed))
    quant = made.values["norm"].quant
    assert quant is not None
    real = run(graph, feed, profile="float")["norm"]
    # 16-bit codes in, out and for gamma: what 10 fraction bits of the normalized value leave.
    assert np.abs(run(made, feed)["norm"] * quant.scale[0] - real).max() < 4e-3


def test_layer_norm_of_invisible_codes_is_refused() -> None:
    m = Maker(0)
    x = m.input(1, 4, 8)
    ones = m.constant(np.ones(8))
    graph = m.done(m.node(Op.LAYER_NORM, [x, ones], NormAttrs(1e-5), "norm"))
    feed = np.zeros((1, 4, 8), np.float32)
    feed[0, 0, 0] = 2.0**-60
    made = quantize(graph, calibrate(graph, feed))
    sentence = whole(
        "node 'norm' (layer_norm): epsilon must be below 2**61 units of the codes' variance; "
        f"the input's scale {2.0**-60 / 65535:g} is too small for it"
    )
    with pytest.raises(GraphError, match=sentence):
        run(made, feed)


def test_a_value_of_layer_norm_and_table_runs() -> None:
    m = Maker(0)
    y = m.dense(m.input(1, 4, 8), 8)
    gelu = m.node(Op.GELU, [y], GeluAttrs())
    graph = m.done(m.dense(gelu, 3), m.dense(m.norm(y), 3))
    feed = samples(graph, 4, 0)
    made = quantize(graph, calibrate(graph, feed))
    assert made.values[y].dtype.bits == 8
    assert len(run(made, feed)) == 2


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_first_last_changes_the_border_alone(family: str, seed: int) -> None:
    graph, ranges = prepared(family, seed)
    parts = partition(graph)
    made = quantize(graph, ranges, 3, first_last="W8A7")
    assert parts.border
    for node in made.nodes:
        if node.op in LINEAR:
            wide = parts.unit[node.name] in parts.border
            weights, x = (made.values[node.inputs[i]].dtype.bits for i in (1, 0))
            assert (weights, x) == ((8, 7) if wide else (3, 3))


@pytest.mark.parametrize(
    "bits",
    [
        (4, 8), "W4A8", "4x8", Option(4, 8),
        {"first": (4, 8), "last": "w4a8"},
        {"last": Option(4, 8), "first": "4x8"},
        Allocation({"first": Option(4, 8), "last": Option(4, 8)}, score=0.0, resources={}),
    ],
    ids=str,
)  # fmt: skip
def test_every_form_of_bits_means_the_same(bits: Any) -> None:
    graph, ranges = two_layers()
    made = quantize(graph, ranges, bits)
    assert [made.values[n.inputs[1]].dtype.bits for n in made.nodes] == [4, 4]
    assert [made.values[n.inputs[0]].dtype.bits for n in made.nodes] == [8, 8]


def test_one_number_is_both_widths() -> None:
    graph, ranges = two_layers()
    made = quantize(graph, ranges, 5)
    assert [v.dtype.bits for n in made.nodes for v in made.operands(n)[:2] if v] == [5] * 4


@pytest.mark.parametrize(
    ("bits", "error", "sentence"),
    [
        (1, QuantizationError, "unit 'first': weight_bits must be in [2, 8], not 1"),
        ("W8A9", QuantizationError, "unit 'first': activation_bits must be in [2, 8], not 9"),
        ({"first": 8, "last": 9}, QuantizationError,
         "unit 'last': weight_bits must be in [2, 8], not 9"),
        ({"first": 8, "lost": 8}, InputError, "unit must be one of first, last, not 'lost'"),
        ({"first": 8}, InputError, "unit 'last' must have bits; it is missing"),
        ("W8B8", InputError, "bits must be a width or a pair such as W4A8, not 'W8B8'"),
        (0, InputError, "weight_bits must be an integer in [1, 32], not 0"),
        ((8, 33), InputError, "activation_bits must be an integer in [1, 32], not 33"),
    ],
)  # fmt: skip
def test_wrong_bits_are_refused(bits: Any, error: type[HwsimError], sentence: str) -> None:
    graph, ranges = two_layers()
    with pytest.raises(error, match=whole(sentence)):
        quantize(graph, ranges, bits)


def test_a_quantized_graph_is_refused() -> None:
    graph, ranges = two_layers()
    sentence = whole("graph 'made' must hold floats to be quantized, not integer codes")
    with pytest.raises(QuantizationError, match=sentence):
        quantize(quantize(graph, ranges), ranges)


def test_an_uncalibrated_value_is_refused() -> None:
    graph, ranges = two_layers()
    without = {name: bound for name, bound in ranges.bounds.items() if name != "first"}
    sentence = whole("value 'first' must have a calibrated range; calibrate first")
    with pytest.raises(QuantizationError, match=sentence):
        quantize(graph, Ranges(without, "minmax", 100.0, 8))


def joined_softmax(other: str) -> Graph:
    m = Maker(0)
    x = m.input(1, 4)
    y = m.dense(x, 4, name="y")
    softmax = m.node(Op.SOFTMAX, [y], SoftmaxAttrs(), "softmax")
    name = {"computed": y, "input": x, "constant": m.constant([[2.0, -3.0]])}[other]
    return m.done(m.node(Op.CONCATENATION, [softmax, name], ConcatAttrs(1)))


def unquantizable() -> Mapping[str, tuple[Graph, str]]:
    operators = (
        "conv_2d, depthwise_conv_2d, fully_connected, matmul, add, sub, mul, average_pool_2d, "
        "max_pool_2d, mean, softmax, layer_norm, rms_norm, relu, relu6, relu_n1_to_1, clip, "
        "leaky_relu, logistic, tanh, hard_swish, gelu, silu, reshape, transpose, pad, "
        "concatenation, strided_slice, split, gather"
    )
    m = Maker(0)
    erf = m.done(m.node(Op.ERF, [m.input(1, 4)], name="e"))
    m = Maker(0)
    constant = m.constant(np.ones((1, 4, 3)), "b")
    matmul = m.done(m.node(Op.MATMUL, [m.input(1, 2, 4), constant], MatMulAttrs(), "mm"))
    m = Maker(0)
    pad = m.done(m.node(Op.PAD, [m.input(1, 4)], PadAttrs((0, 1), (0, 0), 0.5), "p"))
    m = Maker(0)
    a = m.input(1, 4, name="a")
    w = m.input(3, 4, name="w")
    dense = m.done(m.node(Op.FULLY_CONNECTED, [a, w], FullyConnectedAttrs(), "d"))
    joined = "a softmax must not be joined with other values"
    return {
        "operator": (
            erf, f"node 'e': operator must be one of {operators} to be quantized, not erf"
        ),
        "operand": (matmul, "node 'mm' (matmul): operand 'b' must be computed, not a constant"),
        "padding": (pad, "node 'p': padding must be by zero"),
        "weights": (dense, "value 'w' must be a constant to be quantized"),
        "softmax and computed": (joined_softmax("computed"), f"value 'y': {joined}"),
        "softmax and input": (joined_softmax("input"), f"value 'x': {joined}"),
        "softmax and constant": (joined_softmax("constant"), f"value 'softmax': {joined}"),
    }  # fmt: skip


@pytest.mark.parametrize("case", unquantizable())
def test_what_has_no_integer_form_is_refused(case: str) -> None:
    graph, sentence = unquantizable()[case]
    feed = {v.name: np.ones(v.shape, np.float32) for v in graph.inputs}
    ranges = calibrate(graph, feed)
    with pytest.raises(QuantizationError, match=whole(sentence)):
        quantize(graph, ranges)


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_accumulators_are_proved_and_never_passed(family: str, seed: int) -> None:
    graph, ranges = prepared(family, seed)
    made = quantize(graph, ranges, random_bits(partition(graph).units, seed))
    bounds = {bound.node: bound for bound in verify(made, HAWQ)}
    accumulating = LINEAR | {Op.MATMUL, Op.MEAN, Op.AVERAGE_POOL_2D}
    assert bounds.keys() == {node.name for node in made.nodes if node.op in accumulating}
    rng = np.random.default_rng(seed)
    feed = {}
    for value in made.inputs:
        assert isinstance(value.dtype, IntType)
        shape = (16, *value.shape[1:])
        choices = np.array([value.dtype.min, 0, value.dtype.max])
        feed[value.name] = rng.choice(choices, shape).astype(value.dtype.storage)
    trace = execute(made, HAWQ, feed, keep_all=True)
    for node in made.nodes:
        if node.op is Op.FULLY_CONNECTED:
            x = trace[node.inputs[0]].astype(np.int64)
            weights = made.values[node.inputs[1]].data
            assert weights is not None
            terms = x[..., None, :] * weights
            if len(node.inputs) > 2:
                bias = made.values[node.inputs[2]].data
                assert bias is not None
                first = np.broadcast_to(bias, terms.shape[:-1])[..., None]
                terms = np.concatenate((first, terms), axis=-1)
            sums = terms.cumsum(axis=-1)
            assert bounds[node.name].low <= sums.min() and sums.max() <= bounds[node.name].high
        elif made.values[node.outputs[0]].dtype.bits == 32:
            sums = trace[node.outputs[0]]
            assert bounds[node.name].low <= sums.min() and sums.max() <= bounds[node.name].high


@pytest.mark.parametrize("low", [-4.0, 0.0])
def test_bound_is_attained(low: float) -> None:
    """A layer's most positive and most negative sums are met, and by no less than the bound."""
    m = Maker(1)
    x = m.input(1, 7)
    weights, bias = m.rng.normal(0, 1, (1, 7)), [0.7]
    y = m.node(
        Op.FULLY_CONNECTED, [x, m.constant(weights), m.constant(bias)], FullyConnectedAttrs(), "y"
    )
    other = m.node(Op.MUL, [x, m.constant([0.0])], FusedAttrs())
    total = m.node(Op.MEAN, [other], MeanAttrs((1,), True), "zero")
    graph = m.done(m.add(y, total, name="sum"))
    feed = np.linspace(low, 4, 14).reshape(2, 7).astype(np.float32)
    made = quantize(graph, calibrate(graph, feed))
    assert made.values["y"].dtype.bits == 32  # the accumulator itself is visible
    node = made.producer["y"]
    codes, bias_codes = (made.values[node.inputs[i]].data for i in (1, 2))
    assert codes is not None and bias_codes is not None and bias_codes[0] > 0
    dtype = made.values["x"].dtype
    assert isinstance(dtype, IntType) and dtype.signed == (low < 0)
    largest = np.where(codes > 0, dtype.max, dtype.min).astype(dtype.storage)
    smallest = np.where(codes > 0, dtype.min, dtype.max).astype(dtype.storage)
    trace = execute(made, HAWQ, {"x": np.concatenate((largest, smallest))}, keep_all=True)["y"]
    (bound,) = (b for b in accumulator_bounds(made) if b.node == "y")
    assert trace[0, 0] == bound.high
    # The positive bias comes last here: the partial sum before it is the least of all.
    assert trace[1, 0] - bias_codes[0] == bound.low
    assert bound.bits == max(bound.high, -bound.low - 1).bit_length() + 1


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    m = Maker(0)
    terms = 1 << 17
    weights = m.constant(np.ones((1, terms)))
    attrs = FullyConnectedAttrs()
    graph = m.done(m.node(Op.FULLY_CONNECTED, [m.input(1, terms), weights], attrs, "wide"))
    made = quantize(graph, calibrate(graph, np.ones((1, terms), np.float32)))
    highest = terms * 127 * 255
    assert highest.bit_length() == 32
    sentence = whole(
        "node 'wide': the accumulator must fit 32 bits, not 33; narrow the operands or split the "
        "reduction"
    )
    with pytest.raises(GraphError, match=sentence):
        verify(made, HAWQ)
    with pytest.raises(GraphError, match=sentence):
        run(made, np.ones((1, terms), np.float32))
    narrow = quantize(graph, calibrate(graph, np.ones((1, terms), np.float32)), "W7A8")
    assert verify(narrow, HAWQ)[0].high == terms * 63 * 255


def test_moves_share_one_format() -> None:
    graph, ranges = prepared("transformer", 0)
    made = quantize(graph, ranges)
    for node in made.nodes:
        if node.op in MOVES:
            x, out = made.values[node.inputs[0]], made.values[node.outputs[0]]
            assert (x.dtype, x.quant) == (out.dtype, out.quant)


# "mixed" multiplies by a gate and clamps to [-1, 1]: one step of the product is a third of that.
@pytest.mark.parametrize("family", ["chain", "residual", "transformer"])
def test_eight_bits_stay_near_the_floats(family: str) -> None:
    graph, ranges = prepared(family, 1)
    feed = samples(graph, 16, 1)
    made = quantize(graph, ranges)
    reals = run(graph, feed, profile="float")
    for name, codes in run(made, feed).items():
        quant = made.values[name].quant
        assert quant is not None
        error = np.abs(codes * quant.scale[0] - reals[name]).max()
        # A weak check: 8-bit noise of a few layers, well below what a wrong scale would do.
        assert error < 0.1 * np.abs(reals[name]).max(), name
