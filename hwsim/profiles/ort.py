"""ONNX Runtime's kernels on codes: float32 scale ratios, ties to even."""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, LINEAR, Rows, rows
from hwsim.quant import Rounding


def _ort() -> Rows:
    """Rows of ONNX Runtime's QLinear operators. Source: numerics.md, section 3.8."""
    ratio = OperatorRule(Requant.FLOAT32_HALF_EVEN, product=ScaleProduct.FLOAT32_RATIO)
    reals = OperatorRule(Requant.FLOAT32_HALF_EVEN, Method.DEQUANTIZED)
    ratio32 = OperatorRule(Requant.FLOAT32_HALF_EVEN, Method.RATIO32)
    tables = (Op.LEAKY_RELU, Op.LOGISTIC, Op.TANH, Op.GELU, Op.HARD_SWISH, *CLAMPS)
    return (
        rows(LINEAR, ratio)
        | rows((Op.ADD, Op.MUL), ratio32)
        | rows((Op.SUB, Op.QUANTIZE, Op.CONCATENATION, Op.AVERAGE_POOL_2D, Op.MEAN), reals)
        | rows(tables, reals)
        | rows((Op.ADD, Op.MUL, Op.SUB, Op.QUANTIZE, Op.LOGISTIC, Op.TANH), reals, 16)
        | rows((Op.HARD_SWISH, Op.LEAKY_RELU, *CLAMPS), reals, 16)
        | rows((Op.MAX_POOL_2D,), OperatorRule(Requant.NONE))
        | rows((Op.CLIP,), ratio, 8, 16)
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.LIFTED_EXP))
    )


ORT = NumericProfile(
    name="ort",
    reproduces=(
        "ONNX Runtime 1.31.1, QLinear operators on x86-64 with AVX2 and VNNI; QDQ graphs as it "
        "fuses them at ORT_ENABLE_ALL"
    ),
    rules=_ort(),
    input_rounding=Rounding.HALF_EVEN,
)
