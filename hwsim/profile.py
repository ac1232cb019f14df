"""Numeric profiles: which integer arithmetic a result belongs to.

"int8" is a family of numerics. A profile is a table: for every operator and activation width one
`OperatorRule` says how accumulators become codes again and how a non-linearity is approximated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Optional

from hwsim.errors import GraphError
from hwsim.ops import Op
from hwsim.quant import Rounding

if TYPE_CHECKING:
    from hwsim.graph import Graph, Node

MULTIPLIER_BITS = (2, 31)
RIGHT_SHIFTS = (-30, 31)
ACCUMULATOR_BITS = (2, 64)
PRODUCT_BITS = 64  # an accumulator times its multiplier, in int64
EXPONENTIAL_FIELDS = MappingProxyType(
    {"segments": (1, 64), "fraction_bits": (4, 30), "guard_bits": (0, 16)}
)
LEFT_SHIFTS = (0, 30)
TABLE_LENGTHS = tuple(1 << bits for bits in range(1, 9))


class Requant(IntEnum):
    """How an accumulator is scaled; the numbers select the branch inside a kernel.

    * DOUBLE_ROUNDING: doubling high multiply (ties up), then a shift with ties away from zero.
    * DOUBLE_HALF_UP: doubling high multiply (ties up), then a shift with ties up.
    * HALF_UP, HALF_AWAY, HALF_EVEN, FLOOR, TRUNC: one exact dyadic product, rounded once.
    * REAL_HALF_AWAY: float64 product with the real scale ratio, ties away from zero.
    * FLOAT32_HALF_EVEN: float32 product with the scale ratio in float32, ties to even.
    * FLOAT32_SHIFTED: as that, but the zero point is added in float32 before the rounding.
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
    FLOAT32_SHIFTED = 10

    @property
    def is_fixed(self) -> bool:
        """Whether the product is taken with an integer multiplier."""
        return self not in (
            Requant.REAL_HALF_AWAY, Requant.FLOAT32_HALF_EVEN, Requant.FLOAT32_SHIFTED,
            Requant.NONE,
        )  # fmt: skip


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
    * SHIFTED_OR_POWERS: as SHIFTED, but where the graph asks for powers of two and all scales are
      such, the operand finer than the result is shifted to it and the sum saturates.
    * APART: each operand is requantized to the output scale, then the integers are added.
    * CODES: the mean of raw codes, ties away from zero; input and output parameters are equal.
    * FOLDED: the division by the count is folded into the multiplier, exactly as far as it fits.
    * TABLE: a table of the real function, formed in float32.
    * FIXED_16: 16-bit fixed point.
    * UINT16_TABLE: 256 entries of 16 bits over half the range, interpolated; the rest by symmetry.
    * LUT_513_FLOAT64, LUT_513_FLOAT32: tables of 513 entries over the range of 16 bits,
      interpolated; their entries are formed in that precision.
    * GEMMLOWP: fixed-point exponential (Q5.26, Q4.27 for LOGISTIC) and a Newton reciprocal.
    * SINGLE_SHIFT: both operands times integers of one fraction, added, shifted once, ties up.
    * FIXED_8: a multiplier of 8 fraction bits, shifted once, ties up; reals times a reciprocal.
    * FLOAT32: in float32, the zero point added before ties go to even; functions in float64 first.
    * FLOAT_TABLE: float32 exponentials by code difference, a float32 sum in element order.
    * NEWTON: five Newton steps in 32-bit fixed point.
    * INTEGER_SQRT: exact integer sums, a bitwise-exact integer square root, one division.
    * IBERT: second-order polynomials of I-BERT; its LayerNorm's 31-bit reciprocal of the deviation.
    * IVIT: shifts of I-ViT for powers of two; its ten-step square root.
    * PIECEWISE: straight lines with integer coefficients, clipped; exact division.
    * EXP_TABLE: the exponential of every code difference in fixed point; exact division.
    """

    REQUANTIZE = "requantize"
    SHIFTED = "shifted"
    SHIFTED_OR_POWERS = "shifted_or_powers"
    APART = "apart"
    CODES = "codes"
    FOLDED = "folded"
    TABLE = "table"
    FIXED_16 = "fixed_16"
    UINT16_TABLE = "uint16_table"
    LUT_513_FLOAT64 = "lut_513_float64"
    LUT_513_FLOAT32 = "lut_513_float32"
    GEMMLOWP = "gemmlowp"
    SINGLE_SHIFT = "single_shift"
    FIXED_8 = "fixed_8"
    FLOAT32 = "float32"
    FLOAT_TABLE = "float_table"
    NEWTON = "newton"
    INTEGER_SQRT = "integer_sqrt"
    IBERT = "ibert"
    IVIT = "ivit"
    PIECEWISE = "piecewise"
    EXP_TABLE = "exp_table"


_DOUBLE = (Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP)
METHODS: Mapping[Op, tuple[Method, ...]] = MappingProxyType(
    {
        Op.ADD: (Method.SHIFTED, Method.APART, Method.SHIFTED_OR_POWERS, Method.SINGLE_SHIFT),
        Op.SUB: (Method.SHIFTED, Method.APART, Method.SHIFTED_OR_POWERS, Method.SINGLE_SHIFT),
        Op.SQUARED_DIFFERENCE: (Method.SHIFTED,),
        Op.QUANTIZE: (Method.REQUANTIZE, Method.FIXED_8),
        Op.LEAKY_RELU: (Method.REQUANTIZE, Method.FIXED_8),
        Op.AVERAGE_POOL_2D: (Method.CODES, Method.REQUANTIZE),
        Op.MEAN: (Method.FOLDED, Method.REQUANTIZE),
        Op.SOFTMAX: (
            Method.GEMMLOWP, Method.LUT_513_FLOAT64, Method.LUT_513_FLOAT32, Method.IBERT,
            Method.IVIT, Method.PIECEWISE, Method.EXP_TABLE, Method.FLOAT_TABLE,
        ),
        Op.LAYER_NORM: (Method.INTEGER_SQRT, Method.IBERT, Method.IVIT),
        Op.RMS_NORM: (Method.INTEGER_SQRT,),
        Op.LOGISTIC: (Method.TABLE, Method.UINT16_TABLE, Method.FLOAT32, Method.GEMMLOWP),
        Op.TANH: (Method.TABLE, Method.UINT16_TABLE, Method.FLOAT32, Method.GEMMLOWP),
        Op.GELU: (Method.TABLE, Method.LUT_513_FLOAT32, Method.IBERT, Method.IVIT),
        Op.SILU: (Method.TABLE,),
        Op.EXP: (Method.TABLE, Method.LUT_513_FLOAT32),
        Op.RSQRT: (Method.NEWTON, Method.LUT_513_FLOAT32),
        Op.HARD_SWISH: (Method.FIXED_16, Method.TABLE),
    }
)  # fmt: skip


class Overflow(Enum):
    """What an accumulator does beyond its width.

    * ERROR: it is proved not to happen; a graph where it could is refused.
    * WRAP: two's complement wraps around, so the order of additions does not matter.
    * SATURATE: each addition stops at the ends: bias first, then the exact products in the order
      kernel rows, columns, input channels. Padded positions add nothing. A mean adds codes minus
      zero point, in the order of its axes; a pool likewise, but codes themselves under CODES.

    Operators that keep no sum have no accumulator; their rules say nothing here.
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


