import math
from collections.abc import Callable

import numpy as np
import pytest

from hwsim.attributes import (
    Activation,
    FusedAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    TransposeAttrs,
)
from hwsim.floats import run_floats
from hwsim.fuse import (
    PASSES,
    accumulator_values,
    find_causal,
    find_gelu,
    find_rms_norm,
    find_silu,
    fold_batch_norm,
    fold_bias,
    fold_factors,
    fuse,
    fuse_clamps,
)
from hwsim.graph import Graph
from hwsim.ops import Op
from tests.float_graphs import FAMILIES, Maker, samples

PLAIN = FusedAttrs()
RELU = Activation.RELU


def assert_same_function(before: Graph, after: Graph, *, outputs_only: bool = False) -> None:
    """Compare all values that both graphs name the same, within 1e-5 of the largest.

    What lies between a folded factor and its new place is scaled: there only outputs compare.
    """
    assert after.input_names == before.input_names
    assert after.output_names == before.output_names
    feed = samples(before, 8, 0)
    old = run_floats(before, feed, keep_all=True)
    new = run_floats(after, feed, keep_all=True)
    for name in after.output_names:
        assert old[name].shape == new[name].shape
        assert old[name].any()
    for name in after.output_names if outputs_only else old.keys() & new.keys():
        allowed = 1e-5 * float(np.abs(old[name]).max())
        assert float(np.abs(old[name] - new[name]).max()) <= allowed, name


def operators(graph: Graph) -> list[Op]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_passes_keep_the_function(family: str, seed: int) -> None:
    graph = FAMILIES[family](seed)
    for rewrite in PASSES:
        after = rewrite(graph)
        assert set(after.values) - {n for n, v in after.values.items() if v.is_constant} <= set(
            graph.values
        )
        assert_same_function(graph, after, outputs_only=rewrite is fold_factors)
        assert rewrite(after) == after
        graph = after


def batch_norm(m: Maker, x: str, name: str = "bn") -> str:
    size = m.shape(x)[-1]
    gamma, beta, mean = (m.constant(m.rng.normal(0, 1, size)) for _ in range(3))
    variance = m.constant(m.rng.uniform(0.1, 2, size))
    return m.node(Op.BATCH_NORM, [x, gamma, beta, mean, variance], NormAttrs(1e-3), name)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["conv", "grouped", "depthwise", "dense"])
def test_batch_norm_folds_into_what_is_before(kind: str, bias: bool) -> None:
    m = Maker(0)
    if kind == "dense":
        y = m.dense(m.input(1, 5), 6, bias=bias)
    else:
        x = m.input(1, 5, 5, 4)
        groups = {"groups": 2} if kind == "grouped" else {}
        y = m.conv(x, 8, bias=bias, depthwise=kind == "depthwise", **groups)
    graph = m.done(batch_norm(m, y))
    after = fold_batch_norm(graph)
    assert operators(after) == [graph.nodes[0].op]
    assert after.nodes[0].name == "bn"
    assert after.nodes[0].attrs == graph.nodes[0].attrs
    assert_same_function(graph, after)


@pytest.mark.parametrize("why", ["input", "activation", "read twice", "output"])
def test_batch_norm_alone_becomes_depthwise(why: str) -> None:
    m = Maker(0)
    y = m.input(1, 5, 5, 4)
    if why != "input":
        y = m.conv(y, 4, activation=RELU if why == "activation" else Activation.NONE)
    outputs = [batch_norm(m, y)]
    if why == "read twice":
        outputs.append(m.node(Op.MEAN, [y], MeanAttrs((1, 2), True)))
    if why == "output":
        outputs.append(y)
    graph = m.done(*outputs)
    after = fold_batch_norm(graph)
    assert after.producer["bn"].op is Op.DEPTHWISE_CONV_2D
    assert len(after.nodes) == len(graph.nodes)
    assert_same_function(graph, after)


