"""Random quantized ONNX models of one operator, as operators on codes or as QDQ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.float32): TensorProto.FLOAT,
}
MICROSOFT = "com.microsoft"
TIES = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Case:
    """A model and its input."""

    model: onnx.ModelProto
    feed: dict[str, NDArray[Any]]


class Sketch:
    """A model of few nodes under construction; half of the scales are powers of two, for ties."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.dtype = np.dtype([np.uint8, np.int8][seed % 2])
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.inputs: dict[str, NDArray[Any]] = {}

    def scale(self) -> np.float32:
        if self.random.integers(2):
            return np.float32(self.random.choice(TIES))
        return np.float32(np.exp(self.random.uniform(-5, 1)))

    def codes(self, *shape: int, dtype: Any = None) -> NDArray[Any]:
        kind = np.dtype(dtype or self.dtype)
        ends = np.iinfo(kind)
        return self.random.integers(ends.min, ends.max, shape, kind, endpoint=True)

    def constant(self, name: str, array: Any) -> str:
        self.constants[name] = np.asarray(array)
        return name

    def input(self, name: str, *shape: int) -> str:
        self.inputs[name] = self.codes(*shape)
        return name

    def params(self, name: str, scale: Any = None, dtype: Any = None) -> list[str]:
        """File a scale and a zero point; the zero point is absent now and then."""
        chosen = self.scale() if scale is None else np.float32(scale)
        pair = [self.constant(f"{name}_scale", chosen)]
        return [*pair, self.constant(f"{name}_zero", self.codes(dtype=dtype))]

    def triple(self, name: str, *shape: int) -> list[str]:
        return [self.input(name, *shape), *self.params(name)]

    def node(self, op: str, inputs: list[str], domain: str = MICROSOFT, **attrs: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, ["y"], domain=domain, **attrs))

    def case(self, opset: int = 17, result: Any = None) -> Case:
        inputs = [
            helper.make_tensor_value_info(name, TYPES[array.dtype], array.shape)
            for name, array in self.inputs.items()
        ]
        kind = TYPES[np.dtype(result or self.dtype)]
        output = helper.make_tensor_value_info("y", kind, None)
        stored = [numpy_helper.from_array(a, n) for n, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "case", inputs, [output], stored)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        return Case(helper.make_model(graph, opset_imports=opsets, ir_version=8), dict(self.inputs))


def _near(s: Sketch, typical: float) -> np.float32:
    """Return an output scale that neither saturates everything nor flattens it."""
    if s.random.integers(2):
        return np.float32(2.0 ** round(np.log2(max(typical, 1e-6)) + s.random.integers(-1, 2)))
    return np.float32(typical * np.exp(s.random.uniform(-1, 1)))


