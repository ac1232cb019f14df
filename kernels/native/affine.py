"""Sums of two 8-bit codes as one multiplication, one lookup and one shift.

Whatever a profile's addition does in between, its result is close to z + r * a + s * b. Where an
integer A, a shift S and a table g with clamp((A * a + g[b]) >> S) equal the reference step on all
pairs of codes, that is computed instead: 64 codes at a time, g by in-register lookups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from hwsim.kernels.jit import intrinsic, native
from hwsim.kernels.scaling import Site, aligned
from hwsim.ops import Op

from . import emit
from .broadcast import broadcast
from .call import Native, NativeCall
from .emit import I8, I16, I32, I64
from .lines import Spot, lines_of
from .loops import over_lanes, pointer_of, scalar
from .memory import int64s
from .rows import look_up_bytes

SUMS = (Op.ADD, Op.SUB)
"""Operators that may have such a form."""
_LANES = 64
_BLOCK = 16  # bytes that unpacking keeps together
_BYTES = 256
_TRIALS = (0, 1, -1, 2, -2, 3, -3, 4, -4)
_FACTOR_BITS = 22
_WORDS = 17


@dataclass(frozen=True)
class Affine:
    """A sum: clamp((factor * a + table[b]) >> shift), a signed or less 128, b by its byte."""

    factor: int
    table: NDArray[np.int32]
    shift: int


def affine_sum(site: Site, results: NDArray[np.integer], low: int, high: int) -> Affine | None:
    """Return a form of a sum that is exact on all pairs of codes, or None if none was found.

    Args:
        site: ADD or SUB of 8-bit codes.
        results: What the reference step makes of all codes, (a, b), smallest first.
        low: Smallest code of the result.
        high: Largest code.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    ratios = [site.scale_of(value) / site.scale_of(out) for value in (a, b)]
    largest = 255 * sum(ratios) + abs(int(site.zero_of(out))) + 2
    shift = min(31 - int(largest).bit_length(), _FACTOR_BITS - int(ratios[0]).bit_length())
    if shift < 1:
        return None
    first, second = site.integer(a), site.integer(b)
    signed = np.arange(first.min, first.max + 1) - (0 if first.signed else 128)
    unit = np.int64(1) << shift
    codes = results.astype(np.int64)
    for trial in _TRIALS:
        factor = round(ratios[0] * int(unit)) + trial
        products = (signed * factor)[:, None]
        # A clamped result says on one side alone where the sum lies.
        least = np.where(codes > low, codes * unit - products, _FAR_BELOW).max(axis=0)
        most = np.where(codes < high, (codes + 1) * unit - 1 - products, _FAR_ABOVE).min(axis=0)
        if (least > most).any():
            continue
        offsets = np.where(
            least == _FAR_BELOW, most, np.where(most == _FAR_ABOVE, least, (least + most) >> 1)
        )
        sums = products + offsets
        if np.abs(sums).max() < 1 << 31 and np.abs(offsets).max() < 1 << 30:
            table = np.zeros(_BYTES, np.int32)
            table[np.arange(second.min, second.max + 1) & (_BYTES - 1)] = offsets
            return Affine(factor, table, shift)
    return None


_FAR_BELOW, _FAR_ABOVE = -(1 << 62), 1 << 62


def affine_add(site: Site, form: Affine, low: int, high: int) -> Native:
    """Return the kernel of a sum."""
    a, b, out = (site.integer(value) for value in (site.operand(0), site.operand(1), site.result()))
    upper, lower = form.factor >> 8, form.factor & 0xFF
    # Bytes meet the factor as 256 * signed and as unsigned, 128 more.
    table = form.table - np.int32(128 * lower)
    planes = aligned((4, _BYTES), np.uint8)
    planes[...] = table.view(np.uint8).reshape(_BYTES, 4).T
    kernel = _kernel(int(a.signed), int(out.signed))
    weights = (upper & 0xFFFF) | lower << 16

    def combine(spots: Sequence[Spot]) -> NativeCall:
        words = lines_of(spots).words(spots)
        return NativeCall(kernel, (*words, planes, weights, form.shift, low, high))

    assert b.storage.itemsize == 1
    return broadcast([site.operand(0), site.operand(1)], site.result(), combine)


