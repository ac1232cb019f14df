"""ONNX Runtime's kernels on codes: float32 scale ratios, ties to even."""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.profiles.rows import CLAMPS, LINEAR, Rows, rows
from hwsim.quant import Rounding


def _ort() -> Rows:
    """Rows of ONNX Runtime's QLinear operators. Source: numerics.md, section 3.8."""
    ratio = OperatorRule(Requant.FLOAT32_HALF_EVEN, product=ScaleProduct.FLOAT32_RATIO)
    float32 = OperatorRule(Requant.FLOAT32_HALF_EVEN, Method.FLOAT32)
    ratio32 = OperatorRule(Requant.FLOAT32_HALF_EVEN, Method.RATIO32)
    tables = (Op.LEAKY_RELU, Op.LOGISTIC, Op.TANH, Op.GELU, Op.HARD_SWISH, *CLAMPS)
    return (
        rows(LINEAR, ratio)
        | rows((Op.ADD, Op.MUL), ratio32)
        | rows((Op.SUB, Op.QUANTIZE, Op.CONCATENATION, Op.AVERAGE_POOL_2D, Op.MEAN), float32)
        | rows(tables, float32)
        | rows((Op.ADD, Op.MUL, Op.SUB, Op.QUANTIZE, Op.LOGISTIC, Op.TANH), float32, 16)
        | rows((Op.HARD_SWISH, Op.LEAKY_RELU, *CLAMPS), float32, 16)
        | rows((Op.MAX_POOL_2D, Op.CLIP), OperatorRule(Requant.NONE))
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.EXP_TABLE))
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
