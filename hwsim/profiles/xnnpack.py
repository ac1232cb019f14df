"""LiteRT as it runs by default on a CPU: XNNPACK, and the builtin kernels for what that leaves.

XNNPACK takes a node or leaves it by the node's own shapes, types and scales; each rule here has
that condition, and what is left follows `otherwise`. Builtin convolutions and products by constant
weights change their rounding with the shape, builtin ADD, SUB, MUL and QUANTIZE with an element's
place in a vector, so nodes that XNNPACK leaves to those are refused.
Two things that XNNPACK looks at are not in a graph, and are taken to be as the specification and
converters have them: zero points of per-channel weights are 0, and the `quantized_dimension` of
per-tensor uint8 weights is 0. XNNPACK leaves a DEPTHWISE_CONV_2D of other weights.
Sources: tensorflow/lite/delegates/xnnpack/xnnpack_delegate.cc and measurement.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from hwsim.attributes import LeakyReluAttrs, PoolAttrs
from hwsim.graph import Graph, Node, Value
from hwsim.multiplier import float32_product, float32_quotient, quantize_multiplier
from hwsim.ops import Op
from hwsim.profile import (
    Bounds,
    Condition,
    Method,
    NumericProfile,
    OperatorRule,
    Requant,
    ScaleProduct,
)
from hwsim.profiles.litert import TFLITE_REF
from hwsim.profiles.rows import Rows, chosen, rows
from hwsim.quant import IntType, Rounding

# Operators whose builtin kernels were measured to equal the reference kernels.
_BUILTIN = (
    Op.MATMUL, Op.LEAKY_RELU, Op.QUANTIZE, Op.CONCATENATION, Op.AVERAGE_POOL_2D,
    Op.MAX_POOL_2D, Op.GELU, Op.HARD_SWISH, Op.RELU, Op.RELU6, Op.RELU_N1_TO_1,
)  # fmt: skip
_MAX_AXES = 6
_LEAST_NORMAL = 2.0**-126  # of float32


def _scales(value: Value) -> Sequence[float]:
    """Return a value's scales, none where it has none; lowerings refuse it then."""
    return value.quant.scale if value.quant is not None else ()


def _zero_points(value: Value) -> Sequence[int]:
    return value.quant.zero_point if value.quant is not None else ()


def _operands(graph: Graph, node: Node) -> tuple[Value, Value, Value]:
    return graph.values[node.inputs[0]], graph.values[node.inputs[1]], graph.values[node.outputs[0]]


def _ratios(x: Value, out: Value) -> list[float]:
    """Return s_x / s_out in float32."""
    return [float32_quotient(a, b) for a in _scales(x) for b in _scales(out)]


def _product_ratios(a: Value, b: Value, out: Value) -> list[float]:
    """Return s_a * s_b / s_out in float32."""
    return [
        float32_quotient(float32_product(p, q), r)
        for p in _scales(a)
        for q in _scales(b)
        for r in _scales(out)
    ]


def _signed(value: Value) -> bool:
    return isinstance(value.dtype, IntType) and value.dtype.signed


def _weighted(graph: Graph, node: Node) -> bool:
    x, weights, out = _operands(graph, node)
    offset = _signed(weights) and any(_zero_points(weights))
    return not offset and all(ratio < 256 for ratio in _product_ratios(x, weights, out))


def _biased(graph: Graph, node: Node) -> bool:
    return len(node.inputs) > 2 and bool(node.inputs[2]) and _weighted(graph, node)


def _matmul(graph: Graph, node: Node) -> bool:
    a, b, _ = _operands(graph, node)
    return _signed(a) and _signed(b) and not any(_zero_points(b))


def _matmul_signed(graph: Graph, node: Node) -> bool:
    a, b, _ = _operands(graph, node)
    return _signed(a) and _signed(b)


def _add(graph: Graph, node: Node) -> bool:
    a, b, out = _operands(graph, node)
    axes = max(len(value.shape) for value in (a, b, out))
    ratios = _ratios(a, out) + _ratios(b, out)
    return axes <= _MAX_AXES and all(2**-10 <= ratio < 256 for ratio in ratios)


def _mul(graph: Graph, node: Node) -> bool:
    a, b, out = _operands(graph, node)
    axes = max(len(value.shape) for value in (a, b, out))
    return axes <= _MAX_AXES and all(2**-16 <= ratio < 256 for ratio in _product_ratios(a, b, out))


def _max_pool(graph: Graph, node: Node) -> bool:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    return all(stride <= size for stride, size in zip(attrs.stride, attrs.kernel, strict=True))


