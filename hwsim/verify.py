"""Proof that no accumulator of a graph can overflow, from its actual weights.

The order-safe bound covers every partial sum in any order, bias first or last:
hi = sum(max(w * x_max, w * x_min, 0)) + max(b, 0), lo likewise. The weight-aware bound covers the
finished sums alone: hi = sum(max(w * x_max, w * x_min)) + b. Source: numerics.md, section 5.
Products are added in int64, biases as Python integers: no step is a float.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import MatMulAttrs, MeanAttrs, PoolAttrs, SvdfAttrs
from hwsim.errors import GraphError
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.profile import NumericProfile, OperatorRule, Overflow
from hwsim.quant import IntType

MAX_FACTOR_BITS = 16
SIMULATED_BITS = 64


def signed_bits(low: int, high: int) -> int:
    """Return the narrowest two's complement width that holds low and high."""
    return max((v if v >= 0 else ~v).bit_length() for v in (low, high)) + 1


@dataclass(frozen=True, slots=True)
class AccumulatorBound:
    """The largest and smallest value that an accumulator can take, inputs unrestricted.

    Args:
        node: The accumulating node.
        low: Smallest partial sum over all channels, 0 or less.
        high: Largest partial sum over all channels, 0 or more.
        sum_low: Smallest finished sum over all channels.
        sum_high: Largest finished sum over all channels.
        datatype_bits: The width that the operand types alone would suggest, bias ignored.
    """

    node: str
    low: int
    high: int
    sum_low: int
    sum_high: int
    datatype_bits: int

    @property
    def bits(self) -> int:
        """Signed width that suffices in any order of additions, so also where they saturate."""
        return signed_bits(self.low, self.high)

    @property
    def weight_aware_bits(self) -> int:
        """Signed width of the finished sums; it suffices where partial sums may wrap."""
        return signed_bits(self.sum_low, self.sum_high)


def centered_range(value: Value) -> tuple[int, int]:
    """Return the range of code - zero_point of a per-tensor activation; it contains 0."""
    dtype = value.dtype
    assert isinstance(dtype, IntType)
    zero_point = value.quant.zero_point[0] if value.quant else 0
    return dtype.min - zero_point, dtype.max - zero_point


def centered_weights(value: Value) -> NDArray[np.int64]:
    """Return code - zero_point of a constant."""
    assert value.data is not None
    codes = value.data.astype(np.int64)
    if value.quant is None:
        return codes
    return codes - value.quant.broadcast(codes.ndim)[1]


def _datatype_bits(terms: int, low: int, high: int, weight_bits: int) -> int:
    widest = terms * max(-low, high) << (weight_bits - 1)
    return signed_bits(-widest, widest)


def _check_constant(node: Node, value: Value, what: str) -> None:
    if value.data is None:
        raise GraphError(f"node {node.name!r}: {what} {value.name!r} must be a constant")


def _check_width(node: Node, value: Value) -> None:
    """Refuse factors whose sums of products could leave the 64 bits that the bound is taken in."""
    if value.dtype.bits > MAX_FACTOR_BITS:
        raise GraphError(
            f"node {node.name!r}: factor {value.name!r} must have at most {MAX_FACTOR_BITS} bits, "
            f"not {value.dtype.bits}"
        )


def _weight_rows(node: Node, weights: Value) -> NDArray[np.int64]:
    """Return weights without zero point, (output channels, terms of a sum)."""
    centered = centered_weights(weights)
    # Output channels are the first axis, except for depthwise weights (1, kh, kw, O).
    kept = centered.ndim - 1 if node.op is Op.DEPTHWISE_CONV_2D else 0
    return np.moveaxis(centered, kept, 0).reshape(centered.shape[kept], -1)


def _biases(graph: Graph, node: Node, slot: int | None, channels: int) -> NDArray[np.object_]:
    """Return biases as Python integers: one of 64 bits must not wrap its own bound."""
    bias = None
    if slot is not None and len(node.inputs) > slot:
        bias = graph.value_or_none(node.inputs[slot])
    if bias is None:
        return np.zeros(channels, np.int64).astype(object)
    _check_constant(node, bias, "bias")
    assert bias.data is not None
    return bias.data.astype(np.int64).astype(object)


