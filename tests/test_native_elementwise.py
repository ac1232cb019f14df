"""Machine code of sums, products, pools, tables and movement gives the reference kernels' bits.

Channels fill vectors or do not, convolutions force halos around what they read, codes reach their
ends, and every tier that this CPU runs has a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.attributes import (
    Activation,
    Attrs,
    ConcatAttrs,
    ConvAttrs,
    FusedAttrs,
    LeakyReluAttrs,
    MeanAttrs,
    NoAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.graph import Graph, Node, Value
from hwsim.kernels.cache import TIER_VARIABLE
from hwsim.kernels.lower_add import lower_add
from hwsim.kernels.native.affine import affine_sum
from hwsim.kernels.native.table import by_reference, every_code
from hwsim.kernels.native.target import able_tiers, tier
from hwsim.kernels.plan import lower
from hwsim.kernels.scaling import Site, output_range
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, UINT8, IntType, QuantParams
from tests.shared import model_file

ROOT = Path(__file__).resolve().parents[1]
INT16 = IntType(16)
CHANNELS = (1, 3, 15, 17, 63, 65)
SIZE = (5, 7)
RULES = (
    Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP, Requant.HALF_UP, Requant.HALF_AWAY,
    Requant.HALF_EVEN, Requant.FLOOR, Requant.TRUNC, Requant.REAL_HALF_AWAY,
    Requant.FLOAT32_HALF_EVEN, Requant.FLOAT32_SHIFTED,
)  # fmt: skip


class Network:
    """A graph under construction: every node makes one value, named after it."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def value(
        self, name: str, shape: tuple[int, ...], dtype: IntType, scale: float, zero: int = 0
    ) -> str:
        self.values[name] = Value(name, shape, dtype, QuantParams.per_tensor(scale, zero))
        return name

    def input(self, *arguments: object) -> str:
        self.inputs.append(self.value(*arguments))  # type: ignore[arg-type]
        return self.inputs[-1]

    def node(
        self, op: Op, inputs: tuple[str, ...], attrs: Attrs, shape: tuple[int, ...],
        dtype: IntType, scale: float, zero: int = 0,
    ) -> str:  # fmt: skip
        name = f"{op.value}_{len(self.nodes)}"
        self.value(name, shape, dtype, scale, zero)
        self.nodes.append(Node(f"n_{name}", op, inputs, (name,), attrs))
        return name

    def conv(self, x: str) -> None:
        """Read a value by a convolution that asks for a halo around it."""
        source = self.values[x]
        assert source.quant is not None
        depth, name = source.shape[3], f"w{len(self.nodes)}"
        weights = np.random.default_rng(depth).integers(-9, 10, (2, 3, 3, depth)).astype(np.int8)
        quant = QuantParams.per_tensor(0.02, 0)
        self.values[name] = Value(name, weights.shape, INT8, quant, weights)
        shape = (*source.shape[:3], 2)
        self.node(
            Op.CONV_2D, (x, name), ConvAttrs(padding=(1, 1, 1, 1)), shape, source.dtype,  # type: ignore[arg-type]
            source.quant.scale[0] * 2, source.quant.zero_point[0],
        )  # fmt: skip

    def graph(self) -> Graph:
        read = {name for node in self.nodes for name in node.inputs}
        ends = tuple(node.outputs[0] for node in self.nodes if node.outputs[0] not in read)
        return Graph("net", self.values, tuple(self.nodes), tuple(self.inputs), ends, "tflite_ref")


