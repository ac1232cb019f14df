"""The operand sequences that a layer sends through an array's multiply-accumulate units.

Codes are what the engine multiplies: activation code - zero point and weight code, padding 0.
The order is the dataflow's: output-stationary units go through the reduction of one output after
another, weight-stationary units hold a weight while the pixels pass and add to the sum that comes
down their column. Outputs (or pixel steps) are drawn at random with a fixed seed: what is counted
is a sample, and its standard error comes with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import ConvAttrs, MatMulAttrs
from hwsim.errors import InputError
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.quant import IntType

from .toggles import Codes, Toggles, count, summary

_SEED = 2202
COUNTED = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MATMUL)


class Dataflow(Enum):
    """Which operand stays in a unit of the array."""

    OUTPUT_STATIONARY = "os"
    WEIGHT_STATIONARY = "ws"


@dataclass(frozen=True, slots=True)
class Array:
    """The array that a layer is counted on.

    Args:
        dataflow: Its order.
        rows: Units down: output pixels (os) or reduction steps (ws).
        columns: Units across: output channels.
    """

    dataflow: Dataflow = Dataflow.OUTPUT_STATIONARY
    rows: int = 16
    columns: int = 16

    def __post_init__(self) -> None:
        """Refuse an array without units."""
        if min(self.rows, self.columns) < 1:
            raise InputError(f"array must have rows and columns, not {self.rows}x{self.columns}")


@dataclass(frozen=True, slots=True)
class LayerToggles:
    """What was counted for a layer.

    Args:
        node: Its name.
        widths: Bits of weight, activation (as the multiplier sees it) and accumulator.
        activation_signed: Whether an activation less its zero point can be negative.
        toggles: Flips per multiply-accumulate.
    """

    node: str
    widths: tuple[int, int, int]
    activation_signed: bool
    toggles: Toggles


@dataclass(frozen=True)
class _Gemm:
    """groups x (M x N x K) with operands by index.

    Args:
        shape: (groups, M, N, K).
        image: Padded activations, (batch, height, width, channels).
        weights: (groups, K, N).
        taps: Offsets of (k): row, column, channel.
        stride: (vertical, horizontal).
        out: (height, width) of the output.
        channels_per_group: Input channels that the next group is further on, and groups that
            share them.
    """

    shape: tuple[int, int, int, int]
    image: Codes
    weights: Codes
    taps: tuple[Codes, Codes, Codes]
    stride: tuple[int, int]
    out: tuple[int, int]
    channels_per_group: int
    groups_per_channel: int = 1

    def activation(self, g: Codes, m: Codes, k: Codes) -> Codes:
        pixels = self.out[0] * self.out[1]
        batch, pixel = np.divmod(m, pixels)
        row, column = np.divmod(pixel, self.out[1])
        down, across, channel = (tap[k] for tap in self.taps)
        found: Codes = self.image[
            batch,
            row * self.stride[0] + down,
            column * self.stride[1] + across,
            channel + g // self.groups_per_channel * self.channels_per_group,
        ]
        return found

    def weight(self, g: Codes, k: Codes, n: Codes) -> Codes:
        found: Codes = self.weights[g, k, n]
        return found


def layer_toggles(
    graph: Graph,
    node: Node,
    values: Mapping[str, NDArray[np.generic]],
    array: Array,
    *,
    accumulator_bits: int = 32,
    operations: int = 1 << 18,
) -> LayerToggles:
    """Count the flips of a layer's real operands.

    Args:
        graph: An integer graph.
        node: A convolution, fully connected layer or matmul.
        values: Every activation by name, as `hwsim.trace` returns them.
        array: Where it runs.
        accumulator_bits: Width of the accumulator.
        operations: Multiply-accumulates to draw, about.

    Raises:
        InputError: If the operator is another one, or its operands are no integer codes.
    """
    if node.op not in COUNTED:
        raise InputError(
            f"node {node.name!r}: toggles are counted for {', '.join(op.value for op in COUNTED)}, "
            f"not {node.op.value}"
        )
    second, first = graph.values[node.inputs[1]], graph.values[node.inputs[0]]
    weight_bits, _ = _width(second)
    activation_bits, signed = _width(first)
    widths = (weight_bits, activation_bits, accumulator_bits)
    gemm = _gemm(graph, node, values)
    counted = _stationary if array.dataflow is Dataflow.WEIGHT_STATIONARY else _streamed
    streams, drawn = counted(gemm, array, widths, operations)
    return LayerToggles(node.name, widths, signed, summary(streams, drawn, exact=False))


def _streamed(
    gemm: _Gemm, array: Array, widths: tuple[int, int, int], operations: int
) -> tuple[NDArray[np.float64], int]:
    """Count output-stationary streams: one drawn output each, to the unit's next output's start."""
    groups, m_size, n_size, k_size = gemm.shape
    draws = max(64, operations // k_size)
    rng = np.random.default_rng(_SEED)
    g, m, n = (rng.integers(0, size, (draws, 1)) for size in (groups, m_size, n_size))
    across = n + array.columns < n_size
    next_n = np.where(across, n + array.columns, n % array.columns)
    down = m + array.rows < m_size
    next_m = np.where(across, m, np.where(down, m + array.rows, m % array.rows))
    k = np.arange(k_size)[None, :]
    zero = np.zeros((1, 1), np.int64)
    weights = np.hstack([gemm.weight(g, k, n), gemm.weight(g, zero, next_n)])
    activations = np.hstack([gemm.activation(g, m, k), gemm.activation(g, next_m, zero)])
    products = weights * activations
    sums = np.cumsum(products, axis=1)
    sums[:, -1] = products[:, -1]  # the next output begins anew
    return count(weights, activations, sums, widths), draws * k_size


def _stationary(
    gemm: _Gemm, array: Array, widths: tuple[int, int, int], operations: int
) -> tuple[NDArray[np.float64], int]:
    """Count weight-stationary steps: drawn operations, each against its unit's operation before."""
    groups, m_size, n_size, k_size = gemm.shape
    draws = max(64, operations // min(array.rows, k_size))
    rng = np.random.default_rng(_SEED)
    g, m, n, k = (rng.integers(0, size, (draws, 1)) for size in (groups, m_size, n_size, k_size))
    # A unit's tiles follow each other along the reduction, then along the channels.
    loads = m == 0
    up = k >= array.rows
    last_k = k % array.rows + (k_size - 1 - k % array.rows) // array.rows * array.rows
    before_k = np.where(loads, np.where(up, k - array.rows, last_k), k)
    moves = loads & ~up
    back = n >= array.columns
    last_n = n % array.columns + (n_size - 1 - n % array.columns) // array.columns * array.columns
    before_n = np.where(moves, np.where(back, n - array.columns, last_n), n)
    before_m = np.where(loads, m_size - 1, m - 1)
    pairs = [(before_m, before_n, before_k), (m, n, k)]
    weights = np.hstack([gemm.weight(g, kk, nn) for _, nn, kk in pairs])
    activations = np.hstack([gemm.activation(g, mm, kk) for mm, _, kk in pairs])
    sums = np.hstack([_column_sum(gemm, array, g, mm, nn, kk) for mm, nn, kk in pairs])
    return count(weights, activations, sums, widths), draws


def _column_sum(gemm: _Gemm, array: Array, g: Codes, m: Codes, n: Codes, k: Codes) -> Codes:
    """Return the sum that leaves a unit downwards: its column's products from the top to it."""
    depth = np.arange(min(array.rows, gemm.shape[3]))[None, :]
    top = k // array.rows * array.rows
    above = np.minimum(top + depth, k)
    products = gemm.weight(g, above, n) * gemm.activation(g, m, above)
    sums: Codes = np.where(top + depth <= k, products, 0).sum(axis=1, keepdims=True)
    return sums


def _width(value: Value) -> tuple[int, bool]:
    """Return the bits of code - zero point, and whether it can be negative."""
    dtype = value.dtype
    if not isinstance(dtype, IntType) or value.quant is None:
        raise InputError(f"value {value.name!r} must be quantized codes to count toggles")
    low, high = dtype.min - max(value.quant.zero_point), dtype.max - min(value.quant.zero_point)
    if low >= 0:
        return max(1, high.bit_length()), False
    return max((-low - 1).bit_length(), high.bit_length()) + 1, True


def _centered(value: Value, codes: NDArray[np.generic]) -> Codes:
    """Return code - zero point of a tensor."""
    assert value.quant is not None
    zero = np.array(value.quant.zero_point, np.int64)
    if len(zero) > 1:
        assert value.quant.axis is not None
        zero = zero.reshape([-1 if axis == value.quant.axis else 1 for axis in range(codes.ndim)])
    return codes.astype(np.int64) - zero


def _gemm(graph: Graph, node: Node, values: Mapping[str, NDArray[np.generic]]) -> _Gemm:
    """Return a layer as GEMMs over its codes."""
    first, second = (graph.values[name] for name in node.inputs[:2])
    x = _centered(first, values[first.name] if first.data is None else first.data)
    w = _centered(second, values[second.name] if second.data is None else second.data)
    if isinstance(node.attrs, MatMulAttrs):
        return _matmul(x, w, node.attrs)
    if node.op is Op.FULLY_CONNECTED:
        rows = x.reshape(-1, w.shape[1])
        return _plain(rows[None], w.T[None])
    assert isinstance(node.attrs, ConvAttrs)
    top, left, bottom, right = node.attrs.padding
    image = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out = values[node.outputs[0]].shape
    _, height, width, depth = w.shape
    if node.op is Op.DEPTHWISE_CONV_2D:
        groups, per_group, channels = depth, 1, 1
        matrix = w.reshape(height * width, depth).T[:, :, None]
    else:
        groups, channels = node.attrs.groups, depth
        per_group = w.shape[0] // groups
        matrix = w.reshape(groups, per_group, -1).transpose(0, 2, 1)
    down, across, channel = np.meshgrid(
        np.arange(height), np.arange(width), np.arange(channels), indexing="ij"
    )
    dilation = node.attrs.dilation
    return _Gemm(
        shape=(groups, out[0] * out[1] * out[2], per_group, height * width * channels),
        image=image,
        weights=matrix,
        taps=(down.ravel() * dilation[0], across.ravel() * dilation[1], channel.ravel()),
        stride=node.attrs.stride,
        out=(out[1], out[2]),
        channels_per_group=channels,
        groups_per_channel=depth // x.shape[3] if node.op is Op.DEPTHWISE_CONV_2D else 1,
    )


def _matmul(a: Codes, b: Codes, attrs: MatMulAttrs) -> _Gemm:
    a = a.swapaxes(-1, -2) if attrs.transpose_a else a
    b = b.swapaxes(-1, -2) if attrs.transpose_b else b
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*lead, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
    b = np.broadcast_to(b, (*lead, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    return _plain(a, b)


def _plain(a: Codes, b: Codes) -> _Gemm:
    """Return GEMMs of stacked matrices (groups, M, K) and (groups, K, N)."""
    groups, m, k = a.shape
    zero = np.zeros(k, np.int64)
    return _Gemm(
        shape=(groups, m, b.shape[2], k),
        image=a.transpose(1, 0, 2).reshape(1, 1, m, groups * k),
        weights=b,
        taps=(zero, zero, np.arange(k)),
        stride=(1, 1),
        out=(1, m),
        channels_per_group=k,
    )
