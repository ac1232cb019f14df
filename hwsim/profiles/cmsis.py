"""CMSIS-NN inside TFLite Micro, whose own kernels run what CMSIS-NN has no function for."""

from collections.abc import Mapping
from dataclasses import replace

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles.rows import CLAMPS, LINEAR, Rows, rows
from hwsim.profiles.tflm import TFLM, WIDE
from hwsim.quant import Rounding


def _default_build() -> Rows:
    """Rows of TFLite Micro, and those of the 16-bit functions and of CMSIS-NN alone.

    Source: numerics.md, sections 2.2 and 3; Include/arm_nnsupportfunctions.h.
    """
    double = OperatorRule(Requant.DOUBLE_ROUNDING)
    codes = OperatorRule(Requant.NONE)
    # A bias of 32 bits comes with an accumulator of 32 bits.
    wide = replace(WIDE, narrow_bias=double)
    return (
        dict(TFLM.rules)
        | rows((Op.TRANSPOSE_CONV, Op.RELU_N1_TO_1, Op.CLIP), double)
        | rows((*LINEAR, Op.TRANSPOSE_CONV), wide, 16)
        | rows((Op.ADD, Op.SUB), replace(double, method=Method.SHIFTED, left_shift=15), 16)
        | rows((Op.MUL, Op.QUANTIZE, Op.CONCATENATION, *CLAMPS), double, 16)
        | rows((Op.AVERAGE_POOL_2D,), replace(codes, method=Method.CODES), 16)
        | rows((Op.MAX_POOL_2D,), codes, 16)
        | rows((Op.MEAN,), replace(double, method=Method.FOLDED), 16)
        | rows((Op.SOFTMAX,), replace(double, method=Method.LUT_513_FLOAT32), 16)
        | rows((Op.LOGISTIC, Op.TANH), replace(codes, method=Method.UINT16_TABLE), 16)
    )


def _single_rounding(rules: Mapping[tuple[Op, int], OperatorRule]) -> Rows:
    """Return rules that round once, ties up, wherever they rounded twice."""
    return {key: _once(rule) for key, rule in rules.items()}


def _once(rule: OperatorRule) -> OperatorRule:
    narrow = None if rule.narrow_bias is None else _once(rule.narrow_bias)
    twice = rule.requant is Requant.DOUBLE_ROUNDING
    return replace(rule, requant=Requant.HALF_UP if twice else rule.requant, narrow_bias=narrow)


CMSIS_NN = NumericProfile(
    name="cmsis_nn",
    reproduces="CMSIS-NN 99f736a6, default build",
    rules=_default_build(),
    input_rounding=Rounding.HALF_AWAY,
)
CMSIS_SINGLE = NumericProfile(
    name="cmsis_single",
    reproduces="CMSIS-NN 99f736a6 built with CMSIS_NN_USE_SINGLE_ROUNDING (formula, no vectors)",
    rules=_single_rounding(CMSIS_NN.rules),
    input_rounding=Rounding.HALF_AWAY,
)