def haloed(channels: int, dtype: IntType, zero: int) -> Graph:
    """Return images that are added, pooled, rescaled and moved, each read by convolutions."""
    net = Network()
    shape = (2, *SIZE, channels)
    x = net.input("x", shape, dtype, 0.05, zero)
    y = net.input("y", shape, dtype, 0.031, 0 if dtype.signed else 7)
    narrow = net.input("narrow", (2, 1, 1, channels), dtype, 0.04, 3)
    fused = FusedAttrs(Activation.RELU6)
    total = net.node(Op.ADD, (x, y), fused, shape, dtype, 0.043, zero)
    less = net.node(Op.SUB, (total, narrow), FusedAttrs(), shape, dtype, 0.06, 1)
    times = net.node(Op.MUL, (less, narrow), FusedAttrs(), shape, dtype, 0.1, 2)
    table = net.node(Op.LOGISTIC, (less,), NoAttrs(), shape, dtype, 1 / 256, dtype.min)
    relu = net.node(Op.RELU, (times,), NoAttrs(), shape, dtype, 0.08, 5)
    leaky = net.node(Op.LEAKY_RELU, (less,), LeakyReluAttrs(0.3), shape, dtype, 0.05, 4)
    most = net.node(Op.MAXIMUM, (x, total), NoAttrs(), shape, dtype, 0.05, zero)
    wide = net.node(Op.QUANTIZE, (leaky,), NoAttrs(), shape, INT16, 0.0003)
    double = net.node(Op.ADD, (wide, wide), FusedAttrs(), shape, INT16, 0.0005)
    back = net.node(Op.QUANTIZE, (double,), NoAttrs(), shape, dtype, 0.06, 2)
    same = PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1))
    largest = net.node(Op.MAX_POOL_2D, (total,), same, shape, dtype, 0.043, zero)
    pooled = net.node(Op.AVERAGE_POOL_2D, (total,), same, shape, dtype, 0.043, zero)
    half = (2, 2, 3, channels)
    net.node(Op.AVERAGE_POOL_2D, (most,), PoolAttrs((3, 3), (2, 2)), half, dtype, 0.05, zero)
    net.node(Op.MEAN, (total,), MeanAttrs((1, 2), False), (2, channels), dtype, 0.02, 1)
    net.node(Op.MEAN, (total,), MeanAttrs((3,), True), (2, *SIZE, 1), dtype, 0.02, 1)
    padded = (2, SIZE[0] + 1, SIZE[1] + 2, channels + 1)
    pad = PadAttrs((0, 1, 0, 0), (0, 0, 2, 1))
    padded_name = net.node(Op.PAD, (total,), pad, padded, dtype, 0.043, zero)
    both = (2, *SIZE, 2 * channels)
    joined = net.node(Op.CONCATENATION, (total, largest), ConcatAttrs(3), both, dtype, 0.043, zero)
    cut = (2, 3, 7, channels)
    slices = SliceAttrs((0, 4, 0, 0), (1, -2, 1, 1), cut)
    sliced = net.node(Op.STRIDED_SLICE, (total,), slices, cut, dtype, 0.043, zero)
    turned = (2, SIZE[1], channels, SIZE[0])
    swapped = net.node(
        Op.TRANSPOSE, (total,), TransposeAttrs((0, 2, 3, 1)), turned, dtype, 0.043, zero
    )
    flat = (2, SIZE[1], SIZE[0], channels)
    reshaped = net.node(Op.RESHAPE, (total,), ReshapeAttrs(flat), flat, dtype, 0.043, zero)
    for name in (total, times, table, relu, back, pooled, largest, padded_name, joined, sliced,
                 swapped, reshaped):  # fmt: skip
        net.conv(name)
    return net.graph()


def divided(channels: int) -> Graph:
    """Return images that are split along channels and lines."""
    net = Network()
    x = net.input("x", (2, *SIZE, channels), INT8, 0.05, 3)
    for axis, sizes in ((3, (1, channels - 1)), (1, (2, 3))):
        shapes = [tuple(n if a == axis else m for a, m in enumerate((2, *SIZE, channels)))
                  for n in sizes]  # fmt: skip
        names = [net.value(f"part{axis}_{i}", s, INT8, 0.05, 3) for i, s in enumerate(shapes)]
        net.nodes.append(
            Node(f"split{axis}", Op.SPLIT, (x,), tuple(names), SplitAttrs(axis, sizes))
        )
        for name in names:
            net.conv(name)
    graph = net.graph()
    return replace(graph, output_names=tuple(n.outputs[0] for n in graph.nodes[1:] if n.outputs))


