"""Readers of ONNX arithmetic: elementwise operators, products, softmax and normalization."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hwsim.attributes import (
    Attrs,
    ClipAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    SoftmaxAttrs,
    TransposeAttrs,
)
from hwsim.errors import FormatError, shown
from hwsim.formats.onnx_builder import Builder, Names, Reader, axes_of, check_axis
from hwsim.ops import Op


def read_binary(op: Op) -> Reader:
    """Return the reader of a broadcasting operator; a constant operand becomes a value."""

    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        operand = _added if op is Op.ADD else Builder.operand
        b.emit(op, _BINARY_ATTRS[op], [operand(b, name) for name in names], (node.output[0],))

    return read


def _added(b: Builder, name: str) -> str:
    """Return the operand of a sum; an infinite mask becomes the least float32, as large a one."""
    array = b.constants.get(name)
    if name in b.values or array is None or array.dtype.kind != "f" or not np.isneginf(array).any():
        return b.operand(name)
    return b.literal(f"{name}/finite", np.maximum(array, np.finfo(np.float32).min))


# From here down a float32 sum with a number of any network is the mask's number itself.
_HIDDEN = -1e30


def read_where(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read a Where that hides parts of a tensor behind a very negative number: a sum with it."""
    out = node.output[0]
    hidden = np.asarray(b.constant(names, 0, "condition"), np.bool_)
    computed = [slot for slot in (1, 2) if names[slot] not in b.constants]
    if len(computed) != 1:
        raise FormatError("one of the choices must be computed and the other a constant")
    (slot,) = computed
    if slot == 1:
        hidden = ~hidden
    fill = b.constants[names[3 - slot]]
    if fill.dtype.kind != "f" or not np.all(fill <= _HIDDEN):
        raise FormatError(f"constant choice must be a mask of at most {_HIDDEN:g}")
    mask = np.where(hidden, np.maximum(fill, np.finfo(np.float32).min), np.float32(0))
    inputs = (b.operand(names[slot]), b.literal(f"{out}/mask", mask))
    b.emit(Op.ADD, FusedAttrs(), inputs, (out,))


