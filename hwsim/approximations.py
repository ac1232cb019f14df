"""What each non-linearity of a graph really needs in bits, and how far it is from the function.

Errors are measured, not bounded: over every code (or code difference, or code and row maximum) of
an operand of at most 16 bits, over 4,097 equal steps of a wider one. Where a paper's integer-only
form leaves 32 bits, has not converged or is wrong at the graph's scales, a warning says so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import GeluAttrs, SoftmaxAttrs
from hwsim.exponentials import shift_exponential, softmax_exponential
from hwsim.gelu import SIGMOID_SLOPE, Parabola
from hwsim.graph import Graph, Node, Value
from hwsim.norm import overflow_shift
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule
from hwsim.quant import IntType
from hwsim.verify import largest_code

REGISTER_BITS = 32
# An 8-bit sigmoid or probability has steps of 1/128: beyond ten of them the form is not that
# function any more.
_WRONG = 0.08
_INT32_MAX = (1 << 31) - 1
_STEPS = 4096
_GELU_REACH = 8.0  # beyond it GELU is x or 0
_TEN_STEPS = 10
TEN_STEP_LIMIT = 34_596


@dataclass(frozen=True, slots=True)
class Approximation:
    """A non-linearity of a graph under a profile.

    Args:
        node: Its name.
        operator: Its operator.
        method: How the profile computes it.
        scale: Real value of one input code, the coarsest where channels differ.
        bits: Width of the widest integer that it needs, with a sign where one can be negative.
        what: What the errors are of.
        samples: Arguments measured.
        max_error: Largest absolute error.
        mean_error: Mean absolute error.
        warnings: What the method cannot do at these scales.
    """

    node: str
    operator: str
    method: str
    scale: float
    bits: int
    what: str
    samples: int
    max_error: float
    mean_error: float
    warnings: tuple[str, ...] = ()


def approximations(graph: Graph, profile: NumericProfile) -> tuple[Approximation, ...]:
    """Return every non-linearity of an integer graph, in graph order.

    Operators that the profile computes exactly, in another library's fixed point, or by a table
    of its own are left out.

    Raises:
        GraphError: If the profile has no row for one, or an integer leaves 64 bits.
    """
    found = []
    for node in graph.nodes:
        x = graph.values[node.inputs[0]] if node.inputs and node.inputs[0] else None
        if node.op not in _MEASURES or x is None or x.quant is None:
            continue
        rule = profile.rule(node.op, x.dtype.bits)
        measure = _MEASURES[node.op].get(rule.method)
        if measure is not None and rule.table is None:
            found.append(measure(graph, node, rule))
    return tuple(found)


def notes(graph: Graph, profile: NumericProfile) -> tuple[str, ...]:
    """Return one sentence for each warning of a graph's approximations."""
    return tuple(
        f"node {found.node!r} ({found.operator}, {found.method}): {warning}"
        for found in approximations(graph, profile)
        for warning in found.warnings
    )


def _made(
    node: Node,
    rule: OperatorRule,
    scale: float,
    bits: int,
    what: str,
    errors: NDArray[np.float64],
    warnings: list[str],
) -> Approximation:
    if bits > REGISTER_BITS:
        warnings = [f"its integers need {bits} bits, not {REGISTER_BITS}", *warnings]
    return Approximation(
        node.name, node.op.value, rule.method.value, scale, bits, what, errors.size,
        float(errors.max()), float(errors.mean()), tuple(warnings),
    )  # fmt: skip


def _type(value: Value) -> IntType:
    assert isinstance(value.dtype, IntType)
    return value.dtype


def _scale(value: Value) -> float:
    assert value.quant is not None
    return max(value.quant.scale)


