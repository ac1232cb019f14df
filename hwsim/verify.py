"""Proof that no accumulator of a graph can overflow, from its actual weights.

The bound covers every partial sum in any order, bias first or last:
hi = sum(max(w * x_max, w * x_min, 0)) + max(b, 0), lo likewise. Source: numerics.md, section 5.
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


@dataclass(frozen=True, slots=True)
class AccumulatorBound:
    """The largest and smallest value that an accumulator can take, inputs unrestricted.

    Args:
        node: The accumulating node.
        low: Smallest partial sum over all channels, 0 or less.
        high: Largest partial sum over all channels, 0 or more.
        datatype_bits: The width that the operand types alone would suggest, bias ignored.
    """

    node: str
    low: int
    high: int
    datatype_bits: int

    @property
    def bits(self) -> int:
        """Signed width that suffices."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low else 0) + 1


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
    return max(widest - 1, 0).bit_length() + 1


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


def _weighted(graph: Graph, node: Node) -> AccumulatorBound:
    return _product(graph, node, 0, 1, 2)


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
    bias = graph.value_or_none(node.inputs[4]) if len(node.inputs) > 4 else None
    return _widest(_product(graph, node, 0, 1, None), _rows_bound(node, state, time, by_unit, bias))


def _widest(*bounds: AccumulatorBound) -> AccumulatorBound:
    """Return the bound of a node with several accumulators of one width."""
    return AccumulatorBound(
        bounds[0].node,
        min(bound.low for bound in bounds),
        max(bound.high for bound in bounds),
        max(bound.datatype_bits for bound in bounds),
    )


def _product(
    graph: Graph, node: Node, x_slot: int, weight_slot: int, bias_slot: int | None
) -> AccumulatorBound:
    """Bound sum(x * w) + b of a node's operands."""
    x, weights = graph.values[node.inputs[x_slot]], graph.values[node.inputs[weight_slot]]
    bias = None
    if bias_slot is not None and len(node.inputs) > bias_slot:
        bias = graph.value_or_none(node.inputs[bias_slot])
    _check_constant(node, weights, "weights")
    centered = centered_weights(weights)
    # Output channels are the first axis, except for depthwise weights (1, kh, kw, O).
    kept = centered.ndim - 1 if node.op is Op.DEPTHWISE_CONV_2D else 0
    rows = np.moveaxis(centered, kept, 0).reshape(centered.shape[kept], -1)
    return _rows_bound(node, x, weights, rows, bias)


def _rows_bound(
    node: Node, x: Value, weights: Value, rows: NDArray[np.int64], bias: Value | None
) -> AccumulatorBound:
    """Bound the sums of each row of centered weights, shape (channels, terms)."""
    if bias is not None:
        _check_constant(node, bias, "bias")
    for value in (x, weights):
        _check_width(node, value)
    low, high = centered_range(x)
    top = np.maximum(rows * high, rows * low).sum(axis=1)
    bottom = np.minimum(rows * high, rows * low).sum(axis=1)
    if bias is not None and bias.data is not None:
        # Python integers: a bias of 64 bits must not wrap its own bound.
        top = top.astype(object) + np.maximum(bias.data.astype(np.int64), 0)
        bottom = bottom.astype(object) + np.minimum(bias.data.astype(np.int64), 0)
    dtype = weights.dtype
    assert isinstance(dtype, IntType)
    return AccumulatorBound(
        node.name,
        int(bottom.min(initial=0)),
        int(top.max(initial=0)),
        _datatype_bits(rows.shape[1], low, high, dtype.bits),
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
    return AccumulatorBound(node.name, low, high, bits)


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
    return AccumulatorBound(
        node.name, terms * low, terms * high, _datatype_bits(terms, low, high, 2)
    )


_BOUNDS = {
    Op.CONV_2D: _weighted,
    Op.DEPTHWISE_CONV_2D: _weighted,
    Op.TRANSPOSE_CONV: _weighted,
    Op.FULLY_CONNECTED: _weighted,
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
    """
    first = graph.values[node.inputs[0]]
    value = first if first.quant is not None else graph.values[node.outputs[0]]
    rule = profile.rule(node.op, value.dtype.bits)
    bias = graph.value_or_none(node.inputs[2]) if len(node.inputs) > 2 else None
    if rule.narrow_bias is not None and bias is not None and bias.dtype.bits <= 32:
        return rule.narrow_bias
    return rule


def verify(graph: Graph, profile: NumericProfile) -> tuple[AccumulatorBound, ...]:
    """Return the proved bounds of a graph's accumulators.

    Raises:
        GraphError: If one could exceed the profile's accumulator width.
    """
    bounds = accumulator_bounds(graph)
    nodes = {node.name: node for node in graph.nodes}
    for bound in bounds:
        node = nodes[bound.node]
        try:
            rule = rule_of(graph, node, profile)
        except GraphError as error:
            raise GraphError(f"node {node.name!r} ({node.op.value}): {error}") from error
        if rule.overflow is Overflow.ERROR and bound.bits > rule.accumulator_bits:
            raise GraphError(
                f"node {bound.node!r}: the accumulator must fit {rule.accumulator_bits} bits, "
                f"not {bound.bits}; narrow the operands or split the reduction"
            )
    return bounds
