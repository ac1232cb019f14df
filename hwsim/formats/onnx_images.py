"""Readers of ONNX operators on images.

NCHW operators are wrapped in transposes to NHWC and back; `hwsim.layout` takes those away again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from hwsim.attributes import (
    ConvAttrs,
    MeanAttrs,
    NormAttrs,
    PoolAttrs,
)
from hwsim.errors import FormatError, shown
from hwsim.formats.onnx_builder import Builder, Names, Reader
from hwsim.layout import SUFFIX
from hwsim.ops import Op


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


def conv_layout(
    attrs: Mapping[str, Any], shape: Sequence[int], weights: NDArray[Any]
) -> tuple[Op, NDArray[Any], ConvAttrs, str]:
    """Return (operator, packed weights, attributes, suffix of their name) of a convolution.

    One group per channel makes it depthwise. `shape` is the image's, NCHW.
    """
    if weights.ndim != 4 or len(shape) != 4:
        raise FormatError(f"weights and input must have 4 axes, not {weights.ndim}")
    kernel = weights.shape[2:]
    if tuple(attrs.get("kernel_shape", kernel)) != kernel:
        raise FormatError(f"kernel_shape must be {kernel} like the weights")
    stride, dilation = _pair(attrs, "strides"), _pair(attrs, "dilations")
    padding = _pads(attrs, shape[2:], kernel, stride, dilation)
    groups = int(attrs.get("group", 1))
    if groups > 1 and weights.shape[1] == 1 and groups == shape[1]:
        packed = weights[:, 0].transpose(1, 2, 0)[None]
        return Op.DEPTHWISE_CONV_2D, packed, ConvAttrs(stride, dilation, padding), "/depthwise"
    made = ConvAttrs(stride, dilation, padding, groups)
    return Op.CONV_2D, weights.transpose(0, 2, 3, 1), made, SUFFIX


def read_conv(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read Conv with constant weights."""
    weights = b.constant(names, 1, "weights")
    op, packed, attrs, suffix = conv_layout(b.attributes(node), b.shape(names[0]), weights)
    inputs = [b.to_nhwc(names[0]), b.literal(f"{names[1]}{suffix}", packed)]
    if len(names) > 2 and names[2]:
        b.constant(names, 2, "bias")
        inputs.append(b.operand(names[2]))
    out = node.output[0]
    b.emit(op, attrs, inputs, (f"{out}{SUFFIX}",))
    b.from_nhwc(f"{out}{SUFFIX}", out)


def read_batch_norm(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read BatchNormalization at inference."""
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


def pool_layout(attrs: Mapping[str, Any], shape: Sequence[int]) -> PoolAttrs:
    """Return the window of a pool of NCHW images; it must divide a ceil_mode input evenly."""
    if len(shape) != 4:
        raise FormatError(f"input must have 4 axes, not {len(shape)}")
    kernel, stride = _pair(attrs, "kernel_shape"), _pair(attrs, "strides")
    if _pair(attrs, "dilations") != (1, 1):
        raise FormatError("dilations of a pool must be 1")
    padding = _pads(attrs, shape[2:], kernel, stride, (1, 1))
    if attrs.get("ceil_mode", 0):
        _refuse_ragged(shape[2:], kernel, stride, padding)
    return PoolAttrs(kernel, stride, padding, bool(attrs.get("count_include_pad", 0)))


def read_pool(op: Op) -> Reader:
    """Return the reader of a pool."""

    def read(b: Builder, node: onnx.NodeProto, names: Names) -> None:
        pool = pool_layout(b.attributes(node), b.shape(names[0]))
        out = node.output[0]
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


def read_global_average_pool(b: Builder, node: onnx.NodeProto, names: Names) -> None:
    """Read GlobalAveragePool as a mean over every spatial axis."""
    axes = tuple(range(2, len(b.shape(names[0]))))
    b.emit(Op.MEAN, MeanAttrs(axes, True), (b.operand(names[0]),), (node.output[0],))
