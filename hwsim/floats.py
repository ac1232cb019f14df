"""The float engine: a float graph in torch, batched, differentiable, any value replaceable."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    ClipAttrs,
    ConcatAttrs,
    ConvAttrs,
    FakeQuantAttrs,
    FakeTruncAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GatherAttrs,
    GeluAttrs,
    LeakyReluAttrs,
    LstmAttrs,
    MatMulAttrs,
    MeanAttrs,
    NormAttrs,
    PadAttrs,
    PoolAttrs,
    RealRounding,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from hwsim.batch import batch_size, entries, joined, with_batch
from hwsim.errors import GraphError, HwsimError
from hwsim.graph import Graph, Node
from hwsim.inputs import check_indices, index_limit
from hwsim.ops import Op

Tensor = Any  # a torch.Tensor; torch is an extra, and its own stubs are partly untyped
Tensors = dict[str, Tensor]


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise HwsimError(
            "the float engine must have torch; install it with pip install 'hwsim[torch]'"
        ) from error
    return torch


def _clamp(y: Tensor, activation: Activation) -> Tensor:
    if activation is Activation.NONE:
        return y
    low, high = activation.bounds
    return y.clamp(min=low, max=None if high == float("inf") else high)


def _conv(node: Node, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    f = _torch().nn.functional
    attrs = node.attrs
    assert isinstance(attrs, ConvAttrs)
    top, left, bottom, right = attrs.padding
    # NHWC permuted to NCHW is torch's channels_last: no copy is made.
    image = f.pad(x, (0, 0, left, right, top, bottom)).permute(0, 3, 1, 2)
    if node.op is Op.DEPTHWISE_CONV_2D:
        kernel, groups = w.permute(3, 0, 1, 2), x.shape[3]
    else:
        kernel, groups = w.permute(0, 3, 1, 2), attrs.groups
    y = f.conv2d(image, kernel, b, attrs.stride, 0, attrs.dilation, groups)
    return _clamp(y.permute(0, 2, 3, 1), attrs.activation)


def _transpose_conv(node: Node, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    f = _torch().nn.functional
    attrs = node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    whole = f.conv_transpose2d(x.permute(0, 3, 1, 2), w.permute(3, 0, 1, 2), None, attrs.stride)
    (top, left), (height, width) = attrs.origin, attrs.size
    bottom, right = top + height - whole.shape[2], left + width - whole.shape[3]
    y = f.pad(whole, (-left, right, -top, bottom)).permute(0, 2, 3, 1)
    return _clamp(y if b is None else y + b, attrs.activation)


def _gather(node: Node, table: Tensor, indices: Tensor) -> Tensor:
    assert isinstance(node.attrs, GatherAttrs)
    axis = node.attrs.axis
    shape = (*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])
    return table.index_select(axis, indices.reshape(-1).long()).reshape(shape)


def _fully_connected(node: Node, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    attrs = node.attrs
    assert isinstance(attrs, FullyConnectedAttrs)
    rows = x if attrs.keep_dims else x.reshape(-1, w.shape[1])
    return _clamp(_torch().nn.functional.linear(rows, w, b), attrs.activation)


def _matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    attrs = node.attrs
    assert isinstance(attrs, MatMulAttrs)
    left = a.transpose(-1, -2) if attrs.transpose_a else a
    right = b.transpose(-1, -2) if attrs.transpose_b else b
    y = left @ right
    return y if attrs.scale == 1.0 else y * attrs.scale


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def apply(node: Node, a: Tensor, b: Tensor) -> Tensor:
        activation = node.attrs.activation if isinstance(node.attrs, FusedAttrs) else None
        return _clamp(function(a, b), activation or Activation.NONE)

    return apply


def _pool(node: Node, x: Tensor) -> Tensor:
    torch = _torch()
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    top, left, bottom, right = attrs.padding
    average = node.op is Op.AVERAGE_POOL_2D
    border = 0.0 if average else float("-inf")
    f = torch.nn.functional
    padded = f.pad(x, (0, 0, left, right, top, bottom), value=border).permute(0, 3, 1, 2)
    if not average:
        y = f.max_pool2d(padded, attrs.kernel, attrs.stride)
    else:
        y = f.avg_pool2d(padded, attrs.kernel, attrs.stride)
        if any(attrs.padding) and not attrs.count_padding:
            ones = f.pad(torch.ones_like(x[:1, :, :, :1]), (0, 0, left, right, top, bottom))
            y = y / f.avg_pool2d(ones.permute(0, 3, 1, 2), attrs.kernel, attrs.stride)
    return _clamp(y.permute(0, 2, 3, 1), attrs.activation)


def _mean(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, MeanAttrs)
    if not node.attrs.axes:  # torch takes the empty list for all axes
        return x
    return x.mean(dim=node.attrs.axes, keepdim=node.attrs.keep_dims)


def _softmax(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, SoftmaxAttrs)
    scores = x * node.attrs.beta
    if node.attrs.causal:
        queries, keys = x.shape[-2:]
        hidden = _torch().ones(queries, keys, dtype=bool).triu(1 + keys - queries)
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(dim=-1)


def _layer_norm(node: Node, x: Tensor, gamma: Tensor, beta: Tensor | None = None) -> Tensor:
    assert isinstance(node.attrs, NormAttrs)
    return _torch().nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, node.attrs.epsilon)


def _rms_norm(node: Node, x: Tensor, gamma: Tensor) -> Tensor:
    assert isinstance(node.attrs, NormAttrs)
    return x * (x.square().mean(dim=-1, keepdim=True) + node.attrs.epsilon).rsqrt() * gamma


def _batch_norm(
    node: Node, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    assert isinstance(node.attrs, NormAttrs)
    return (x - mean) * (variance + node.attrs.epsilon).rsqrt() * gamma + beta


def _lstm(node: Node, x: Tensor, *operands: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    assert isinstance(node.attrs, LstmAttrs)
    torch = _torch()
    clip = node.attrs.cell_clip
    weights, recurrent = torch.cat(operands[:4]), torch.cat(operands[4:8])
    hidden, cell = operands[8:10]
    assert hidden is not None
    biases = [*operands[10:], *[None] * (14 - len(operands))]
    bias = torch.cat([hidden.new_zeros(hidden.shape[1]) if b is None else b for b in biases])
    steps = []
    for step in range(x.shape[1]):
        sums = x[:, step] @ weights.T + hidden @ recurrent.T + bias
        i, f, g, o = sums.chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        cell = cell.clamp(-clip, clip)
        hidden = o.sigmoid() * cell.tanh()
        steps.append(hidden)
    return torch.stack(steps, dim=1), hidden, cell


def _svdf(
    node: Node, x: Tensor, feature: Tensor, time: Tensor, state: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    assert isinstance(node.attrs, SvdfAttrs)
    pushed = _torch().cat((state[:, :, 1:], (x @ feature.T)[:, :, None]), dim=2)
    y = (pushed * time).sum(dim=2).reshape(x.shape[0], -1, node.attrs.rank).sum(dim=2)
    return _clamp(y if bias is None else y + bias, node.attrs.activation), pushed


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda node, x: function(x)


def _clip(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, ClipAttrs)
    return x.clamp(node.attrs.low, node.attrs.high)


def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, LeakyReluAttrs)
    return _torch().nn.functional.leaky_relu(x, node.attrs.alpha)


def _gelu(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, GeluAttrs)
    return _torch().nn.functional.gelu(x, approximate="tanh" if node.attrs.tanh else "none")


def _reshape(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, ReshapeAttrs)
    return x.reshape(node.attrs.shape)


def _transpose(node: Node, x: Tensor) -> Tensor:
    assert isinstance(node.attrs, TransposeAttrs)
    return x.permute(node.attrs.perm)


def _pad(node: Node, x: Tensor) -> Tensor:
    attrs = node.attrs
    assert isinstance(attrs, PadAttrs)
    amounts = [
        n for b, a in zip(attrs.before[::-1], attrs.after[::-1], strict=True) for n in (b, a)
    ]
    return _torch().nn.functional.pad(x, amounts, value=float(attrs.value or 0.0))


def _concatenation(node: Node, *parts: Tensor) -> Tensor:
    assert isinstance(node.attrs, ConcatAttrs)
    return _clamp(_torch().cat(parts, dim=node.attrs.axis), node.attrs.activation)


def _strided_slice(node: Node, x: Tensor) -> Tensor:
    attrs = node.attrs
    assert isinstance(attrs, SliceAttrs)
    for axis, (start, stride, size) in enumerate(
        zip(attrs.starts, attrs.strides, attrs.sizes, strict=True)
    ):
        if stride > 0:
            stop = start + stride * (size - 1) + 1
            x = x[(slice(None),) * axis + (slice(start, stop, stride),)]
        else:
            index = _torch().arange(start, start + stride * (size - 1) - 1, stride)
            x = x.index_select(axis, index)
    return x


def _round(y: Tensor, rounding: RealRounding) -> Tensor:
    """Round as QONNX does, each step in the precision of `y`."""
    match rounding:
        case RealRounding.HALF_EVEN:
            return y.round()
        case RealRounding.FLOOR:
            return y.floor()
        case RealRounding.CEIL:
            return y.ceil()
        case RealRounding.ZERO:
            return y.trunc()
        case RealRounding.AWAY:
            return y.sign() * y.abs().ceil()
        case RealRounding.HALF_AWAY:
            return y.sign() * (y.abs() + 0.5).floor()
        case RealRounding.HALF_ZERO:
            return y.sign() * (y.abs() - 0.5).ceil()


def _fake_quant(node: Node, x: Tensor) -> Tensor:
    torch, attrs = _torch(), node.attrs
    assert isinstance(attrs, FakeQuantAttrs)
    scale, zero_point = (
        torch.from_numpy(np.asarray(a, np.float32)) for a in attrs.quant.broadcast(x.ndim)
    )
    if attrs.bipolar:
        return torch.where(x >= 0, 1.0, -1.0) * scale
    codes = _round((x / scale + zero_point).clamp(attrs.low, attrs.high), attrs.rounding)
    return (codes - zero_point) * scale


def _fake_trunc(node: Node, x: Tensor) -> Tensor:
    torch, attrs = _torch(), node.attrs
    assert isinstance(attrs, FakeTruncAttrs)
    scale, zero_point = (
        torch.from_numpy(np.asarray(a, np.float32)) for a in attrs.quant.broadcast(x.ndim)
    )
    y = (x / scale + zero_point).round() / 2.0**attrs.shift
    if attrs.ends is not None:
        y = y.clamp(*attrs.ends)
    out_scale, out_zero = attrs.output
    return (_round(y, attrs.rounding) - out_zero) * out_scale


def _split(node: Node, x: Tensor) -> Any:
    assert isinstance(node.attrs, SplitAttrs)
    return x.split(node.attrs.sizes, dim=node.attrs.axis)


RULES: Mapping[Op, Callable[..., Any]] = MappingProxyType(
    {
        Op.CONV_2D: _conv,
        Op.DEPTHWISE_CONV_2D: _conv,
        Op.TRANSPOSE_CONV: _transpose_conv,
        Op.FULLY_CONNECTED: _fully_connected,
        Op.MATMUL: _matmul,
        Op.LSTM: _lstm,
        Op.SVDF: _svdf,
        Op.ADD: _binary(lambda a, b: a + b),
        Op.SUB: _binary(lambda a, b: a - b),
        Op.MUL: _binary(lambda a, b: a * b),
        Op.DIV: _binary(lambda a, b: a / b),
        Op.POW: _binary(lambda a, b: a**b),
        Op.MAXIMUM: _binary(lambda a, b: a.maximum(b)),
        Op.MINIMUM: _binary(lambda a, b: a.minimum(b)),
        Op.SQUARED_DIFFERENCE: _binary(lambda a, b: (a - b) ** 2),
        Op.AVERAGE_POOL_2D: _pool,
        Op.MAX_POOL_2D: _pool,
        Op.MEAN: _mean,
        Op.SOFTMAX: _softmax,
        Op.LAYER_NORM: _layer_norm,
        Op.RMS_NORM: _rms_norm,
        Op.BATCH_NORM: _batch_norm,
        Op.RELU: _unary(lambda x: x.clamp(min=0)),
        Op.RELU6: _unary(lambda x: x.clamp(0, 6)),
        Op.RELU_N1_TO_1: _unary(lambda x: x.clamp(-1, 1)),
        Op.CLIP: _clip,
        Op.LEAKY_RELU: _leaky_relu,
        Op.LOGISTIC: _unary(lambda x: x.sigmoid()),
        Op.TANH: _unary(lambda x: x.tanh()),
        Op.HARD_SWISH: _unary(lambda x: _torch().nn.functional.hardswish(x)),
        Op.GELU: _gelu,
        Op.SILU: _unary(lambda x: x * x.sigmoid()),
        Op.EXP: _unary(lambda x: x.exp()),
        Op.RSQRT: _unary(lambda x: x.rsqrt()),
        Op.ERF: _unary(lambda x: x.erf()),
        Op.SQRT: _unary(lambda x: x.sqrt()),
        Op.RESHAPE: _reshape,
        Op.TRANSPOSE: _transpose,
        Op.PAD: _pad,
        Op.CONCATENATION: _concatenation,
        Op.STRIDED_SLICE: _strided_slice,
        Op.SPLIT: _split,
        Op.GATHER: _gather,
        Op.FAKE_QUANT: _fake_quant,
        Op.FAKE_TRUNC: _fake_trunc,
    }
)


def constants(graph: Graph) -> Tensors:
    """Return the graph's constants as tensors."""
    torch = _torch()
    return {
        name: torch.from_numpy(np.array(value.data))
        for name, value in graph.values.items()
        if value.data is not None
    }


