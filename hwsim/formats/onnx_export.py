"""Writer of ONNX models: an 8-bit integer graph as QDQ or as operators on codes.

Inputs, outputs and their names are the graph's own, images NHWC; inside, images are NCHW as ONNX
wants them. The model computes what ONNX Runtime computes (profile `ort`), which need not be what
the graph's own profile does.
"""

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwsim.attributes import (
    Activation,
    ConcatAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    LeakyReluAttrs,
    MatMulAttrs,
    MeanAttrs,
    PadAttrs,
    PoolAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.errors import GraphError
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.quant import INT8, UINT8, IntType, Rounding, quantize_array

OPSET = 17  # what ONNX Runtime 1.31 and every release since 1.12 loads
IR_VERSION = 8
MICROSOFT = "com.microsoft"

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_TYPES: Mapping[IntType, int] = MappingProxyType(
    {INT8: int(TensorProto.INT8), UINT8: int(TensorProto.UINT8)}
)


class Style(Enum):
    """How a quantized network is written down in ONNX."""

    QDQ = "qdq"  # float operators between DequantizeLinear and QuantizeLinear
    QOPERATOR = "qoperator"  # operators on codes


# Elementwise and pooling operators: (float operator, operator on codes).
_FORMS: Mapping[Op, tuple[str, str]] = MappingProxyType(
    {
        Op.ADD: ("Add", "QLinearAdd"),
        Op.SUB: ("Sub", ""),
        Op.MUL: ("Mul", "QLinearMul"),
        Op.AVERAGE_POOL_2D: ("AveragePool", "QLinearAveragePool"),
        Op.LEAKY_RELU: ("LeakyRelu", "QLinearLeakyRelu"),
        Op.LOGISTIC: ("Sigmoid", "QLinearSigmoid"),
        Op.TANH: ("Tanh", ""),
        Op.HARD_SWISH: ("HardSwish", ""),
        Op.SOFTMAX: ("Softmax", "QLinearSoftmax"),
    }
)


def export_onnx(graph: Graph, style: str = "qdq") -> bytes:
    """Return an integer graph as an ONNX model.

    Args:
        graph: Activations of 8 bits with one scale each; weights of at most 8 bits.
        style: "qdq" or "qoperator".

    Raises:
        GraphError: If the style is unknown, or a node has no form in it.
    """
    known = [known.value for known in Style]
    if style not in known:
        raise GraphError(f"style must be one of {', '.join(known)}, not {style!r}")
    if graph.is_float:
        raise GraphError(f"graph {graph.name!r} must hold quantized codes, not floats")
    for value in graph.activations:
        if value.quant is not None and not (value.dtype.bits == 8 and value.quant.is_per_tensor):
            widths = "one scale" if value.quant.is_per_tensor else "one per channel"
            raise GraphError(
                f"value {value.name!r} must have 8 bits and one scale to be exported, "
                f"not {value.dtype} and {widths}"
            )
    return bytes(_Writer(graph, Style(style)).model().SerializeToString())


class _Writer:
    """Nodes and constants of one model under construction."""

    def __init__(self, graph: Graph, style: Style) -> None:
        self.graph, self.style = graph, style
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.taken = set(graph.values)
        # Where each value's codes are, images NCHW; inputs and outputs have a second name.
        self.names = {name: name for name in graph.values}
        self.parameters: dict[str, tuple[str, str]] = {}

    def model(self) -> onnx.ModelProto:
        """Return the whole model."""
        for value in self.graph.inputs:
            if _is_image(value):
                self.names[value.name] = self.fresh(f"{value.name}/nchw")
                self.transpose(value.name, self.names[value.name], _TO_NCHW)
        for value in self.graph.outputs:
            if _is_image(value):
                self.names[value.name] = self.fresh(f"{value.name}/nchw")
        for node in self.graph.nodes:
            self.operator(node)
        for value in self.graph.outputs:
            if _is_image(value):
                self.transpose(self.names[value.name], value.name, _TO_NHWC)
        inputs, outputs = (
            [helper.make_tensor_value_info(v.name, self.element(v), v.shape) for v in values]
            for values in (self.graph.inputs, self.graph.outputs)
        )
        stored = list(self.constants.values())
        graph = helper.make_graph(self.nodes, self.graph.name, inputs, outputs, stored)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, producer_name="hwsim", opset_imports=opsets, ir_version=IR_VERSION
        )

    def fresh(self, name: str) -> str:
        """Return a name that no tensor has, and take it."""
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name

    def fail(self, node: Node, sentence: str) -> GraphError:
        """Return an error that names the node."""
        return GraphError(f"node {node.name!r} ({node.op.value}): {sentence}")

    def element(self, value: Value) -> int:
        """Return the ONNX type of an activation."""
        if value.is_float:
            return int(TensorProto.FLOAT)
        if value.dtype not in _TYPES or value.quant is None or not value.quant.is_per_tensor:
            raise GraphError(
                f"value {value.name!r} must hold 8-bit codes with one scale to be exported, "
                f"not {value.dtype}"
            )
        assert isinstance(value.dtype, IntType)
        return _TYPES[value.dtype]

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        """Append a node and return its output's name."""
        domain = MICROSOFT if op.startswith("Q") and op not in _STANDARD else ""
        name = f"{op}_{len(self.nodes)}"
        node = helper.make_node(op, inputs, [output], name=name, domain=domain, **attrs)
        self.nodes.append(node)
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """File a constant under a free name and return it."""
        name = self.fresh(name)
        self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def transpose(self, source: str, target: str, perm: Sequence[int]) -> None:
        """Append a transpose of codes."""
        self.add("Transpose", [source], target, perm=list(perm))

    # Operands

    def params(self, value: Value) -> tuple[str, str]:
        """Return the names of an activation's scale and zero point."""
        self.element(value)
        assert value.quant is not None
        if value.name not in self.parameters:
            zero = np.array(value.quant.zero_point[0], value.dtype.storage)
            self.parameters[value.name] = (
                self.constant(f"{value.name}/scale", np.array(value.quant.scale[0], np.float32)),
                self.constant(f"{value.name}/zero", zero),
            )
        return self.parameters[value.name]

    def codes(self, value: Value) -> list[str]:
        """Return (codes, scale, zero point), as operators on codes take an operand."""
        name = self.names[value.name]
        if value.data is not None and name not in self.constants:
            data = value.data
            if _is_image(value):
                data = data.transpose(_TO_NCHW)
            name = self.names[value.name] = self.constant(f"{value.name}/codes", data)
        return [name, *self.params(value)]

    def real(self, value: Value) -> str:
        """Return the name of an activation's reals, dequantized for one reader."""
        return self.add("DequantizeLinear", self.codes(value), self.fresh(f"{value.name}/real"))

    def store(self, real: str, out: Value, activation: Activation = Activation.NONE) -> None:
        """Quantize reals into an output, through an activation that saturation does not do.

        The activation gets conversions of its own: ONNX Runtime leaves an operator in float32
        whose result is clamped before it is quantized.
        """
        if self.narrows(out, activation):
            params = self.params(out)
            codes = self.fresh(f"{out.name}/open")
            self.add("QuantizeLinear", [real, *params], codes)
            wide = self.fresh(f"{out.name}/wide")
            real = self.add("DequantizeLinear", [codes, *params], wide)
            low, high = activation.bounds
            if activation is Activation.RELU:
                real = self.add("Relu", [real], self.fresh(f"{out.name}/relu"))
            else:
                ends = [
                    self.constant(f"{out.name}/low", np.array(low, np.float32)),
                    self.constant(f"{out.name}/high", np.array(high, np.float32)),
                ]
                real = self.add("Clip", [real, *ends], self.fresh(f"{out.name}/clip"))
        self.add("QuantizeLinear", [real, *self.params(out)], self.names[out.name])

    def code_bounds(self, out: Value, activation: Activation) -> tuple[int, int]:
        """Return the first and the last code that an activation leaves."""
        assert out.quant is not None and isinstance(out.dtype, IntType)
        low, high = activation.bounds
        ends = np.clip(np.array([low, high]), -1e30, 1e30).astype(np.float32)
        first, last = quantize_array(ends, out.dtype, out.quant, Rounding.HALF_EVEN)
        return int(first), int(last)

    def narrows(self, out: Value, activation: Activation) -> bool:
        """Whether an activation does more than saturation to the output's type."""
        return self.code_bounds(out, activation) != (out.dtype.min, out.dtype.max)  # type: ignore[union-attr]

    def on_codes(
        self, out: Value, activation: Activation, op: str, operands: Sequence[str], **attrs: Any
    ) -> None:
        """Append an operator on codes; an activation beyond saturation clamps codes after it."""
        name = self.names[out.name]
        if not self.narrows(out, activation):
            self.add(op, operands, name, **attrs)
            return
        made = self.add(op, operands, self.fresh(f"{out.name}/open"), **attrs)
        ends = [
            self.constant(f"{out.name}/{side}", np.array(bound, out.dtype.storage))
            for side, bound in zip(("low", "high"), self.code_bounds(out, activation), strict=True)
        ]
        self.add("Clip", [made, *ends], name)

    # Operators

    def operator(self, node: Node) -> None:
        """Append one node of the graph."""
        x, out = self.graph.values[node.inputs[0]], self.graph.values[node.outputs[0]]
        match node.op, node.attrs:
            case Op.CONV_2D | Op.DEPTHWISE_CONV_2D, ConvAttrs() as attrs:
                self.conv(node, attrs, x, out)
            case Op.FULLY_CONNECTED, FullyConnectedAttrs() as attrs:
                self.fully_connected(node, attrs, x, out)
            case Op.MATMUL, MatMulAttrs(scale=1.0) as attrs:
                self.matmul(attrs, node, out)
            case Op.ADD | Op.SUB | Op.MUL, FusedAttrs(activation):
                self.linear(node, *_FORMS[node.op], activation=activation)
            case Op.AVERAGE_POOL_2D, PoolAttrs() as attrs:
                settings = _window(attrs) | {"count_include_pad": int(attrs.count_padding)}
                self.linear(node, *_FORMS[node.op], activation=attrs.activation, **settings)
            case Op.MAX_POOL_2D, PoolAttrs() as attrs:
                self.same(node, x, out)
                operands = [self.codes(x)[0]]
                self.on_codes(out, attrs.activation, "MaxPool", operands, **_window(attrs))
            case Op.MEAN, MeanAttrs((1, 2)) as attrs if _is_image(x):
                self.global_pool(node, attrs, x, out)
            case Op.LEAKY_RELU, LeakyReluAttrs(alpha):
                self.linear(node, *_FORMS[node.op], alpha=alpha)
            case Op.LOGISTIC | Op.TANH | Op.HARD_SWISH, _:
                self.linear(node, *_FORMS[node.op])
            case Op.RELU | Op.RELU6 | Op.RELU_N1_TO_1, _:
                self.store(self.real(x), out, Activation(node.op.value))
            case Op.SOFTMAX, SoftmaxAttrs(1.0):
                own: dict[str, Any] = {} if self.style is Style.QDQ else {"opset": OPSET}
                self.linear(node, *_FORMS[node.op], axis=1 if _is_image(x) else -1, **own)
            case Op.CONCATENATION, ConcatAttrs(axis, Activation.NONE):
                self.concat(node, axis, out)
            case Op.QUANTIZE, _ if x.is_float:
                self.add(
                    "QuantizeLinear", [self.names[x.name], *self.params(out)], self.names[out.name]
                )
            case Op.QUANTIZE, _:
                self.store(self.real(x), out)
            case Op.DEQUANTIZE, _:
                self.add("DequantizeLinear", self.codes(x), self.names[out.name])
            case Op.RESHAPE, _:
                self.reshape(x, out)
            case Op.TRANSPOSE, TransposeAttrs(perm):
                self.same(node, x, out)
                self.transpose_nhwc(x, out, perm)
            case Op.PAD, PadAttrs() as attrs:
                self.pad(node, attrs, x, out)
            case Op.STRIDED_SLICE, SliceAttrs() as attrs:
                self.slice(node, attrs, x, out)
            case Op.SPLIT, SplitAttrs() as attrs:
                self.split(node, attrs, x)
            case Op.GELU, _:
                raise self.fail(node, f"operator must be in opset {OPSET}; Gelu came later")
            case _:
                raise self.fail(node, "operator must have a form in ONNX; it has none here")

    def same(self, node: Node, x: Value, out: Value) -> None:
        """Refuse a move that changes what codes mean."""
        if (x.dtype, x.quant) != (out.dtype, out.quant):
            raise self.fail(node, f"{out.name!r} must have the parameters of {x.name!r}")

    def linear(
        self,
        node: Node,
        real: str,
        coded: str,
        *,
        activation: Activation = Activation.NONE,
        **attrs: Any,
    ) -> None:
        """Append an operator whose inputs are all activations.

        One without a form on codes stands between conversions in both styles.
        """
        operands = [self.graph.values[name] for name in node.inputs]
        out = self.graph.values[node.outputs[0]]
        if any(len(value.shape) != len(out.shape) and len(out.shape) == 4 for value in operands):
            raise self.fail(node, "operands of an image must have 4 axes")
        if self.style is Style.QDQ or not coded:
            reals = [self.real(value) for value in operands]
            made = self.add(real, reals, self.fresh(f"{out.name}/exact"), **attrs)
            self.store(made, out, activation)
            return
        triples = [name for value in operands for name in self.codes(value)]
        self.on_codes(out, activation, coded, [*triples, *self.params(out)], **attrs)

    def weights(self, node: Node, axes: tuple[int, ...], x: Value) -> tuple[list[str], str]:
        """Return (codes, scale, zero point) of the weights and the codes of the bias.

        Output channels come first; scales are one number, or one per output channel.
        """
        value = self.graph.values[node.inputs[1]]
        storage = value.dtype.storage
        if value.data is None or value.quant is None or storage.itemsize != 1 or x.quant is None:
            raise self.fail(node, f"weights {value.name!r} must be constant codes of 8 bits")
        data = value.data.transpose(axes)
        scale = np.array(value.quant.scale, np.float32)
        zero = np.array(value.quant.zero_point, storage)
        if value.quant.is_per_tensor:
            scale, zero = scale.reshape(()), zero.reshape(())
        name = value.name
        triple = [
            self.constant(f"{node.outputs[0]}/{name}", data),
            self.constant(f"{node.outputs[0]}/{name}/scale", scale),
            self.constant(f"{node.outputs[0]}/{name}/zero", zero),
        ]
        bias = self.graph.value_or_none(node.inputs[2]) if len(node.inputs) > 2 else None
        codes = np.zeros(data.shape[0], np.int32)
        if bias is not None:
            if bias.data is None or bias.dtype.bits > 32:
                raise self.fail(node, f"bias {bias.name!r} must be constant codes of 32 bits")
            codes = np.asarray(bias.data, np.int32)
        return triple, self.constant(f"{node.outputs[0]}/bias", codes)

    def real_weights(self, triple: Sequence[str], bias: str, x: Value) -> list[str]:
        """Return the names of real weights and bias, for float operators."""
        scale = numpy_helper.to_array(self.constants[triple[1]])
        assert x.quant is not None
        products = np.float32(x.quant.scale[0]) * scale
        axis = {"axis": 0} if scale.ndim else {}
        return [
            self.add("DequantizeLinear", triple, self.fresh(f"{triple[0]}/real"), **axis),
            self.add(
                "DequantizeLinear",
                [bias, self.constant(f"{bias}/scale", products)],
                self.fresh(f"{bias}/real"),
                **axis,
            ),
        ]

    def conv(self, node: Node, attrs: ConvAttrs, x: Value, out: Value) -> None:
        """Append a convolution."""
        deep = node.op is Op.DEPTHWISE_CONV_2D
        triple, bias = self.weights(node, (3, 0, 1, 2) if deep else (0, 3, 1, 2), x)
        settings: dict[str, Any] = {
            "kernel_shape": list(self.constants[triple[0]].dims[2:]),
            "strides": list(attrs.stride),
            "dilations": list(attrs.dilation),
            "pads": list(attrs.padding),
            "group": x.shape[3] if deep else attrs.groups,
        }
        if self.style is Style.QDQ:
            operands = [self.real(x), *self.real_weights(triple, bias, x)]
            made = self.add("Conv", operands, self.fresh(f"{out.name}/exact"), **settings)
            self.store(made, out, attrs.activation)
            return
        operands = [*self.codes(x), *triple, *self.params(out), bias]
        self.on_codes(out, attrs.activation, "QLinearConv", operands, **settings)

    def fully_connected(self, node: Node, attrs: FullyConnectedAttrs, x: Value, out: Value) -> None:
        """Append a product with constant weights; leading axes become rows."""
        triple, bias = self.weights(node, (0, 1), x)
        depth = self.graph.values[node.inputs[1]].shape[1]
        codes, scale, zero = self.codes(x)
        rows = (math.prod(x.shape) // depth, depth)
        if x.shape != rows:
            codes = self.reshaped(self.nhwc(x), rows, self.fresh(f"{out.name}/rows"))
        made = self.names[out.name]
        flat = (rows[0], out.shape[-1])
        if out.shape != flat:
            self.names[out.name] = self.fresh(f"{out.name}/flat")
        if self.style is Style.QDQ:
            real = self.add("DequantizeLinear", [codes, scale, zero], self.fresh(f"{out.name}/x"))
            operands = [real, *self.real_weights(triple, bias, x)]
            exact = self.add("Gemm", operands, self.fresh(f"{out.name}/exact"), transB=1)
            self.store(exact, out, attrs.activation)
        else:
            operands = [codes, scale, zero, *triple, bias, *self.params(out)]
            self.on_codes(out, attrs.activation, "QGemm", operands, transB=1)
        if out.shape != flat:
            product, self.names[out.name] = self.names[out.name], made
            self.place(self.reshaped(product, out.shape, self.fresh(f"{out.name}/nhwc'")), out)

    def matmul(self, attrs: MatMulAttrs, node: Node, out: Value) -> None:
        """Append a product of two activations, in the graph's own axis order."""
        operands = [self.graph.values[name] for name in node.inputs]
        triples = []
        flags = (attrs.transpose_a, attrs.transpose_b)
        for value, transposed in zip(operands, flags, strict=True):
            codes = self.nhwc(value)
            if transposed:
                rank = len(value.shape)
                moved = self.fresh(f"{out.name}/{value.name}")
                self.transpose(codes, moved, (*range(rank - 2), rank - 1, rank - 2))
                codes = moved
            triples.append([codes, *self.params(value)])
        made = self.fresh(f"{out.name}/nhwc'") if _is_image(out) else self.names[out.name]
        if self.style is Style.QDQ:
            reals = [
                self.add("DequantizeLinear", triple, self.fresh(f"{triple[0]}/real"))
                for triple in triples
            ]
            exact = self.add("MatMul", reals, self.fresh(f"{out.name}/exact"))
            self.add("QuantizeLinear", [exact, *self.params(out)], made)
        else:
            self.add("QLinearMatMul", [*triples[0], *triples[1], *self.params(out)], made)
        if _is_image(out):
            self.place(made, out)

    def global_pool(self, node: Node, attrs: MeanAttrs, x: Value, out: Value) -> None:
        """Append a mean over an image."""
        if attrs.keep_dims:
            self.linear(node, "GlobalAveragePool", "QLinearGlobalAveragePool")
            return
        name, self.names[out.name] = self.names[out.name], self.fresh(f"{out.name}/image")
        image = self.names[out.name]
        if self.style is Style.QDQ:
            self.store(
                self.add("GlobalAveragePool", [self.real(x)], self.fresh(f"{out.name}/exact")), out
            )
        else:
            operands = [*self.codes(x), *self.params(out)]
            self.add("QLinearGlobalAveragePool", operands, image)
        self.names[out.name] = name
        self.reshaped(image, out.shape, name)

    def concat(self, node: Node, axis: int, out: Value) -> None:
        """Append a concatenation."""
        parts = [self.graph.values[name] for name in node.inputs]
        where = _TO_NHWC[axis] if _is_image(out) else axis
        if self.style is Style.QDQ:
            reals = [self.real(part) for part in parts]
            self.store(self.add("Concat", reals, self.fresh(f"{out.name}/exact"), axis=where), out)
            return
        triples = [name for part in parts for name in self.codes(part)]
        self.add("QLinearConcat", [*self.params(out), *triples], self.names[out.name], axis=where)

    # Moves of codes, the same in both styles

    def nhwc(self, value: Value) -> str:
        """Return the codes of a value in the graph's own axis order."""
        name = self.codes(value)[0]
        if not _is_image(value):
            return name
        moved = self.fresh(f"{value.name}/nhwc'")
        self.transpose(name, moved, _TO_NHWC)
        return moved

    def place(self, nhwc: str, out: Value) -> None:
        """Give codes in the graph's axis order to an output."""
        if _is_image(out):
            self.transpose(nhwc, self.names[out.name], _TO_NCHW)
        else:
            self.add("Identity", [nhwc], self.names[out.name])

    def reshaped(self, source: str, shape: Sequence[int], target: str) -> str:
        """Append a reshape of codes."""
        sizes = self.constant(f"{target}/shape", np.array(shape, np.int64))
        return self.add("Reshape", [source, sizes], target)

    def reshape(self, x: Value, out: Value) -> None:
        """Append a RESHAPE; an image goes back to NHWC order first."""
        target = self.fresh(f"{out.name}/nhwc'") if _is_image(out) else self.names[out.name]
        self.reshaped(self.nhwc(x), out.shape, target)
        if _is_image(out):
            self.place(target, out)

    def transpose_nhwc(self, x: Value, out: Value, perm: Sequence[int]) -> None:
        """Append a TRANSPOSE of the graph's own axes."""
        moved = self.fresh(f"{out.name}/moved")
        self.transpose(self.nhwc(x), moved, perm)
        self.place(moved, out)

    def pad(self, node: Node, attrs: PadAttrs, x: Value, out: Value) -> None:
        """Append a PAD of codes."""
        self.same(node, x, out)
        assert x.quant is not None
        fill = x.quant.zero_point[0] if attrs.value is None else int(attrs.value)
        order = _TO_NCHW if _is_image(x) else tuple(range(len(x.shape)))
        amounts = [[side[axis] for axis in order] for side in (attrs.before, attrs.after)]
        operands = [
            self.codes(x)[0],
            self.constant(f"{out.name}/pads", np.array(amounts, np.int64).ravel()),
            self.constant(f"{out.name}/fill", np.array(fill, x.dtype.storage)),
        ]
        self.add("Pad", operands, self.names[out.name])

    def split(self, node: Node, attrs: SplitAttrs, x: Value) -> None:
        """Append a SPLIT of codes."""
        outs = [self.graph.values[name] for name in node.outputs]
        for out in outs:
            self.same(node, x, out)
        sizes = self.constant(f"{outs[0].name}/sizes", np.array(attrs.sizes, np.int64))
        axis = _TO_NHWC[attrs.axis] if _is_image(x) else attrs.axis
        made = helper.make_node(
            "Split", [self.codes(x)[0], sizes], [self.names[out.name] for out in outs], axis=axis,
            name=f"Split_{len(self.nodes)}",
        )  # fmt: skip
        self.nodes.append(made)

    def slice(self, node: Node, attrs: SliceAttrs, x: Value, out: Value) -> None:
        """Append a STRIDED_SLICE of codes."""
        self.same(node, x, out)
        order = _TO_NCHW if _is_image(x) else tuple(range(len(x.shape)))
        ends = [
            start + stride * size
            for start, stride, size in zip(attrs.starts, attrs.strides, attrs.sizes, strict=True)
        ]
        # An end below 0 counts from the back in ONNX; far below, it means "through the first".
        ends = [end if end >= 0 else -(1 << 31) for end in ends]
        numbers = {"starts": attrs.starts, "ends": ends, "axes": order, "steps": attrs.strides}
        operands = [self.codes(x)[0]]
        for key, values in numbers.items():
            picked = range(len(order)) if key == "axes" else [values[axis] for axis in order]
            operands.append(self.constant(f"{out.name}/{key}", np.array(list(picked), np.int64)))
        self.add("Slice", operands, self.names[out.name])


_STANDARD = frozenset({"QLinearConv", "QLinearMatMul", "QuantizeLinear"})


def _is_image(value: Value) -> bool:
    return len(value.shape) == 4


def _window(attrs: PoolAttrs) -> dict[str, Any]:
    return {
        "kernel_shape": list(attrs.kernel),
        "strides": list(attrs.stride),
        "pads": list(attrs.padding),
    }