def test_batch_norm_of_rows_alone_stays() -> None:
    m = Maker(0)
    graph = m.done(batch_norm(m, m.input(1, 5)))
    assert fold_batch_norm(graph) == graph


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (1, 1, 6)])
def test_bias_folds(flipped: bool, shape: tuple[int, ...]) -> None:
    m = Maker(0)
    y, c = m.dense(m.input(1, 4, 5), 6), m.constant(np.arange(6).reshape(shape))
    graph = m.done(m.add(*((c, y) if flipped else (y, c)), name="sum"))
    after = fold_bias(graph)
    assert operators(after) == [Op.FULLY_CONNECTED]
    assert_same_function(graph, after)


@pytest.mark.parametrize("shape", [(1, 4, 6), (4, 1), (1,)])
def test_what_is_no_bias_stays(shape: tuple[int, ...]) -> None:
    m = Maker(0)
    y, c = m.dense(m.input(1, 4, 5), 6), m.constant(np.ones(shape))
    graph = m.done(m.add(y, c))
    assert fold_bias(graph) == graph


def dense(m: Maker) -> str:
    return m.dense(m.input(1, 4, 6), 6)


GELU_ORDERS: dict[str, Callable[[Maker, str, str], str]] = {
    # x is halved, then multiplied; the name of each operand order matters to the pass.
    "(x * 1/2) * b": lambda m, x, b: times(m, times(m, x, 0.5), b),
    "b * (1/2 * x)": lambda m, x, b: times(m, b, times(m, 0.5, x)),
    "b * (x / 2)": lambda m, x, b: times(m, b, m.node(Op.DIV, [x, m.constant(2.0)], PLAIN)),
    # torch: (x * b) * 1/2
    "(x * b) * 1/2": lambda m, x, b: times(m, times(m, x, b), 0.5),
    "1/2 * (b * x)": lambda m, x, b: times(m, 0.5, times(m, b, x)),
    # BERT: x * (1/2 * b)
    "x * (1/2 * b)": lambda m, x, b: times(m, x, times(m, 0.5, b)),
    "(b / 2) * x": lambda m, x, b: times(m, m.node(Op.DIV, [b, m.constant(2.0)], PLAIN), x),
}


def times(m: Maker, a: str | float, b: str | float) -> str:
    names = [part if isinstance(part, str) else m.constant(part) for part in (a, b)]
    return m.node(Op.MUL, names, PLAIN)


def gelu_by_hand(m: Maker, x: str, order: str, divide: bool, one: float = 1.0) -> str:
    if divide:
        scaled = m.node(Op.DIV, [x, m.constant(math.sqrt(2))], PLAIN)
    else:
        scaled = times(m, x, math.sqrt(0.5))
    bracket = m.add(m.node(Op.ERF, [scaled]), m.constant(one))
    return GELU_ORDERS[order](m, x, bracket)


@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("order", GELU_ORDERS)
def test_gelu_is_found(order: str, divide: bool) -> None:
    m = Maker(0)
    graph = m.done(gelu_by_hand(m, dense(m), order, divide))
    after = fuse(graph)
    assert operators(after) == [Op.FULLY_CONNECTED, Op.GELU]
    assert_same_function(graph, after)


@pytest.mark.parametrize("order", GELU_ORDERS)
def test_what_is_no_gelu_stays(order: str) -> None:
    m = Maker(0)
    graph = m.done(gelu_by_hand(m, dense(m), order, True, one=2.0))
    assert find_gelu(graph) == graph
    m = Maker(0)
    y = dense(m)
    found = gelu_by_hand(m, y, order, True)
    # A value inside the pattern that somebody else reads.
    inside = next(node.outputs[0] for node in m.nodes if node.op is Op.ERF)
    graph = m.done(found, m.node(Op.MEAN, [inside], MeanAttrs((1,), True)))
    assert find_gelu(graph) == graph


