"""Integer-only transformers: dyadic requantization, and the papers' own non-linearities."""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles.dyadic import dyadic_rows
from hwsim.profiles.rows import Rows, rows
from hwsim.quant import Rounding

_GELU_SHIFT = 23


def _ibert() -> Rows:
    return (
        dyadic_rows()
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.IBERT), 8, 16)
        | rows((Op.GELU, Op.LAYER_NORM), OperatorRule(Requant.HALF_EVEN, Method.IBERT), 8, 16)
    )


def _ivit() -> Rows:
    gelu = OperatorRule(Requant.HALF_EVEN, Method.IVIT, fraction_bits=_GELU_SHIFT)
    return (
        dyadic_rows()
        | rows((Op.SOFTMAX,), OperatorRule(Requant.NONE, Method.IVIT), 8, 16)
        | rows((Op.GELU,), gelu)
        | rows((Op.LAYER_NORM,), OperatorRule(Requant.HALF_EVEN, Method.IVIT), 8, 16)
    )


def _qaof() -> Rows:
    line = OperatorRule(Requant.NONE, Method.PIECEWISE, segments=1)
    return dyadic_rows() | rows((Op.SOFTMAX,), line, 8, 16)


IBERT = NumericProfile(
    name="ibert",
    reproduces=(
        "formulas of I-BERT (arXiv 2101.01321; IntSoftmax, IntGELU, IntLayerNorm, fixedpoint_mul) "
        "in exact int64, as the authors' code computes them in float64, not in its own float32"
    ),
    rules=_ibert(),
    input_rounding=Rounding.HALF_EVEN,
)
IVIT = NumericProfile(
    name="ivit",
    reproduces=(
        "formulas of I-ViT (arXiv 2207.01405; Shiftmax, ShiftGELU, I-LayerNorm, fixedpoint_mul) "
        "in exact int64, as the authors' code computes them in float64, not in its own float32"
    ),
    rules=_ivit(),
    input_rounding=Rounding.HALF_EVEN,
)
QAOF = NumericProfile(
    name="qaof",
    reproduces=(
        "QAOF's softmax, exp(x) = clip(a * x + b, l, u), one minimax line fitted to the input's "
        "scale, exact division; all else as hawq. A file with more segments may be based on it"
    ),
    rules=_qaof(),
    input_rounding=Rounding.HALF_EVEN,
)
