"""CMSIS-NN, and TFLite Micro's reference kernels where CMSIS-NN has no function of its own."""

from dataclasses import replace

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, Rows, rows
from hwsim.quant import Rounding


def _linear(rule: OperatorRule, width: int) -> Rows:
    """Rows of the accumulating operators; TFLite Micro forms their multipliers.

    Source: kernel_util.cc, fully_connected_common.cc and lstm_eval_common.cc of TFLite Micro.
    """
    float32 = replace(rule, product=ScaleProduct.FLOAT32, narrow_bias=None)
    mixed = replace(rule, product=ScaleProduct.FLOAT32_IF_PER_TENSOR)
    return (
        rows((Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV), rule, width)
        | rows((Op.FULLY_CONNECTED,), mixed, width)
        | rows((Op.MATMUL, Op.LSTM), float32, width)
    )


def _cmsis(requant: Requant) -> Rows:
    """Rows of one build: `arm_nn_requantize` rounds twice, or once with ties up.

    Source: numerics.md, sections 2.2 and 3; Include/arm_nnsupportfunctions.h.
    """
    fixed = OperatorRule(requant)
    # int64 accumulators meet 16 bits of the multiplier, rounded once in either build.
    wide = OperatorRule(
        Requant.HALF_UP,
        multiplier_bits=15,
        right_shifts=(-7, 31),
        accumulator_bits=48,
        narrow_bias=fixed,
    )
    shifted = OperatorRule(requant, Method.SHIFTED)
    codes = OperatorRule(Requant.NONE)
    ratio = OperatorRule(requant, product=ScaleProduct.FLOAT32_RATIO)
    return (
        _linear(fixed, 8)
        | _linear(wide, 16)
        | rows((Op.SVDF,), ratio)
        | rows((Op.ADD, Op.SUB), shifted)
        | rows((Op.ADD, Op.SUB), replace(shifted, left_shift=15), 16)
        | rows((Op.MUL, Op.QUANTIZE, Op.CONCATENATION), fixed, 8, 16)
        | rows((*CLAMPS, Op.LEAKY_RELU), ratio, 8, 16)
        | rows((Op.SQUARED_DIFFERENCE,), replace(shifted, left_shift=7))
        | rows((Op.RSQRT,), replace(fixed, method=Method.NEWTON), 8, 16)
        | rows((Op.AVERAGE_POOL_2D,), replace(codes, method=Method.CODES), 8, 16)
        | rows((Op.MAX_POOL_2D,), codes, 8, 16)
        | rows((Op.MEAN,), replace(fixed, method=Method.FOLDED), 8, 16)
        | rows((Op.SOFTMAX,), replace(codes, method=Method.GEMMLOWP))
        | rows((Op.SOFTMAX,), replace(fixed, method=Method.LUT_513_FLOAT32), 16)
        | rows((Op.LOGISTIC, Op.TANH), replace(codes, method=Method.UINT16_TABLE), 16)
        | rows((Op.LOGISTIC, Op.TANH, Op.GELU), replace(codes, method=Method.TABLE))
        | rows((Op.HARD_SWISH,), replace(codes, method=Method.FIXED_16))
    )


CMSIS_NN = NumericProfile(
    name="cmsis_nn",
    reproduces="CMSIS-NN 99f736a6, default build",
    rules=_cmsis(Requant.DOUBLE_ROUNDING),
    input_rounding=Rounding.HALF_AWAY,
)
CMSIS_SINGLE = NumericProfile(
    name="cmsis_single",
    reproduces="CMSIS-NN 99f736a6 built with CMSIS_NN_USE_SINGLE_ROUNDING (formula, no vectors)",
    rules=_cmsis(Requant.HALF_UP),
    input_rounding=Rounding.HALF_AWAY,
)