def attention(place: str) -> tuple[Graph, Op]:
    """Return scaled scores, and the operator that takes the factor in."""
    m = Maker(0)
    q, k = (m.dense(m.input(1, 4, 6, name=name), 6) for name in "qk")
    into = Op.MATMUL
    if place == "q":
        q = times(m, q, 0.3)
        into = Op.FULLY_CONNECTED
    if place == "q / c":
        q = m.node(Op.DIV, [q, m.constant([[3.0]])], PLAIN)
        into = Op.FULLY_CONNECTED
    heads = []
    for x in (q, k):
        y = m.node(Op.RESHAPE, [x], ReshapeAttrs((1, 4, 2, 3)))
        heads.append(m.node(Op.TRANSPOSE, [y], TransposeAttrs((0, 2, 1, 3))))
    q, k = heads
    if place == "q through shuffles":
        q = times(m, 0.3, q)
        into = Op.FULLY_CONNECTED
    if place == "k before a slice":
        k = times(m, k, 0.3)
        k = m.node(Op.STRIDED_SLICE, [k], SliceAttrs((0, 0, 1, 0), (1,) * 4, (1, 2, 3, 3)))
        into = Op.FULLY_CONNECTED
    scores = m.node(Op.MATMUL, [q, k], MatMulAttrs(transpose_b=True, scale=2.0), "scores")
    if place == "scores":
        scores = times(m, scores, 0.3)
    if place == "scores through a reshape":
        scores = m.node(Op.RESHAPE, [scores], ReshapeAttrs((2, 4, 4)))
        scores = times(m, scores, 0.3)
    return m.done(m.node(Op.SOFTMAX, [scores], SoftmaxAttrs(), "softmax")), into


