"""LiteRT's reference kernels."""

from dataclasses import replace

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, Rows, rows
from hwsim.quant import Rounding

_CONVOLUTIONS = (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV)


def _tflite_ref() -> Rows:
    """Rows of LiteRT's reference kernels. Source: numerics.md, section 3."""
    double = OperatorRule(Requant.DOUBLE_ROUNDING)
    float32 = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32)
    float32_ratio = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32_RATIO)
    mixed = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32_IF_UNSIGNED)
    wide = OperatorRule(
        Requant.HALF_UP,
        multiplier_bits=15,
        right_shifts=(-7, 31),
        accumulator_bits=48,
        narrow_bias=double,
    )
    exact = OperatorRule(Requant.REAL_HALF_AWAY)
    shifted = OperatorRule(Requant.DOUBLE_ROUNDING, Method.SHIFTED)
    shifted_16 = replace(shifted, method=Method.SHIFTED_OR_POWERS, left_shift=15)
    codes = OperatorRule(Requant.NONE, Method.CODES)
    folded = OperatorRule(Requant.DOUBLE_ROUNDING, Method.FOLDED)
    softmax_16 = OperatorRule(Requant.DOUBLE_ROUNDING, Method.LUT_513_FLOAT64)
    return (
        rows(_CONVOLUTIONS, mixed)
        | rows((Op.MATMUL,), float32)
        | rows((Op.FULLY_CONNECTED,), exact)
        | rows((Op.ADD, Op.SUB), shifted)
        | rows((Op.MUL, *CLAMPS, Op.LEAKY_RELU), float32_ratio, 8, 16)
        | rows((Op.QUANTIZE, Op.CONCATENATION), double, 8, 16)
        | rows((Op.AVERAGE_POOL_2D,), codes, 8, 16)
        | rows((Op.MAX_POOL_2D,), OperatorRule(Requant.NONE), 8, 16)
        | rows((Op.MEAN,), folded, 8, 16)
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.GEMMLOWP))
        | rows((Op.LOGISTIC, Op.TANH, Op.GELU, Op.EXP), OperatorRule(Requant.NONE, Method.TABLE))
        | rows((Op.HARD_SWISH,), OperatorRule(Requant.NONE, Method.FIXED_16))
        | rows(_CONVOLUTIONS, wide, 16)
        | rows((Op.MATMUL,), replace(wide, product=ScaleProduct.FLOAT32), 16)
        | rows((Op.FULLY_CONNECTED,), replace(exact, accumulator_bits=48), 16)
        | rows((Op.ADD, Op.SUB), shifted_16, 16)
        | rows((Op.SQUARED_DIFFERENCE,), replace(shifted, left_shift=7))
        | rows((Op.RSQRT,), OperatorRule(Requant.DOUBLE_ROUNDING, Method.NEWTON))
        | rows((Op.GELU, Op.EXP, Op.RSQRT), OperatorRule(Requant.NONE, Method.LUT_513_FLOAT32), 16)
        | rows((Op.SOFTMAX,), softmax_16, 16)
        | rows((Op.LOGISTIC, Op.TANH), OperatorRule(Requant.NONE, Method.UINT16_TABLE), 16)
    )


TFLITE_REF = NumericProfile(
    name="tflite_ref",
    reproduces="LiteRT 2.3.0, BUILTIN_REF kernels",
    rules=_tflite_ref(),
    input_rounding=Rounding.HALF_AWAY,
)