def _softmax(graph: Graph, node: Node, rule: OperatorRule) -> Approximation:
    x, attrs = graph.values[node.inputs[0]], node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    scale, dtype = attrs.beta * _scale(x), _type(x)
    made = softmax_exponential(rule, scale, dtype.max - dtype.min)
    errors, warnings = made.errors, []
    if not made.keeps_order:
        warnings.append("a larger logit can get a smaller exponential")
    if errors.max() > _WRONG:
        warnings.append(
            f"its exponential is off by up to {errors.max():.2g} of 1 at scale {scale:.3g}"
        )
    if rule.method is Method.IVIT and int(made.codes[-1]) * x.shape[-1] > _INT32_MAX:
        warnings.append("its sum can saturate at 2**31 - 1; probabilities then exceed 1")
    return _made(node, rule, scale, made.bits, "exp of a code difference", errors, warnings)


def _gelu_real(node: Node) -> Callable[[float], float]:
    if isinstance(node.attrs, GeluAttrs) and node.attrs.tanh:
        slope = math.sqrt(2.0 / math.pi)
        return lambda x: 0.5 * x * (1.0 + math.tanh(slope * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def _gelu_by_polynomial(graph: Graph, node: Node, rule: OperatorRule) -> Approximation:
    x = graph.values[node.inputs[0]]
    assert x.quant is not None
    largest, scale = largest_code(graph, x), _scale(x)
    bits = max(Parabola.at(one).bits(largest) for one in x.quant.scale)
    parabola = Parabola.at(scale)
    reach = min(largest, math.ceil(_GELU_REACH / scale))
    if x.dtype.bits <= 16:
        arguments = list(range(-reach, reach + 1))
    else:
        arguments = sorted(
            {reach * k // (_STEPS // 2) for k in range(-_STEPS // 2, _STEPS // 2 + 1)}
        )
    real = _gelu_real(node)
    errors = np.array(
        [abs(parabola.apply(code) * parabola.unit - real(code * scale)) for code in arguments]
    )
    warnings = []
    if errors.max() > _WRONG:
        warnings.append(
            f"i-GELU is wrong by up to {errors.max():.2g} at input scale {scale:.3g}, which its "
            "14-bit shift is too coarse for; let it read a 32-bit sum"
        )
    return _made(node, rule, scale, bits, "GELU before its requantization", errors, warnings)


def _gelu_by_shifts(graph: Graph, node: Node, rule: OperatorRule) -> Approximation:
    x = graph.values[node.inputs[0]]
    dtype, scale = _type(x), _scale(x)
    assert x.quant is not None
    low, high = dtype.min - x.quant.zero_point[0], dtype.max - x.quant.zero_point[0]
    first = min(low - high, -high)
    made = shift_exponential(scale * SIGMOID_SLOPE, first, max(0, -low), rule.fraction_bits)
    real = _gelu_real(node)
    codes = np.arange(low, high + 1)
    reals = np.array([real(code * scale) for code in codes.tolist()])
    parts, saturated = [], False
    for largest in codes.tolist():
        row = codes[codes <= largest]
        exponentials = made.codes[row - largest - first].astype(object)
        sums = exponentials + int(made.codes[-largest - first])
        saturated |= bool(max(sums) > _INT32_MAX)
        factors = _INT32_MAX // np.minimum(sums, _INT32_MAX)
        sigmoid = (exponentials * factors) // (1 << 24)
        parts.append(np.abs((row * sigmoid).astype(np.float64) * scale / 128 - reals[: row.size]))
    errors, warnings = np.concatenate(parts), []
    if errors.max() > _WRONG:
        warnings.append(
            f"ShiftGELU is off by up to {errors.max():.2g} at input scale {scale:.3g}, by the "
            "row's largest code"
        )
    if saturated:
        warnings.append("its sum saturates at 2**31 - 1 in rows whose largest code is low")
    return _made(
        node, rule, scale, made.bits, "GELU of a code and its row's maximum", errors, warnings
    )


_FUNCTIONS: Mapping[Op, Callable[[float], float]] = MappingProxyType(
    {
        Op.SILU: lambda x: x / (1.0 + math.exp(min(-x, 700.0))),
        Op.LOGISTIC: lambda x: 1.0 / (1.0 + math.exp(min(-x, 700.0))),
        Op.TANH: math.tanh,
    }
)


def _table(graph: Graph, node: Node, rule: OperatorRule) -> Approximation:
    x, out = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
    dtype, target = _type(x), _type(out)
    assert x.quant is not None and out.quant is not None
    real = _gelu_real(node) if node.op is Op.GELU else _FUNCTIONS[node.op]
    zero, out_scale, out_zero = x.quant.zero_point[0], out.quant.scale[0], out.quant.zero_point[0]
    exact = [real((code - zero) * _scale(x)) for code in range(dtype.min, dtype.max + 1)]
    codes = np.clip(np.rint(np.array(exact) / out_scale) + out_zero, target.min, target.max)
    errors = np.abs((codes - out_zero) * out_scale - np.array(exact))
    return _made(node, rule, _scale(x), target.bits, "the rounded function", errors, [])


def ten_step_sqrt(value: int) -> int:
    """Return the square root that ten Newton steps from 2**16 leave; at least 64."""
    root = 1 << 16
    for _ in range(_TEN_STEPS):
        root = (root + value // root) >> 1
    return root


def _roots(largest: int) -> list[int]:
    """Return radicands that stand for [1, largest]: all small ones, and those around squares."""
    some = {largest}
    some |= set(range(1, min(largest, 1024) + 1))
    for power in range(10, largest.bit_length()):
        for share in (4, 5, 6, 7):
            root = math.isqrt(share << power >> 2)
            some |= {root * root - 1, root * root, root * root + 1}
    return sorted(value for value in some if 0 < value <= largest)


def _norm(graph: Graph, node: Node, rule: OperatorRule) -> Approximation:
    x = graph.values[node.inputs[0]]
    dtype, channels = _type(x), x.shape[-1]
    span = dtype.max - dtype.min
    warnings = []
    if rule.method is Method.INTEGER_SQRT:
        largest = channels * channels * max(-dtype.min, dtype.max) ** 2
        root: Callable[[int], int] = math.isqrt
    elif rule.method is Method.IBERT:
        shift = overflow_shift(channels, span)
        largest, root = channels * (-(-span >> shift)) ** 2, math.isqrt
        if shift:
            warnings.append(
                f"deviations lose {shift} bits so that their squares' sum fits 32; rows that "
                f"deviate by less than {1 << shift} codes are not normalized"
            )
    else:
        largest, root = channels * span * span, ten_step_sqrt
        low = math.sqrt((TEN_STEP_LIMIT - 1) / channels)
        warnings.append(
            f"its ten-step square root has not converged below {TEN_STEP_LIMIT:,}: rows that "
            f"deviate by less than {low:.3g} codes (root mean square) come out too small"
        )
    samples = _roots(largest)
    errors = np.array([abs(root(value) / math.sqrt(value) - 1) for value in samples])
    bits = largest.bit_length()
    beta = graph.value_or_none(node.inputs[2]) if len(node.inputs) > 2 else None
    if rule.method is not Method.INTEGER_SQRT:
        bits = max(bits, REGISTER_BITS)  # y * floor(2**31 / s)
        if beta is not None and beta.data is not None:
            widest = int(np.abs(beta.data.astype(object)).max()) + (1 << 30)
            bits = max(bits, widest.bit_length() + 1)
    return _made(node, rule, _scale(x), bits, "the root, relative", errors, warnings)


_Measure = Callable[[Graph, Node, OperatorRule], Approximation]
_TABLES: Mapping[Method, _Measure] = {Method.TABLE: _table}
_MEASURES: Mapping[Op, Mapping[Method, _Measure]] = MappingProxyType(
    {
        Op.SOFTMAX: {
            method: _softmax
            for method in (Method.IBERT, Method.IVIT, Method.PIECEWISE, Method.EXP_TABLE)
        },
        Op.GELU: {
            Method.TABLE: _table,
            Method.IBERT: _gelu_by_polynomial,
            Method.IVIT: _gelu_by_shifts,
        },
        Op.SILU: _TABLES,
        Op.LOGISTIC: _TABLES,
        Op.TANH: _TABLES,
        Op.LAYER_NORM: {
            method: _norm for method in (Method.INTEGER_SQRT, Method.IBERT, Method.IVIT)
        },
        Op.RMS_NORM: {Method.INTEGER_SQRT: _norm},
    }
)