def _unpacked(b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Return elements of two vectors in turn, the first and second halves of blocks of 16 bytes."""
    lanes = low.type.count
    block = _BLOCK * lanes // _LANES
    picks: list[list[int]] = [[], []]
    for start in range(0, lanes, block):
        for half in (0, 1):
            first = start + half * block // 2
            for lane in range(first, first + block // 2):
                picks[half] += [lane, lanes + lane]
    return emit.shuffle(b, low, high, picks[0]), emit.shuffle(b, low, high, picks[1])


def _four(b: Any, bytes_of: Sequence[Any]) -> list[Any]:
    """Return four vectors of bytes as four of int32, the first byte lowest."""
    words = emit.vector(I16, _LANES // 2)
    low = [b.bitcast(half, words) for half in _unpacked(b, bytes_of[0], bytes_of[1])]
    high = [b.bitcast(half, words) for half in _unpacked(b, bytes_of[2], bytes_of[3])]
    whole = emit.vector(I32, _LANES // 4)
    return [
        b.bitcast(part, whole)
        for one, other in zip(low, high, strict=True)
        for part in _unpacked(b, one, other)
    ]


def emit_sums(b: Any, a_signed: bool, out_signed: bool, values: Sequence[Any]) -> None:
    """Add the loop over one line to a function.

    Args:
        b: IR builder.
        a_signed: Whether the first operand is.
        out_signed: Whether the result is.
        values: int64: address of the fields, of both operands and of the result; elements.
    """
    fields, *places, count = values
    base = emit.address(b, fields)
    first, second, target = (emit.address(b, place) for place in places)
    whole, lanes = emit.vector(I8, _LANES), _LANES // 4
    start = pointer_of(b, base, 12)
    planes = [
        [
            emit.load(b, emit.advance(b, start, I64(_BYTES * plane + _LANES * part)), whole)
            for part in range(4)
        ]
        for plane in range(4)
    ]
    weights = emit.splat(b, b.trunc(scalar(b, base, 13), I32), lanes)
    shift = emit.splat(b, b.trunc(scalar(b, base, 14), I32), lanes)
    low, high = (emit.splat(b, b.trunc(scalar(b, base, n), I8), _LANES) for n in (15, 16))
    zeros, turn = emit.constant(whole, 0), emit.constant(whole, -128)
    pairs = emit.vector(I16, _LANES // 2)

    def packed(name: str, one: Any, other: Any, kind: ir.Type) -> Any:
        return emit.call(b, f"llvm.x86.avx512.{name}.512", kind, [one, other])

    def made(index: Any) -> Sequence[tuple[Any, Any]]:
        codes = emit.load(b, emit.advance(b, first, index), whole)
        turned = b.xor(codes, turn)
        signed, unsigned = (codes, turned) if a_signed else (turned, codes)
        others = emit.load(b, emit.advance(b, second, index), whole)
        offsets = _four(b, [look_up_bytes(b, plane, others) for plane in planes])
        factors = _four(b, [zeros, signed, unsigned, zeros])
        sums = [
            b.ashr(
                emit.call(
                    b, "llvm.x86.avx512.vpdpwssd.512", offset.type,
                    [offset, *_as_operands(b, factor, weights)],
                ),
                shift,
            )
            for offset, factor in zip(offsets, factors, strict=True)
        ]  # fmt: skip
        halves = [packed("packssdw", sums[i], sums[i + 1], pairs) for i in (0, 2)]
        name = "packsswb" if out_signed else "packuswb"
        result = packed(name, halves[0], halves[1], whole)
        compare = b.icmp_signed if out_signed else b.icmp_unsigned
        result = b.select(compare(">", result, low), result, low)
        result = b.select(compare("<", result, high), result, high)
        return [(result, emit.advance(b, target, index))]

    over_lanes(b, _LANES, count, made)


def _as_operands(b: Any, factor: Any, weights: Any) -> list[Any]:
    """Return both operands of a product of pairs, as vectors of int16."""
    pairs = emit.vector(I16, 2 * factor.type.count)
    return [b.bitcast(factor, pairs), b.bitcast(weights, pairs)]


@intrinsic
def affine_line(
    typing_context: Any, a_signed: Any, out_signed: Any, fields: Any, a: Any, b: Any, out: Any,
    count: Any,
) -> Any:  # fmt: skip
    """Compute one line; see `emit_sums`. The first two arguments are constants."""
    from numba import types
    from numba.core.errors import TypingError

    constants = (a_signed, out_signed)
    if not all(isinstance(one, types.Literal) for one in constants):
        raise TypingError("signs must be constants")
    signs = [bool(one.literal_value) for one in constants]

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        emit_sums(builder, signs[0], signs[1], values[2:])
        return context.get_dummy_value()

    return types.void(*constants, *[types.int64] * 5), codegen


@cache
def _kernel(a_signed: int, out_signed: int) -> Any:
    """Return the kernel: lines, planes of the table, weights, shift, smallest and largest code."""

    def affine(fields: int) -> None:
        at = int64s(fields, _WORDS)
        for image in range(at[0]):
            for line in range(at[1]):
                a = at[3] + image * at[4] + line * at[5]
                b = at[6] + image * at[7] + line * at[8]
                out = at[9] + image * at[10] + line * at[11]
                affine_line(a_signed, out_signed, fields, a, b, out, at[2])

    return native(affine)