def residual(channels: int, dtype: IntType) -> Graph:
    """Return an accumulator with a scale per channel that is added to codes, and rescaled."""
    net = Network()
    shape = (2, *SIZE, channels)
    scales = tuple((1e-4 * 1.37 ** (i % 9)) for i in range(channels))
    x = net.input("x", shape, dtype, 0.05, 0)
    weights = np.random.default_rng(1).integers(-7, 8, (channels, 1, 1, channels)).astype(np.int8)
    quant = QuantParams(tuple(s / 0.05 for s in scales), (0,) * channels, 0)
    net.values["w"] = Value("w", weights.shape, INT8, quant, weights)
    acc = net.node(Op.CONV_2D, (x, "w"), ConvAttrs(), shape, INT32, 1.0)
    net.values[acc] = replace(
        net.values[acc], quant=QuantParams(scales, (0,) * channels, 3 if channels > 1 else None)
    )
    total = net.node(Op.ADD, (acc, x), FusedAttrs(Activation.RELU), shape, UINT8, 0.02)
    codes = net.node(Op.QUANTIZE, (acc,), NoAttrs(), shape, INT8, 0.01, 3)
    net.conv(total)
    net.conv(codes)
    return net.graph()


def with_rule(rule: Requant, method: Method) -> NumericProfile:
    """Return a profile whose sums, pools and conversions scale by one rule."""
    base = PROFILES["tflite_ref"]
    own = OperatorRule(rule)
    rules = dict(base.rules)
    for op in (Op.MUL, Op.QUANTIZE, Op.RELU, Op.LEAKY_RELU, Op.MEAN, Op.AVERAGE_POOL_2D):
        rules |= {(op, 8): own, (op, 16): own}
    shift = {8: 20, 16: 15}
    for op in (Op.ADD, Op.SUB):
        rules |= {
            (op, width): OperatorRule(rule, method, left_shift=shift[width]) for width in shift
        }
    return replace(base, name=f"{rule.name}_{method.value}", rules=rules)


def graphs(few: bool) -> Iterator[tuple[Graph, NumericProfile]]:
    """Yield graphs with the arithmetic that runs them: all, or a few of each kind."""
    for channels in CHANNELS[:: 3 if few else 1]:
        yield haloed(channels, INT8, -5), PROFILES["tflite_ref"]
        if channels > 1:
            yield divided(channels), PROFILES["tflite_ref"]
        yield residual(channels, INT8), PROFILES["hawq"]
    yield haloed(17, UINT8, 120), PROFILES["tflite_ref"]
    yield residual(33, IntType(4)), PROFILES["hawq"]
    for rule in RULES[:: 4 if few else 1]:
        for method in (Method.SHIFTED, Method.APART):
            yield haloed(17, INT8, -5), with_rule(rule, method)


def feeds(graph: Graph) -> Iterator[dict[str, np.ndarray]]:
    """Yield inputs: random codes, the ends alone, codes around zero."""
    rng = np.random.default_rng(len(graph.nodes))
    values = [graph.values[name] for name in graph.input_names]
    for kind in range(3):
        feed = {}
        for value in values:
            assert isinstance(value.dtype, IntType) and value.quant is not None
            low, high = value.dtype.min, value.dtype.max
            if kind == 2:
                zero = value.quant.zero_point[0]
                low, high = max(zero - 2, low), min(zero + 2, high)
            codes = rng.integers(low, high + 1, value.shape)
            if kind == 1:
                codes = rng.choice([low, high], value.shape)
            feed[value.name] = codes.astype(value.dtype.storage)
        yield feed


