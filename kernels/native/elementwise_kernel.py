"""Sums, products and rescaled codes, a vector at a time, written as LLVM IR.

One or two operands are read as int32 lanes, centered and shifted, each scaled by its own rule;
what they give together is scaled once more and stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from hwsim.kernels.jit import intrinsic, native
from hwsim.profile import Requant

from . import emit
from .emit import I32, I64
from .loops import element, int32_of, load_codes, narrowed, over_lanes, pointer_of
from .memory import int64s
from .target import TIERS, Tier


class Shape(IntEnum):
    """What the operands give together.

    * ONE: the first itself.
    * SUM, DIFFERENCE, PRODUCT, LARGER, SMALLER: of both.
    * LEAKY: the first, by the rule and factors of the second where it is negative.
    """

    ONE = 0
    SUM = 1
    DIFFERENCE = 2
    PRODUCT = 3
    LEAKY = 4
    LARGER = 5
    SMALLER = 6

    @property
    def operands(self) -> int:
        """Values that are read."""
        return 1 if self in (Shape.ONE, Shape.LEAKY) else 2


class Extra(IntEnum):
    """Steps besides those of `Requant`, numbered after them.

    * AS_IS: neither scaled nor clamped.
    * TIMES: times the multiplier, in 32 bits.
    * SHIFT: shifted right, ties up, in 32 bits, then clamped.
    * LOOK_UP: the entry of the low four bits; the multipliers are a table of 16.
    """

    AS_IS = 100
    TIMES = 101
    SHIFT = 102
    LOOK_UP = 103


@dataclass(frozen=True)
class Form:
    """A kernel.

    Args:
        tier: Whose instructions.
        shape: What is computed.
        kinds: Storages of the first operand, the second (that of the first if there is none), and
            the result.
        steps: A `Requant` or `Extra` each for the first operand, the second, and the result.
        by_lane: For each of these, whether it has a factor for every element of a line.
        near: For each of these, see `emit.Factors`.
    """

    tier: Tier
    shape: Shape
    kinds: tuple[str, str, str]
    steps: tuple[int, int, int]
    by_lane: tuple[bool, bool, bool]
    near: tuple[bool, bool, bool]

    @property
    def text(self) -> str:
        """All of it as one constant of machine code."""
        numbers = (int(self.shape), *self.steps, *map(int, (*self.by_lane, *self.near)))
        return " ".join((self.tier.name, *self.kinds, *map(str, numbers)))

    @classmethod
    def of(cls, text: str) -> "Form":
        """Return the form that has a text."""
        name, a, b, out, *rest = text.split()
        tier = next(tier for tier in TIERS if tier.name == name)
        shape, *numbers = map(int, rest)
        threes = [(numbers[i], numbers[i + 1], numbers[i + 2]) for i in (0, 3, 6)]
        by_lane, near = ((bool(x), bool(y), bool(z)) for x, y, z in threes[1:])
        return cls(tier, Shape(shape), (a, b, out), threes[0], by_lane, near)


class Field(IntEnum):
    """The arguments of a kernel, int64 words; addresses and pitches are in bytes.

    * IMAGES, LINES, COUNT, then place and pitches of both operands and the result: see `Lines`.
    * A_ZERO, A_SHIFT, B_ZERO, B_SHIFT: zero points, and left shifts of what is left.
    * STEPS: seven words for each step: addresses of multiplier, left, right, real (see
      `emit.load_factors`), then zero, low, high (see `emit.Range`).
    """

    IMAGES = 0
    LINES = 1
    COUNT = 2
    A = 3
    B = 6
    OUT = 9
    A_ZERO = 12
    A_SHIFT = 13
    B_ZERO = 14
    B_SHIFT = 15
    STEPS = 16


STEP_WORDS = 7
TABLE = 16
"""Entries of LOOK_UP, which takes a vector of as many lanes."""
_WORDS = int(Field.STEPS) + 3 * STEP_WORDS


def emit_line(b: Any, form: Form, values: Sequence[Any]) -> None:
    """Add the loop over one line to a function.

    Args:
        b: IR builder.
        form: The kernel.
        values: int64: address of the fields, of both operands and of the result; elements.
    """
    fields, *places, count = values
    base = emit.address(b, fields)
    lanes = form.tier.lanes
    pointers = [emit.address(b, place) for place in places]
    steps = [_Step(b, form, base, number) for number in range(3)]
    centers = [
        (
            emit.splat(b, int32_of(b, base, Field.A_ZERO + 2 * slot), lanes),
            emit.splat(b, int32_of(b, base, Field.A_SHIFT + 2 * slot), lanes),
        )
        for slot in range(form.shape.operands)
    ]

    def made(index: Any) -> Sequence[tuple[Any, Any]]:
        codes = []
        for pointer, kind, (zero, shift) in zip(pointers, form.kinds, centers, strict=False):
            code = load_codes(b, element(b, pointer, index, kind), kind, lanes)
            codes.append(b.shl(b.sub(code, zero), shift))
        both = _together(b, form.shape, codes, steps, index)
        small = narrowed(b, steps[2].apply(both, index), form.kinds[2])
        return [(small, element(b, pointers[2], index, form.kinds[2]))]

    over_lanes(b, lanes, count, made)


class _Step:
    """A step whose factors are the same for all lanes, or are read for every element."""

    def __init__(self, b: Any, form: Form, base: Any, number: int) -> None:
        self._b, self._number = b, form.steps[number]
        self._lanes, self._near = form.tier.lanes, form.near[number]
        first = Field.STEPS + STEP_WORDS * number
        self._places = [pointer_of(b, base, first + i) for i in range(4)]
        self._limits = emit.Range(*(int32_of(b, base, first + 4 + i) for i in range(3)))
        self._table = None
        if self._number == Extra.LOOK_UP:
            self._table = emit.load(b, self._places[0], emit.vector(I32, TABLE), 4)
        self._factors = None if form.by_lane[number] else self._read(I64(0), 1)

    def _read(self, index: Any, lanes: int) -> emit.Factors:
        rule = Requant(self._number) if self._number < Extra.AS_IS else Requant.DOUBLE_ROUNDING
        return emit.load_factors(self._b, rule, self._places, index, lanes, self._near)

    def _repeated(self, value: Any) -> Any:
        """Return a vector of one lane as one of all."""
        if value is None:
            return None
        return emit.splat(self._b, self._b.extract_element(value, I32(0)), self._lanes)

    def apply(self, acc: Any, index: Any) -> Any:
        """Return int32 lanes scaled, `index` elements into the line."""
        b = self._b
        if self._number == Extra.AS_IS:
            return acc
        if self._number == Extra.LOOK_UP:
            return emit.call(b, "llvm.x86.avx512.permvar.si.512", acc.type, [self._table, acc])
        if self._factors is None:
            factors = self._read(index, self._lanes)
        else:
            held = self._factors
            factors = emit.Factors(
                self._repeated(held.multiplier),
                self._repeated(held.left),
                self._repeated(held.right),
                self._repeated(held.real),
                held.near,
            )
        if self._number == Extra.TIMES:
            return b.mul(acc, factors.multiplier)
        if self._number == Extra.SHIFT:
            one = emit.constant(acc.type, 1)
            half = b.shl(one, b.sub(factors.right, one))
            scaled = b.ashr(b.add(acc, half), factors.right)
            zero, low, high = (
                emit.splat(b, limit, self._lanes)
                for limit in (self._limits.zero, self._limits.low, self._limits.high)
            )
            return b.add(emit.upper(b, emit.lower(b, scaled, high), low), zero)
        return emit.requantize(b, Requant(self._number), acc, factors, self._limits)


def _together(b: Any, shape: Shape, codes: Sequence[Any], steps: Sequence[_Step], at: Any) -> Any:
    """Return what centered operands give together."""
    if shape is Shape.LEAKY:
        code = codes[0]
        negative = b.icmp_signed("<", code, emit.constant(code.type, 0))
        return b.select(negative, steps[1].apply(code, at), steps[0].apply(code, at))
    scaled = [step.apply(code, at) for step, code in zip(steps, codes, strict=False)]
    if shape is Shape.ONE:
        return scaled[0]
    one, other = scaled
    if shape in (Shape.LARGER, Shape.SMALLER):
        return (emit.upper if shape is Shape.LARGER else emit.lower)(b, one, other)
    return {Shape.SUM: b.add, Shape.DIFFERENCE: b.sub, Shape.PRODUCT: b.mul}[shape](one, other)


@intrinsic
def elementwise_line(
    typing_context: Any, text: Any, fields: Any, a: Any, b: Any, out: Any, count: Any
) -> Any:
    """Compute one line; see `emit_line`. The first argument is a constant, `Form.text`."""
    from numba import types
    from numba.core.errors import TypingError

    if not isinstance(text, types.StringLiteral):
        raise TypingError("form must be a constant")
    form = Form.of(text.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        emit_line(builder, form, values[1:])
        return context.get_dummy_value()

    return types.void(text, *[types.int64] * 5), codegen


@cache
def elementwise_kernel(form: Form) -> Any:
    """Return the kernel of a form; its arguments are `Field`s."""
    text = form.text

    def elementwise(fields: int) -> None:
        at = int64s(fields, _WORDS)
        for image in range(at[0]):
            for line in range(at[1]):
                a = at[3] + image * at[4] + line * at[5]
                b = at[6] + image * at[7] + line * at[8]
                out = at[9] + image * at[10] + line * at[11]
                elementwise_line(text, fields, a, b, out, at[2])

    return native(elementwise)
