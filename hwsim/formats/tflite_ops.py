"""One small reader per TFLite operator: options and constant operands become attributes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    Attrs,
    ConcatAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GatherAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from hwsim.errors import FormatError
from hwsim.formats.flatbuffer import Record
from hwsim.formats.tflite_schema import Padding
from hwsim.graph import Node, Value
from hwsim.ops import Op
from hwsim.quant import IntType
from hwsim.shapes import MAX_AXES


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Args:
        value: The graph's value; it only lends its name where `empty`.
        data: Its constant contents, or None.
        empty: Whether an axis is 0.
        quant_problem: What is wrong with its quantization parameters, "" if nothing.
    """

    value: Value
    data: NDArray[np.generic] | None
    empty: bool
    quant_problem: str


@dataclass(frozen=True)
class Operator:
    """An operator of the file, its tensors looked up; None is an absent optional input."""

    index: int
    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor | None, ...]
    options: Record | None

    def tensor(self, slot: int, name: str) -> Tensor:
        """Return an input that must be there."""
        found = self.inputs[slot] if slot < len(self.inputs) else None
        if found is None:
            raise FormatError(f"input {slot} ({name}) must be present")
        return found

    def value(self, slot: int, name: str) -> Value:
        """Return an input to compute with."""
        found = self.tensor(slot, name)
        return _usable(found, f"input {slot} ({name})")

    def out(self, slot: int = 0) -> Value:
        """Return an output."""
        found = self.outputs[slot] if slot < len(self.outputs) else None
        if found is None:
            raise FormatError(f"output {slot} must be present")
        return _usable(found, f"output {slot}")

    def ints(self, slot: int, name: str) -> tuple[int, ...]:
        """Return a constant integer operand (a shape, axes, a permutation)."""
        found = self.tensor(slot, name)
        if found.data is None or found.data.dtype.kind != "i":
            raise FormatError(f"input {slot} ({name}) must be a constant of integers")
        if found.data.size > _MOST_INTS:
            raise FormatError(
                f"input {slot} ({name}) must hold at most {_MOST_INTS} integers, "
                f"not {found.data.size}"
            )
        return tuple(int(number) for number in found.data.ravel())

    def option(self, slot: int, kind: str, default: Any) -> Any:
        """Return a scalar of the options table, or its default."""
        return default if self.options is None else self.options.scalar(slot, kind, default)

    def activation(self, slot: int) -> Activation:
        """Return the fused activation."""
        code = self.option(slot, "int8", 0)
        if code not in _ACTIVATIONS:
            raise FormatError(
                f"fused activation must be NONE, RELU, RELU_N1_TO_1 or RELU6, not {code}"
            )
        return _ACTIVATIONS[code]


_ACTIVATIONS = {
    0: Activation.NONE,
    1: Activation.RELU,
    2: Activation.RELU_N1_TO_1,
    3: Activation.RELU6,
}
# Two for each axis of the largest rank: the paddings of a PAD.
_MOST_INTS = 2 * MAX_AXES
Made = tuple[list[Node], list[Value]]
Reader = Callable[[Operator], Made]


def _usable(tensor: Tensor, place: str) -> Value:
    if tensor.empty:
        raise FormatError(f"{place} must have no axis of 0")
    if tensor.quant_problem:
        raise FormatError(f"{place} {tensor.value.name!r}: {tensor.quant_problem}")
    return tensor.value


def _node(
    operator: Operator, op: Op, attrs: Attrs, inputs: Sequence[str], outputs: Sequence[str] = ()
) -> Made:
    names = tuple(outputs) or (operator.out().name,)
    return [Node(names[0], op, tuple(inputs), names, attrs)], []


