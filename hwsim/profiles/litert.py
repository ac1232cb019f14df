"""LiteRT's reference kernels."""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, Rows, rows
from hwsim.quant import Rounding


def _tflite_ref() -> Rows:
    """Rows of LiteRT's reference kernels. Source: numerics.md, section 3."""
    double = OperatorRule(Requant.DOUBLE_ROUNDING)
    float32 = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32)
    float32_ratio = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32_RATIO)
    mixed = OperatorRule(Requant.DOUBLE_ROUNDING, product=ScaleProduct.FLOAT32_IF_UNSIGNED)
    return (
        rows((Op.CONV_2D, Op.DEPTHWISE_CONV_2D), mixed)
        | rows((Op.MATMUL,), float32)
        | rows((Op.FULLY_CONNECTED,), OperatorRule(Requant.REAL_HALF_AWAY))
        | rows((Op.ADD, Op.SUB), OperatorRule(Requant.DOUBLE_ROUNDING, Method.SHIFTED))
        | rows((Op.MUL, *CLAMPS, Op.LEAKY_RELU), float32_ratio)
        | rows((Op.QUANTIZE, Op.CONCATENATION), double)
        | rows((Op.AVERAGE_POOL_2D,), OperatorRule(Requant.NONE, Method.CODES))
        | rows((Op.MAX_POOL_2D,), OperatorRule(Requant.NONE))
        | rows((Op.MEAN,), OperatorRule(Requant.DOUBLE_ROUNDING, Method.FOLDED))
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.GEMMLOWP))
        | rows((Op.LOGISTIC, Op.TANH, Op.GELU), OperatorRule(Requant.NONE, Method.TABLE))
        | rows((Op.HARD_SWISH,), OperatorRule(Requant.NONE, Method.FIXED_16))
    )


TFLITE_REF = NumericProfile(
    name="tflite_ref",
    reproduces="LiteRT 2.3.0, BUILTIN_REF kernels",
    rules=_tflite_ref(),
    input_rounding=Rounding.HALF_AWAY,
)
