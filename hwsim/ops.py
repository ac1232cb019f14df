"""The operator table: what each operator is called, takes and yields.

Layouts: activations NHWC, CONV weights (O, kh, kw, I / groups), DEPTHWISE weights (1, kh, kw, O)
with O = I * multiplier, FULLY_CONNECTED weights (O, I). A new operator is one row here, one
kernel, one oracle and one vector set.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from hwsim.errors import GraphError
from hwsim.workload import Work

Shape = tuple[int, ...]


class Op(Enum):
    """Operators by their canonical names."""

    CONV_2D = "conv_2d"
    DEPTHWISE_CONV_2D = "depthwise_conv_2d"
    FULLY_CONNECTED = "fully_connected"
    MATMUL = "matmul"
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    AVERAGE_POOL_2D = "average_pool_2d"
    MAX_POOL_2D = "max_pool_2d"
    MEAN = "mean"
    SOFTMAX = "softmax"
    LAYER_NORM = "layer_norm"
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"
    CLIP = "clip"
    LEAKY_RELU = "leaky_relu"
    LOGISTIC = "logistic"
    TANH = "tanh"
    HARD_SWISH = "hard_swish"
    GELU = "gelu"
    ERF = "erf"
    SQRT = "sqrt"
    POW = "pow"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    PAD = "pad"
    CONCATENATION = "concatenation"
    STRIDED_SLICE = "strided_slice"
    SPLIT = "split"
    QUANTIZE = "quantize"
    DEQUANTIZE = "dequantize"


class Activation(Enum):
    """A clamp fused into an operator's output."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"

    @property
    def bounds(self) -> tuple[float, float]:
        """The real interval that the activation clamps to."""
        return {
            Activation.NONE: (-math.inf, math.inf),
            Activation.RELU: (0.0, math.inf),
            Activation.RELU6: (0.0, 6.0),
            Activation.RELU_N1_TO_1: (-1.0, 1.0),
        }[self]


@dataclass(frozen=True, slots=True)
class NoAttrs:
    """An operator without attributes."""


@dataclass(frozen=True, slots=True)
class ConvAttrs:
    """A sliding window with weights; padding is (top, left, bottom, right)."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class PoolAttrs:
    """A sliding window without weights; padding is (top, left, bottom, right).

    `count_padding` says whether an average divides by the whole window at the border.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = False
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class FusedAttrs:
    """An elementwise operator with a fused activation."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class FullyConnectedAttrs:
    """y = x Wᵀ + b over the last axis; without `keep_dims` leading axes are flattened."""

    keep_dims: bool = True
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class MatMulAttrs:
    """scale * a @ b of two activations; the flags transpose the last two axes first."""

    transpose_a: bool = False
    transpose_b: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class MeanAttrs:
    """Mean over axes, all 0 or more."""

    axes: tuple[int, ...]
    keep_dims: bool


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs:
    """Softmax of beta * x over the last axis."""

    beta: float = 1.0


@dataclass(frozen=True, slots=True)
class NormAttrs:
    """LAYER_NORM over the last axis, or BATCH_NORM per index of the last axis."""

    epsilon: float


@dataclass(frozen=True, slots=True)
class ClipAttrs:
    """Clamp of real values; a side may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LeakyReluAttrs:
    """x for x >= 0, alpha * x below."""

    alpha: float


@dataclass(frozen=True, slots=True)
class GeluAttrs:
    """x * Phi(x), or its tanh form."""

    tanh: bool = False


@dataclass(frozen=True, slots=True)
class ReshapeAttrs:
    """The new shape, fully stated."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    """Output axis i is input axis perm[i]."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """Elements added before and after each axis.

    `value` is a real in a float graph and a code in an integer one; None is real zero.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float | int | None = None


@dataclass(frozen=True, slots=True)
class ConcatAttrs:
    """The joined axis, 0 or more."""

    axis: int
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class SliceAttrs:
    """out[i] = x[start + stride * i] for i < size, per axis; a stride may be negative."""

    starts: tuple[int, ...]
    strides: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SplitAttrs:
    """Pieces of the given sizes along an axis."""

    axis: int
    sizes: tuple[int, ...]


Attrs = (
    NoAttrs | ConvAttrs | PoolAttrs | FusedAttrs | FullyConnectedAttrs | MatMulAttrs | MeanAttrs
    | SoftmaxAttrs | NormAttrs | ClipAttrs | LeakyReluAttrs | GeluAttrs | ReshapeAttrs
    | TransposeAttrs | PadAttrs | ConcatAttrs | SliceAttrs | SplitAttrs
)  # fmt: skip
Infer = Callable[[Any, Sequence[Shape]], tuple[Shape, ...]]

