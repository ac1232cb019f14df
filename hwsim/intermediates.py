"""Bounds of what elementwise operators and LayerNorm hold between their inputs and their codes.

These registers are no accumulators of a profile: their widths follow from the method alone. Every
bound is taken in Python integers and fractions.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from hwsim.attributes import NormAttrs
from hwsim.graph import Graph, Node, Value
from hwsim.norm import FRACTION_BITS, epsilon_code
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule
from hwsim.quant import IntType
from hwsim.verify import rule_of, signed_bits

ADD_BITS = 20  # bits of SINGLE_SHIFT's larger multiplier, its first one left out
# A 31-bit multiplier is within one part in 2**30 of its ratio.
_MULTIPLIER_SLACK = 1 + Fraction(1, 1 << 30)


@dataclass(frozen=True, slots=True)
class IntermediateBound:
    """The range of one register inside an operator, inputs unrestricted.

    Args:
        node: The operator's node.
        register: What the register holds.
        low: Smallest value.
        high: Largest value.
    """

    node: str
    register: str
    low: int
    high: int

    @property
    def bits(self) -> int:
        """Signed width that suffices."""
        return signed_bits(self.low, self.high)


Range = tuple[int, int]
Ranges = dict[str, Range]


def _centered(value: Value) -> Range:
    """Return the range of code - zero_point over all channels."""
    assert isinstance(value.dtype, IntType)
    zeros = value.quant.zero_point if value.quant else (0,)
    return value.dtype.min - max(zeros), value.dtype.max - min(zeros)


def _product(graph: Graph, node: Node, rule: OperatorRule) -> Ranges:
    ends = [_centered(graph.values[name]) for name in node.inputs]
    products = [p * q for p in ends[0] for q in ends[1]]
    return {"product": (min(products), max(products))}


def _sum(graph: Graph, node: Node, rule: OperatorRule) -> Ranges:
    parts = [graph.values[name] for name in node.inputs]
    ends = [_centered(value) for value in parts]
    found: Ranges = {}
    if rule.method is Method.SHIFTED:
        shifted = [(low << rule.left_shift, high << rule.left_shift) for low, high in ends]
        found["shifted operand"] = min(low for low, _ in shifted), max(top for _, top in shifted)
        # The common scale is twice the larger one, so each ratio is at most 1/2.
        ratios = [Fraction(1, 2)] * 2
        ends = shifted
    else:
        out = graph.values[node.outputs[0]].quant
        assert out is not None
        ratios = [
            Fraction(max(value.quant.scale)) / Fraction(out.scale[0])
            if value.quant
            else Fraction(1)
            for value in parts
        ]
    register, half = "sum of rescaled operands", 0
    if rule.method is Method.SINGLE_SHIFT:
        register = "sum of products"
        fraction = ADD_BITS + 1 - math.frexp(float(max(ratios)))[1]
        ratios = [math.ceil(ratio * Fraction(2) ** fraction) + Fraction(1) for ratio in ratios]
        half = 1 << (fraction - 1)
    rescaled = [_rescaled(end, ratio) for end, ratio in zip(ends, ratios, strict=True)]
    (low, high), (other_low, other_high) = rescaled
    if node.op is Op.SUB:
        other_low, other_high = -other_high, -other_low
    found[register] = low + other_low, high + other_high + half
    return found


def _rescaled(ends: Range, ratio: Fraction) -> Range:
    """Return what any rounding makes of a range that is multiplied by a quantized ratio."""
    low, high = (end * ratio * _MULTIPLIER_SLACK for end in ends)
    return min(math.floor(low), 0) - 1, max(math.ceil(high), 0) + 1


def _layer_norm(graph: Graph, node: Node, rule: OperatorRule) -> Ranges:
    """Bound LayerNorm's sums.

    With S = n * sum(x**2) - sum(x)**2, the deviations d = n * x - sum(x) of a row have
    sum(d**2) = n * S, and the root of S + epsilon, epsilon >= 1, is at least sqrt(S / 2): hence
    |normalized| <= sqrt(2 * n) * 2**FRACTION_BITS + 1.
    """
    values = [graph.value_or_none(name) for name in node.inputs]
    x, gamma = values[0], values[1]
    beta = values[2] if len(values) > 2 else None
    attrs = node.attrs
    assert x is not None and gamma is not None and isinstance(attrs, NormAttrs)
    assert isinstance(x.dtype, IntType) and isinstance(gamma.dtype, IntType)
    n, low, high = x.shape[-1], x.dtype.min, x.dtype.max
    squares = n * max(low * low, high * high)
    scale = x.quant.scale[0] if x.quant else 1.0
    spread = n * (high - low)
    shifted = 2 * spread << FRACTION_BITS
    normalized = ((math.isqrt(2 * n << 2 * FRACTION_BITS)) + 1) + 1
    factors = [abs(int(g)) for g in gamma.data.ravel()] if gamma.data is not None else []
    largest = normalized * max(factors, default=max(-gamma.dtype.min, gamma.dtype.max))
    shifts = (
        [int(b) for b in beta.data.ravel()] if beta is not None and beta.data is not None else []
    )
    return {
        "sum": (min(n * low, 0), max(n * high, 0)),
        "variance": (-squares * n, squares * n + epsilon_code(attrs.epsilon, scale, n)),
        "shifted deviation": (-shifted, shifted),
        "scaled": (-largest + min(shifts, default=0), largest + max(shifts, default=0)),
    }


_RANGES: Mapping[Op, Callable[[Graph, Node, OperatorRule], Ranges]] = MappingProxyType(
    {Op.MUL: _product, Op.ADD: _sum, Op.SUB: _sum, Op.LAYER_NORM: _layer_norm}
)


def intermediate_bounds(graph: Graph, profile: NumericProfile) -> tuple[IntermediateBound, ...]:
    """Return the bounds of every MUL, ADD, SUB and LAYER_NORM of integers, in execution order.

    Raises:
        GraphError: If the profile has no rule for one.
    """
    bounds = []
    for node in graph.nodes:
        x = graph.values[node.inputs[0]]
        if node.op not in _RANGES or x.is_float or graph.values[node.outputs[0]].is_float:
            continue
        rule = rule_of(graph, node, profile)
        ranges = _RANGES[node.op](graph, node, rule)
        bounds += [IntermediateBound(node.name, name, *ends) for name, ends in ranges.items()]
    return tuple(bounds)