def constant_channels(graph: Graph, node: Node) -> NDArray[np.bool_]:
    """Return which output channels have no weight but zeros, so that their sum is their bias."""
    return np.asarray(~_weight_rows(node, graph.values[node.inputs[1]]).any(axis=1))


def weighted_bound(
    graph: Graph, node: Node, channels: NDArray[np.bool_] | None = None
) -> AccumulatorBound:
    """Return the bound of a node with constant weights, over some output channels or all.

    Raises:
        GraphError: If weights or bias are not constants, or a factor is too wide to be bounded.
    """
    return _product(graph, node, 0, 1, 2, channels)


def _product(
    graph: Graph,
    node: Node,
    x_slot: int,
    weight_slot: int,
    bias_slot: int | None,
    channels: NDArray[np.bool_] | None = None,
) -> AccumulatorBound:
    """Return the bound of sum(x * w) + b of a node's operands."""
    x, weights = graph.values[node.inputs[x_slot]], graph.values[node.inputs[weight_slot]]
    _check_constant(node, weights, "weights")
    rows = _weight_rows(node, weights)
    bias = _biases(graph, node, bias_slot, len(rows))
    if channels is not None:
        rows, bias = rows[channels], bias[channels]
    return _rows_bound(node, x, weights, rows, bias)


def _rows_bound(
    node: Node, x: Value, weights: Value, rows: NDArray[np.int64], bias: NDArray[np.object_]
) -> AccumulatorBound:
    """Return the bound of the sums of each row of centered weights (channels, terms)."""
    for value in (x, weights):
        _check_width(node, value)
    low, high = centered_range(x)
    top = np.maximum(rows * high, rows * low).sum(axis=1).astype(object)
    bottom = np.minimum(rows * high, rows * low).sum(axis=1).astype(object)
    dtype = weights.dtype
    assert isinstance(dtype, IntType)
    return AccumulatorBound(
        node.name,
        low=int((bottom + np.minimum(bias, 0)).min(initial=0)),
        high=int((top + np.maximum(bias, 0)).max(initial=0)),
        sum_low=int(min(bottom + bias, default=0)),
        sum_high=int(max(top + bias, default=0)),
        datatype_bits=_datatype_bits(rows.shape[1], low, high, dtype.bits),
    )


def _lstm(graph: Graph, node: Node) -> AccumulatorBound:
    """Bound the sums of all gates; those of the hidden state have no bias."""
    gates = range(4)
    return _widest(
        *(_product(graph, node, 0, 1 + gate, 11 + gate) for gate in gates),
        *(_product(graph, node, 9, 5 + gate, None) for gate in gates),
    )


def _svdf(graph: Graph, node: Node) -> AccumulatorBound:
    """Bound the feature's sum and the sum over time, whose rows of one unit are added."""
    assert isinstance(node.attrs, SvdfAttrs)
    state, time = graph.values[node.inputs[3]], graph.values[node.inputs[2]]
    _check_constant(node, time, "weights")
    by_unit = centered_weights(time).reshape(-1, node.attrs.rank * time.shape[1])
    bias = _biases(graph, node, 4, len(by_unit))
    return _widest(_product(graph, node, 0, 1, None), _rows_bound(node, state, time, by_unit, bias))


def _widest(*bounds: AccumulatorBound) -> AccumulatorBound:
    """Return the bound of a node with several accumulators of one width."""
    return AccumulatorBound(
        bounds[0].node,
        low=min(bound.low for bound in bounds),
        high=max(bound.high for bound in bounds),
        sum_low=min(bound.sum_low for bound in bounds),
        sum_high=max(bound.sum_high for bound in bounds),
        datatype_bits=max(bound.datatype_bits for bound in bounds),
    )


def _matmul(graph: Graph, node: Node) -> AccumulatorBound:
    a, b = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
    for value in (a, b):
        _check_width(node, value)
    assert isinstance(node.attrs, MatMulAttrs)
    terms = a.shape[-2] if node.attrs.transpose_a else a.shape[-1]
    products = [p * q for p in centered_range(a) for q in centered_range(b)]
    low, high = terms * min(*products, 0), terms * max(*products, 0)
    assert isinstance(b.dtype, IntType)
    bits = _datatype_bits(terms, *centered_range(a), b.dtype.bits)
    return AccumulatorBound(node.name, low, high, low, high, bits)