def read_reciprocal(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Reciprocal as 1 / x."""
    one = b.literal(f"{node.output[0]}/one", np.ones((), np.float32))
    b.emit(Op.DIV, FusedAttrs(), (one, b.operand(names[0])), (node.output[0],))


def read_rms_norm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read RMSNormalization over the last axis."""
    attrs = b.attributes(node)
    rank = len(b.shape(names[0]))
    axis = int(attrs.get("axis", -1))
    check_axis(axis, rank)
    if axis % rank != rank - 1:
        raise FormatError(f"axis must be the last one, not {axis}")
    b.constant(names, 1, "scale")
    norm = NormAttrs(float(attrs.get("epsilon", 1e-5)))
    inputs = (b.operand(names[0]), b.operand(names[1]))
    b.emit(Op.RMS_NORM, norm, inputs, (node.output[0],))


_BINARY_ATTRS: Mapping[Op, Attrs] = MappingProxyType(
    {op: FusedAttrs() for op in (Op.ADD, Op.SUB, Op.MUL, Op.DIV)} | {Op.POW: NoAttrs()}
)


def read_unary(op: Op) -> Reader:
    """Return the reader of an operator without attributes."""

    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        b.emit(op, NoAttrs(), (b.operand(names[0]),), (node.output[0],))

    return read


def read_identity(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Identity, Dropout at inference, and casts between floats."""
    if node.op_type == "Cast" and b.attributes(node).get("to") != onnx.TensorProto.FLOAT:
        raise FormatError("a computed tensor must be cast to FLOAT alone")
    b.aliases[node.output[0]] = names[0]


def read_clip(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Clip, whose bounds are inputs (opset 11) or attributes; known bounds become a RELU."""
    attrs = b.attributes(node)
    low, high = attrs.get("min", -math.inf), attrs.get("max", math.inf)
    given = b.scalar(names, 1, "min"), b.scalar(names, 2, "max")
    low = low if given[0] is None else given[0]
    high = high if given[1] is None else given[1]
    if not low <= high:
        raise FormatError(f"min must be at most max, not {low} and {high}")
    ops = {(0.0, math.inf): Op.RELU, (0.0, 6.0): Op.RELU6, (-1.0, 1.0): Op.RELU_N1_TO_1}
    op = ops.get((low, high), Op.CLIP)
    clip: Attrs = ClipAttrs(low, high) if op is Op.CLIP else NoAttrs()
    b.emit(op, clip, (b.operand(names[0]),), (node.output[0],))


def read_leaky_relu(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read LeakyRelu."""
    alpha = float(b.attributes(node).get("alpha", 0.01))
    b.emit(Op.LEAKY_RELU, LeakyReluAttrs(alpha), (b.operand(names[0]),), (node.output[0],))


def read_gelu(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Gelu, exact or by tanh."""
    mode = b.attributes(node).get("approximate", "none")
    if mode not in ("none", "tanh"):
        raise FormatError(f"approximate must be none or tanh, not {shown(mode)}")
    b.emit(Op.GELU, GeluAttrs(mode == "tanh"), (b.operand(names[0]),), (node.output[0],))


def _scaled(array: NDArray[Any], factor: float) -> NDArray[Any]:
    """Return a product that is refused where it is filed if it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.ascontiguousarray(array) * np.float32(factor))


def read_gemm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Gemm with constant weights; alpha and beta are folded into weights and bias."""
    attrs = b.attributes(node)
    if attrs.get("transA", 0):
        raise FormatError("transA must be 0, not 1")
    weights = b.constant(names, 1, "weights")
    if weights.ndim != 2:
        raise FormatError(f"weights must have 2 axes, not {weights.ndim}")
    rows = weights if attrs.get("transB", 0) else weights.T
    alpha, beta = float(attrs.get("alpha", 1.0)), float(attrs.get("beta", 1.0))
    out = node.output[0]
    scaled = _scaled(rows, alpha)
    inputs = [b.operand(names[0]), b.literal(f"{out}/weights", scaled)]
    bias = b.optional(names, 2, "bias")
    if bias is not None:
        if bias.size not in (1, rows.shape[0]) or bias.shape[-1:] not in ((), (bias.size,)):
            raise FormatError(f"bias must have shape ({rows.shape[0]},), not {bias.shape}")
        full = np.broadcast_to(bias.ravel(), (rows.shape[0],))
        inputs.append(b.literal(f"{out}/bias", _scaled(full, beta)))
    b.emit(Op.FULLY_CONNECTED, FullyConnectedAttrs(), inputs, (out,))


def read_matmul(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read MatMul; a constant matrix on the right makes it a FULLY_CONNECTED."""
    out = node.output[0]
    if names[1] in b.constants and b.constants[names[1]].ndim == 2:
        weights = b.literal(f"{names[1]}/rows", b.constants[names[1]].T.copy())
        b.emit(Op.FULLY_CONNECTED, FullyConnectedAttrs(), (b.operand(names[0]), weights), (out,))
        return
    b.emit(Op.MATMUL, MatMulAttrs(), [b.operand(name) for name in names[:2]], (out,))


def read_softmax(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Softmax; an axis that is not the last is moved there and back."""
    rank = len(b.shape(names[0]))
    axis = int(b.attributes(node).get("axis", -1 if b.opset >= 13 else 1))
    check_axis(axis, rank)
    axis %= rank
    if b.opset < 13 and axis != rank - 1:
        raise FormatError(f"axis must be the last one before opset 13, not {axis}")
    out, x = node.output[0], b.operand(names[0])
    if axis == rank - 1:
        b.emit(Op.SOFTMAX, SoftmaxAttrs(), (x,), (out,))
        return
    perm = tuple(range(rank))
    swapped = (*perm[:axis], *perm[axis + 1 :], axis)
    back = tuple(swapped.index(i) for i in perm)
    b.emit(Op.TRANSPOSE, TransposeAttrs(swapped), (x,), (f"{out}/moved",))
    b.emit(Op.SOFTMAX, SoftmaxAttrs(), (f"{out}/moved",), (f"{out}/softmax",))
    b.emit(Op.TRANSPOSE, TransposeAttrs(back), (f"{out}/softmax",), (out,))


def read_layer_norm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read LayerNormalization over the last axis."""
    attrs = b.attributes(node)
    rank = len(b.shape(names[0]))
    axis = int(attrs.get("axis", -1))
    check_axis(axis, rank)
    if axis % rank != rank - 1:
        raise FormatError(f"axis must be the last one, not {axis}")
    inputs = [b.operand(names[0])]
    b.constant(names, 1, "scale")
    inputs.append(b.operand(names[1]))
    if len(names) > 2 and names[2]:
        b.constant(names, 2, "bias")
        inputs.append(b.operand(names[2]))
    norm = NormAttrs(float(attrs.get("epsilon", 1e-5)))
    b.emit(Op.LAYER_NORM, norm, inputs, (node.output[0],))


def read_reduce_mean(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read ReduceMean, whose axes are an input (opset 18) or an attribute."""
    rank = len(b.shape(names[0]))
    axes = axes_of(b, node, names, 1)
    if not axes and not b.attributes(node).get("noop_with_empty_axes", 0):
        axes = tuple(range(rank))
    axes = axes or ()
    for axis in axes:
        check_axis(axis, rank)
    keep = bool(b.attributes(node).get("keepdims", 1))
    attrs = MeanAttrs(tuple(sorted({axis % rank for axis in axes})), keep)
    b.emit(Op.MEAN, attrs, (b.operand(names[0]),), (node.output[0],))
