"""Numeric profiles: which integer arithmetic a result belongs to.

"int8" is a family of numerics. A profile is a table: for every operator and activation width one
`OperatorRule` says how accumulators become codes again and how a non-linearity is approximated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType

from hwsim.errors import GraphError
from hwsim.ops import Op
from hwsim.quant import Rounding

MULTIPLIER_BITS = (2, 31)
RIGHT_SHIFTS = (-30, 31)
ACCUMULATOR_BITS = (2, 64)
TABLE_LENGTHS = tuple(1 << bits for bits in range(1, 9))


class Requant(IntEnum):
    """How an accumulator is scaled; the numbers select the branch inside a kernel.

    * DOUBLE_ROUNDING: doubling high multiply (ties up), then a shift with ties away from zero.
    * DOUBLE_HALF_UP: doubling high multiply (ties up), then a shift with ties up.
    * HALF_UP, HALF_AWAY, HALF_EVEN, FLOOR, TRUNC: one exact dyadic product, rounded once.
    * REAL_HALF_AWAY: float64 product with the real scale ratio, ties away from zero.
    * FLOAT32_HALF_EVEN: float32 product with the scale ratio in float32, ties to even.
    * NONE: the accumulator itself is the result.
    """

    DOUBLE_ROUNDING = 0
    HALF_EVEN = 1
    REAL_HALF_AWAY = 2
    NONE = 3
    HALF_UP = 4
    HALF_AWAY = 5
    FLOOR = 6
    TRUNC = 7
    FLOAT32_HALF_EVEN = 8
    DOUBLE_HALF_UP = 9

    @property
    def is_fixed(self) -> bool:
        """Whether the product is taken with an integer multiplier."""
        return self not in (Requant.REAL_HALF_AWAY, Requant.FLOAT32_HALF_EVEN, Requant.NONE)


class ScaleProduct(Enum):
    """The precision in which s_x * s_w / s_out is formed from float32 scales.

    * FLOAT64: throughout.
    * FLOAT32: the product in float32, the quotient in float64.
    * FLOAT32_IF_UNSIGNED: FLOAT32 for unsigned activations, else FLOAT64.
    * FLOAT32_RATIO: product and quotient in float32.
    """

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT32_IF_UNSIGNED = "float32_if_unsigned"
    FLOAT32_RATIO = "float32_ratio"


class Method(Enum):
    """How an operator is computed where there is more than one way; `METHODS` says whose is which.

    * REQUANTIZE: in integers, as the operator's definition says, requantized by the rule.
    * SHIFTED: both operands shifted left and brought to a common scale, then requantized.
    * APART: each operand is requantized to the output scale, then the integers are added.
    * CODES: the mean of raw codes, ties away from zero; input and output parameters are equal.
    * FOLDED: the division by the count is folded into the multiplier, exactly as far as it fits.
    * TABLE: a table of the real function, formed in float32.
    * FIXED_16: 16-bit fixed point.
    * GEMMLOWP: Q5.26 fixed-point exponential and a Newton reciprocal.
    * INTEGER_SQRT: exact integer sums, a bitwise-exact integer square root, one division.
    * FLOAT32: dequantized, computed and divided by the output's scale in float32, ties to even.
    * RATIO32: codes times scale ratios in float32, the zero point added before ties go to even.
    * EXP_TABLE: float32 exponentials of the distance to the largest code, summed in order.
    """

    REQUANTIZE = "requantize"
    SHIFTED = "shifted"
    APART = "apart"
    CODES = "codes"
    FOLDED = "folded"
    TABLE = "table"
    FIXED_16 = "fixed_16"
    GEMMLOWP = "gemmlowp"
    INTEGER_SQRT = "integer_sqrt"
    FLOAT32 = "float32"
    RATIO32 = "ratio32"
    EXP_TABLE = "exp_table"


_DOUBLE = (Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP)
METHODS: Mapping[Op, tuple[Method, ...]] = MappingProxyType(
    {
        Op.ADD: (Method.SHIFTED, Method.APART, Method.RATIO32, Method.FLOAT32),
        Op.SUB: (Method.SHIFTED, Method.APART, Method.FLOAT32),
        Op.MUL: (Method.REQUANTIZE, Method.RATIO32, Method.FLOAT32),
        Op.AVERAGE_POOL_2D: (Method.CODES, Method.REQUANTIZE, Method.FLOAT32),
        Op.MEAN: (Method.FOLDED, Method.REQUANTIZE, Method.FLOAT32),
        Op.SOFTMAX: (Method.GEMMLOWP, Method.EXP_TABLE),
        Op.LAYER_NORM: (Method.INTEGER_SQRT,),
        Op.QUANTIZE: (Method.REQUANTIZE, Method.FLOAT32),
        Op.CONCATENATION: (Method.REQUANTIZE, Method.FLOAT32),
        Op.RELU: (Method.REQUANTIZE, Method.FLOAT32),
        Op.RELU6: (Method.REQUANTIZE, Method.FLOAT32),
        Op.RELU_N1_TO_1: (Method.REQUANTIZE, Method.FLOAT32),
        Op.LEAKY_RELU: (Method.REQUANTIZE, Method.FLOAT32),
        Op.LOGISTIC: (Method.TABLE, Method.FLOAT32),
        Op.TANH: (Method.TABLE, Method.FLOAT32),
        Op.GELU: (Method.TABLE, Method.FLOAT32),
        Op.HARD_SWISH: (Method.FIXED_16, Method.TABLE, Method.FLOAT32),
    }
)


class Overflow(Enum):
    """What an accumulator does beyond its width.

    * ERROR: it is proved not to happen; a graph where it could is refused.
    * WRAP: two's complement wraps around.
    * SATURATE: each addition stops at the ends; terms are added bias first, then in the order of
      the packed weights (kernel rows, columns, input channels).
    """

    ERROR = "error"
    WRAP = "wrap"
    SATURATE = "saturate"


class Clamp(Enum):
    """The codes that a result is clamped to, before a fused activation narrows them.

    * FULL: every code of the output's type.
    * SYMMETRIC: signed types lose their smallest code.
    """

    FULL = "full"
    SYMMETRIC = "symmetric"


@dataclass(frozen=True, slots=True)
class OperatorRule:
    """One cell of a profile: an operator at one activation width.

    Args:
        requant: How accumulators are scaled.
        method: How the operator is computed, where `METHODS` lists more than one way.
        product: How s_x * s_w / s_out is formed.
        multiplier_bits: Fraction bits of the multiplier, which is below 2**multiplier_bits.
        right_shifts: Smallest and largest right shift; negative shifts left.
        clamp: The codes of the output that are used.
        accumulator_bits: Signed width of the accumulator.
        overflow: What the accumulator does beyond it.
        table: Output codes by input code, smallest first, in the place of a computed table.
    """

    requant: Requant
    method: Method = Method.REQUANTIZE
    product: ScaleProduct = ScaleProduct.FLOAT64
    multiplier_bits: int = MULTIPLIER_BITS[1]
    right_shifts: tuple[int, int] = RIGHT_SHIFTS
    clamp: Clamp = Clamp.FULL
    accumulator_bits: int = 32
    overflow: Overflow = Overflow.ERROR
    table: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse fields that contradict each other."""
        low, high = MULTIPLIER_BITS
        if not low <= self.multiplier_bits <= high:
            raise GraphError(
                f"multiplier_bits must be in [{low}, {high}], not {self.multiplier_bits}"
            )
        free = self.requant.is_fixed and self.requant not in _DOUBLE
        if self.multiplier_bits != high and not free:
            raise GraphError(
                f"multiplier_bits must be {high} under {self.requant.name.lower()}, "
                f"not {self.multiplier_bits}"
            )
        first, last = self.right_shifts
        if not RIGHT_SHIFTS[0] <= first <= last <= RIGHT_SHIFTS[1]:
            raise GraphError(
                f"right_shifts must rise inside [{RIGHT_SHIFTS[0]}, {RIGHT_SHIFTS[1]}], "
                f"not {list(self.right_shifts)}"
            )
        low, high = ACCUMULATOR_BITS
        if not low <= self.accumulator_bits <= high:
            raise GraphError(
                f"accumulator_bits must be in [{low}, {high}], not {self.accumulator_bits}"
            )
        if self.table is None:
            return
        if self.method is not Method.TABLE:
            raise GraphError(f"table must be absent under method {self.method.value}, not given")
        if len(self.table) not in TABLE_LENGTHS:
            raise GraphError(
                f"table must hold 2, 4, 8 ... 256 codes, one per input code, not {len(self.table)}"
            )


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """A named arithmetic.

    Args:
        name: What users and result files call it.
        reproduces: The implementation that it is exact against, with its version.
        rules: One rule per operator and activation width, 8 or 16 bits.
        input_rounding: How real inputs become codes.
        source: The file that it was read from; "" for a built-in profile.
    """

    name: str
    reproduces: str
    rules: Mapping[tuple[Op, int], OperatorRule]
    input_rounding: Rounding
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse a method that its operator does not have."""
        object.__setattr__(self, "rules", MappingProxyType(dict(self.rules)))
        for (op, width), rule in self.rules.items():
            known = METHODS.get(op, (Method.REQUANTIZE,))
            if rule.method not in known:
                raise GraphError(
                    f"{self.label}: {op.value}, {width} bits: method must be one of "
                    f"{', '.join(method.value for method in known)}, not {rule.method.value}"
                )

    @property
    def label(self) -> str:
        """What errors call the profile."""
        return f"{self.source}: profile {self.name}" if self.source else f"profile {self.name}"

    def rule(self, op: Op, bits: int) -> OperatorRule:
        """Return the rule of an operator whose first operand has `bits` bits.

        Raises:
            GraphError: If the profile has no row for it.
        """
        width = 8 if bits <= 8 else 16
        found = self.rules.get((op, width))
        if found is not None:
            return found
        if (op, 8) in self.rules:
            raise GraphError(
                f"{self.label}: {op.value} must have operands of at most 8 bits, not {bits}"
            )
        known = ", ".join(sorted({op.value for op, row_width in self.rules if row_width == width}))
        raise GraphError(
            f"{self.label}: operator with operands of {width} bits must be one of {known}, "
            f"not {op.value}"
        )