# One tensor of floats then takes 1 GiB at most; a file of a few bytes may claim anything.
MAX_ELEMENTS = 1 << 28
MAX_AXES = 16
# A pool's window needs no weights, so only this bounds the work that a few bytes can ask for.
MAX_POOL_WINDOW = 1 << 16


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise GraphError(sentence)


def _rank(shape: Shape, rank: int, name: str) -> None:
    _require(len(shape) == rank, f"{name} must have {rank} axes, not {len(shape)}")


def _axis(axis: int, shape: Shape) -> None:
    _require(0 <= axis < len(shape), f"axis must be in [0, {len(shape) - 1}], not {axis}")


def window_out(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Return how many windows fit along one axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def _window(
    x: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    for name, pair in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        _require(min(pair) >= 1, f"{name} must be 1 or more on both axes, not {pair}")
    _require(min(padding) >= 0, f"padding must be 0 or more on every side, not {padding}")
    top, left, bottom, right = padding
    padded = math.prod((x[0], x[1] + top + bottom, x[2] + left + right, x[3]))
    _require(
        padded <= MAX_ELEMENTS,
        f"padded input must hold at most {MAX_ELEMENTS} elements, not {padded}",
    )
    height = window_out(x[1], kernel[0], stride[0], dilation[0], top, bottom)
    width = window_out(x[2], kernel[1], stride[1], dilation[1], left, right)
    _require(
        height >= 1 and width >= 1,
        f"window must fit the padded input {x[1]}x{x[2]}, not be {kernel[0]}x{kernel[1]} "
        f"with dilation {dilation[0]}x{dilation[1]}",
    )
    return height, width


def _bias(shapes: Sequence[Shape], channels: int) -> None:
    if len(shapes) > 2:
        _require(shapes[2] == (channels,), f"bias must have shape ({channels},), not {shapes[2]}")


def _conv(attrs: ConvAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x, w = shapes[0], shapes[1]
    _rank(x, 4, "input")
    _rank(w, 4, "weights")
    _require(attrs.groups >= 1, f"groups must be 1 or more, not {attrs.groups}")
    _require(
        w[3] * attrs.groups == x[3],
        f"weights must have {x[3]} input channels over {attrs.groups} groups, not {w[3]} in each",
    )
    _require(
        w[0] % attrs.groups == 0,
        f"output channels must be a multiple of {attrs.groups} groups, not {w[0]}",
    )
    _bias(shapes, w[0])
    height, width = _window(x, (w[1], w[2]), attrs.stride, attrs.dilation, attrs.padding)
    return ((x[0], height, width, w[0]),)


def _depthwise(attrs: ConvAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x, w = shapes[0], shapes[1]
    _rank(x, 4, "input")
    _rank(w, 4, "weights")
    _require(w[0] == 1, f"depthwise weights must have a first axis of 1, not {w[0]}")
    _require(
        x[3] > 0 and w[3] % x[3] == 0,
        f"depthwise output channels must be a multiple of {x[3]} input channels, not {w[3]}",
    )
    _bias(shapes, w[3])
    height, width = _window(x, (w[1], w[2]), attrs.stride, attrs.dilation, attrs.padding)
    return ((x[0], height, width, w[3]),)


def _fully_connected(attrs: FullyConnectedAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x, w = shapes[0], shapes[1]
    _rank(w, 2, "weights")
    _bias(shapes, w[0])
    if attrs.keep_dims:
        _require(
            len(x) >= 1 and x[-1] == w[1], f"last axis of the input must be {w[1]}, not {x[-1:]}"
        )
        return ((*x[:-1], w[0]),)
    size = math.prod(x)
    _require(
        w[1] >= 1 and size % w[1] == 0,
        f"input elements must be a multiple of {w[1]} weights a row, not {size}",
    )
    return ((size // w[1], w[0]),)


def broadcast_shape(a: Shape, b: Shape) -> Shape:
    """Return the NumPy broadcast of two shapes.

    Raises:
        GraphError: If they do not broadcast.
    """
    out = []
    for i in range(1, max(len(a), len(b)) + 1):
        p = a[-i] if i <= len(a) else 1
        q = b[-i] if i <= len(b) else 1
        _require(p == q or 1 in (p, q), f"operand shapes must broadcast, not {a} and {b}")
        out.append(q if p == 1 else p)
    return tuple(reversed(out))


def _binary(attrs: FusedAttrs | NoAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    return (broadcast_shape(shapes[0], shapes[1]),)


def _matmul(attrs: MatMulAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    a, b = shapes[0], shapes[1]
    _require(min(len(a), len(b)) >= 2, f"operands must have 2 or more axes, not {a} and {b}")
    m, k = (a[-1], a[-2]) if attrs.transpose_a else (a[-2], a[-1])
    k2, n = (b[-1], b[-2]) if attrs.transpose_b else (b[-2], b[-1])
    _require(k == k2, f"reduction lengths must be equal, not {k} and {k2}")
    return ((*broadcast_shape(a[:-2], b[:-2]), m, n),)


def _pool(attrs: PoolAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _rank(x, 4, "input")
    area = math.prod(attrs.kernel)
    _require(
        area <= MAX_POOL_WINDOW,
        f"window of a pool must have at most {MAX_POOL_WINDOW} positions, not {area}",
    )
    height, width = _window(x, attrs.kernel, attrs.stride, (1, 1), attrs.padding)
    top, left, bottom, right = attrs.padding
    _require(
        max(top, bottom) < attrs.kernel[0] and max(left, right) < attrs.kernel[1],
        f"padding of a pool must be smaller than its window {attrs.kernel}, not {attrs.padding}",
    )
    return ((x[0], height, width, x[3]),)


def _mean(attrs: MeanAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    for axis in attrs.axes:
        _axis(axis, x)
    kept = [
        (1 if i in attrs.axes else size)
        for i, size in enumerate(x)
        if attrs.keep_dims or i not in attrs.axes
    ]
    return (tuple(kept),)


def _same(attrs: object, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    return (shapes[0],)


def _softmax(attrs: SoftmaxAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    _require(len(shapes[0]) >= 1, "input must have at least 1 axis, not 0")
    return (shapes[0],)


def _norm(attrs: NormAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _require(len(x) >= 1, "input must have at least 1 axis, not 0")
    _require(
        math.isfinite(attrs.epsilon) and attrs.epsilon >= 0,
        f"epsilon must be a finite number of 0 or more, not {attrs.epsilon}",
    )
    for shape in shapes[1:]:
        _require(shape == x[-1:], f"parameters must have shape {x[-1:]}, not {shape}")
    return (x,)


def _reshape(attrs: ReshapeAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    axes = len(attrs.shape)
    _require(axes <= MAX_AXES, f"new shape must have at most {MAX_AXES} axes, not {axes}")
    _require(
        min(attrs.shape, default=0) >= 0 and math.prod(attrs.shape) == math.prod(shapes[0]),
        f"new shape must hold {math.prod(shapes[0])} elements, not {attrs.shape}",
    )
    return (attrs.shape,)


def _transpose(attrs: TransposeAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _require(len(attrs.perm) == len(x), f"perm must name {len(x)} axes, not {len(attrs.perm)}")
    _require(
        sorted(attrs.perm) == list(range(len(x))),
        f"perm must be a permutation of {len(x)} axes, not {attrs.perm}",
    )
    return (tuple(x[axis] for axis in attrs.perm),)


def _pad(attrs: PadAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _require(
        len(attrs.before) == len(attrs.after) == len(x)
        and min((*attrs.before, *attrs.after), default=0) >= 0,
        f"padding must be 0 or more before and after each of {len(x)} axes, "
        f"not {attrs.before} and {attrs.after}",
    )
    return (tuple(size + b + a for size, b, a in zip(x, attrs.before, attrs.after, strict=True)),)


def _concat(attrs: ConcatAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    first = shapes[0]
    _axis(attrs.axis, first)
    for shape in shapes[1:]:
        _require(
            len(shape) == len(first)
            and all(
                p == q for i, (p, q) in enumerate(zip(shape, first, strict=True)) if i != attrs.axis
            ),
            f"joined shapes must agree off axis {attrs.axis}, not {first} and {shape}",
        )
    total = sum(shape[attrs.axis] for shape in shapes)
    return ((*first[: attrs.axis], total, *first[attrs.axis + 1 :]),)


def _slice(attrs: SliceAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _require(
        len(attrs.starts) == len(attrs.strides) == len(attrs.sizes) == len(x),
        f"slice must name {len(x)} axes, not {len(attrs.starts)}",
    )
    for size, start, stride, count in zip(x, attrs.starts, attrs.strides, attrs.sizes, strict=True):
        last = start + stride * (count - 1)
        _require(
            count >= 1 and stride != 0 and 0 <= start < size and 0 <= last < size,
            f"slice must take 1 or more elements inside {x}, not {attrs.sizes} from "
            f"{attrs.starts} by {attrs.strides}",
        )
    return (attrs.sizes,)


def _split(attrs: SplitAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    x = shapes[0]
    _axis(attrs.axis, x)
    _require(
        sum(attrs.sizes) == x[attrs.axis] and min(attrs.sizes, default=0) >= 1,
        f"pieces must add to {x[attrs.axis]} along axis {attrs.axis}, not {attrs.sizes}",
    )
    return tuple((*x[: attrs.axis], size, *x[attrs.axis + 1 :]) for size in attrs.sizes)


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One row of the operator table.

    Args:
        op: The operator.
        attrs: Its attribute type.
        inputs: Fewest and most inputs.
        infer: Output shapes from input shapes; raises GraphError on a broken rule.
        work: What a platform has to do for it.
        float_only: Whether it exists in float graphs alone.
    """

    op: Op
    attrs: type[Any]
    inputs: tuple[int, int]
    infer: Infer
    work: Work
    float_only: bool = False


_MANY = 4096

_ROWS = (
    OpSpec(Op.CONV_2D, ConvAttrs, (2, 3), _conv, Work.CONV),
    OpSpec(Op.DEPTHWISE_CONV_2D, ConvAttrs, (2, 3), _depthwise, Work.DEPTHWISE),
    OpSpec(Op.FULLY_CONNECTED, FullyConnectedAttrs, (2, 3), _fully_connected, Work.FULLY_CONNECTED),
    OpSpec(Op.MATMUL, MatMulAttrs, (2, 2), _matmul, Work.MATMUL),
    OpSpec(Op.ADD, FusedAttrs, (2, 2), _binary, Work.ELEMENTWISE),
    OpSpec(Op.SUB, FusedAttrs, (2, 2), _binary, Work.ELEMENTWISE),
    OpSpec(Op.MUL, FusedAttrs, (2, 2), _binary, Work.ELEMENTWISE),
    OpSpec(Op.DIV, FusedAttrs, (2, 2), _binary, Work.ELEMENTWISE, float_only=True),
    OpSpec(Op.AVERAGE_POOL_2D, PoolAttrs, (1, 1), _pool, Work.POOL),
    OpSpec(Op.MAX_POOL_2D, PoolAttrs, (1, 1), _pool, Work.POOL),
    OpSpec(Op.MEAN, MeanAttrs, (1, 1), _mean, Work.REDUCE),
    OpSpec(Op.SOFTMAX, SoftmaxAttrs, (1, 1), _softmax, Work.SOFTMAX),
    OpSpec(Op.LAYER_NORM, NormAttrs, (2, 3), _norm, Work.NORM),
    OpSpec(Op.BATCH_NORM, NormAttrs, (5, 5), _norm, Work.NORM, float_only=True),
    OpSpec(Op.RELU, NoAttrs, (1, 1), _same, Work.ELEMENTWISE),
    OpSpec(Op.RELU6, NoAttrs, (1, 1), _same, Work.ELEMENTWISE),
    OpSpec(Op.RELU_N1_TO_1, NoAttrs, (1, 1), _same, Work.ELEMENTWISE),
    OpSpec(Op.CLIP, ClipAttrs, (1, 1), _same, Work.ELEMENTWISE, float_only=True),
    OpSpec(Op.LEAKY_RELU, LeakyReluAttrs, (1, 1), _same, Work.ELEMENTWISE),
    OpSpec(Op.LOGISTIC, NoAttrs, (1, 1), _same, Work.TABLE),
    OpSpec(Op.TANH, NoAttrs, (1, 1), _same, Work.TABLE),
    OpSpec(Op.HARD_SWISH, NoAttrs, (1, 1), _same, Work.TABLE),
    OpSpec(Op.GELU, GeluAttrs, (1, 1), _same, Work.TABLE),
    OpSpec(Op.ERF, NoAttrs, (1, 1), _same, Work.TABLE, float_only=True),
    OpSpec(Op.SQRT, NoAttrs, (1, 1), _same, Work.TABLE, float_only=True),
    OpSpec(Op.POW, NoAttrs, (2, 2), _binary, Work.TABLE, float_only=True),
    OpSpec(Op.RESHAPE, ReshapeAttrs, (1, 1), _reshape, Work.MOVE),
    OpSpec(Op.TRANSPOSE, TransposeAttrs, (1, 1), _transpose, Work.MOVE),
    OpSpec(Op.PAD, PadAttrs, (1, 1), _pad, Work.MOVE),
    OpSpec(Op.CONCATENATION, ConcatAttrs, (1, _MANY), _concat, Work.MOVE),
    OpSpec(Op.STRIDED_SLICE, SliceAttrs, (1, 1), _slice, Work.MOVE),
    OpSpec(Op.SPLIT, SplitAttrs, (1, 1), _split, Work.MOVE),
    OpSpec(Op.QUANTIZE, NoAttrs, (1, 1), _same, Work.ELEMENTWISE),
    OpSpec(Op.DEQUANTIZE, NoAttrs, (1, 1), _same, Work.ELEMENTWISE),
)
OPS = MappingProxyType({spec.op: spec for spec in _ROWS})