def _same_padding(size: int, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return (before, after): the odd element goes after."""
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _padding(
    code: int,
    x: Value,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    if code not in (Padding.SAME, Padding.VALID):
        raise FormatError(f"padding must be SAME (0) or VALID (1), not {code}")
    if len(x.shape) != 4:
        raise FormatError(f"input must have 4 axes, not {len(x.shape)}")
    if min(*stride, *dilation, *kernel) < 1:
        raise FormatError(
            f"stride, dilation and kernel must be 1 or more, not {stride}, {dilation}, {kernel}"
        )
    if code == Padding.VALID:
        return 0, 0, 0, 0
    top, bottom = _same_padding(
        x.shape[1], -(-x.shape[1] // stride[0]), kernel[0], stride[0], dilation[0]
    )
    left, right = _same_padding(
        x.shape[2], -(-x.shape[2] // stride[1]), kernel[1], stride[1], dilation[1]
    )
    return top, left, bottom, right


def _weighted(operator: Operator) -> tuple[Value, Value, tuple[str, ...]]:
    """Return input, weights and the names of input, weights and bias."""
    x, weights = operator.value(0, "input"), operator.value(1, "weights")
    names = [x.name, weights.name]
    if len(operator.inputs) > 2 and operator.inputs[2] is not None:
        names.append(operator.inputs[2].value.name)
    return x, weights, tuple(names)


def _signed_weights(weights: Value, *, ignored: bool) -> list[Value]:
    """Return signed weights with the zero points that LiteRT computes with.

    The format demands 0. Where a file breaks that, LiteRT ignores the zero points of DEPTHWISE_
    CONV_2D and of per-channel FULLY_CONNECTED, and refuses CONV_2D.
    """
    quant = weights.quant
    unsigned = not (isinstance(weights.dtype, IntType) and weights.dtype.signed)
    if unsigned or quant is None or not any(quant.zero_point):
        return []
    if not ignored:
        raise FormatError(f"zero points of {weights.dtype} weights {weights.name!r} must be 0")
    return [replace(weights, quant=replace(quant, zero_point=(0,) * len(quant.scale)))]


def _convolution(operator: Operator, op: Op, slots: tuple[int, int, int]) -> Made:
    """Read a convolution; `slots` are those of activation, dilation_w and dilation_h."""
    x, weights, names = _weighted(operator)
    if len(weights.shape) != 4:
        raise FormatError(f"weights must have 4 axes, not {len(weights.shape)}")
    kernel = (weights.shape[1], weights.shape[2])
    stride = (operator.option(2, "int32", 0), operator.option(1, "int32", 0))
    activation, dilation_w, dilation_h = slots
    dilation = (operator.option(dilation_h, "int32", 1), operator.option(dilation_w, "int32", 1))
    padding = _padding(operator.option(0, "int8", 0), x, kernel, stride, dilation)
    groups = 1
    if op is Op.CONV_2D and len(x.shape) == 4 and x.shape[3] % weights.shape[3] == 0:
        groups = x.shape[3] // weights.shape[3]
    attrs = ConvAttrs(stride, dilation, padding, groups, operator.activation(activation))
    nodes, _ = _node(operator, op, attrs, names)
    return nodes, _signed_weights(weights, ignored=op is Op.DEPTHWISE_CONV_2D)


def _conv_2d(operator: Operator) -> Made:
    return _convolution(operator, Op.CONV_2D, (3, 4, 5))


def _depthwise_conv_2d(operator: Operator) -> Made:
    return _convolution(operator, Op.DEPTHWISE_CONV_2D, (4, 5, 6))


def _transpose_conv(operator: Operator) -> Made:
    """TRANSPOSE_CONV; its output shape may be an operand, the output tensor states it too."""
    x, weights, out = operator.value(2, "input"), operator.value(1, "weights"), operator.out()
    if not len(x.shape) == len(weights.shape) == len(out.shape) == 4:
        raise FormatError("input, weights and output must have 4 axes")
    stride = (operator.option(2, "int32", 0), operator.option(1, "int32", 0))
    kernel = (weights.shape[1], weights.shape[2])
    # The padding is that of the convolution that leads from the output back to the input.
    padding = _padding(operator.option(0, "int8", 0), out, kernel, stride, (1, 1))
    stated = operator.tensor(0, "output shape")
    if stated.data is not None and operator.ints(0, "output shape") != out.shape:
        raise FormatError(
            f"input 0 (output shape) must be that of the output, {out.shape}, "
            f"not {operator.ints(0, 'output shape')}"
        )
    bias = operator.inputs[3] if len(operator.inputs) > 3 else None
    if bias is not None and bias.value.shape != weights.shape[:1]:
        raise FormatError(f"bias must have shape {weights.shape[:1]}, not {bias.value.shape}")
    names = [x.name, weights.name, bias.value.name if bias is not None else ""]
    if stated.data is None:
        names.append(stated.value.name)
    while not names[-1]:
        names.pop()
    activation = operator.activation(3)
    attrs = TransposeConvAttrs((out.shape[1], out.shape[2]), stride, padding[:2], activation)
    nodes, _ = _node(operator, Op.TRANSPOSE_CONV, attrs, names)
    return nodes, _signed_weights(weights, ignored=False)


def _gather(operator: Operator) -> Made:
    table, indices = operator.value(0, "params"), operator.value(1, "indices")
    if operator.option(1, "int32", 0) != 0:
        raise FormatError("batch_dims must be 0")
    (axis,) = _axes((operator.option(0, "int32", 0),), len(table.shape))
    return _node(operator, Op.GATHER, GatherAttrs(axis), (table.name, indices.name))


def _embedding_lookup(operator: Operator) -> Made:
    indices, table = operator.value(0, "lookup"), operator.value(1, "value")
    return _node(operator, Op.GATHER, GatherAttrs(0), (table.name, indices.name))


def _fully_connected(operator: Operator) -> Made:
    _, weights, names = _weighted(operator)
    if operator.option(1, "int8", 0) != 0:
        raise FormatError("weights_format must be DEFAULT (0), not SHUFFLED4x16INT8")
    attrs = FullyConnectedAttrs(operator.option(2, "bool", False), operator.activation(0))
    nodes, _ = _node(operator, Op.FULLY_CONNECTED, attrs, names)
    per_tensor = weights.quant is not None and weights.quant.is_per_tensor
    return nodes, [] if per_tensor else _signed_weights(weights, ignored=True)


def _batch_matmul(operator: Operator) -> Made:
    attrs = MatMulAttrs(operator.option(0, "bool", False), operator.option(1, "bool", False))
    names = (operator.value(0, "lhs").name, operator.value(1, "rhs").name)
    return _node(operator, Op.MATMUL, attrs, names)


def _pool(op: Op) -> Reader:
    def read(operator: Operator) -> Made:
        x = operator.value(0, "input")
        stride = (operator.option(2, "int32", 0), operator.option(1, "int32", 0))
        kernel = (operator.option(4, "int32", 0), operator.option(3, "int32", 0))
        padding = _padding(operator.option(0, "int8", 0), x, kernel, stride, (1, 1))
        attrs = PoolAttrs(kernel, stride, padding, activation=operator.activation(5))
        return _node(operator, op, attrs, (x.name,))

    return read


def _binary(op: Op) -> Reader:
    def read(operator: Operator) -> Made:
        names = (operator.value(0, "lhs").name, operator.value(1, "rhs").name)
        activation = operator.activation(0)
        # Slot 1, pot_scale_int16, belongs to ADD and SUB, and speaks of int16 alone.
        scaled = operator.out().dtype == IntType(16) and operator.options is not None
        powers = scaled and op is not Op.MUL and operator.option(1, "bool", True)
        return _node(operator, op, FusedAttrs(activation, powers), names)

    return read


def _pair(op: Op) -> Reader:
    def read(operator: Operator) -> Made:
        names = (operator.value(0, "lhs").name, operator.value(1, "rhs").name)
        return _node(operator, op, NoAttrs(), names)

    return read


def _unary(op: Op) -> Reader:
    def read(operator: Operator) -> Made:
        return _node(operator, op, NoAttrs(), (operator.value(0, "input").name,))

    return read


def _gelu(operator: Operator) -> Made:
    attrs = GeluAttrs(tanh=operator.option(0, "bool", False))
    return _node(operator, Op.GELU, attrs, (operator.value(0, "input").name,))


def _softmax(operator: Operator) -> Made:
    beta = operator.option(0, "float32", 0.0)
    if not 0 < beta < 1e6:
        raise FormatError(f"beta must be a positive number below 1e6, not {beta}")
    return _node(operator, Op.SOFTMAX, SoftmaxAttrs(beta), (operator.value(0, "input").name,))


def _leaky_relu(operator: Operator) -> Made:
    alpha = operator.option(0, "float32", 0.0)
    if not -1e6 < alpha < 1e6:
        raise FormatError(f"alpha must be a number within 1e6 of 0, not {alpha}")
    return _node(operator, Op.LEAKY_RELU, LeakyReluAttrs(alpha), (operator.value(0, "input").name,))


def _axes(axes: Sequence[int], rank: int, name: str = "axis") -> tuple[int, ...]:
    for axis in axes:
        if not -rank <= axis < rank:
            raise FormatError(f"{name} must be in [{-rank}, {rank - 1}], not {axis}")
    return tuple(sorted({axis % rank for axis in axes}))


def _mean(operator: Operator) -> Made:
    x = operator.value(0, "input")
    axes = _axes(operator.ints(1, "axes"), len(x.shape))
    return _node(operator, Op.MEAN, MeanAttrs(axes, operator.option(0, "bool", False)), (x.name,))


def _reshape(operator: Operator) -> Made:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the shape may stand in several places; the output knows it."""
    attrs = ReshapeAttrs(operator.out().shape)
    return _node(operator, Op.RESHAPE, attrs, (operator.value(0, "input").name,))


def _transpose(operator: Operator) -> Made:
    x = operator.value(0, "input")
    perm = operator.ints(1, "perm")
    attrs = TransposeAttrs(tuple(axis % max(len(x.shape), 1) for axis in perm))
    return _node(operator, Op.TRANSPOSE, attrs, (x.name,))


def _pad(operator: Operator) -> Made:
    x = operator.value(0, "input")
    amounts = operator.ints(1, "paddings")
    if len(amounts) != 2 * len(x.shape):
        raise FormatError(f"paddings must be {2 * len(x.shape)} integers, not {len(amounts)}")
    value: float | int | None = None
    if len(operator.inputs) > 2 and operator.inputs[2] is not None:
        data = operator.inputs[2].data
        if data is None or data.size != 1:
            raise FormatError("input 2 (value) must be a constant of one element")
        if data.dtype != x.dtype.storage:
            raise FormatError(f"input 2 (value) must be {x.dtype} like the input, not {data.dtype}")
        value = data.ravel()[0].item()
    return _node(operator, Op.PAD, PadAttrs(amounts[0::2], amounts[1::2], value), (x.name,))


def _concatenation(operator: Operator) -> Made:
    values = [operator.value(i, "part") for i in range(len(operator.inputs))]
    if not values:
        raise FormatError("inputs must be 1 or more, not 0")
    (axis,) = _axes((operator.option(0, "int32", 0),), len(values[0].shape))
    attrs = ConcatAttrs(axis, operator.activation(1))
    return _node(operator, Op.CONCATENATION, attrs, tuple(value.name for value in values))


def _pack(operator: Operator) -> Made:
    """PACK: parts get the new axis by a reshape, then are joined along it."""
    parts = [operator.value(i, "part") for i in range(len(operator.inputs))]
    out = operator.out()
    if not parts or any(part.shape != parts[0].shape for part in parts):
        raise FormatError("inputs must be 1 or more of one shape")
    (axis,) = _axes((operator.option(1, "int32", 0),), len(parts[0].shape) + 1)
    shape = (*parts[0].shape[:axis], 1, *parts[0].shape[axis:])
    grown = [
        replace(part, name=f"{out.name}/part_{i}", shape=shape, quant=out.quant, data=None)
        for i, part in enumerate(parts)
    ]
    nodes = [
        Node(new.name, Op.RESHAPE, (part.name,), (new.name,), ReshapeAttrs(shape))
        for part, new in zip(parts, grown, strict=True)
    ]
    names = tuple(value.name for value in grown)
    nodes.append(Node(out.name, Op.CONCATENATION, names, (out.name,), ConcatAttrs(axis)))
    return nodes, grown


def _unpack(operator: Operator) -> Made:
    """UNPACK: a split into pieces of one, then reshapes that drop the axis."""
    x = operator.value(0, "input")
    (axis,) = _axes((operator.option(1, "int32", 0),), len(x.shape))
    outputs = [operator.out(i) for i in range(len(operator.outputs))]
    shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    pieces = [replace(out, name=f"{out.name}/piece", shape=shape, data=None) for out in outputs]
    names = tuple(piece.name for piece in pieces)
    attrs = SplitAttrs(axis, (1,) * len(pieces))
    nodes = [Node(f"{x.name}/pieces", Op.SPLIT, (x.name,), names, attrs)]
    nodes += [
        Node(out.name, Op.RESHAPE, (piece.name,), (out.name,), ReshapeAttrs(out.shape))
        for piece, out in zip(pieces, outputs, strict=True)
    ]
    return nodes, pieces


def _strided_slice(operator: Operator) -> Made:
    x = operator.value(0, "input")
    rank = len(x.shape)
    spec = [operator.ints(i, name) for i, name in ((1, "begin"), (2, "end"), (3, "strides"))]
    if any(len(numbers) != rank for numbers in spec):
        raise FormatError(f"begin, end and strides must hold {rank} integers each")
    if operator.option(2, "int32", 0) or operator.option(3, "int32", 0):
        raise FormatError("ellipsis_mask and new_axis_mask must be 0")
    begin_mask, end_mask, shrink = (operator.option(i, "int32", 0) for i in (0, 1, 4))
    relative_end = operator.option(5, "bool", False)
    starts, strides, sizes = [], [], []
    for axis, (size, begin, end, stride) in enumerate(zip(x.shape, *spec, strict=True)):
        if stride == 0:
            raise FormatError("strides must not be 0")
        if relative_end:
            end += begin
        chosen = slice(
            None if begin_mask >> axis & 1 else begin,
            None if end_mask >> axis & 1 else end,
            stride,
        )
        if shrink >> axis & 1:
            start = begin + size if begin < 0 else begin
            first, count, step = start, 1, 1
        else:
            first, last, step = chosen.indices(size)
            count = len(range(first, last, step))
        starts.append(first)
        strides.append(step)
        sizes.append(count)
    return _sliced(operator, x, SliceAttrs(tuple(starts), tuple(strides), tuple(sizes)))


def _sliced(operator: Operator, x: Value, attrs: SliceAttrs) -> Made:
    """Return a slice and, where axes are dropped, a reshape behind it."""
    out = operator.out()
    if out.shape == attrs.sizes:
        return _node(operator, Op.STRIDED_SLICE, attrs, (x.name,))
    if min(attrs.sizes, default=1) < 1:
        raise FormatError(f"slice must take 1 or more elements on each axis, not {attrs.sizes}")
    whole = replace(out, name=f"{out.name}/sliced", shape=attrs.sizes, data=None)
    return [
        Node(whole.name, Op.STRIDED_SLICE, (x.name,), (whole.name,), attrs),
        Node(out.name, Op.RESHAPE, (whole.name,), (out.name,), ReshapeAttrs(out.shape)),
    ], [whole]


def _slice(operator: Operator) -> Made:
    x = operator.value(0, "input")
    begin, size = operator.ints(1, "begin"), operator.ints(2, "size")
    if not len(begin) == len(size) == len(x.shape):
        raise FormatError(f"begin and size must hold {len(x.shape)} integers each")
    sizes = tuple(
        total - start if count == -1 else count
        for total, start, count in zip(x.shape, begin, size, strict=True)
    )
    return _sliced(operator, x, SliceAttrs(begin, (1,) * len(begin), sizes))


def _split_v(operator: Operator) -> Made:
    return _pieces(operator, operator.value(0, "input"), operator.ints(2, "axis"))


def _split(operator: Operator) -> Made:
    return _pieces(operator, operator.value(1, "input"), operator.ints(0, "axis"))


def _pieces(operator: Operator, x: Value, axes: Sequence[int]) -> Made:
    """Return a split at the sizes of the outputs."""
    if len(axes) != 1:
        raise FormatError(f"axis must be one integer, not {len(axes)}")
    (axis,) = _axes(axes, len(x.shape))
    outputs = [operator.out(i) for i in range(len(operator.outputs))]
    if not outputs or any(axis >= len(out.shape) for out in outputs):
        raise FormatError(f"outputs must have {len(x.shape)} axes")
    attrs = SplitAttrs(axis, tuple(out.shape[axis] for out in outputs))
    return _node(operator, Op.SPLIT, attrs, (x.name,), tuple(out.name for out in outputs))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "CONV_2D": _conv_2d,
        "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
        "TRANSPOSE_CONV": _transpose_conv,
        "FULLY_CONNECTED": _fully_connected,
        "BATCH_MATMUL": _batch_matmul,
        "ADD": _binary(Op.ADD),
        "SUB": _binary(Op.SUB),
        "MUL": _binary(Op.MUL),
        "MAXIMUM": _pair(Op.MAXIMUM),
        "MINIMUM": _pair(Op.MINIMUM),
        "SQUARED_DIFFERENCE": _pair(Op.SQUARED_DIFFERENCE),
        "AVERAGE_POOL_2D": _pool(Op.AVERAGE_POOL_2D),
        "MAX_POOL_2D": _pool(Op.MAX_POOL_2D),
        "MEAN": _mean,
        "SOFTMAX": _softmax,
        "LOGISTIC": _unary(Op.LOGISTIC),
        "TANH": _unary(Op.TANH),
        "HARD_SWISH": _unary(Op.HARD_SWISH),
        "GELU": _gelu,
        "EXP": _unary(Op.EXP),
        "RSQRT": _unary(Op.RSQRT),
        "RELU": _unary(Op.RELU),
        "RELU6": _unary(Op.RELU6),
        "RELU_N1_TO_1": _unary(Op.RELU_N1_TO_1),
        "LEAKY_RELU": _leaky_relu,
        "RESHAPE": _reshape,
        "SQUEEZE": _reshape,
        "EXPAND_DIMS": _reshape,
        "TRANSPOSE": _transpose,
        "PAD": _pad,
        "PADV2": _pad,
        "CONCATENATION": _concatenation,
        "PACK": _pack,
        "UNPACK": _unpack,
        "STRIDED_SLICE": _strided_slice,
        "SLICE": _slice,
        "SPLIT": _split,
        "SPLIT_V": _split_v,
        "GATHER": _gather,
        "EMBEDDING_LOOKUP": _embedding_lookup,
        "QUANTIZE": _unary(Op.QUANTIZE),
        "DEQUANTIZE": _unary(Op.DEQUANTIZE),
    }
)