def check_floats(graph: Graph) -> None:
    """Refuse a graph that holds anything but floats.

    Raises:
        GraphError: If a value holds integers, quantized or not, or a node makes or reads them.
    """
    if not graph.is_float:
        raise GraphError(f"graph {graph.name!r} must hold floats, not quantized codes")
    for value in graph.values.values():
        indexes = index_limit(graph, value.name) is not None and value.name in graph.input_names
        if not value.is_float and not indexes:
            raise GraphError(f"value {value.name!r} must hold floats, not {value.dtype}")
    check_indices(graph)
    for node in graph.nodes:
        if node.op not in RULES:
            raise GraphError(f"node {node.name!r} ({node.op.value}) must not stand among floats")


def evaluate(
    graph: Graph,
    known: Mapping[str, Tensor],
    replaced: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
) -> Tensors:
    """Return every value of a float graph.

    Args:
        graph: A float graph, for the batch of the given tensors.
        known: Constants and inputs by name.
        replaced: Maps applied to a value before anyone reads it (fake quantization).

    Raises:
        GraphError: If the graph holds integer codes.
    """
    check_floats(graph)
    tensors: Tensors = dict(known)
    for name in graph.input_names:
        if name in replaced:
            tensors[name] = replaced[name](tensors[name])
    for node in graph.nodes:
        operands = [tensors[name] if name else None for name in node.inputs]
        for name, tensor in apply_node(node, operands).items():
            tensors[name] = replaced[name](tensor) if name in replaced else tensor
    return tensors