def differences(*, few: bool = False) -> tuple[int, list[str]]:
    """Return how many values were compared and what is wrong with them."""
    compared, wrong = 0, []
    for graph, profile in graphs(few):
        plan = lower(graph, profile)
        for node, call in zip(graph.nodes, plan.calls, strict=True):
            wide = graph.values[node.inputs[0]].dtype.bits > 8
            floats = wide and profile.name.startswith("FLOAT32")
            if call.native is None and node.op is not Op.CONV_2D and not floats:
                wrong.append(f"{profile.name}: {node.name} is no machine code")
        for feed in feeds(graph):
            expected = plan.reference(feed, keep_all=True)
            for name, array in plan.run(feed, keep_all=True).items():
                compared += array.size
                if not np.array_equal(array, expected[name]):
                    count = int((array != expected[name]).sum())
                    wrong.append(f"{profile.name}, {array.shape}: {name} differs {count} times")
    return compared, wrong


def test_codes_equal_reference_kernels() -> None:
    compared, wrong = differences()
    assert compared > 1_000_000
    assert not wrong, wrong[:20]


def lower_tiers() -> list[str]:
    """Return the names of the tiers below this process's."""
    own = tier()
    able = able_tiers()
    return [] if own is None else [one.name for one in able[able.index(own) + 1 :]]


@pytest.mark.parametrize("name", lower_tiers())
def test_codes_equal_reference_kernels_on_lower_tiers(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_native_elementwise"],
        env=os.environ | {TIER_VARIABLE: name, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def sums(a: float, b: float, out: float, dtype: IntType, op: Op = Op.ADD) -> Site:
    """Return a sum of two vectors of codes."""
    net = Network()
    names = (net.input("a", (1, 4), dtype, a, 3), net.input("b", (1, 4), dtype, b, -7 % 100))
    net.node(op, names, FusedAttrs(Activation.RELU), (1, 4), dtype, out, 11)
    graph = net.graph()
    return Site(graph, graph.nodes[0], PROFILES["tflite_ref"])


@pytest.mark.parametrize("op", [Op.ADD, Op.SUB])
@pytest.mark.parametrize("dtype", [INT8, UINT8])
@pytest.mark.parametrize("scales", [(0.05, 0.031, 0.043), (0.5, 0.25, 0.5), (0.01, 0.2, 0.17)])
def test_an_affine_form_is_the_reference_on_all_pairs(
    scales: tuple[float, float, float], dtype: IntType, op: Op
) -> None:
    site = sums(*scales, dtype, op)
    expected = every_code(site, by_reference(lower_add))
    low, high = output_range(site, Activation.RELU)
    form = affine_sum(site, expected, low, high)
    assert form is not None
    first = np.arange(256) - 128  # signed, or less 128
    second = np.arange(dtype.min, dtype.max + 1) & 255
    total = first[:, None] * form.factor + form.table[second].astype(np.int64)
    assert np.array_equal(np.clip(total >> form.shift, low, high), expected)


def test_a_result_that_no_affine_form_gives_has_none() -> None:
    site = sums(0.05, 0.031, 0.043, INT8)
    results = every_code(site, by_reference(lower_add)).copy()
    results[100, 100] += 1
    assert affine_sum(site, results, *output_range(site, Activation.RELU)) is None


def test_every_node_of_a_4_bit_residual_network_is_machine_code() -> None:
    if tier() is None:
        pytest.skip("machine code is off")
    net = Path(model_file("cifar10/resnet20.onnx", "ResNet-20's nodes are not looked at"))
    graph = hwsim.load(net)
    ranges = hwsim.calibrate(graph, np.random.default_rng(0).normal(0, 1, (4, 3, 32, 32)))
    plan = lower(hwsim.quantize(graph, ranges, 4), PROFILES["hawq"])
    slow = [call.outputs for call in plan.calls if call.native is None]
    assert not slow


if __name__ == "__main__":
    _, found = differences(few=True)
    print("\n".join(found))
    sys.exit(bool(found))
