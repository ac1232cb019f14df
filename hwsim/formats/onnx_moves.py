"""Readers of ONNX data movement: shapes, slices, padding and joints."""

import math
from collections.abc import Sequence

import onnx

from hwsim.attributes import (
    ConcatAttrs,
    GatherAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.errors import FormatError, shown
from hwsim.formats.onnx_builder import Builder, Names, axes_of, check_axis
from hwsim.ops import Op
from hwsim.shapes import broadcast_shape


def _reshape_to(b: Builder, name: str, shape: Sequence[int], out: str) -> None:
    b.emit(Op.RESHAPE, ReshapeAttrs(tuple(int(n) for n in shape)), (b.operand(name),), (out,))


def read_reshape(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Reshape to a constant shape; 0 copies an axis, -1 takes what is left."""
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


def read_flatten(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Flatten to two axes."""
    shape = b.shape(names[0])
    axis = int(b.attributes(node).get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise FormatError(f"axis must be in [{-len(shape)}, {len(shape)}], not {axis}")
    axis = axis + len(shape) if axis < 0 else axis
    target = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    _reshape_to(b, names[0], target, node.output[0])


def read_squeeze(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Squeeze, whose axes are an input (opset 13) or an attribute."""
    shape = b.shape(names[0])
    axes = axes_of(b, node, names, 1)
    if axes is None:
        axes = tuple(i for i, size in enumerate(shape) if size == 1)
    for axis in axes:
        check_axis(axis, len(shape))
    dropped = {axis % len(shape) for axis in axes}
    if any(shape[axis] != 1 for axis in dropped):
        raise FormatError(f"axes must name axes of 1 in {shape}, not {axes}")
    target = [size for i, size in enumerate(shape) if i not in dropped]
    _reshape_to(b, names[0], target, node.output[0])


def read_unsqueeze(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Unsqueeze, whose axes are an input (opset 13) or an attribute."""
    axes = axes_of(b, node, names, 1)
    if axes is None:
        raise FormatError("axes must be given; they are missing")
    rank = len(b.shape(names[0])) + len(axes)
    for axis in axes:
        check_axis(axis, rank)
    if len({axis % rank for axis in axes}) != len(axes):
        raise FormatError(f"axes must not name one axis twice, as {axes}")
    target = list(b.shape(names[0]))
    for axis in sorted(axis % rank for axis in axes):
        target.insert(axis, 1)
    _reshape_to(b, names[0], target, node.output[0])


def read_transpose(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Transpose; without a permutation it reverses the axes."""
    rank = len(b.shape(names[0]))
    perm = tuple(b.attributes(node).get("perm", tuple(reversed(range(rank)))))
    b.emit(Op.TRANSPOSE, TransposeAttrs(perm), (b.operand(names[0]),), (node.output[0],))


def read_slice(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Slice with constant bounds, as inputs (opset 10) or attributes."""
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
        check_axis(axis, len(shape))
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


def read_gather(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read a Gather of one index or of consecutive ones (a slice, and a reshape for a scalar).

    Computed indices take rows of a constant: an embedding.
    """
    shape = b.shape(names[0])
    axis = int(b.attributes(node).get("axis", 0))
    check_axis(axis, len(shape))
    axis %= len(shape)
    if names[1] in b.values and names[0] in b.constants:
        inputs = (b.operand(names[0]), names[1])
        b.emit(Op.GATHER, GatherAttrs(axis), inputs, (node.output[0],))
        return
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


def read_pad(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Pad with a constant; the other modes are refused."""
    attrs, rank = b.attributes(node), len(b.shape(names[0]))
    if attrs.get("mode", "constant") != "constant":
        raise FormatError(f"mode must be constant, not {shown(attrs['mode'])}")
    given = b.ints(names, 1, "pads")
    pads = list(attrs.get("pads", ())) if given is None else given
    filled = b.scalar(names, 2, "value")
    value = float(attrs.get("value", 0.0)) if filled is None else filled
    axes = axes_of(b, node, names, 3) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise FormatError(f"pads must be {2 * len(axes)} integers, not {len(pads)}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        check_axis(axis, rank)
        before[axis % rank], after[axis % rank] = pads[i], pads[i + len(axes)]
    spec = PadAttrs(tuple(before), tuple(after), value if value else None)
    b.emit(Op.PAD, spec, (b.operand(names[0]),), (node.output[0],))


def read_concat(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Concat."""
    rank = len(b.shape(names[0]))
    axis = int(b.attributes(node).get("axis", 0))
    check_axis(axis, rank)
    parts = [b.operand(name) for name in names]
    b.emit(Op.CONCATENATION, ConcatAttrs(axis % rank), parts, (node.output[0],))


def read_split(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Split into stated or equal pieces."""
    shape, attrs = b.shape(names[0]), b.attributes(node)
    axis = int(attrs.get("axis", 0))
    check_axis(axis, len(shape))
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


def read_expand(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read an Expand that keeps the shape; a constant that grows was folded before."""
    shape = b.shape(names[0])
    target = tuple(b.ints(names, 1, "shape") or ())
    if broadcast_shape(shape, target) != shape:
        raise FormatError(f"a computed tensor must keep its shape {shape}, not grow to {target}")
    b.aliases[node.output[0]] = names[0]
