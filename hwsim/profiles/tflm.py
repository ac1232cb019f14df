"""TFLite Micro's reference kernels, int8."""

from collections.abc import Callable
from dataclasses import replace

from hwsim.graph import Graph, Node
from hwsim.ops import Op
from hwsim.profile import (
    Condition,
    Method,
    NumericProfile,
    OperatorRule,
    Requant,
)
from hwsim.profiles.litert import TFLITE_REF
from hwsim.profiles.rows import Rows, chosen, rows
from hwsim.quant import INT8, Rounding

_AS_REFERENCE = (
    Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.ADD, Op.SUB, Op.QUANTIZE, Op.CONCATENATION,
    Op.AVERAGE_POOL_2D, Op.MAX_POOL_2D, Op.MEAN, Op.SOFTMAX, Op.HARD_SWISH,
)  # fmt: skip
# TFLite Micro quantizes uint8 and int8 codes into each other and moves them, but computes on int8.
_ANY_CODES = (Op.QUANTIZE,)

# int64 accumulators meet 16 bits of the multiplier and are rounded once.
WIDE = OperatorRule(Requant.HALF_UP, multiplier_bits=15, right_shifts=(-7, 31), accumulator_bits=48)


def _signed(graph: Graph, node: Node) -> bool:
    return graph.values[node.inputs[0]].dtype == INT8


def _unscaled(graph: Graph, node: Node) -> bool:
    x, out = graph.values[node.inputs[0]], graph.values[node.outputs[0]]
    return _signed(graph, node) and x.quant == out.quant


def _limited(rule: OperatorRule, says: str, holds: Callable[[Graph, Node], bool]) -> OperatorRule:
    return replace(rule, condition=Condition(says, holds))


def _rows() -> Rows:
    """Rows of LiteRT's reference, and those in which TFLite Micro parts from it."""
    double = OperatorRule(Requant.DOUBLE_ROUNDING)
    reference = chosen(TFLITE_REF.rules, _AS_REFERENCE, 8)
    own = rows((Op.FULLY_CONNECTED, Op.MATMUL, Op.MUL, Op.RELU, Op.RELU6, Op.LEAKY_RELU), double)
    own |= rows((Op.LOGISTIC, Op.TANH), OperatorRule(Requant.NONE, Method.GEMMLOWP))
    made: Rows = {
        (op, width): rule if op in _ANY_CODES else _limited(rule, "input must be int8", _signed)
        for (op, width), rule in (reference | own).items()
    }
    # RELU6 clamps codes and never rescales them.
    clamped = "input must be int8 with the parameters of the output"
    made[Op.RELU6, 8] = _limited(double, clamped, _unscaled)
    return made | _recurrent()


def _recurrent() -> Rows:
    """Rows of LSTM and SVDF; the products of an LSTM's gates are int16 MULs."""
    double = OperatorRule(Requant.DOUBLE_ROUNDING)
    return (
        rows((Op.LSTM, Op.SVDF), double) | rows((Op.LSTM,), WIDE, 16) | rows((Op.MUL,), double, 16)
    )


TFLM = NumericProfile(
    name="tflm",
    reproduces="TFLite Micro (tflite-micro 0.dev20261023182759), reference kernels",
    rules=_rows(),
    input_rounding=Rounding.HALF_AWAY,
)