class Bounds(Enum):
    """How the real bounds of a fused activation become codes; the quotient is float32 in both.

    * HALF_AWAY: the quotient rounded, ties away from zero, then the zero point.
    * SHIFTED_EVEN: quotient and zero point added in float32, then rounded, ties to even.
    """

    HALF_AWAY = "half_away"
    SHIFTED_EVEN = "shifted_even"


@dataclass(frozen=True, slots=True)
class Condition:
    """Which nodes a rule is for.

    Args:
        says: What must be true of the node, as a sentence without its end.
        holds: Whether it is.
    """

    says: str
    holds: Callable[["Graph", "Node"], bool] = field(compare=False)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.says


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
        bounds: How a fused activation narrows them.
        accumulator_bits: Signed width of the accumulator.
        overflow: What the accumulator does beyond it.
        table: Output codes by input code, smallest first, in the place of a computed table.
        segments: Lines of a PIECEWISE exponential.
        equal_segments: Whether these have one width instead of one error.
        fraction_bits: Fraction bits of an exponential: PIECEWISE, EXP_TABLE; n of IVIT's shift.
        guard_bits: Fraction bits that a line's sum has beyond those of a PIECEWISE result.
        left_shift: Bits that SHIFTED gains before it brings operands to a common scale.
        narrow_bias: The rule where a bias has at most 32 bits; None if that makes no difference.
        condition: The nodes that the rule is for; every one unless given.
        otherwise: The rule of the others; they are refused unless given.
    """

    requant: Requant
    method: Method = Method.REQUANTIZE
    product: ScaleProduct = ScaleProduct.FLOAT64
    multiplier_bits: int = MULTIPLIER_BITS[1]
    right_shifts: tuple[int, int] = RIGHT_SHIFTS
    clamp: Clamp = Clamp.FULL
    bounds: Bounds = Bounds.HALF_AWAY
    accumulator_bits: int = 32
    overflow: Overflow = Overflow.ERROR
    table: tuple[int, ...] | None = None
    segments: int = 1
    equal_segments: bool = False
    fraction_bits: int = 15
    guard_bits: int = 8
    left_shift: int = 20
    narrow_bias: Optional["OperatorRule"] = None
    condition: Condition | None = None
    otherwise: Optional["OperatorRule"] = None

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
        if free and self.accumulator_bits + self.multiplier_bits > PRODUCT_BITS:
            raise GraphError(
                f"accumulator_bits and multiplier_bits must add to at most {PRODUCT_BITS}, "
                f"not {self.accumulator_bits} and {self.multiplier_bits}"
            )
        for name, (low, high) in EXPONENTIAL_FIELDS.items():
            if not low <= getattr(self, name) <= high:
                raise GraphError(f"{name} must be in [{low}, {high}], not {getattr(self, name)}")
        low, high = LEFT_SHIFTS
        if not low <= self.left_shift <= high:
            raise GraphError(f"left_shift must be in [{low}, {high}], not {self.left_shift}")
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
        for (op, width), first in self.rules.items():
            known = METHODS.get(op, (Method.REQUANTIZE,))
            rule = first
            while rule.method in known and rule.otherwise is not None:
                rule = rule.otherwise
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
