"""One small reader per ONNX operator.

NCHW operators are wrapped in transposes to NHWC and back; `hwsim.layout` takes those away again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hwsim.attributes import (
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
from hwsim.errors import FormatError, GraphError, shown
from hwsim.formats.onnx_schema import attributes_of
from hwsim.graph import Node, Value
from hwsim.layout import SUFFIX
from hwsim.ops import OPS, Op
from hwsim.quant import FLOAT32
from hwsim.shapes import broadcast_shape

MAX_INTS = 256  # the pieces of a Split; all else needs two for each axis


def _as_float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise FormatError(f"operand {shown(name)!r} must be a float, not {array.dtype}")
    with np.errstate(over="ignore"):
        data = np.array(array, np.float32)
    if not np.isfinite(data).all():
        raise FormatError(f"operand {shown(name)!r} must be finite, not NaN or infinite")
    return data


@dataclass
class Builder:
    """What has been read so far.

    Args:
        opset: Version of the default operator set.
        budget: Elements that folding may still make.
        values: Computed tensors, and constants that a node reads as operands.
        constants: Every tensor known before a run.
        aliases: Names that stand for another tensor.
        nodes: Made so far.
    """

    opset: int
    budget: int
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def resolve(self, name: str) -> str:
        """Return the tensor that a name stands for."""
        return self.aliases.get(name, name)

    def check_name(self, name: str) -> None:
        """Refuse a tensor of the file whose name is taken, or could be taken for one of ours."""
        if name in self.values or name in self.constants or name in self.aliases:
            raise GraphError(f"tensor {shown(name)!r} must be made once")
        if name.endswith(SUFFIX):
            raise GraphError(f"tensor {shown(name)!r} must not end in {SUFFIX!r}; rename it")

    def add_constant(self, name: str, array: NDArray[Any]) -> None:
        """File a tensor that is known before a run."""
        self.check_name(name)
        self.constants[name] = array

    def spend(self, elements: int) -> None:
        """Count folded elements; raises FormatError when constants grow without end."""
        self.budget -= elements
        if self.budget < 0:
            raise FormatError("constants computed from others must be few; they never end")

    def add_value(self, value: Value) -> None:
        """File a value under its name."""
        if value.name in self.values or value.name in self.constants:
            raise GraphError(f"tensor {shown(value.name)!r} must be made once")
        self.values[value.name] = value

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Return a checked node's attributes as Python values."""
        return attributes_of(node)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if name in self.values:
            return self.values[name].shape
        return self.constants[name].shape

    def constant(self, names: Sequence[str], slot: int, what: str) -> NDArray[Any]:
        """Return an input that must be known before a run."""
        name = names[slot] if slot < len(names) else ""
        if name not in self.constants:
            raise FormatError(f"input {slot} ({what}) must be a constant")
        return self.constants[name]

    def optional(self, names: Sequence[str], slot: int, what: str) -> NDArray[Any] | None:
        """Return a constant input, or None where it is absent."""
        absent = slot >= len(names) or not names[slot]
        return None if absent else self.constant(names, slot, what)

    def ints(self, names: Sequence[str], slot: int, what: str) -> list[int] | None:
        """Return a constant input of integers (axes, sizes), or None where it is absent."""
        array = self.optional(names, slot, what)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.size > MAX_INTS:
            raise FormatError(
                f"input {slot} ({what}) must be at most {MAX_INTS} integers, "
                f"not {array.size} of {array.dtype}"
            )
        return [int(number) for number in array.ravel()]

    def scalar(self, names: Sequence[str], slot: int, what: str) -> float | None:
        """Return a constant input of one number, or None where it is absent."""
        array = self.optional(names, slot, what)
        if array is None:
            return None
        if array.size != 1 or np.isnan(array).any():
            raise FormatError(f"input {slot} ({what}) must be one number")
        return float(array.ravel()[0])

    def operand(self, name: str) -> str:
        """Return the name of a graph value, filing a float constant as one."""
        if name not in self.values:
            self._file(name, self.constants[name])
        return name

    def literal(self, name: str, array: NDArray[Any]) -> str:
        """File a constant made of others; return its name, with a mark where that is taken."""
        array = _as_float32(name, array)
        while name in self.constants or not self._holds(name, array):
            name += "'"
        if name not in self.values:
            self._file(name, array)
        return name

    def _holds(self, name: str, array: NDArray[Any]) -> bool:
        """Whether a name is free, or stands for that very constant."""
        found = self.values.get(name)
        return found is None or (found.data is not None and np.array_equal(found.data, array))

    def _file(self, name: str, array: NDArray[Any]) -> None:
        data = _as_float32(name, array)
        self.values[name] = Value(name, data.shape, FLOAT32, data=data)

    def emit(self, op: Op, attrs: Attrs, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Append a node; its outputs' shapes follow from the operator's rule."""
        shapes = OPS[op].infer(attrs, [self.shape(name) for name in inputs if name])
        if len(shapes) != len(outputs):
            raise GraphError(f"outputs must be {len(shapes)}, not {len(outputs)}")
        for name, shape in zip(outputs, shapes, strict=True):
            self.add_value(Value(name, shape, FLOAT32))
        self.nodes.append(Node(outputs[0], op, tuple(inputs), tuple(outputs), attrs))

    def rename(self, made: str, name: str) -> None:
        """Make a value under a second name; `hwsim.layout` takes the transpose away again."""
        attrs = TransposeAttrs(tuple(range(len(self.shape(made)))))
        self.emit(Op.TRANSPOSE, attrs, (made,), (name,))

    def to_nhwc(self, name: str) -> str:
        """Return the channels-last view of a tensor (N, C, ...)."""
        view = f"{name}{SUFFIX}"
        if view not in self.values:
            rank = len(self.shape(name))
            perm = (0, *range(2, rank), 1)
            self.emit(Op.TRANSPOSE, TransposeAttrs(perm), (self.operand(name),), (view,))
        return view

    def from_nhwc(self, view: str, name: str) -> None:
        """Name the channels-first view of a tensor (N, ..., C)."""
        rank = len(self.shape(view))
        perm = (0, rank - 1, *range(1, rank - 1))
        self.emit(Op.TRANSPOSE, TransposeAttrs(perm), (view,), (name,))


Names = Sequence[str]
Reader = Callable[[Builder, onnx.NodeProto, Names], None]


def _pads(
    attrs: Mapping[str, Any], size: Names | Sequence[int], kernel: Sequence[int],
    stride: Sequence[int], dilation: Sequence[int],
) -> tuple[int, int, int, int]:  # fmt: skip
    """Return (top, left, bottom, right) of a 2-D window."""
    mode = attrs.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = tuple(attrs.get("pads", (0, 0, 0, 0)))
        if len(pads) != 4:
            raise FormatError(f"pads must be 4 integers, not {len(pads)}")
        return pads
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise FormatError(f"auto_pad must be NOTSET, VALID or SAME_*, not {shown(mode)}")
    before: list[int] = []
    after: list[int] = []
    window = zip(map(int, size), kernel, stride, dilation, strict=True)
    for extent, k, s, d in window:
        out = (extent + s - 1) // s
        total = max((out - 1) * s + (k - 1) * d + 1 - extent, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before[0], before[1], after[0], after[1]


def _pair(attrs: Mapping[str, Any], name: str) -> tuple[int, int]:
    numbers = tuple(attrs.get(name, (1, 1)))
    if len(numbers) != 2 or min(numbers) < 1:
        raise FormatError(f"{name} must be 2 integers of 1 or more, not {numbers}")
    return numbers[0], numbers[1]


def _conv(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    attrs = b.attributes(node)
    weights = b.constant(names, 1, "weights")
    if weights.ndim != 4 or len(b.shape(names[0])) != 4:
        raise FormatError(f"weights and input must have 4 axes, not {weights.ndim}")
    kernel = weights.shape[2:]
    if tuple(attrs.get("kernel_shape", kernel)) != kernel:
        raise FormatError(f"kernel_shape must be {kernel} like the weights")
    stride, dilation = _pair(attrs, "strides"), _pair(attrs, "dilations")
    padding = _pads(attrs, b.shape(names[0])[2:], kernel, stride, dilation)
    groups = int(attrs.get("group", 1))
    suffix = SUFFIX
    depthwise = groups > 1 and weights.shape[1] == 1 and groups == b.shape(names[0])[1]
    if depthwise:
        packed, op, groups = weights[:, 0].transpose(1, 2, 0)[None], Op.DEPTHWISE_CONV_2D, 1
        suffix = "/depthwise"
    else:
        packed, op = weights.transpose(0, 2, 3, 1), Op.CONV_2D
    inputs = [b.to_nhwc(names[0]), b.literal(f"{names[1]}{suffix}", packed)]
    if len(names) > 2 and names[2]:
        b.constant(names, 2, "bias")
        inputs.append(b.operand(names[2]))
    out = node.output[0]
    b.emit(op, ConvAttrs(stride, dilation, padding, groups), inputs, (f"{out}{SUFFIX}",))
    b.from_nhwc(f"{out}{SUFFIX}", out)


def _batch_norm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    attrs = b.attributes(node)
    if attrs.get("training_mode", 0):
        raise FormatError("training_mode must be 0, not 1")
    for slot, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        b.constant(names, slot, what)
    parameters = [b.operand(name) for name in names[1:5]]
    out, norm = node.output[0], NormAttrs(float(attrs.get("epsilon", 1e-5)))
    if len(b.shape(names[0])) <= 2:
        b.emit(Op.BATCH_NORM, norm, (b.operand(names[0]), *parameters), (out,))
        return
    view = f"{out}{SUFFIX}"
    b.emit(Op.BATCH_NORM, norm, (b.to_nhwc(names[0]), *parameters), (view,))
    b.from_nhwc(view, out)


def _pool(op: Op) -> Reader:
    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        attrs = b.attributes(node)
        if len(b.shape(names[0])) != 4:
            raise FormatError(f"input must have 4 axes, not {len(b.shape(names[0]))}")
        kernel, stride = _pair(attrs, "kernel_shape"), _pair(attrs, "strides")
        if _pair(attrs, "dilations") != (1, 1):
            raise FormatError("dilations of a pool must be 1")
        size = b.shape(names[0])[2:]
        padding = _pads(attrs, size, kernel, stride, (1, 1))
        if attrs.get("ceil_mode", 0):
            _refuse_ragged(size, kernel, stride, padding)
        out = node.output[0]
        counts = bool(attrs.get("count_include_pad", 0))
        pool = PoolAttrs(kernel, stride, padding, counts)
        b.emit(op, pool, (b.to_nhwc(names[0]),), (f"{out}{SUFFIX}",))
        b.from_nhwc(f"{out}{SUFFIX}", out)

    return read


def _refuse_ragged(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: tuple[int, int, int, int],
) -> None:
    for axis in (0, 1):
        extent = size[axis] + padding[axis] + padding[axis + 2]
        if (extent - kernel[axis]) % stride[axis]:
            raise FormatError("ceil_mode must be 0 where windows do not divide the input evenly")


def _global_average_pool(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    axes = tuple(range(2, len(b.shape(names[0]))))
    b.emit(Op.MEAN, MeanAttrs(axes, True), (b.operand(names[0]),), (node.output[0],))


def _binary(op: Op) -> Reader:
    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        b.emit(op, _BINARY_ATTRS[op], [b.operand(name) for name in names], (node.output[0],))

    return read


_BINARY_ATTRS: Mapping[Op, Attrs] = MappingProxyType(
    {op: FusedAttrs() for op in (Op.ADD, Op.SUB, Op.MUL, Op.DIV)} | {Op.POW: NoAttrs()}
)


def _unary(op: Op) -> Reader:
    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        b.emit(op, NoAttrs(), (b.operand(names[0]),), (node.output[0],))

    return read


def _identity(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Identity, Dropout at inference, and casts between floats."""
    if node.op_type == "Cast" and b.attributes(node).get("to") != onnx.TensorProto.FLOAT:
        raise FormatError("a computed tensor must be cast to FLOAT alone")
    b.aliases[node.output[0]] = names[0]


def _clip(b: Builder, node: onnx.NodeProto, names: Names) -> None:
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


def _leaky_relu(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    alpha = float(b.attributes(node).get("alpha", 0.01))
    b.emit(Op.LEAKY_RELU, LeakyReluAttrs(alpha), (b.operand(names[0]),), (node.output[0],))


def _gelu(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    mode = b.attributes(node).get("approximate", "none")
    if mode not in ("none", "tanh"):
        raise FormatError(f"approximate must be none or tanh, not {shown(mode)}")
    b.emit(Op.GELU, GeluAttrs(mode == "tanh"), (b.operand(names[0]),), (node.output[0],))


def _scaled(array: NDArray[Any], factor: float) -> NDArray[Any]:
    """Return a product that is refused where it is filed if it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.ascontiguousarray(array) * np.float32(factor))


def _gemm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
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


def _matmul(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    out = node.output[0]
    if names[1] in b.constants and b.constants[names[1]].ndim == 2:
        weights = b.literal(f"{names[1]}/rows", b.constants[names[1]].T.copy())
        b.emit(Op.FULLY_CONNECTED, FullyConnectedAttrs(), (b.operand(names[0]), weights), (out,))
        return
    b.emit(Op.MATMUL, MatMulAttrs(), [b.operand(name) for name in names[:2]], (out,))


def _softmax(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    rank = len(b.shape(names[0]))
    axis = int(b.attributes(node).get("axis", -1 if b.opset >= 13 else 1))
    _check_axis(axis, rank)
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


def _layer_norm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    attrs = b.attributes(node)
    rank = len(b.shape(names[0]))
    axis = int(attrs.get("axis", -1))
    _check_axis(axis, rank)
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


def _check_axis(axis: int, rank: int) -> None:
    if not -rank <= axis < rank:
        raise FormatError(f"axis must be in [{-rank}, {rank - 1}], not {axis}")


def _axes(b: Builder, node: onnx.NodeProto, names: Names, slot: int) -> tuple[int, ...] | None:
    """Return axes from an attribute (old opsets) or a constant input (new ones)."""
    attribute = b.attributes(node).get("axes")
    given = b.ints(names, slot, "axes")
    chosen = attribute if given is None else given
    return None if chosen is None else tuple(chosen)


def _reduce_mean(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    rank = len(b.shape(names[0]))
    axes = _axes(b, node, names, 1)
    if not axes and not b.attributes(node).get("noop_with_empty_axes", 0):
        axes = tuple(range(rank))
    axes = axes or ()
    for axis in axes:
        _check_axis(axis, rank)
    keep = bool(b.attributes(node).get("keepdims", 1))
    attrs = MeanAttrs(tuple(sorted({axis % rank for axis in axes})), keep)
    b.emit(Op.MEAN, attrs, (b.operand(names[0]),), (node.output[0],))


def _reshape_to(b: Builder, name: str, shape: Sequence[int], out: str) -> None:
    b.emit(Op.RESHAPE, ReshapeAttrs(tuple(int(n) for n in shape)), (b.operand(name),), (out,))


def _reshape(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape = b.shape(names[0])
    target = b.ints(names, 1, "shape")
    assert target is not None  # the schema requires it
    if not b.attributes(node).get("allowzero", 0):
        if any(n == 0 and i >= len(shape) for i, n in enumerate(target)):
            raise FormatError(f"shape must copy axes that the input has, not {target}")
        target = [shape[i] if size == 0 else size for i, size in enumerate(target)]
    if target.count(-1) == 1:
        known = math.prod(size for size in target if size != -1)
        if known == 0 or math.prod(shape) % known:
            raise FormatError(f"shape must divide {math.prod(shape)} elements, not be {target}")
        target[target.index(-1)] = math.prod(shape) // known
    _reshape_to(b, names[0], target, node.output[0])


def _flatten(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape = b.shape(names[0])
    axis = int(b.attributes(node).get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise FormatError(f"axis must be in [{-len(shape)}, {len(shape)}], not {axis}")
    axis = axis + len(shape) if axis < 0 else axis
    target = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    _reshape_to(b, names[0], target, node.output[0])


def _squeeze(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape = b.shape(names[0])
    axes = _axes(b, node, names, 1)
    if axes is None:
        axes = tuple(i for i, size in enumerate(shape) if size == 1)
    for axis in axes:
        _check_axis(axis, len(shape))
    dropped = {axis % len(shape) for axis in axes}
    if any(shape[axis] != 1 for axis in dropped):
        raise FormatError(f"axes must name axes of 1 in {shape}, not {axes}")
    target = [size for i, size in enumerate(shape) if i not in dropped]
    _reshape_to(b, names[0], target, node.output[0])


def _unsqueeze(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    axes = _axes(b, node, names, 1)
    if axes is None:
        raise FormatError("axes must be given; they are missing")
    rank = len(b.shape(names[0])) + len(axes)
    for axis in axes:
        _check_axis(axis, rank)
    if len({axis % rank for axis in axes}) != len(axes):
        raise FormatError(f"axes must not name one axis twice, as {axes}")
    target = list(b.shape(names[0]))
    for axis in sorted(axis % rank for axis in axes):
        target.insert(axis, 1)
    _reshape_to(b, names[0], target, node.output[0])


def _transpose(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    rank = len(b.shape(names[0]))
    perm = tuple(b.attributes(node).get("perm", tuple(reversed(range(rank)))))
    b.emit(Op.TRANSPOSE, TransposeAttrs(perm), (b.operand(names[0]),), (node.output[0],))


def _slice(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape, attrs = b.shape(names[0]), b.attributes(node)

    def numbers(slot: int, what: str) -> list[int] | None:
        given = b.ints(names, slot, what)
        return list(attrs[what]) if given is None and what in attrs else given

    starts, ends = numbers(1, "starts"), numbers(2, "ends")
    if starts is None or ends is None:
        raise FormatError("starts and ends must be given; one is missing")
    axes = numbers(3, "axes") or list(range(len(starts)))
    steps = numbers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise FormatError("starts, ends, axes and steps must have one length")
    chosen = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        _check_axis(axis, len(shape))
        if step == 0:
            raise FormatError("steps must not be 0")
        # An end far below 0 on a negative step means "through the first element".
        stop = None if step < 0 and end < -shape[axis] else end
        chosen[axis] = slice(start, stop, step)
    first, stride, size = [], [], []
    for extent, part in zip(shape, chosen, strict=True):
        begin, stop, step = part.indices(extent)
        first.append(begin)
        stride.append(step)
        size.append(len(range(begin, stop, step)))
    spec = SliceAttrs(tuple(first), tuple(stride), tuple(size))
    b.emit(Op.STRIDED_SLICE, spec, (b.operand(names[0]),), (node.output[0],))


def _gather(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read a Gather of one index or of consecutive ones: a slice, and a reshape for a scalar."""
    shape = b.shape(names[0])
    axis = int(b.attributes(node).get("axis", 0))
    _check_axis(axis, len(shape))
    axis %= len(shape)
    indices = b.constant(names, 1, "indices")
    if indices.dtype.kind not in "iu" or indices.size > shape[axis]:
        raise FormatError(f"indices must be at most {shape[axis]} integers, not {indices.size}")
    flat = [int(i) + shape[axis] if i < 0 else int(i) for i in indices.ravel()]
    if indices.ndim > 1 or not flat or flat != list(range(flat[0], flat[0] + len(flat))):
        raise FormatError("indices must be one index or consecutive ones")
    starts, sizes = [0] * len(shape), list(shape)
    starts[axis], sizes[axis] = flat[0], len(flat)
    spec = SliceAttrs(tuple(starts), (1,) * len(shape), tuple(sizes))
    out, x = node.output[0], b.operand(names[0])
    if indices.ndim == 1:
        b.emit(Op.STRIDED_SLICE, spec, (x,), (out,))
        return
    b.emit(Op.STRIDED_SLICE, spec, (x,), (f"{out}/sliced",))
    _reshape_to(b, f"{out}/sliced", (*shape[:axis], *shape[axis + 1 :]), out)


def _pad(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    attrs, rank = b.attributes(node), len(b.shape(names[0]))
    if attrs.get("mode", "constant") != "constant":
        raise FormatError(f"mode must be constant, not {shown(attrs['mode'])}")
    given = b.ints(names, 1, "pads")
    pads = list(attrs.get("pads", ())) if given is None else given
    filled = b.scalar(names, 2, "value")
    value = float(attrs.get("value", 0.0)) if filled is None else filled
    axes = _axes(b, node, names, 3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise FormatError(f"pads must be {2 * len(axes)} integers, not {len(pads)}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        _check_axis(axis, rank)
        before[axis % rank], after[axis % rank] = pads[i], pads[i + len(axes)]
    spec = PadAttrs(tuple(before), tuple(after), value if value else None)
    b.emit(Op.PAD, spec, (b.operand(names[0]),), (node.output[0],))


def _concat(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    rank = len(b.shape(names[0]))
    axis = int(b.attributes(node).get("axis", 0))
    _check_axis(axis, rank)
    parts = [b.operand(name) for name in names]
    b.emit(Op.CONCATENATION, ConcatAttrs(axis % rank), parts, (node.output[0],))


def _split(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape, attrs = b.shape(names[0]), b.attributes(node)
    axis = int(attrs.get("axis", 0))
    _check_axis(axis, len(shape))
    axis %= len(shape)
    given = b.ints(names, 1, "split")
    sizes = list(attrs.get("split", ())) if given is None else given
    if not sizes:
        count = int(attrs.get("num_outputs", len(node.output)))
        if count != len(node.output):
            raise FormatError(f"outputs must be {count}, not {len(node.output)}")
        each = -(-shape[axis] // count)
        sizes = [each] * (count - 1) + [shape[axis] - each * (count - 1)]
    spec = SplitAttrs(axis, tuple(sizes))
    b.emit(Op.SPLIT, spec, (b.operand(names[0]),), tuple(node.output))


def _expand(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    shape = b.shape(names[0])
    target = tuple(b.ints(names, 1, "shape") or ())
    if broadcast_shape(shape, target) != shape:
        raise FormatError(f"a computed tensor must keep its shape {shape}, not grow to {target}")
    b.aliases[node.output[0]] = names[0]


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Add": _binary(Op.ADD),
        "AveragePool": _pool(Op.AVERAGE_POOL_2D),
        "BatchNormalization": _batch_norm,
        "Cast": _identity,
        "Clip": _clip,
        "Concat": _concat,
        "Conv": _conv,
        "Div": _binary(Op.DIV),
        "Dropout": _identity,
        "Erf": _unary(Op.ERF),
        "Expand": _expand,
        "Flatten": _flatten,
        "Gather": _gather,
        "Gelu": _gelu,
        "Gemm": _gemm,
        "GlobalAveragePool": _global_average_pool,
        "HardSwish": _unary(Op.HARD_SWISH),
        "Identity": _identity,
        "LayerNormalization": _layer_norm,
        "LeakyRelu": _leaky_relu,
        "MatMul": _matmul,
        "MaxPool": _pool(Op.MAX_POOL_2D),
        "Mul": _binary(Op.MUL),
        "Pad": _pad,
        "Pow": _binary(Op.POW),
        "ReduceMean": _reduce_mean,
        "Relu": _unary(Op.RELU),
        "Reshape": _reshape,
        "Sigmoid": _unary(Op.LOGISTIC),
        "Slice": _slice,
        "Softmax": _softmax,
        "Split": _split,
        "Sqrt": _unary(Op.SQRT),
        "Squeeze": _squeeze,
        "Sub": _binary(Op.SUB),
        "Tanh": _unary(Op.TANH),
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    }
)