def apply_node(node: Node, operands: list[Tensor | None]) -> Tensors:
    """Return one node's outputs by name; an absent operand is None."""
    made = RULES[node.op](node, *_with_bias(node, operands))
    outputs = made if isinstance(made, tuple) else (made,)
    return dict(zip(node.outputs, outputs, strict=True))


def _with_bias(node: Node, operands: list[Any]) -> list[Any]:
    weighted = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV, Op.FULLY_CONNECTED)
    if node.op in weighted and len(operands) == 2:
        return [*operands, None]
    return operands


def batches_of(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], size: int
) -> list[tuple[Graph, dict[str, NDArray[Any]]]]:
    """Cut inputs into batches, each with the graph for its size.

    A graph that cannot change its batch is run at its own.
    """
    own, total = batch_size(graph, inputs)
    if with_batch(graph, size) is None:
        size = own
    cut = []
    for start in range(0, total, size):
        stop = min(start + size, total)
        batched = with_batch(graph, stop - start) if stop - start != own else graph
        assert batched is not None
        cut.append((batched, entries(graph, inputs, start, stop)))
    return cut


def run_floats(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], *, batch: int = 64, keep_all: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Return outputs (or every activation) of a float graph as arrays."""
    torch = _torch()
    check_floats(graph)
    fixed = constants(graph)
    wanted = graph.activations if keep_all else graph.outputs
    parts = []
    with torch.no_grad():
        for batched, arrays in batches_of(graph, inputs, batch):
            local = fixed | constants(batched)
            feeds = {name: torch.from_numpy(array) for name, array in arrays.items()}
            try:
                made = evaluate(batched, local | feeds)
            except RuntimeError as error:
                if "alloc" not in str(error):
                    raise
                raise MemoryError from error  # torch has no class of its own for it
            parts.append({value.name: made[value.name].numpy() for value in wanted})
    return joined(parts)