def conv(seed: int) -> Case:
    s = Sketch(seed)
    size, stride = (int(n) for n in s.random.integers((3, 1), (9, 3)))
    kernel = int(s.random.integers(1, 4))
    channels = int(s.random.integers(1, 5))
    groups = [1, channels][int(s.random.integers(2))]
    out = groups * int(s.random.integers(1, 4))
    x = s.triple("x", 1, channels, size, size)
    per_channel = bool(s.random.integers(2))
    kind = np.dtype([np.uint8, np.int8][int(s.random.integers(2))]) if seed % 2 == 0 else np.int8
    w = s.constant("w", s.codes(out, channels // groups, kernel, kernel, dtype=kind))
    count = (out,) if per_channel else ()
    scales = np.array([s.scale() for _ in range(out)], np.float32)
    scales = scales if per_channel else scales[0]
    zeros = np.zeros(count, kind) if np.dtype(kind) == np.int8 else s.codes(dtype=kind)
    if per_channel and np.dtype(kind) == np.uint8:
        zeros = np.broadcast_to(zeros, count).copy()
    inputs = [*x, w, s.constant("w_scale", scales), s.constant("w_zero", zeros)]
    typical = float(np.mean(scales)) * float(s.constants["x_scale"]) * 3000
    inputs += s.params("y", _near(s, typical))
    if s.random.integers(2):
        bias = s.random.integers(-20000, 20000, out, np.int32)
        inputs.append(s.constant("bias", bias))
    pads = [int(n) for n in s.random.integers(0, kernel, 4)]
    s.node("QLinearConv", inputs, "", strides=[stride] * 2, pads=pads, group=groups)
    return s.case()


def matmul(seed: int) -> Case:
    s = Sketch(seed)
    rows, depth, columns = (int(n) for n in s.random.integers(1, 20, 3))
    lead = [(), (2,), (1, 3)][seed % 3]
    a = s.triple("a", *lead, rows, depth)
    per_column = bool(s.random.integers(2))
    shape = (depth, columns)
    b = s.constant("b", s.codes(*shape))
    scales = np.array([s.scale() for _ in range(columns)], np.float32)
    zeros = s.codes(columns)
    if not per_column:
        scales, zeros = scales[0], zeros[0]
    pair = [s.constant("b_scale", scales), s.constant("b_zero", zeros)]
    typical = float(np.mean(scales)) * float(s.constants["a_scale"]) * 1000
    s.node("QLinearMatMul", [*a, b, *pair, *s.params("y", _near(s, typical))], "")
    return s.case()


def matmul_two(seed: int) -> Case:
    s = Sketch(seed)
    rows, depth, columns = (int(n) for n in s.random.integers(1, 12, 3))
    a, b = s.triple("a", 2, rows, depth), s.triple("b", 2, depth, columns)
    typical = float(s.constants["a_scale"]) * float(s.constants["b_scale"]) * 3000
    s.node("QLinearMatMul", [*a, *b, *s.params("y", _near(s, typical))], "")
    return s.case()


def gemm(seed: int) -> Case:
    s = Sketch(seed)
    rows, depth, columns = (int(n) for n in s.random.integers(1, 20, 3))
    transposed = int(s.random.integers(2))
    shape = (columns, depth) if transposed else (depth, columns)
    a = s.triple("a", rows, depth)
    b = [s.constant("b", s.codes(*shape)), *s.params("b")]
    bias = ""
    if s.random.integers(2):
        bias = s.constant("c", s.random.integers(-20000, 20000, columns, np.int32))
    typical = float(s.constants["a_scale"]) * float(s.constants["b_scale"]) * 3000
    s.node("QGemm", [*a, *b, bias, *s.params("y", _near(s, typical))], transB=transposed)
    return s.case()


SHAPES = (
    ((1, 4, 8, 8), (1, 4, 8, 8)), ((1, 4, 8, 8), (1, 4, 1, 1)), ((1, 4, 1, 1), (1, 4, 8, 8)),
    ((2, 3, 8, 8), (8,)), ((1, 3, 8, 1), (1, 3, 8, 8)), ((5, 1, 7), (1, 6, 7)), ((6, 1), (1, 7)),
)  # fmt: skip


def binary(op: str) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        s = Sketch(seed)
        shapes = SHAPES[seed % len(SHAPES)]
        a, b = s.triple("a", *shapes[0]), s.triple("b", *shapes[1])
        typical = float(s.constants["a_scale"] + s.constants["b_scale"])
        if op == "QLinearMul":
            typical = float(s.constants["a_scale"] * s.constants["b_scale"]) * 100
        s.node(op, [*a, *b, *s.params("y", _near(s, typical))])
        return s.case()

    return make


def unary(op: str, **attrs: Any) -> Callable[[int], Case]:
    def make(seed: int) -> Case:
        s = Sketch(seed)
        ends = np.iinfo(s.dtype)
        codes = np.arange(ends.min, ends.max + 1).astype(s.dtype).reshape(1, 4, 8, 8)
        s.inputs["x"] = codes
        x = ["x", *s.params("x")]
        typical = float(s.constants["x_scale"]) if op == "QLinearLeakyRelu" else 1 / 256
        s.node(op, [*x, *s.params("y", _near(s, typical))], **attrs)
        return s.case()

    return make


def softmax(seed: int) -> Case:
    s = Sketch(seed)
    x = s.triple("x", 6, int(s.random.integers(1, 70)))
    if seed % 3:
        s.inputs["x"] = (s.inputs["x"] // 16).astype(s.dtype)
    scale = [1 / 256, 0.00390625, 0.004, 1 / 255][seed % 4]
    s.node("QLinearSoftmax", [*x, *s.params("y", scale)], axis=-1, opset=13)
    return s.case()


def average_pool(seed: int) -> Case:
    s = Sketch(seed)
    height, width, channels = (int(n) for n in s.random.integers(1, 9, 3))
    x = s.triple("x", 1, channels, height, width)
    kernel = [int(s.random.integers(1, height + 1)), int(s.random.integers(1, width + 1))]
    if seed % 4 == 0:
        kernel = [height, width]
    pads = [int(s.random.integers(0, k)) for k in (*kernel, *kernel)]
    s.node(
        "QLinearAveragePool", [*x, *s.params("y", _near(s, float(s.constants["x_scale"])))],
        kernel_shape=kernel, pads=pads if seed % 2 else [0] * 4,
        strides=[int(n) for n in s.random.integers(1, 3, 2)],
        count_include_pad=int(s.random.integers(2)),
    )  # fmt: skip
    return s.case()


def global_pool(seed: int) -> Case:
    s = Sketch(seed)
    x = s.triple("x", 1, *(int(n) for n in s.random.integers(1, 12, 3)))
    s.node(
        "QLinearGlobalAveragePool", [*x, *s.params("y", _near(s, float(s.constants["x_scale"])))]
    )
    return s.case()


def concat(seed: int) -> Case:
    s = Sketch(seed)
    parts = [s.triple(f"x{i}", 1, int(s.random.integers(1, 5)), 4, 4) for i in range(3)]
    out = s.params("y", _near(s, float(s.constants["x0_scale"])))
    s.node("QLinearConcat", [*out, *(name for part in parts for name in part)], axis=1)
    return s.case()


def conv_integer(seed: int) -> Case:
    s = Sketch(seed * 2)  # ONNX Runtime knows uint8 alone here
    x = s.input("x", 1, 3, 6, 6)
    w = s.constant("w", s.codes(4, 3, 3, 3))
    zeros = [s.constant("x_zero", s.codes()), s.constant("w_zero", s.codes())]
    s.node("ConvInteger", [x, w, *zeros], "", strides=[1 + seed % 2] * 2)
    return s.case(result=np.int32)


def matmul_integer(seed: int) -> Case:
    s = Sketch(seed)
    a, b = s.input("a", 5, 7), s.constant("b", s.codes(7, 4))
    zeros = [s.constant("a_zero", s.codes()), s.constant("b_zero", s.codes(4))]
    s.node("MatMulInteger", [a, b, *zeros], "")
    return s.case(result=np.int32)


def max_pool(seed: int) -> Case:
    s = Sketch(seed)
    s.input("x", 1, 3, 7, 7)
    s.node("MaxPool", ["x"], "", kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1])
    return s.case()


OPERATORS: Mapping[str, Callable[[int], Case]] = MappingProxyType(
    {
        "ConvInteger": conv_integer,
        "MatMulInteger": matmul_integer,
        "QGemm": gemm,
        "QLinearAdd": binary("QLinearAdd"),
        "QLinearAveragePool": average_pool,
        "QLinearConcat": concat,
        "QLinearConv": conv,
        "QLinearGlobalAveragePool": global_pool,
        "QLinearLeakyRelu": unary("QLinearLeakyRelu", alpha=0.3),
        "QLinearMatMul": matmul,
        "QLinearMatMul of two": matmul_two,
        "QLinearMul": binary("QLinearMul"),
        "QLinearSigmoid": unary("QLinearSigmoid"),
        "QLinearSoftmax": softmax,
    }
)
