"""An 8-bit integer graph as an ONNX model for ONNX Runtime, with the same codes and scales.

ONNX Runtime scales accumulators in float32, so its outputs are near ours, not equal to them; and a
QDQ model may change its bits with the optimization level. Images are NCHW here, as its kernels want
them: a rank-4 input is fed transposed (`feed`).
"""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwsim.attributes import (
    Activation,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    MeanAttrs,
    PoolAttrs,
    SoftmaxAttrs,
)
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.quant import INT8, UINT8

OPSET = 17
IR_VERSION = 8
MICROSOFT = "com.microsoft"


class Form(Enum):
    """How a quantized network is written down in ONNX."""

    QDQ = "qdq"  # float operators between DequantizeLinear and QuantizeLinear
    QOPERATOR = "qoperator"  # operators on codes


def feed(array: np.ndarray) -> np.ndarray:
    """Return an input as the exported model takes it: images NCHW."""
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array)


def export(graph: Graph, form: Form) -> bytes:
    """Return the model as bytes.

    Raises:
        ValueError: If an operator or a type has no translation here.
    """
    return _Writer(graph, form).model().SerializeToString()


def _shape(value: Value) -> tuple[int, ...]:
    shape = value.shape
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


class _Writer:
    """Nodes and constants of one model under construction."""

    def __init__(self, graph: Graph, form: Form) -> None:
        self.graph, self.form = graph, form
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        # TFLite names may hold anything; ONNX ones are short.
        self.names = {name: f"v{index}" for index, name in enumerate(graph.values)}

    def model(self) -> onnx.ModelProto:
        for node in self.graph.nodes:
            self.operator(node)
        ends = []
        for values in (self.graph.inputs, self.graph.outputs):
            ends.append(
                [
                    helper.make_tensor_value_info(
                        self.names[value.name], self.type_of(value), _shape(value)
                    )
                    for value in values
                ]
            )
        graph = helper.make_graph(self.nodes, "net", *ends, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        if self.form is Form.QDQ:
            onnx.checker.check_model(model)  # the checker does not know the other form's operators
        return model

    def type_of(self, value: Value) -> int:
        known = {INT8: TensorProto.INT8, UINT8: TensorProto.UINT8}
        if value.dtype not in known or value.quant is None or not value.quant.is_per_tensor:
            raise ValueError(f"{value.name}: must be 8-bit codes with one scale, not {value.dtype}")
        return known[value.dtype]

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=f"n{len(self.nodes)}", **attrs)
        )
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def params(self, value: Value) -> tuple[str, str]:
        """Return the names of an activation's scale and zero point."""
        self.type_of(value)
        assert value.quant is not None
        name = self.names[value.name]
        return (
            self.constant(f"{name}_scale", np.float32(value.quant.scale[0])),
            self.constant(f"{name}_zero", np.array(value.quant.zero_point[0], value.dtype.storage)),
        )

    def codes(self, value: Value) -> list[str]:
        """Return (codes, scale, zero point), as operators on codes take an operand."""
        return [self.names[value.name], *self.params(value)]

    def real(self, value: Value) -> str:
        """Return the name of an activation's real values."""
        name = f"{self.names[value.name]}_real{len(self.nodes)}"
        return self.add("DequantizeLinear", self.codes(value), name)

    def clamped(self, real: str, out: Value, activation: Activation) -> str:
        """Return the name after the activation, which saturation alone may already do."""
        assert out.quant is not None
        scale, zero = out.quant.scale[0], out.quant.zero_point[0]
        low, high = activation.bounds
        if low <= (out.dtype.min - zero) * scale and (out.dtype.max - zero) * scale <= high:
            return real
        if activation is Activation.RELU:
            return self.add("Relu", [real], f"{real}_relu")
        ends = [
            self.constant(f"{real}_{side}", np.float32(bound))
            for side, bound in (("low", low), ("high", high))
        ]
        return self.add("Clip", [real, *ends], f"{real}_clip")

    def store(self, real: str, out: Value, activation: Activation = Activation.NONE) -> None:
        """Quantize real values into an output."""
        kept = self.clamped(real, out, activation)
        self.add("QuantizeLinear", [kept, *self.params(out)], self.names[out.name])

    def operator(self, node: Node) -> None:
        x, out = self.graph.values[node.inputs[0]], self.graph.values[node.outputs[0]]
        match node.op, node.attrs:
            case Op.CONV_2D | Op.DEPTHWISE_CONV_2D, ConvAttrs():
                self.conv(node, node.attrs, x, out)
            case Op.FULLY_CONNECTED, FullyConnectedAttrs():
                self.fully_connected(node, node.attrs, x, out)
            case Op.ADD, FusedAttrs():
                self.sum(node, node.attrs, x, out)
            case Op.AVERAGE_POOL_2D, PoolAttrs():
                self.average_pool(node.attrs, x, out)
            case Op.MEAN, MeanAttrs():
                self.mean(node.attrs, x, out)
            case Op.SOFTMAX, SoftmaxAttrs(beta=1.0):
                self.softmax(x, out)
            case Op.RESHAPE, _:
                self.reshape(x, out)
            case _:
                raise ValueError(f"{node.name}: no translation of {node.op.value}")

    def weights(self, node: Node, axes: tuple[int, ...], x: Value) -> tuple[list[str], str]:
        """Return (codes, scale, zero point) of the weights and the codes of the bias.

        Output channels come first; scales are one number, or one per output channel.
        """
        value = self.graph.values[node.inputs[1]]
        assert value.data is not None and value.quant is not None and x.quant is not None
        if any(value.quant.zero_point) or value.dtype != INT8:
            raise ValueError(f"{value.name}: weights must be symmetric int8")
        name = self.names[value.name]
        data = value.data.transpose(axes)
        scale = np.array(value.quant.scale, np.float32)
        zero = np.zeros(scale.shape, np.int8)
        if value.quant.is_per_tensor:
            scale, zero = scale.reshape(()), zero.reshape(())
        triple = [
            self.constant(name, data),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero", zero),
        ]
        bias = self.graph.value_or_none(node.inputs[2]) if len(node.inputs) > 2 else None
        channels = data.shape[0]
        codes = np.zeros(channels, np.int32) if bias is None else np.asarray(bias.data, np.int32)
        key = f"{name}_bias"
        self.constant(f"{key}_scale", np.float32(x.quant.scale[0]) * scale)
        self.constant(f"{key}_zero", np.zeros(scale.shape, np.int32))
        return triple, self.constant(key, codes)

    def real_weights(self, triple: Sequence[str], bias: str) -> list[str]:
        """Return the names of real weights and bias, for float operators."""
        scale = self.constants[triple[1]]
        axis = {"axis": 0} if scale.dims else {}
        return [
            self.add("DequantizeLinear", triple, f"{triple[0]}_real", **axis),
            self.add(
                "DequantizeLinear", [bias, f"{bias}_scale", f"{bias}_zero"], f"{bias}_real", **axis
            ),
        ]

    def conv(self, node: Node, attrs: ConvAttrs, x: Value, out: Value) -> None:
        deep = node.op is Op.DEPTHWISE_CONV_2D
        triple, bias = self.weights(node, (3, 0, 1, 2) if deep else (0, 3, 1, 2), x)
        settings = {
            "kernel_shape": list(self.constants[triple[0]].dims[2:]),
            "strides": list(attrs.stride),
            "dilations": list(attrs.dilation),
            "pads": list(attrs.padding),
            "group": x.shape[3] if deep else attrs.groups,
        }
        if self.form is Form.QDQ:
            operands = [self.real(x), *self.real_weights(triple, bias)]
            made = self.add("Conv", operands, f"{self.names[out.name]}_exact", **settings)
            self.store(made, out, attrs.activation)
            return
        operands = [*self.codes(x), *triple, *self.params(out), bias]
        self.saturating(out, attrs.activation, "QLinearConv", operands, settings)

    def saturating(
        self, out: Value, activation: Activation, op: str, operands: list[str], attrs: Any
    ) -> None:
        """Add an operator on codes; an activation beyond saturation clamps codes after it."""
        domain = {} if op == "QLinearConv" else {"domain": MICROSOFT}
        name = self.names[out.name]
        assert out.quant is not None
        scale, zero = out.quant.scale[0], out.quant.zero_point[0]
        low, high = activation.bounds
        bottom = out.dtype.min if math.isinf(low) else max(out.dtype.min, zero + round(low / scale))
        top = out.dtype.max if math.isinf(high) else min(out.dtype.max, zero + round(high / scale))
        if (bottom, top) == (out.dtype.min, out.dtype.max):
            self.add(op, operands, name, **domain, **attrs)
            return
        made = self.add(op, operands, f"{name}_open", **domain, **attrs)
        ends = [
            self.constant(f"{name}_{side}", np.array(bound, out.dtype.storage))
            for side, bound in (("low", bottom), ("high", top))
        ]
        self.add("Clip", [made, *ends], name)

    def fully_connected(self, node: Node, attrs: FullyConnectedAttrs, x: Value, out: Value) -> None:
        if len(x.shape) != 2:
            raise ValueError(f"{node.name}: input must have 2 axes, not {len(x.shape)}")
        triple, bias = self.weights(node, (0, 1), x)
        if self.form is Form.QDQ:
            operands = [self.real(x), *self.real_weights(triple, bias)]
            made = self.add("Gemm", operands, f"{self.names[out.name]}_exact", transB=1)
            self.store(made, out, attrs.activation)
            return
        operands = [*self.codes(x), *triple, bias, *self.params(out)]
        self.saturating(out, attrs.activation, "QGemm", operands, {"transB": 1})

    def sum(self, node: Node, attrs: FusedAttrs, x: Value, out: Value) -> None:
        other = self.graph.values[node.inputs[1]]
        if x.shape != other.shape or other.is_constant:
            raise ValueError(f"{node.name}: both terms must be activations of one shape")
        if self.form is Form.QDQ:
            exact = f"{self.names[out.name]}_exact"
            self.store(
                self.add("Add", [self.real(x), self.real(other)], exact), out, attrs.activation
            )
            return
        operands = [*self.codes(x), *self.codes(other), *self.params(out)]
        self.saturating(out, attrs.activation, "QLinearAdd", operands, {})

    def average_pool(self, attrs: PoolAttrs, x: Value, out: Value) -> None:
        settings = {
            "kernel_shape": list(attrs.kernel),
            "strides": list(attrs.stride),
            "pads": list(attrs.padding),
            "count_include_pad": int(attrs.count_padding),
        }
        if self.form is Form.QDQ:
            exact = f"{self.names[out.name]}_exact"
            made = self.add("AveragePool", [self.real(x)], exact, **settings)
            self.store(made, out, attrs.activation)
            return
        operands = [*self.codes(x), *self.params(out)]
        self.saturating(out, attrs.activation, "QLinearAveragePool", operands, settings)

    def mean(self, attrs: MeanAttrs, x: Value, out: Value) -> None:
        """Add a mean; it has no operator on codes that takes any axes, so both forms are QDQ."""
        if len(x.shape) != 4 or len(out.shape) == 4:
            keep = int(attrs.keep_dims)
        elif attrs.axes == (1, 2):
            keep = 0
        else:
            raise ValueError(f"{out.name}: mean over axes {attrs.axes} of an image")
        order = (0, 2, 3, 1) if len(x.shape) == 4 else tuple(range(len(x.shape)))
        axes = sorted(order[axis] for axis in attrs.axes)
        exact = f"{self.names[out.name]}_exact"
        self.store(self.add("ReduceMean", [self.real(x)], exact, axes=axes, keepdims=keep), out)

    def softmax(self, x: Value, out: Value) -> None:
        if len(x.shape) != 2:
            raise ValueError(f"{x.name}: softmax must be over rows, not {len(x.shape)} axes")
        if self.form is Form.QDQ:
            exact = f"{self.names[out.name]}_exact"
            self.store(self.add("Softmax", [self.real(x)], exact, axis=-1), out)
            return
        operands = [*self.codes(x), *self.params(out)]
        attrs = {"axis": -1, "opset": OPSET}
        self.saturating(out, Activation.NONE, "QLinearSoftmax", operands, attrs)

    def reshape(self, x: Value, out: Value) -> None:
        """Move codes; an image goes back to NHWC order first, unless both orders are one."""
        name = self.names[x.name]
        if len(out.shape) == 4:
            raise ValueError(f"{out.name}: reshape to an image")
        if len(x.shape) == 4 and x.shape[3] > 1 and math.prod(x.shape[1:3]) > 1:
            name = self.add("Transpose", [name], f"{name}_nhwc", perm=[0, 2, 3, 1])
        target = self.names[out.name]
        shape = self.constant(f"{target}_shape", np.array(out.shape, np.int64))
        self.add("Reshape", [name, shape], target)