def _summed(graph: Graph, node: Node) -> AccumulatorBound:
    """Bound a sum of codes; kernels add raw or centered codes, both are covered."""
    x = graph.values[node.inputs[0]]
    assert isinstance(x.dtype, IntType)
    if isinstance(node.attrs, PoolAttrs):
        terms = node.attrs.kernel[0] * node.attrs.kernel[1]
    else:
        assert isinstance(node.attrs, MeanAttrs)
        terms = 1
        for axis in node.attrs.axes:
            terms *= x.shape[axis]
    low, high = centered_range(x)
    low, high = min(low, x.dtype.min, 0), max(high, x.dtype.max, 0)
    bits = _datatype_bits(terms, low, high, 1)
    low, high = terms * low, terms * high
    return AccumulatorBound(node.name, low, high, low, high, bits)


_BOUNDS = {
    Op.CONV_2D: weighted_bound,
    Op.DEPTHWISE_CONV_2D: weighted_bound,
    Op.TRANSPOSE_CONV: weighted_bound,
    Op.FULLY_CONNECTED: weighted_bound,
    Op.MATMUL: _matmul,
    Op.LSTM: _lstm,
    Op.SVDF: _svdf,
    Op.MEAN: _summed,
    Op.AVERAGE_POOL_2D: _summed,
}


def accumulator_bounds(graph: Graph) -> tuple[AccumulatorBound, ...]:
    """Return the bound of every accumulating node whose operands are integers."""
    bounds = []
    for node in graph.nodes:
        operands = [graph.values[name] for name in node.inputs if name]
        if node.op in _BOUNDS and not any(value.is_float for value in operands):
            bounds.append(_BOUNDS[node.op](graph, node))
    return tuple(bounds)


def rule_of(graph: Graph, node: Node, profile: NumericProfile) -> OperatorRule:
    """Return the profile's rule for a node: by its operator, its width and that of its bias.

    The width is the first operand's; an operand that is no quantized real leaves it to the result.

    Raises:
        GraphError: If the profile has no row for it, or the row is not for this node.
    """
    first = graph.values[node.inputs[0]]
    value = first if first.quant is not None else graph.values[node.outputs[0]]
    rule = profile.rule(node.op, value.dtype.bits)
    bias = graph.value_or_none(node.inputs[2]) if len(node.inputs) > 2 else None
    if rule.narrow_bias is not None and bias is not None and bias.dtype.bits <= 32:
        rule = rule.narrow_bias
    while rule.condition is not None and not rule.condition.holds(graph, node):
        if rule.otherwise is None:
            raise GraphError(f"{profile.label}: {rule.condition}")
        rule = rule.otherwise
    return rule


def verify(graph: Graph, profile: NumericProfile) -> tuple[AccumulatorBound, ...]:
    """Return the proved bounds of a graph's accumulators.

    Raises:
        GraphError: If one could exceed the profile's accumulator width where that is an error, or
            64 bits, in which even a sum that wraps or saturates is simulated.
    """
    bounds = accumulator_bounds(graph)
    nodes = {node.name: node for node in graph.nodes}
    for bound in bounds:
        node = nodes[bound.node]
        try:
            rule = rule_of(graph, node, profile)
        except GraphError as error:
            raise GraphError(f"node {node.name!r} ({node.op.value}): {error}") from error
        limit = rule.accumulator_bits if rule.overflow is Overflow.ERROR else SIMULATED_BITS
        if bound.bits > limit:
            raise GraphError(
                f"node {bound.node!r}: the accumulator must fit {limit} bits, "
                f"not {bound.bits}; narrow the operands or split the reduction"
            )
    return bounds


def largest_code(graph: Graph, value: Value) -> int:
    """Return the proved bound of |code - zero_point|: of its accumulator, or of its type."""
    node = graph.producer.get(value.name)
    if value.dtype.bits > MAX_FACTOR_BITS and node is not None and node.op in _BOUNDS:
        bound = _BOUNDS[node.op](graph, node)
        return max(-bound.low, bound.high)
    low, high = centered_range(value)
    return max(-low, high)
