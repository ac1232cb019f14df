"""Shape rules: the outputs of each operator from its inputs, and every refusal of a broken one.

A rule takes attributes and input shapes. Kernels never check: what they trust is proved here.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from hwsim.attributes import (
    ConcatAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GatherAttrs,
    LstmAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    Shape,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from hwsim.errors import GraphError

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


def conv_shape(attrs: ConvAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of CONV_2D."""
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


def depthwise_shape(attrs: ConvAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of DEPTHWISE_CONV_2D."""
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


def transpose_conv_shape(attrs: TransposeConvAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of TRANSPOSE_CONV."""
    x, w = shapes[0], shapes[1]
    _rank(x, 4, "input")
    _rank(w, 4, "weights")
    _require(w[3] == x[3], f"weights must have {x[3]} input channels, not {w[3]}")
    # The third may be a bias or, where there is none, the output's shape.
    for shape in shapes[2:]:
        _require(shape in ((w[0],), (len(x),)), f"bias must have shape ({w[0]},), not {shape}")
    for name, pair, least in (
        ("stride", attrs.stride, 1), ("output size", attrs.size, 1), ("origin", attrs.origin, 0),
    ):  # fmt: skip
        _require(min(pair) >= least, f"{name} must be {least} or more on both axes, not {pair}")
    elements = math.prod((x[0], *attrs.size, w[0]))
    _require(
        elements <= MAX_ELEMENTS,
        f"output must hold at most {MAX_ELEMENTS} elements, not {elements}",
    )
    return ((x[0], *attrs.size, w[0]),)


def fully_connected_shape(attrs: FullyConnectedAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of FULLY_CONNECTED."""
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


def binary_shape(attrs: FusedAttrs | NoAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of a broadcasting elementwise operator."""
    return (broadcast_shape(shapes[0], shapes[1]),)


def matmul_shape(attrs: MatMulAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of MATMUL."""
    a, b = shapes[0], shapes[1]
    _require(min(len(a), len(b)) >= 2, f"operands must have 2 or more axes, not {a} and {b}")
    m, k = (a[-1], a[-2]) if attrs.transpose_a else (a[-2], a[-1])
    k2, n = (b[-1], b[-2]) if attrs.transpose_b else (b[-2], b[-1])
    _require(k == k2, f"reduction lengths must be equal, not {k} and {k2}")
    return ((*broadcast_shape(a[:-2], b[:-2]), m, n),)


def pool_shape(attrs: PoolAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of AVERAGE_POOL_2D or MAX_POOL_2D."""
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


def mean_shape(attrs: MeanAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of MEAN."""
    x = shapes[0]
    for axis in attrs.axes:
        _axis(axis, x)
    kept = [
        (1 if i in attrs.axes else size)
        for i, size in enumerate(x)
        if attrs.keep_dims or i not in attrs.axes
    ]
    return (tuple(kept),)


def same_shape(attrs: object, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of an operator that keeps its input's shape."""
    return (shapes[0],)


def softmax_shape(attrs: SoftmaxAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of SOFTMAX."""
    x = shapes[0]
    _require(len(x) >= 1, "input must have at least 1 axis, not 0")
    _require(
        not attrs.causal or (len(x) >= 2 and x[-1] >= x[-2]),
        f"input of a causal softmax must have two axes or more and a key per query, not be {x}",
    )
    return (x,)


def norm_shape(attrs: NormAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of LAYER_NORM, RMS_NORM or BATCH_NORM."""
    x = shapes[0]
    _require(len(x) >= 1, "input must have at least 1 axis, not 0")
    _require(
        math.isfinite(attrs.epsilon) and attrs.epsilon >= 0,
        f"epsilon must be a finite number of 0 or more, not {attrs.epsilon}",
    )
    for shape in shapes[1:]:
        _require(shape == x[-1:], f"parameters must have shape {x[-1:]}, not {shape}")
    return (x,)


def reshape_shape(attrs: ReshapeAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of RESHAPE."""
    axes = len(attrs.shape)
    _require(axes <= MAX_AXES, f"new shape must have at most {MAX_AXES} axes, not {axes}")
    _require(
        min(attrs.shape, default=0) >= 0 and math.prod(attrs.shape) == math.prod(shapes[0]),
        f"new shape must hold {math.prod(shapes[0])} elements, not {attrs.shape}",
    )
    return (attrs.shape,)


def transpose_shape(attrs: TransposeAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of TRANSPOSE."""
    x = shapes[0]
    _require(len(attrs.perm) == len(x), f"perm must name {len(x)} axes, not {len(attrs.perm)}")
    _require(
        sorted(attrs.perm) == list(range(len(x))),
        f"perm must be a permutation of {len(x)} axes, not {attrs.perm}",
    )
    return (tuple(x[axis] for axis in attrs.perm),)


def pad_shape(attrs: PadAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of PAD."""
    x = shapes[0]
    _require(
        len(attrs.before) == len(attrs.after) == len(x)
        and min((*attrs.before, *attrs.after), default=0) >= 0,
        f"padding must be 0 or more before and after each of {len(x)} axes, "
        f"not {attrs.before} and {attrs.after}",
    )
    return (tuple(size + b + a for size, b, a in zip(x, attrs.before, attrs.after, strict=True)),)


def concat_shape(attrs: ConcatAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of CONCATENATION."""
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


def slice_shape(attrs: SliceAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of STRIDED_SLICE."""
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


def gather_shape(attrs: GatherAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shape of GATHER."""
    table, indices = shapes
    _axis(attrs.axis, table)
    return ((*table[: attrs.axis], *indices, *table[attrs.axis + 1 :]),)


def split_shape(attrs: SplitAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the output shapes of SPLIT."""
    x = shapes[0]
    _axis(attrs.axis, x)
    _require(
        sum(attrs.sizes) == x[attrs.axis] and min(attrs.sizes, default=0) >= 1,
        f"pieces must add to {x[attrs.axis]} along axis {attrs.axis}, not {attrs.sizes}",
    )
    return tuple((*x[: attrs.axis], size, *x[attrs.axis + 1 :]) for size in attrs.sizes)


def _same(shape: Shape, wanted: Shape, name: str) -> None:
    _require(shape == wanted, f"{name} must have shape {wanted}, not {shape}")


def lstm_shape(attrs: LstmAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the shapes of an LSTM's hidden states, last hidden state and last cell state."""
    x, inputs, recurrent, states = shapes[0], shapes[1:5], shapes[5:9], shapes[9:11]
    _rank(x, 3, "input")
    _rank(inputs[0], 2, "weights")
    batch, steps, size = x
    hidden = inputs[0][0]
    _require(attrs.cell_clip > 0, f"cell_clip must be a positive number, not {attrs.cell_clip}")
    for shape in inputs:
        _same(shape, (hidden, size), "input weights")
    for shape in recurrent:
        _same(shape, (hidden, hidden), "recurrent weights")
    for shape in states:
        _same(shape, (batch, hidden), "state")
    for shape in shapes[11:]:
        _same(shape, (hidden,), "bias")
    return (batch, steps, hidden), (batch, hidden), (batch, hidden)


def svdf_shape(attrs: SvdfAttrs, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
    """Return the shapes of one step of an SVDF and of the state behind it."""
    x, feature, time, state = shapes[:4]
    _rank(x, 2, "input")
    _rank(time, 2, "time weights")
    features, memory = time
    _same(feature, (features, x[1]), "feature weights")
    _same(state, (x[0], features, memory), "state")
    _require(
        attrs.rank >= 1 and features % attrs.rank == 0,
        f"features must be a multiple of rank {attrs.rank}, not {features}",
    )
    units = features // attrs.rank
    for shape in shapes[4:]:
        _same(shape, (units,), "bias")
    return (x[0], units), state
