"""TOSA's RESCALE and the operators that are defined through it.

`apply_scale_32(v, m, s) = (v * m + 2**(s - 1) + nudge) >> s` for s in [2, 62]. With double_round
the nudge is 2**30 or -2**30 where s > 31: two roundings, ties up and then away from zero. Without
it the product is rounded once, ties up. Operators that TOSA does not define have no row.
"""

from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles.rows import CLAMPS, LINEAR, Rows, rows
from hwsim.quant import Rounding

SHIFTS = (-29, 31)  # s - 31


def _tosa(requant: Requant) -> Rows:
    """Rows of a RESCALE with or without double_round. Source: TOSA 1.0; numerics.md, 2.2."""
    scaled = OperatorRule(requant, right_shifts=SHIFTS)
    codes = OperatorRule(Requant.NONE)
    return (
        rows((*LINEAR, Op.TRANSPOSE_CONV, Op.MUL, *CLAMPS, Op.QUANTIZE, Op.CONCATENATION), scaled)
        | rows((Op.ADD, Op.SUB), OperatorRule(requant, Method.SHIFTED, right_shifts=SHIFTS))
        | rows((Op.AVERAGE_POOL_2D,), OperatorRule(Requant.NONE, Method.CODES))
        | rows((Op.MAX_POOL_2D,), codes)
        | rows(
            (Op.LOGISTIC, Op.TANH, Op.GELU, Op.HARD_SWISH), OperatorRule(Requant.NONE, Method.TABLE)
        )
    )


TOSA = NumericProfile(
    name="tosa",
    reproduces="TOSA reference model 2026.8.0, RESCALE with double_round",
    rules=_tosa(Requant.DOUBLE_ROUNDING),
    input_rounding=Rounding.HALF_AWAY,
)
TOSA_SINGLE = NumericProfile(
    name="tosa_single",
    reproduces="TOSA 1.0, RESCALE without double_round (formula, no vectors)",
    rules=_tosa(Requant.HALF_UP),
    input_rounding=Rounding.HALF_AWAY,
)
