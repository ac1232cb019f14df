"""Dyadic arithmetic of the integer-only papers: one exact product, ties to even."""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, LINEAR, Rows, rows
from hwsim.quant import Rounding


def dyadic_rows() -> Rows:
    """Return the rows of HAWQ-V3's dyadic arithmetic, with tables for what it leaves in float."""
    even = OperatorRule(Requant.HALF_EVEN)
    product = OperatorRule(Requant.HALF_EVEN, product=ScaleProduct.FLOAT32)
    ratio = OperatorRule(Requant.HALF_EVEN, product=ScaleProduct.FLOAT32_RATIO)
    return (
        rows(LINEAR, product, 8, 16)
        | rows((Op.ADD, Op.SUB), OperatorRule(Requant.HALF_EVEN, Method.APART), 8, 16)
        | rows((Op.MUL, Op.LEAKY_RELU, *CLAMPS), ratio, 8, 16)
        | rows((Op.QUANTIZE, Op.CONCATENATION, Op.AVERAGE_POOL_2D, Op.MEAN), even, 8, 16)
        | rows((Op.MAX_POOL_2D,), OperatorRule(Requant.NONE), 8, 16)
        | rows(
            (Op.LAYER_NORM, Op.RMS_NORM),
            OperatorRule(Requant.HALF_EVEN, Method.INTEGER_SQRT),
            8,
            16,
        )
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.GEMMLOWP), 8, 16)
        | rows(
            (Op.LOGISTIC, Op.TANH, Op.GELU, Op.SILU, Op.HARD_SWISH),
            OperatorRule(Requant.NONE, Method.TABLE),
        )
    )


HAWQ = NumericProfile(
    name="hawq",
    reproduces=(
        "HAWQ-V3 fixedpoint arithmetic (arXiv 2011.10680) wherever its float64 product is exact, "
        "that is for accumulators below 2**22"
    ),
    rules=dyadic_rows(),
    input_rounding=Rounding.HALF_EVEN,
)