PLACES = ["q", "q / c", "q through shuffles", "k before a slice", "scores",
          "scores through a reshape"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_factor_of_attention_folds(place: str) -> None:
    graph, into = attention(place)
    after = fold_factors(graph)
    assert Op.MUL not in operators(after) and Op.DIV not in operators(after)
    (matmul,) = (node for node in after.nodes if node.op is Op.MATMUL)
    assert matmul.attrs == MatMulAttrs(
        transpose_b=True, scale=0.6000000238418579 if into is Op.MATMUL else 2.0
    )
    assert_same_function(graph, after, outputs_only=True)


def test_factor_before_softmax_and_matmul_folds_ahead() -> None:
    m = Maker(0)
    x = m.input(1, 4, 6)
    y = m.node(Op.TRANSPOSE, [times(m, x, 3.0)], TransposeAttrs((0, 2, 1)))
    graph = m.done(m.node(Op.SOFTMAX, [y], SoftmaxAttrs(0.5), "softmax"))
    after = fold_factors(graph)
    assert operators(after) == [Op.TRANSPOSE, Op.SOFTMAX]
    assert after.nodes[1].attrs == SoftmaxAttrs(1.5)
    assert_same_function(graph, after, outputs_only=True)
    m = Maker(0)
    x = m.input(1, 4, 6)
    y = times(m, m.node(Op.TANH, [x], NoAttrs()), 3.0)
    graph = m.done(m.node(Op.MATMUL, [y, x], MatMulAttrs(transpose_b=True), "scores"))
    after = fold_factors(graph)
    assert operators(after) == [Op.TANH, Op.MATMUL]
    assert_same_function(graph, after, outputs_only=True)


def test_factors_fold_one_after_another() -> None:
    m = Maker(0)
    y = times(m, times(m, dense(m), 3.0), 0.25)
    graph = m.done(m.node(Op.TANH, [y], NoAttrs(), "tanh"))
    after = fold_factors(graph)
    assert operators(after) == [Op.FULLY_CONNECTED, Op.TANH]
    assert_same_function(graph, after, outputs_only=True)


def test_factor_that_makes_an_output_keeps_its_name() -> None:
    m = Maker(0)
    y = dense(m)
    graph = m.done(m.node(Op.MUL, [y, m.constant(3.0)], PLAIN, "scaled"))
    after = fold_factors(graph)
    assert operators(after) == [Op.FULLY_CONNECTED]
    assert after.output_names == ("scaled",)
    assert_same_function(graph, after, outputs_only=True)


@pytest.mark.parametrize("factor", [-2.0, 0.0, [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]])
def test_what_is_no_positive_number_stays(factor: float | list[float]) -> None:
    m = Maker(0)
    y = m.node(Op.MUL, [dense(m), m.constant(factor)], PLAIN)
    graph = m.done(m.node(Op.SOFTMAX, [y], SoftmaxAttrs()))
    assert fold_factors(graph) == graph


@pytest.mark.parametrize("why", ["output", "read twice", "activation", "broadcast"])
def test_a_factor_with_witnesses_stays(why: str) -> None:
    m = Maker(0)
    x = m.input(1, 6)
    y = m.dense(x, 6, activation=RELU if why == "activation" else Activation.NONE)
    scaled = times(m, y, m.constant([[[3.0]]]) if why == "broadcast" else 3.0)
    outputs = [m.node(Op.TANH, [scaled])]
    if why == "output":
        outputs.append(y)
    if why == "read twice":
        outputs.append(m.node(Op.LOGISTIC, [y]))
    graph = m.done(*outputs)
    assert fold_factors(graph) == graph


@pytest.mark.parametrize("clamp", [Op.RELU, Op.RELU6, Op.RELU_N1_TO_1])
@pytest.mark.parametrize("before", ["conv", "dense", "add", "sub"])
def test_clamps_fuse(before: str, clamp: Op) -> None:
    m = Maker(0)
    x = m.input(1, 4, 4, 4)
    if before == "conv":
        y = m.conv(x, 4)
    elif before == "dense":
        y = m.dense(x, 4)
    else:
        y = m.node(Op.ADD if before == "add" else Op.SUB, [x, m.constant(m.rng.normal(0, 1, 4))],
                   PLAIN)  # fmt: skip
    graph = m.done(m.node(clamp, [y], name="clamped"))
    after = fuse_clamps(graph)
    assert len(after.nodes) == 1
    assert after.nodes[0].attrs.activation.value == clamp.value  # type: ignore[union-attr]
    assert_same_function(graph, after)


@pytest.mark.parametrize("why", ["output", "read twice", "clamped already", "product"])
def test_a_clamp_with_witnesses_stays(why: str) -> None:
    m = Maker(0)
    x = m.input(1, 4, 4, 4)
    y = m.conv(x, 4, activation=RELU if why == "clamped already" else Activation.NONE)
    if why == "product":
        y = times(m, x, y)
    outputs = [m.node(Op.RELU6, [y])]
    if why == "output":
        outputs.append(y)
    if why == "read twice":
        outputs.append(m.node(Op.TANH, [y]))
    graph = m.done(*outputs)
    assert fuse_clamps(graph) == graph


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("clamp", [Activation.NONE, RELU])
def test_the_later_of_two_sums_stays_in_its_accumulator(flipped: bool, clamp: Activation) -> None:
    m = Maker(0)
    x = m.input(1, 4, 4, 4)
    first, second = m.conv(x, 4, name="first"), m.conv(x, 4, 1, name="second")
    operands = (second, first) if flipped else (first, second)
    graph = m.done(m.add(*operands, clamp))
    assert accumulator_values(graph) == {"second"}
    assert_same_function(graph, fuse(graph))


@pytest.mark.parametrize(
    "why", ["clamped", "read twice", "output", "broadcast", "doubled", "subtracted"]
)
def test_what_others_see_is_stored(why: str) -> None:
    m = Maker(0)
    x = m.input(1, 4, 4, 4)
    if why == "broadcast":
        y = m.conv(x, 4, 4, padding=(0,) * 4)
    else:
        y = m.conv(x, 4, activation=RELU if why == "clamped" else Activation.NONE)
    op = Op.SUB if why == "subtracted" else Op.ADD
    outputs = [m.node(op, [y, y if why == "doubled" else x], PLAIN)]
    if why == "read twice":
        outputs.append(m.node(Op.TANH, [y]))
    if why == "output":
        outputs.append(y)
    assert accumulator_values(m.done(*outputs)) == frozenset()


@pytest.mark.parametrize("flipped", [False, True])
def test_silu_is_found(flipped: bool) -> None:
    m = Maker(0)
    x = m.dense(m.input(1, 4), 5)
    pair = [x, m.node(Op.LOGISTIC, [x])]
    graph = m.done(m.node(Op.MUL, pair[::-1] if flipped else pair, PLAIN, "y"))
    after = find_silu(graph)
    assert operators(after) == [Op.FULLY_CONNECTED, Op.SILU]
    assert_same_function(graph, after)


@pytest.mark.parametrize("why", ["another operand", "read twice", "fused"])
def test_what_is_no_silu_stays(why: str) -> None:
    m = Maker(0)
    x, other = m.input(1, 4), m.input(1, 4, name="z")
    gate = m.node(Op.LOGISTIC, [x])
    attrs = FusedAttrs(RELU if why == "fused" else Activation.NONE)
    y = m.node(Op.MUL, [other if why == "another operand" else x, gate], attrs)
    outputs = [y, m.node(Op.TANH, [gate])] if why == "read twice" else [y]
    graph = m.done(*outputs)
    assert find_silu(graph) == graph


def rms_norm(m: Maker, x: str, *, form: str, gamma: bool, axis: int = -1) -> str:
    rank = len(m.shape(x))
    square = (
        m.node(Op.POW, [x, m.constant(2.0)]) if form != "product" else m.node(Op.MUL, [x, x], PLAIN)
    )
    mean = m.node(Op.MEAN, [square], MeanAttrs((axis % rank,), True))
    root = m.node(Op.SQRT, [m.add(m.constant(1e-3), mean)])
    if form == "quotient":
        y = m.node(Op.DIV, [x, root], PLAIN)
    else:
        inverse = m.node(Op.DIV, [m.constant(1.0), root], PLAIN)
        y = m.node(Op.MUL, [inverse, x], PLAIN)
    if not gamma:
        return y
    return m.node(Op.MUL, [m.constant(m.rng.normal(0, 1, m.shape(x)[-1])), y], PLAIN)


@pytest.mark.parametrize("form", ["power", "product", "quotient"])
@pytest.mark.parametrize("gamma", [False, True])
def test_rms_norm_is_found(form: str, gamma: bool) -> None:
    m = Maker(0)
    graph = m.done(rms_norm(m, m.input(1, 3, 6), form=form, gamma=gamma))
    after = find_rms_norm(graph)
    assert operators(after) == [Op.RMS_NORM]
    assert after.nodes[0].attrs == NormAttrs(float(np.float32(1e-3)))
    assert_same_function(graph, after)


def test_a_norm_over_another_axis_stays() -> None:
    m = Maker(0)
    graph = m.done(rms_norm(m, m.input(1, 6, 6), form="power", gamma=True, axis=1))
    assert find_rms_norm(graph) == graph


def masked(mask: np.ndarray) -> Graph:
    m = Maker(0)
    scores = m.add(m.constant(mask), m.input(1, 2, 4, 5))
    return m.done(m.node(Op.SOFTMAX, [scores], SoftmaxAttrs(0.5), "y"))


SEEN = np.tri(4, 5, 1, dtype=bool)


@pytest.mark.parametrize("shape", [(4, 5), (1, 1, 4, 5), (1, 2, 4, 5)])
@pytest.mark.parametrize("least", [-1e4, -1e9, float(np.finfo(np.float32).min)])
def test_a_causal_mask_is_found(shape: tuple[int, ...], least: float) -> None:
    graph = masked(np.broadcast_to(np.where(SEEN, 0, least), shape))
    after = find_causal(graph)
    assert [node.attrs for node in after.nodes] == [SoftmaxAttrs(0.5, causal=True)]
    assert_same_function(graph, after)
    hidden = run_floats(after, samples(after, 2, 0))["y"][..., ~SEEN]
    assert hidden.size and not hidden.any()


@pytest.mark.parametrize("why", ["not triangular", "not 0 below", "not far below 0"])
def test_another_mask_stays(why: str) -> None:
    mask = np.where(SEEN, 0, -1e9)
    mask[{"not triangular": (0, 0), "not 0 below": (3, 0), "not far below 0": (0, 4)}[why]] = {
        "not triangular": -1e9, "not 0 below": 0.5, "not far below 0": -5.0,
    }[why]  # fmt: skip
    graph = masked(mask)
    assert find_causal(graph) == graph