def _quantize(graph: Graph, node: Node) -> bool:
    x, out = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
    if x.is_float:
        return out.dtype.bits <= 8
    return x.dtype == out.dtype and all(2**-8 <= ratio <= 128 for ratio in _ratios(x, out))


def _quantize_builtin(graph: Graph, node: Node) -> bool:
    """Tell whether nothing shifts right: the builtin kernel rounds that by place."""
    x, out = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
    if x.is_float or out.dtype.bits > 8:
        return False
    ratios = [a / b for a in _scales(x) for b in _scales(out)]
    return all(quantize_multiplier(ratio).right_shift <= 0 for ratio in ratios)


def _leaky_relu(graph: Graph, node: Node) -> bool:
    x, out = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
    attrs = node.attrs
    assert isinstance(attrs, LeakyReluAttrs)
    if not (math.isfinite(attrs.alpha) and abs(attrs.alpha) >= _LEAST_NORMAL):
        return False
    for above in _ratios(x, out):
        below = float32_product(above, attrs.alpha)
        if not 2**-8 <= above <= 128 or not 2**-8 <= abs(below) or not -128 + 2**-8 <= below <= 128:
            return False
    return True


def _rows() -> Rows:
    """Rows of XNNPACK over those of the builtin kernels, which here equal the reference."""
    float32 = OperatorRule(
        Requant.FLOAT32_HALF_EVEN,
        product=ScaleProduct.FLOAT32_RATIO,
        bounds=Bounds.SHIFTED_EVEN,
    )
    weighted = Condition(
        "s_x * s_w / s_out must be below 256 and int8 weights have zero point 0", _weighted
    )
    biased = Condition(f"a bias must be present, {weighted}", _biased)
    mean = OperatorRule(Requant.FLOAT32_SHIFTED, product=ScaleProduct.FLOAT32_RATIO)
    eighths = OperatorRule(
        Requant.HALF_UP, Method.FIXED_8, product=ScaleProduct.FLOAT32_RATIO, multiplier_bits=8
    )
    builtin = chosen(TFLITE_REF.rules, _BUILTIN, 8)
    signed = replace(
        builtin[Op.MATMUL, 8], condition=Condition("operands must be int8", _matmul_signed)
    )
    requantized = replace(
        builtin[Op.QUANTIZE, 8],
        condition=Condition(
            "s_in / s_out must be at least 1/2, or at least 2**-8 for one type", _quantize_builtin
        ),
    )
    sums = OperatorRule(Requant.HALF_UP, Method.SINGLE_SHIFT, bounds=Bounds.SHIFTED_EVEN)
    return (
        builtin
        | rows((Op.CONV_2D, Op.DEPTHWISE_CONV_2D), replace(float32, condition=biased))
        | rows((Op.FULLY_CONNECTED,), replace(float32, condition=weighted))
        | rows(
            (Op.MATMUL,),
            replace(
                float32,
                condition=Condition("operands must be int8, the second's zero point 0", _matmul),
                otherwise=signed,
            ),
        )
        | {
            (op, 8): replace(
                sums,
                condition=Condition("s_in / s_out must be in [2**-10, 256)", _add),
            )
            for op in (Op.ADD, Op.SUB)
        }
        | rows(
            (Op.MUL,),
            replace(
                float32,
                condition=Condition("s_a * s_b / s_out must be in [2**-16, 256)", _mul),
            ),
        )
        | rows((Op.MEAN,), mean)
        | rows((Op.LOGISTIC, Op.TANH), OperatorRule(Requant.NONE, Method.FLOAT32))
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.FLOAT_TABLE))
        | rows(
            (Op.MAX_POOL_2D,),
            OperatorRule(
                Requant.NONE,
                bounds=Bounds.SHIFTED_EVEN,
                condition=Condition("strides must be at most the window", _max_pool),
                otherwise=builtin[Op.MAX_POOL_2D, 8],
            ),
        )
        | rows(
            (Op.QUANTIZE,),
            replace(
                eighths,
                condition=Condition(
                    "the type must not change and s_in / s_out be in [2**-8, 128]", _quantize
                ),
                otherwise=requantized,
            ),
        )
        | rows(
            (Op.LEAKY_RELU,),
            replace(
                eighths,
                condition=Condition(
                    "s_in / s_out must be in [2**-8, 128], times alpha in the same or its mirror",
                    _leaky_relu,
                ),
                otherwise=builtin[Op.LEAKY_RELU, 8],
            ),
        )
    )


XNNPACK = NumericProfile(
    name="xnnpack",
    reproduces="LiteRT 2.3.0 as it runs by default: XNNPACK, and builtin kernels for the rest",
    rules=_rows(),
    input_rounding=Rounding.HALF_EVEN,
)
