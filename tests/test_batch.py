from collections.abc import Callable

import numpy as np
import pytest

from hwsim.api import trace
from hwsim.attributes import (
    ConcatAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    MatMulAttrs,
    MeanAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.batch import with_batch
from hwsim.calibration import calibrate
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.quantizer import quantize
from tests.float_graphs import FAMILIES, Maker, samples

PLAIN = FusedAttrs()


def joined(seed: int) -> Graph:
    """Return a graph whose constants broadcast, are joined and multiply from the left."""
    m = Maker(seed)
    x = m.input(1, 3, 4)
    y = m.node(Op.CONCATENATION, [x, m.constant(m.rng.normal(0, 1, (1, 2, 4)))], ConcatAttrs(1))
    y = m.node(Op.MATMUL, [m.constant(m.rng.normal(0, 1, (6, 5))), y], MatMulAttrs())
    y = m.add(y, m.constant(m.rng.normal(0, 1, (6, 1))))
    y = m.node(Op.SUB, [m.constant(m.rng.normal(0, 1, (1, 1, 4))), y], PLAIN)
    return m.done(m.node(Op.SOFTMAX, [y], SoftmaxAttrs()))


CASES = [(family, seed) for family in FAMILIES for seed in range(3)]


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_integers_do_not_depend_on_batch_or_threads(family: str, seed: int) -> None:
    graph = FAMILIES[family](seed)
    feed = samples(graph, 64, seed)
    made = quantize(graph, calibrate(graph, feed), 4)
    expected = [trace(made, {k: a[i : i + 1] for k, a in feed.items()}) for i in range(64)]
    for batch in (1, 7, 13, 64):  # 13: the last chunk of 8 is moved back
        larger = with_batch(made, batch)
        assert larger is not None
        for threads in (1, 2):
            part = {name: array[:batch] for name, array in feed.items()}
            for form in (made, larger):
                found = trace(form, part, threads=threads)
                for name, array in found.items():
                    single = np.concatenate([one[name] for one in expected[:batch]])
                    assert array.dtype == single.dtype
                    assert np.array_equal(array, single), (name, batch, threads)


@pytest.mark.parametrize(
    ("make", "seed"), [*((FAMILIES[f], s) for f, s in CASES), (joined, 0)],
    ids=lambda case: getattr(case, "__name__", case),
)  # fmt: skip
def test_floats_do_not_depend_on_batch(make: Callable[[int], Graph], seed: int) -> None:
    graph = make(seed)
    feed = samples(graph, 7, seed)
    whole = trace(graph, feed, profile="float")
    for i in range(7):
        single = trace(graph, {k: a[i : i + 1] for k, a in feed.items()}, profile="float")
        for name, array in single.items():
            # Sums of floats have no fixed order: a few ulp of the largest.
            allowed = 1e-5 * max(float(np.abs(whole[name]).max()), 1e-3)
            assert np.abs(whole[name][i : i + 1] - array).max() <= allowed, name


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_the_same_graph(family: str) -> None:
    graph = FAMILIES[family](0)
    larger = with_batch(graph, 5)
    assert larger is not None
    assert {v.shape[0] for v in larger.activations} == {5}
    assert with_batch(larger, 1) == graph
    assert with_batch(graph, 1) is graph


def mixing() -> dict[str, Graph]:
    """Return graphs of two entries whose outputs do not belong to one entry each."""
    made = {}

    def one(name: str, op: Op, attrs: object, *shape: int) -> None:
        m = Maker(0)
        outs = m.nodes_out(op, [m.input(*shape)], attrs)  # type: ignore[arg-type]
        made[name] = m.done(*outs)

    one("transpose", Op.TRANSPOSE, TransposeAttrs((1, 0)), 2, 2)
    one("mean", Op.MEAN, MeanAttrs((0,), True), 2, 3)
    one("pad", Op.PAD, PadAttrs((1, 0), (0, 0)), 2, 3)
    one("pad behind", Op.PAD, PadAttrs((0, 0), (1, 0)), 2, 3)
    one("slice", Op.STRIDED_SLICE, SliceAttrs((1, 0), (1, 1), (1, 3)), 2, 3)
    one("reverse", Op.STRIDED_SLICE, SliceAttrs((1, 0), (-1, 1), (2, 3)), 2, 3)
    one("split", Op.SPLIT, SplitAttrs(0, (1, 1)), 2, 3)
    one("reshape", Op.RESHAPE, ReshapeAttrs((3, 2)), 2, 3)
    one("softmax", Op.SOFTMAX, SoftmaxAttrs(), 2)
    m = Maker(0)
    flat = m.node(
        Op.FULLY_CONNECTED, [m.input(2, 6), m.weights(4, 3)], FullyConnectedAttrs(keep_dims=False)
    )
    made["rows"] = m.done(flat)
    m = Maker(0)
    x = m.input(2, 3)
    made["join"] = m.done(m.node(Op.CONCATENATION, [x, x], ConcatAttrs(0)))
    m = Maker(0)
    other = m.constant([[[0.0]], [[1.0]]])
    made["join of differing rows"] = m.done(
        m.node(Op.CONCATENATION, [m.input(2, 3, 1), other], ConcatAttrs(1))
    )
    m = Maker(0)
    made["add by entry"] = m.done(m.add(m.input(2, 3), m.constant([[1.0], [2.0]])))
    m = Maker(0)
    made["add across"] = m.done(m.add(m.input(2, 2, 3, name="a"), m.input(2, 3, name="b")))
    m = Maker(0)
    weights = m.weights(2, 3, 4)
    made["matmul by entry"] = m.done(m.node(Op.MATMUL, [m.input(2, 5, 3), weights], MatMulAttrs()))
    return made


@pytest.mark.parametrize("case", mixing())
@pytest.mark.parametrize("batch", [1, 4])
def test_what_mixes_entries_keeps_its_batch(case: str, batch: int) -> None:
    assert with_batch(mixing()[case], batch) is None


def test_operands_of_other_ranks_keep_their_batch() -> None:
    """One entry hides that the smaller operand's first axis meets another's second."""
    m = Maker(0)
    a, b = m.input(1, 1, 3, 4, name="a"), m.input(1, 4, 5, name="b")
    assert with_batch(m.done(m.node(Op.MATMUL, [a, b], MatMulAttrs())), 4) is None
    m = Maker(0)
    a, b = m.input(1, 1, 3, name="a"), m.input(1, 3, name="b")
    assert with_batch(m.done(m.add(a, b)), 4) is None


def test_computed_weights_keep_their_batch() -> None:
    m = Maker(0)
    a, b = m.input(1, 4, name="a"), m.input(1, 4, name="b")
    graph = m.done(m.node(Op.FULLY_CONNECTED, [a, b], FullyConnectedAttrs()))
    assert with_batch(graph, 4) is None


def test_inputs_of_other_batches_keep_them() -> None:
    m = Maker(0)
    a, b = m.input(1, 4, name="a"), m.input(2, 4, name="b")
    assert with_batch(m.done(m.add(a, b)), 4) is None
