"""Sums and maxima over windows of an image, a vector of channels at a time, written as LLVM IR."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

from hwsim.kernels.jit import intrinsic, native
from hwsim.profile import Requant

from . import emit
from .emit import F64, I32, I64
from .loops import (
    KINDS,
    bytes_of,
    counted,
    element,
    int32_of,
    load_codes,
    narrowed,
    over_lanes,
    pointer_of,
    scalar,
)
from .memory import array, int64s, pointer
from .target import TIERS, Tier


class Pooling(IntEnum):
    """What becomes of a window.

    * LARGEST: its largest code, clamped.
    * MEAN: the sum of its codes over their count, ties away from zero, clamped.
    * SCALED: the sum of centered codes, requantized by the factors of its count.
    """

    LARGEST = 0
    MEAN = 1
    SCALED = 2


@dataclass(frozen=True)
class PoolForm:
    """A kernel: tier, what it does, storages of input and result, the rule of SCALED."""

    tier: Tier
    pooling: Pooling
    x: str
    out: str
    rule: Requant = Requant.NONE

    @property
    def text(self) -> str:
        """All of it as one constant of machine code."""
        return f"{self.tier.name} {int(self.pooling)} {self.x} {self.out} {int(self.rule)}"

    @classmethod
    def of(cls, text: str) -> "PoolForm":
        """Return the form that has a text."""
        name, pooling, x, out, rule = text.split()
        tier = next(tier for tier in TIERS if tier.name == name)
        return cls(tier, Pooling(int(pooling)), x, out, Requant(int(rule)))


class Field(IntEnum):
    """The arguments of a kernel, int64 words; addresses and pitches are in bytes.

    * X, X_IMAGE, X_LINE, X_PIXEL: codes and their pitches; the same of OUT.
    * IMAGES, CHANNELS.
    * ROWS, COLUMNS: int64 per row (column) of the result: first and count of what it reads.
    * ROW_COUNT, COLUMN_COUNT: rows and columns of the result.
    * DIVISOR: the count of every window, 0 for that of its valid positions, -1 for entry 0.
    * X_ZERO: subtracted from codes.
    * MULTIPLIER, LEFT, RIGHT, REAL: see `emit.load_factors`; entry n belongs to a count of n.
    * ZERO, LOW, HIGH: see `emit.Range`.
    """

    X = 0
    X_IMAGE = 1
    X_LINE = 2
    X_PIXEL = 3
    OUT = 4
    OUT_IMAGE = 5
    OUT_LINE = 6
    OUT_PIXEL = 7
    IMAGES = 8
    CHANNELS = 9
    ROWS = 10
    ROW_COUNT = 11
    COLUMNS = 12
    COLUMN_COUNT = 13
    DIVISOR = 14
    X_ZERO = 15
    MULTIPLIER = 16
    LEFT = 17
    RIGHT = 18
    REAL = 19
    ZERO = 20
    LOW = 21
    HIGH = 22


_WORDS = len(Field)


def emit_window(b: Any, form: PoolForm, values: Sequence[Any]) -> None:
    """Add one output pixel to a function.

    Args:
        b: IR builder.
        form: The kernel.
        values: int64: address of the fields, of the window's first code, its rows and columns, the
            count it is divided by, address of the result.
    """
    fields, first, rows, columns, count, out = values
    base = emit.address(b, fields)
    start, target = emit.address(b, first), emit.address(b, out)
    line, pixel = scalar(b, base, Field.X_LINE), scalar(b, base, Field.X_PIXEL)
    if form.pooling is Pooling.LARGEST:
        codes: _Largest | _Sum = _Largest(b, form, base)
    else:
        codes = _Sum(b, form, base, b.mul(rows, columns))

    def made(index: Any) -> Sequence[tuple[Any, Any]]:
        corner = element(b, start, index, form.x)

        def row(_: Any, pointer: Any, *held: Any) -> Sequence[Any]:
            def step(_: Any, place: Any, *held: Any) -> Sequence[Any]:
                return [emit.advance(b, place, pixel), *codes.taken(place, held)]

            _, *taken = counted(b, columns, 1, [pointer, *held], step)
            return [emit.advance(b, pointer, line), *taken]

        _, *held = counted(b, rows, 1, [corner, *codes.empty], row)
        size = codes.lanes // len(held)
        return [
            (value, element(b, target, b.add(index, I64(size * part)), form.out))
            for part, value in enumerate(codes.finished(held, count))
        ]

    over_lanes(b, codes.lanes, scalar(b, base, Field.CHANNELS), made)


class _Largest:
    """Codes compared as they are stored."""

    def __init__(self, b: Any, form: PoolForm, base: Any) -> None:
        kind, self._signed = KINDS[form.x]
        self._b = b
        self.lanes = form.tier.lanes * 4 // bytes_of(form.x)
        self._type = emit.vector(kind, self.lanes)
        bits = kind.width
        self.empty = [emit.constant(self._type, -(1 << (bits - 1)) if self._signed else 0)]
        # Limits hold whole codes here: the zero point of a copy is 0.
        self._low, self._high = (
            emit.splat(b, b.trunc(int32_of(b, base, field), kind), self.lanes)
            for field in (Field.LOW, Field.HIGH)
        )

    def _larger(self, one: Any, other: Any, sign: str = ">") -> Any:
        compare = self._b.icmp_signed if self._signed else self._b.icmp_unsigned
        return self._b.select(compare(sign, one, other), one, other)

    def taken(self, place: Any, held: Sequence[Any]) -> Sequence[Any]:
        """Return what is held after the codes at a place."""
        return [self._larger(emit.load(self._b, place, self._type), held[0])]

    def finished(self, held: Sequence[Any], count: Any) -> Sequence[Any]:
        """Return the codes of the result."""
        return [self._larger(self._larger(held[0], self._low), self._high, "<")]


class _Sum:
    """Codes added as int32."""

    def __init__(self, b: Any, form: PoolForm, base: Any, taken: Any) -> None:
        self._b, self._form = b, form
        self.lanes = form.tier.lanes
        zero = b.mul(scalar(b, base, Field.X_ZERO), taken)
        self.empty = [emit.splat(b, b.trunc(b.neg(zero), I32), self.lanes)]
        self._limits = emit.Range(
            *(int32_of(b, base, field) for field in (Field.ZERO, Field.LOW, Field.HIGH))
        )
        self._places = [
            pointer_of(b, base, field)
            for field in (Field.MULTIPLIER, Field.LEFT, Field.RIGHT, Field.REAL)
        ]

    def taken(self, place: Any, held: Sequence[Any]) -> Sequence[Any]:
        """Return what is held after the codes at a place."""
        return [self._b.add(held[0], load_codes(self._b, place, self._form.x, self.lanes))]

    def finished(self, held: Sequence[Any], count: Any) -> Sequence[Any]:
        """Return the codes of the result."""
        return [narrowed(self._b, self._scaled(held[0], count), self._form.out)]

    def _scaled(self, total: Any, count: Any) -> Any:
        b, lanes = self._b, self.lanes
        if self._form.pooling is Pooling.MEAN:
            mean = _divided(b, total, count)
            low, high = (emit.splat(b, end, lanes) for end in (self._limits.low, self._limits.high))
            return emit.upper(b, emit.lower(b, mean, high), low)
        rule = self._form.rule
        one = emit.load_factors(b, rule, self._places, count, 1)
        factors = emit.Factors(
            *(
                value and emit.splat(b, b.extract_element(value, I32(0)), lanes)
                for value in (one.multiplier, one.left, one.right, one.real)
            )
        )
        return emit.requantize(b, rule, total, factors, self._limits)


def _divided(b: Any, total: Any, count: Any) -> Any:
    """Return total / count of int32 lanes, ties away from zero.

    Quotients of integers below 2**31 round to float64 without reaching the next integer.
    """
    lanes = total.type.count
    doubles = emit.vector(F64, lanes)
    zero = emit.constant(total.type, 0)
    negative = b.icmp_signed("<", total, zero)
    size = b.select(negative, b.sub(zero, total), total)
    half = emit.splat(b, b.trunc(b.lshr(count, I64(1)), I32), lanes)
    divisor = emit.splat(b, b.sitofp(count, F64), lanes)
    quotient = b.fdiv(b.sitofp(b.add(size, half), doubles), divisor)
    whole = b.fptosi(quotient, total.type)
    return b.select(negative, b.sub(zero, whole), whole)


@intrinsic
def pool_window(
    typing_context: Any, text: Any, fields: Any, first: Any, rows: Any, columns: Any, count: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Compute one pixel; see `emit_window`. The first argument is a constant, `PoolForm.text`."""
    from numba import types
    from numba.core.errors import TypingError

    if not isinstance(text, types.StringLiteral):
        raise TypingError("form must be a constant")
    form = PoolForm.of(text.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        emit_window(builder, form, values[1:])
        return context.get_dummy_value()

    return types.void(text, *[types.int64] * 6), codegen


@cache
def pool_kernel(form: PoolForm) -> Any:
    """Return the kernel of a form; its arguments are `Field`s."""
    text = form.text

    def pool(fields: int) -> None:
        at = int64s(fields, _WORDS)
        rows = array(pointer(at[10], "int64"), (at[11], 2))
        columns = array(pointer(at[12], "int64"), (at[13], 2))
        for image in range(at[8]):
            for row in range(at[11]):
                line = at[0] + image * at[1] + rows[row, 0] * at[2]
                out = at[4] + image * at[5] + row * at[6]
                for column in range(at[13]):
                    high, wide = rows[row, 1], columns[column, 1]
                    count = high * wide if at[14] == 0 else max(at[14], 0)
                    pool_window(
                        text, fields, line + columns[column, 0] * at[3], high, wide, count,
                        out + column * at[7],
                    )  # fmt: skip

    return native(pool)
