"""Numeric profiles: which integer arithmetic a result belongs to.

"int8" is a family of numerics. A profile names, for every operator, how accumulators become codes
again; each built-in row is tied to the implementation that it reproduces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType

from hwsim.errors import GraphError
from hwsim.ops import Op
from hwsim.quant import Rounding


class Requant(IntEnum):
    """How an accumulator is scaled; the numbers select the branch inside a kernel.

    * DOUBLE_ROUNDING: doubling high multiply (ties up), then a shift with ties away from zero.
    * HALF_EVEN: one exact dyadic product, ties to even.
    * REAL_HALF_AWAY: float64 product with the real scale ratio, ties away from zero.
    * NONE: the accumulator itself is the result.
    """

    DOUBLE_ROUNDING = 0
    HALF_EVEN = 1
    REAL_HALF_AWAY = 2
    NONE = 3


class ScaleProduct(Enum):
    """The precision in which two scales are multiplied before they are widened to float64.

    * LITERT: float64, except float32 for a matmul and for convolutions of unsigned codes.
    * FLOAT32: float32.
    """

    LITERT = "litert"
    FLOAT32 = "float32"


class AddRule(Enum):
    """How two differently scaled operands are added.

    * SHIFTED: both are shifted left by 20 bits and brought to a common scale, then requantized.
    * APART: each is requantized to the output scale, then the integers are added.
    """

    SHIFTED = "shifted"
    APART = "apart"


class AverageRule(Enum):
    """How an average pool divides.

    * CODES: the mean of raw codes, ties away from zero; input and output parameters are equal.
    * REQUANTIZED_SUM: the sum is requantized with the scale ratio divided by the window's size.
    """

    CODES = "codes"
    REQUANTIZED_SUM = "requantized_sum"


class HardSwishRule(Enum):
    """How HARD_SWISH is computed.

    * FIXED_16: in 16-bit fixed point.
    * TABLE: a table of the real function.
    """

    FIXED_16 = "fixed_16"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """One row of the profile table.

    Args:
        name: What users and result files call it.
        reproduces: The implementation that the row is exact against, with its version.
        requant: The rule of each operator that scales an accumulator.
        product: How s_x * s_w is formed.
        add: The rule of ADD and SUB.
        average: The rule of AVERAGE_POOL_2D.
        hard_swish: The rule of HARD_SWISH.
        activation_bits: Widest activation that the row defines.
        input_rounding: How real inputs become codes.
        accumulator_bits: Width that every accumulator is proved to fit.
    """

    name: str
    reproduces: str
    requant: Mapping[Op, Requant]
    product: ScaleProduct
    add: AddRule
    average: AverageRule
    hard_swish: HardSwishRule
    activation_bits: int
    input_rounding: Rounding
    accumulator_bits: int = 32

    def rule(self, op: Op) -> Requant:
        """Return the requantization of an operator.

        Raises:
            GraphError: If the profile has no row for it.
        """
        if op not in self.requant:
            known = ", ".join(sorted(known.value for known in self.requant))
            raise GraphError(
                f"profile {self.name}: operator must be one of {known}, not {op.value}"
            )
        return self.requant[op]


_SCALED = (
    Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MATMUL, Op.ADD, Op.SUB, Op.MUL,
    Op.AVERAGE_POOL_2D, Op.MEAN, Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.LEAKY_RELU, Op.QUANTIZE,
    Op.CONCATENATION,
)  # fmt: skip

_TFLITE_REF = NumericProfile(
    name="tflite_ref",
    reproduces="LiteRT 2.3.0, BUILTIN_REF kernels",
    requant=MappingProxyType(
        {op: Requant.DOUBLE_ROUNDING for op in _SCALED}
        | {Op.FULLY_CONNECTED: Requant.REAL_HALF_AWAY}
    ),
    product=ScaleProduct.LITERT,
    add=AddRule.SHIFTED,
    average=AverageRule.CODES,
    hard_swish=HardSwishRule.FIXED_16,
    activation_bits=8,
    input_rounding=Rounding.HALF_AWAY,
)

_HAWQ = NumericProfile(
    name="hawq",
    reproduces=(
        "HAWQ-V3 fixedpoint arithmetic (arXiv 2011.10680) wherever its float64 product is exact, "
        "that is for accumulators below 2**22"
    ),
    requant=MappingProxyType({op: Requant.HALF_EVEN for op in (*_SCALED, Op.LAYER_NORM)}),
    product=ScaleProduct.FLOAT32,
    add=AddRule.APART,
    average=AverageRule.REQUANTIZED_SUM,
    hard_swish=HardSwishRule.TABLE,
    activation_bits=16,
    input_rounding=Rounding.HALF_EVEN,
)

PROFILES = MappingProxyType({profile.name: profile for profile in (_TFLITE_REF, _HAWQ)})


def find_profile(name: str) -> NumericProfile:
    """Return a built-in profile.

    Raises:
        GraphError: If there is none of that name.
    """
    if name not in PROFILES:
        raise GraphError(f"profile must be one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]
