"""Rows of codes: where they lie, and the steps that softmax, norms and GELU share.

The row steps are intrinsics over addresses. A table of 256 entries by 8-bit codes is looked up 64
codes at a time where the target has VBMI, one by one elsewhere: no other x86 vector does better.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llvmlite import ir

from hwsim.graph import Value
from hwsim.kernels.jit import intrinsic, jit
from hwsim.quant import IntType

from . import emit
from .call import Place, Word
from .emit import I8, I16, I64
from .layout import Layout
from .loops import KINDS, counted
from .target import Tier, target_features

ENTRIES = 256


class Rows(NamedTuple):
    """The rows of a value and of its result, int64 words; addresses and pitches are in bytes.

    Args:
        x: First code.
        out: First code of the result.
        number: Rows.
        width: Codes of a row.
        per_line: Rows that follow each other without a gap, a line.
        lines: Lines of an image.
        x_row: From row to row.
        x_line: From line to line.
        x_image: From image to image.
        out_row: The same of the result.
        out_line: The same of the result.
        out_image: The same of the result.
    """

    x: int
    out: int
    number: int
    width: int
    per_line: int
    lines: int
    x_row: int
    x_line: int
    x_image: int
    out_row: int
    out_line: int
    out_image: int


ROW_WORDS = len(Rows._fields)


def row_words(x: Value, out: Value, layouts: Mapping[str, Layout]) -> tuple[Word, ...]:
    """Return the words of `Rows` for two values of one shape; the last axis is a row."""
    source, target = layouts[x.name], layouts[out.name]
    width = x.shape[-1]
    count = math.prod(x.shape) // width
    flat = source.is_flat and target.is_flat
    return (
        Place(x.name), Place(out.name), count, width,
        count if flat else x.shape[2], source.lines,
        width * source.size, source.line_pitch, source.image_pitch,
        width * target.size, target.line_pitch, target.image_pitch,
    )  # fmt: skip


@jit
def rows_at(at: Any) -> Rows:
    """Return the first words as rows."""
    return Rows(
        at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10], at[11]
    )


@jit
def row_places(rows: Rows, row: int) -> tuple[int, int]:
    """Return the addresses of a row and of its result."""
    if rows.per_line == rows.number:
        return rows.x + row * rows.x_row, rows.out + row * rows.out_row
    line, index = row // rows.per_line, row % rows.per_line
    image, line = line // rows.lines, line % rows.lines
    return (
        rows.x + image * rows.x_image + line * rows.x_line + index * rows.x_row,
        rows.out + image * rows.out_image + line * rows.out_line + index * rows.out_row,
    )


def kind_of(dtype: IntType) -> str:
    """Return the name of the type that codes are stored in."""
    return str(dtype.storage)


def has_byte_lookup(tier: Tier) -> bool:
    """Return whether one instruction looks up a vector of bytes in 128 of them."""
    return tier.masked and "avx512vbmi" in target_features()


def lanes_below(b: Any, kind: ir.IntType, lanes: int, count: Any) -> Any:
    """Return a mask of the lanes below `count` (int64); lanes < 128, of elements of `kind`."""
    fitting = b.trunc(emit.lower(b, count, I64(lanes)), kind)
    step = ir.Constant(emit.vector(kind, lanes), list(range(lanes)))
    return b.icmp_unsigned("<", step, emit.splat(b, fitting, lanes))


def _maximum(typing_context: Any, kind: Any, lanes: Any, x: Any, count: Any) -> Any:
    """Return the largest of `count` codes (1 or more) at an address, as int64."""
    name, words = literals(kind, lanes)
    code, signed = KINDS[name]
    width = 32 * words // code.width
    letter, order = ("s", "signed") if signed else ("u", "unsigned")
    least = -(1 << (code.width - 1)) if signed else 0

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        start, end = emit.address(b, values[2]), values[3]
        whole = emit.vector(code, width)
        lowest = emit.constant(whole, least)
        compare = b.icmp_signed if order == "signed" else b.icmp_unsigned

        def turn(index: Any, *carried: Any) -> list[Any]:
            at = b.mul(index, I64(code.width // 8))
            codes = emit.load(b, emit.advance(b, start, at), whole)
            mask = lanes_below(b, code, width, b.sub(end, index))
            codes = b.select(mask, codes, lowest)
            return [b.select(compare(">", codes, carried[0]), codes, carried[0])]

        (best,) = counted(b, end, width, [lowest], turn)
        largest = emit.call(
            b, f"llvm.vector.reduce.{letter}max.v{width}i{code.width}", code, [best]
        )
        return b.sext(largest, I64) if signed else b.zext(largest, I64)

    from numba import types

    return types.int64(kind, lanes, types.int64, types.int64), codegen


maximum = intrinsic(_maximum)


def _byte_vectors(b: Any, table: Any) -> list[Any]:
    """Return 256 bytes at a pointer as four vectors."""
    whole = emit.vector(I8, 64)
    return [emit.load(b, emit.advance(b, table, I64(64 * part)), whole) for part in range(4)]


def look_up_bytes(b: Any, table: Sequence[Any], index: Any) -> Any:
    """Return the bytes of a table of 256 at 64 unsigned indices."""
    name, whole = "llvm.x86.avx512.vpermi2var.qi.512", index.type
    low = emit.call(b, name, whole, [table[0], index, table[1]])
    high = emit.call(b, name, whole, [table[2], index, table[3]])
    return b.select(b.icmp_signed("<", index, emit.constant(whole, 0)), high, low)


def _distance(b: Any, largest: Any, pointer: Any, index: Any) -> Any:
    """Return largest - the byte at an index, modulo 256, as int64."""
    code = emit.load(b, emit.advance(b, pointer, index), I8)
    return b.zext(b.sub(largest, code), I64)


def _total(
    typing_context: Any, wide: Any, kind: Any, terms: Any, planes: Any, largest: Any, x: Any,
    count: Any,
) -> Any:  # fmt: skip
    """Return the sum of terms[largest - code] over `count` bytes at x, as int64.

    Terms are 256 entries of `kind`; where bytes are looked up in vectors (`wide`), `planes` tables
    of their bytes, lowest first.
    """
    by_vectors, name = literals(wide, kind)
    number = ir.IntType(int(name.removeprefix("int")))
    size = number.width // 8

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        table, top = emit.address(b, values[2]), b.trunc(values[4], I8)
        codes, end = emit.address(b, values[5]), values[6]
        if not by_vectors:

            def one(index: Any, *carried: Any) -> list[Any]:
                at = b.mul(_distance(b, top, codes, index), I64(size))
                term = emit.load(b, emit.advance(b, table, at), number, size)
                return [b.add(carried[0], b.sext(term, I64) if size < 8 else term)]

            return counted(b, end, 1, [I64(0)], one)[0]
        whole, sums = emit.vector(I8, 64), emit.vector(I64, 8)
        tops = emit.splat(b, top, 64)
        none, zero = emit.constant(whole, 0), emit.constant(sums, 0)

        def plane(number: Any, *carried: Any) -> list[Any]:
            entries = _byte_vectors(b, emit.advance(b, table, b.mul(number, I64(ENTRIES))))

            def turn(index: Any, *partial: Any) -> list[Any]:
                indices = b.sub(tops, emit.load(b, emit.advance(b, codes, index), whole))
                mask = lanes_below(b, I8, 64, b.sub(end, index))
                found = b.select(mask, look_up_bytes(b, entries, indices), none)
                added = emit.call(b, "llvm.x86.avx512.psad.bw.512", sums, [found, none])
                return [b.add(partial[0], added)]

            (partial,) = counted(b, end, 64, [zero], turn)
            shift = emit.splat(b, b.mul(number, I64(8)), 8)
            return [b.add(carried[0], b.shl(partial, shift))]

        (every,) = counted(b, values[3], 1, [zero], plane)
        return emit.call(b, "llvm.vector.reduce.add.v8i64", I64, [every])

    from numba import types

    return types.int64(wide, kind, *[types.int64] * 5), codegen


total = intrinsic(_total)


def _look_up(
    typing_context: Any, wide: Any, size: Any, table: Any, largest: Any, x: Any, out: Any,
    count: Any,
) -> Any:  # fmt: skip
    """Write table[largest - code] for `count` bytes at x; 256 entries of `size` bytes, 1 or 2."""
    by_vectors, bytes_out = literals(wide, size)

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        entries, top = emit.address(b, values[2]), b.trunc(values[3], I8)
        codes, target, end = emit.address(b, values[4]), emit.address(b, values[5]), values[6]
        made = ir.IntType(8 * bytes_out)

        def place(index: Any) -> Any:
            return emit.advance(b, target, b.mul(index, I64(bytes_out)))

        def one(index: Any, *carried: Any) -> list[Any]:
            at = b.mul(_distance(b, top, codes, index), I64(bytes_out))
            entry = emit.load(b, emit.advance(b, entries, at), made, bytes_out)
            emit.store(b, entry, place(index))
            return []

        whole, pairs = emit.vector(I8, 64), emit.vector(I16, 64)
        planes: list[Any] = []
        if by_vectors and bytes_out == 1:
            planes = [_byte_vectors(b, entries)]
        elif by_vectors:
            words = [emit.load(b, emit.advance(b, entries, I64(128 * part)), pairs)
                     for part in range(4)]  # fmt: skip
            high = [b.lshr(word, emit.constant(pairs, 8)) for word in words]
            planes = [[b.trunc(word, whole) for word in half] for half in (words, high)]
        tops = emit.splat(b, top, 64) if by_vectors else None

        def turn(index: Any, *carried: Any) -> list[Any]:
            indices = b.sub(tops, emit.load(b, emit.advance(b, codes, index), whole))
            found = [look_up_bytes(b, plane, indices) for plane in planes]
            value = found[0]
            if bytes_out == 2:
                above = b.shl(b.zext(found[1], pairs), emit.constant(pairs, 8))
                value = b.or_(b.zext(found[0], pairs), above)
            mask = lanes_below(b, I8, 64, b.sub(end, index))
            pointer = b.bitcast(place(index), value.type.as_pointer())
            name = f"llvm.masked.store.v64i{8 * bytes_out}.p0"
            emit.call(b, name, ir.VoidType(), [value, pointer, mask])
            return []

        if by_vectors:
            counted(b, end, 64, [], turn)
        else:
            counted(b, end, 1, [], one)
        return context.get_dummy_value()

    from numba import types

    return types.void(wide, size, *[types.int64] * 5), codegen


look_up = intrinsic(_look_up)


def literals(*constants: Any) -> list[Any]:
    """Return the values of literal types."""
    from numba import types
    from numba.core.errors import TypingError

    if not all(isinstance(one, types.Literal) for one in constants):
        raise TypingError("a row step is described by constants")
    return [one.literal_value for one in constants]
