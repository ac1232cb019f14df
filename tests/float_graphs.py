"""Small random float graphs: the shapes that real networks are made of."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.attributes import (
    Activation,
    Attrs,
    ClipAttrs,
    ConcatAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.graph import Graph, Node, Value
from hwsim.ops import OPS, Op
from hwsim.quant import FLOAT32

NO = NoAttrs()
ACTIVATIONS = tuple(Activation)


class Maker:
    """Nodes and values of a graph under construction; every method returns value names."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int, name: str = "x") -> str:
        self.values[name] = Value(name, shape, FLOAT32)
        self.inputs.append(name)
        return name

    def constant(self, array: Any, name: str = "") -> str:
        name = name or f"c{len(self.values)}"
        data = np.array(array, np.float32)
        self.values[name] = Value(name, data.shape, FLOAT32, data=data)
        return name

    def weights(self, *shape: int, spread: float = 1.0) -> str:
        """Return random weights; channels differ in size by factors of ten."""
        size = 10 ** self.rng.uniform(-1, 0, (shape[0], *(1,) * (len(shape) - 1)))
        return self.constant(self.rng.normal(0, spread, shape) * size)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def nodes_out(self, op: Op, inputs: Sequence[str], attrs: Attrs, name: str = "") -> list[str]:
        shapes = OPS[op].infer(attrs, [self.shape(i) for i in inputs if i])
        node = name or f"{op.value}{len(self.nodes)}"
        names = [node if i == 0 else f"{node}:{i}" for i in range(len(shapes))]
        for out, shape in zip(names, shapes, strict=True):
            self.values[out] = Value(out, shape, FLOAT32)
        self.nodes.append(Node(node, op, tuple(inputs), tuple(names), attrs))
        return names

    def node(self, op: Op, inputs: Sequence[str], attrs: Attrs = NO, name: str = "") -> str:
        return self.nodes_out(op, inputs, attrs, name)[0]

    def conv(
        self, x: str, channels: int, kernel: int = 3, *, bias: bool = True, name: str = "",
        depthwise: bool = False, **attrs: Any,
    ) -> str:  # fmt: skip
        attrs.setdefault("padding", (kernel // 2,) * 4)
        depth = self.shape(x)[3]
        if depthwise:
            weights = self.weights(1, kernel, kernel, channels)
        else:
            weights = self.weights(channels, kernel, kernel, depth // attrs.get("groups", 1))
        inputs = [x, weights, *([self.weights(channels)] if bias else [])]
        op = Op.DEPTHWISE_CONV_2D if depthwise else Op.CONV_2D
        return self.node(op, inputs, ConvAttrs(**attrs), name)

    def dense(self, x: str, channels: int, *, bias: bool = True, name: str = "", **kw: Any) -> str:
        depth = self.shape(x)[-1]
        inputs = [x, self.weights(channels, depth, spread=depth**-0.5)]
        inputs += [self.weights(channels)] if bias else []
        return self.node(Op.FULLY_CONNECTED, inputs, FullyConnectedAttrs(**kw), name)

    def add(self, a: str, b: str, activation: Activation = Activation.NONE, name: str = "") -> str:
        return self.node(Op.ADD, [a, b], FusedAttrs(activation), name)

    def norm(self, x: str, epsilon: float = 1e-5) -> str:
        size = self.shape(x)[-1]
        gamma = self.constant(self.rng.normal(1, 0.3, size))
        beta = self.constant(self.rng.normal(0, 0.3, size))
        return self.node(Op.LAYER_NORM, [x, gamma, beta], NormAttrs(epsilon))

    def done(self, *outputs: str) -> Graph:
        return Graph("made", self.values, tuple(self.nodes), tuple(self.inputs), outputs)


def chain(seed: int) -> Graph:
    """Convolutions of every kind, with fused and stand-alone clamps, a pool and a classifier."""
    m = Maker(seed)
    rng = m.rng
    y = m.input(1, 6, 6, 4)
    for _ in range(3):
        kind = rng.integers(4)
        fused = ACTIVATIONS[rng.integers(4)]
        bias = bool(rng.integers(2))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        if kind == 0:
            y = m.conv(y, 4, activation=fused, bias=bias, stride=stride)
        elif kind == 1:
            y = m.conv(y, 8, 1, activation=fused, bias=bias)
        elif kind == 2:
            depth = m.shape(y)[3]
            y = m.conv(y, depth * int(rng.integers(1, 3)), depthwise=True, bias=bias, stride=stride)
        else:
            y = m.conv(y, 8, groups=4, dilation=(2, 1), padding=(2, 1, 2, 1), activation=fused)
        if rng.integers(3) == 0:
            clamp = (Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.CLIP)[rng.integers(4)]
            bounds = ClipAttrs(-0.75, (0.5, math.inf)[rng.integers(2)])
            y = m.node(clamp, [y], bounds if clamp is Op.CLIP else NO)
    if rng.integers(2):
        y = m.node(Op.MEAN, [y], MeanAttrs((1, 2), False))
    else:
        y = m.node(Op.RESHAPE, [y], ReshapeAttrs((1, int(np.prod(m.shape(y))))))
    return m.done(m.dense(y, 5, bias=bool(rng.integers(2))))


def residual(seed: int) -> Graph:
    """Blocks with identity, option-A (slice and pad) and projection shortcuts."""
    m = Maker(seed)
    y = m.conv(m.input(1, 6, 6, 3), 4, activation=Activation.RELU)
    for kind in m.rng.permutation(3):
        depth = m.shape(y)[3]
        stride, channels = ((1, 1), depth) if kind == 0 else ((2, 2), depth + 2)
        branch = m.conv(y, channels, activation=Activation.RELU, stride=stride)
        branch = m.conv(branch, channels)
        short = y
        if kind == 1:
            _, height, width, _ = m.shape(y)
            sizes = (1, -(-height // 2), -(-width // 2), depth)
            short = m.node(Op.STRIDED_SLICE, [y], SliceAttrs((0,) * 4, (1, 2, 2, 1), sizes))
            short = m.node(Op.PAD, [short], PadAttrs((0, 0, 0, 1), (0, 0, 0, 1)))
        elif kind == 2:
            short = m.conv(y, channels, 1, stride=stride, bias=bool(m.rng.integers(2)))
        first, second = (branch, short) if m.rng.integers(2) else (short, branch)
        y = m.add(first, second, Activation.RELU)
    y = m.node(Op.MEAN, [y], MeanAttrs((1, 2), False))
    return m.done(m.dense(y, 3))


def transformer(seed: int) -> Graph:
    """One block: layer norm, two heads of attention, GELU, both residuals, a mean, a classifier."""
    m = Maker(seed)
    tokens, width, heads = 5, 8, 2
    size = width // heads
    x = m.input(1, tokens, width)
    x = m.add(x, m.constant(m.rng.normal(0, 1, (1, tokens, width))), name="positions")
    h = m.norm(x)

    def head(name: str) -> str:
        y = m.dense(h, width, name=name)
        y = m.node(Op.RESHAPE, [y], ReshapeAttrs((1, tokens, heads, size)))
        return m.node(Op.TRANSPOSE, [y], TransposeAttrs((0, 2, 1, 3)))

    q, k, v = head("query"), head("key"), head("value")
    q = m.node(Op.MUL, [q, m.constant(size**-0.5)], FusedAttrs())
    transposed = bool(m.rng.integers(2))
    if not transposed:
        k = m.node(Op.TRANSPOSE, [k], TransposeAttrs((0, 1, 3, 2)))
    scores = m.node(Op.MATMUL, [q, k], MatMulAttrs(transpose_b=transposed), "scores")
    weights = m.node(Op.SOFTMAX, [scores], SoftmaxAttrs())
    y = m.node(Op.MATMUL, [weights, v], MatMulAttrs(), "context")
    y = m.node(Op.TRANSPOSE, [y], TransposeAttrs((0, 2, 1, 3)))
    y = m.node(Op.RESHAPE, [y], ReshapeAttrs((1, tokens, width)))
    x = m.add(x, m.dense(y, width, name="project"))
    h = m.node(Op.GELU, [m.dense(m.norm(x), 2 * width, name="fc1")], GeluAttrs(seed % 2 == 1))
    x = m.add(x, m.dense(h, width, name="fc2"))
    y = m.node(Op.MEAN, [m.norm(x)], MeanAttrs((1,), False))
    return m.done(m.dense(y, 3, name="head"))


def mixed(seed: int) -> Graph:
    """Pools, tables, products, differences, splits and joins; two outputs."""
    m = Maker(seed)
    rng = m.rng
    x = m.input(1, 6, 5, 4)
    y = m.conv(x, 6, activation=Activation.RELU)
    pools = PoolAttrs((2, 2), (2, 2), (1, 0, 0, 1), bool(rng.integers(2)))
    left = m.node(Op.AVERAGE_POOL_2D, [y], pools)
    right = m.node(Op.MAX_POOL_2D, [y], PoolAttrs((2, 2), (2, 2), (1, 0, 0, 1)))
    gate = m.node((Op.LOGISTIC, Op.TANH, Op.HARD_SWISH)[rng.integers(3)], [left])
    product = m.node(Op.MUL, [gate, right], FusedAttrs())
    difference = m.node(Op.SUB, [product, left], FusedAttrs(ACTIVATIONS[rng.integers(4)]))
    leaky = m.node(Op.LEAKY_RELU, [difference], LeakyReluAttrs(0.1))
    a, b = m.nodes_out(Op.SPLIT, [leaky], SplitAttrs(3, (2, 4)))
    joined = m.node(Op.CONCATENATION, [b, a, right], ConcatAttrs(3))
    y = m.conv(joined, 4, 1, name="mixer")
    reversed_ = SliceAttrs((0, m.shape(y)[1] - 1, 0, 0), (1, -1, 1, 1), m.shape(y))
    y = m.node(Op.STRIDED_SLICE, [y], reversed_)
    flat = m.node(Op.RESHAPE, [y], ReshapeAttrs((1, int(np.prod(m.shape(y))))))
    scale = m.constant(rng.normal(0, 1, (1, 1, 1, 6)))
    other = m.node(Op.MUL, [difference, scale], FusedAttrs())
    return m.done(m.dense(flat, 3, name="head"), other)


FAMILIES: dict[str, Callable[[int], Graph]] = {
    "chain": chain,
    "residual": residual,
    "transformer": transformer,
    "mixed": mixed,
}


def samples(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return random inputs with the extremes of a calibrated range in them."""
    rng = np.random.default_rng(seed)
    made = {}
    for value in graph.inputs:
        array = rng.normal(0, 1, (count, *value.shape[1:])).astype(np.float32)
        array.flat[: count // 2 : 7] = 4.0
        array.flat[1 : count // 2 : 5] = -4.0
        made[value.name] = array
    return made


def random_bits(units: Sequence[str], seed: int) -> dict[str, tuple[int, int]]:
    """Return a pair of widths in 2 ... 8 for every unit."""
    rng = np.random.default_rng(seed)
    return {unit: (int(rng.integers(2, 9)), int(rng.integers(2, 9))) for unit in units}
