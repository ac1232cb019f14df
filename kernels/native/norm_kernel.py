"""The loops of LAYER_NORM and RMS_NORM, vectors of channels at a time.

The normalized code is floor(q) of q = (2**11 * d + s) / (2 * s) for integers d and s. Moved up by
1/2 unit of its dividend, q is at least 1 / (4 * s) away from a whole number; moved above 0, which
is taken off beta again, it is rounded down by truncation. In float64 that is a code times a factor
of the row plus a term of the row. None of the three is above 2**38 / s or 2**18, and no rounding is
above 2**-51 of one: together they stay below 1 / (4 * s) while s is below 2**30.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any, cast

import numpy as np
from llvmlite import ir

from hwsim.kernels.jit import intrinsic, jit, native
from hwsim.kernels.norm import ten_step_sqrt
from hwsim.norm import FRACTION_BITS
from hwsim.profile import Requant

from . import emit, wide
from .emit import F64, I16, I32, I64
from .loops import (
    KINDS,
    counted,
    element,
    int32_of,
    load_codes,
    over_lanes,
    pointer_of,
    scalar,
)
from .memory import array, int64s, pointer
from .rows import ROW_WORDS, lanes_below, literals, row_places, rows_at
from .target import TIERS, Tier

_BY_NAME = {tier.name: tier for tier in TIERS}
NORMALIZED_LIMIT = 1 << 17
"""No less than a normalized code: 2 * sqrt(channels) in units of 2**-10."""
SPREAD_BITS = 30
"""Bits of s."""


class Field(IntEnum):
    """The words of a norm after those of `Rows`; addresses are of arrays padded for vectors.

    * X_ZERO, CENTERED, EPSILON: see `kernels.norm.layer_norm_rows`.
    * GAMMA, BETA: int32 per channel, NORMALIZED_LIMIT * gamma taken off beta; int64 by a
      reciprocal, where GAMMA is 0 or -1 for its sign.
    * MULTIPLIER, LEFT, RIGHT, REAL: see `emit.Factors`; int64 by a reciprocal, see `wide`.
    * ZERO, LOW, HIGH: see `emit.Range`.
    * TEN_STEPS, NUMERATOR, SHIFT: see `kernels.norm.layer_norm_by_reciprocal`.
    """

    X_ZERO = ROW_WORDS
    CENTERED = ROW_WORDS + 1
    EPSILON = ROW_WORDS + 2
    GAMMA = ROW_WORDS + 3
    BETA = ROW_WORDS + 4
    MULTIPLIER = ROW_WORDS + 5
    LEFT = ROW_WORDS + 6
    RIGHT = ROW_WORDS + 7
    REAL = ROW_WORDS + 8
    ZERO = ROW_WORDS + 9
    LOW = ROW_WORDS + 10
    HIGH = ROW_WORDS + 11
    TEN_STEPS = ROW_WORDS + 12
    NUMERATOR = ROW_WORDS + 13
    SHIFT = ROW_WORDS + 14


_WORDS = int(Field.SHIFT) + 1
_X_ZERO, _CENTERED, _EPSILON = int(Field.X_ZERO), int(Field.CENTERED), int(Field.EPSILON)
_TEN_STEPS, _NUMERATOR, _SHIFT = int(Field.TEN_STEPS), int(Field.NUMERATOR), int(Field.SHIFT)


def _sums(typing_context: Any, tier: Any, kind: Any, x: Any, count: Any) -> Any:
    """Return the sums of `count` codes at an address and of their squares, as int64."""
    tier_name, name = literals(tier, kind)
    instructions = _BY_NAME[tier_name]
    code, signed = KINDS[name]
    narrow = code.width == 8
    lanes = instructions.lanes
    step = 2 * lanes if narrow else lanes

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        start, end = emit.address(b, values[2]), values[3]
        whole = emit.vector(I32, lanes)
        read, halves = emit.vector(code, step), emit.vector(I16, step)
        none, ones = emit.constant(read, 0), emit.constant(halves, 1)
        # Squares of 16 bits take 32, as unsigned numbers; 4096 of 8 bits stay below 2**31.
        squared = whole if narrow else emit.vector(I64, lanes)

        def codes_at(index: Any) -> Any:
            at = b.mul(index, I64(code.width // 8))
            return emit.load(b, emit.advance(b, start, at), read)

        def added(codes: Any, total: Any, squares: Any) -> list[Any]:
            if narrow:
                pairs = b.sext(codes, halves) if signed else b.zext(codes, halves)
                return [
                    emit.add_pairs(b, instructions, total, pairs, ones),
                    emit.add_pairs(b, instructions, squares, pairs, pairs),
                ]
            every = b.sext(codes, whole) if signed else b.zext(codes, whole)
            return [b.add(total, every), b.add(squares, b.zext(b.mul(every, every), squared))]

        def turn(index: Any, *carried: Any) -> list[Any]:
            return added(codes_at(index), *carried)

        full = b.and_(end, I64(-step))
        first = (emit.constant(whole, 0), emit.constant(squared, 0))
        sums = counted(b, full, step, first, turn)
        mask = lanes_below(b, code, step, b.sub(end, full))
        sums = added(b.select(mask, codes_at(full), none), *sums)
        made = []
        for vector in sums:
            bits = vector.type.element.width
            reduce = f"llvm.vector.reduce.add.v{lanes}i{bits}"
            one = emit.call(b, reduce, vector.type.element, [vector])
            made.append(b.sext(one, I64) if bits < 64 else one)
        return context.make_tuple(b, signature.return_type, made)

    from numba import types

    pair = cast(Any, types).UniTuple(types.int64, 2)
    return pair(tier, kind, types.int64, types.int64), codegen


sums = intrinsic(_sums)


def ends_of(kind: str) -> tuple[int, int] | None:
    """Return the smallest and largest code of a storage; None for no name."""
    if not kind:
        return None
    limits = np.iinfo(kind)
    return int(limits.min), int(limits.max)


def _normalize(
    typing_context: Any, tier: Any, kind: Any, out_size: Any, rule: Any, near: Any, ends: Any,
    fields: Any, x: Any, out: Any, offset: Any, spread: Any,
) -> Any:  # fmt: skip
    """Write one row of `layer_norm_rows`: deviations are width * code - offset."""
    tier_name, name, bytes_out, number, no_care, stored = literals(
        tier, kind, out_size, rule, near, ends
    )
    requant, lanes = Requant(number), _BY_NAME[tier_name].lanes

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        fields = emit.address(b, values[6])
        source, target = emit.address(b, values[7]), emit.address(b, values[8])
        count, whole, doubles = (
            scalar(b, fields, 3),
            emit.vector(I32, lanes),
            emit.vector(F64, lanes),
        )
        gamma, beta = (pointer_of(b, fields, field) for field in (Field.GAMMA, Field.BETA))
        places = [
            pointer_of(b, fields, field)
            for field in (Field.MULTIPLIER, Field.LEFT, Field.RIGHT, Field.REAL)
        ]
        zero, low, high = (
            int32_of(b, fields, field) for field in (Field.ZERO, Field.LOW, Field.HIGH)
        )
        limits = emit.Range(zero, low, high, ends_of(stored))
        inverse = b.fdiv(F64(0.5), b.sitofp(values[10], F64))
        unit = b.fmul(inverse, F64(2 << FRACTION_BITS))
        mean = b.fmul(b.sitofp(values[9], F64), unit)
        # 1/2 of the quotient's unit, NORMALIZED_LIMIT, and half of a unit of the dividend.
        base = b.fadd(F64(NORMALIZED_LIMIT + 0.5), b.fmul(inverse, F64(0.5)))
        first = emit.splat(b, b.fsub(base, mean), lanes)
        slope = emit.splat(b, b.fmul(b.sitofp(count, F64), unit), lanes)
        factors = emit.load_factors(b, requant, places, I64(0), lanes, bool(no_care))

        def parameters(place: Any, index: Any) -> Any:
            return emit.load(b, emit.advance(b, place, b.mul(index, I64(4))), whole, 4)

        def made(index: Any) -> Sequence[tuple[Any, Any]]:
            codes = load_codes(b, element(b, source, index, name), name, lanes)
            exact = b.fadd(b.fmul(b.sitofp(codes, doubles), slope), first)
            normalized = b.fptosi(exact, whole)
            acc = b.mul(normalized, parameters(gamma, index))
            acc = b.add(acc, parameters(beta, index))
            codes = emit.requantize(b, requant, acc, factors, limits)
            small = b.trunc(codes, emit.vector(ir.IntType(8 * bytes_out), lanes))
            return [(small, emit.advance(b, target, b.mul(index, I64(bytes_out))))]

        over_lanes(b, lanes, count, made)
        return context.get_dummy_value()

    from numba import types

    return types.void(tier, kind, out_size, rule, near, ends, *[types.int64] * 5), codegen


normalize = intrinsic(_normalize)


@jit
def floor_sqrt(value: int) -> int:
    """Return floor(sqrt(value)) for 0 <= value < 2**62."""
    root = int(np.sqrt(float(value)))
    while root * root > value:
        root -= 1
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root


@cache
def norm_kernel(tier: Tier, kind: str, out_size: int, rule: Requant, near: int, ends: str) -> Any:
    """Return the kernel of `kernels.norm.layer_norm_rows`; its words are `Field`s.

    `near` is that of `emit.Factors`, `ends` what `packing.whole_range` returns.
    """
    name, number = tier.name, int(rule)

    def norm(words: int) -> None:
        at = int64s(words, _WORDS)
        rows = rows_at(at)
        width, zero = rows.width, at[_X_ZERO]
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            total, squares = sums(name, kind, x_at, width)
            # Of codes minus the zero point.
            squares += zero * (zero * width - 2 * total)
            offset, mean = total, total - width * zero
            if not at[_CENTERED]:
                offset, mean = width * zero, 0
            spread = max(floor_sqrt(width * squares - mean * mean + at[_EPSILON]), 1)
            normalize(name, kind, out_size, number, near, ends, words, x_at, out_at, offset, spread)

    return native(norm)


def _scale_reciprocal(
    typing_context: Any, tier: Any, kind: Any, out_size: Any, above: Any, fields: Any, x: Any,
    out: Any, mean: Any, factor: Any,
) -> Any:  # fmt: skip
    """Write one row of `layer_norm_by_reciprocal`."""
    tier_name, name, bytes_out, shifted = literals(tier, kind, out_size, above)
    lanes = _BY_NAME[tier_name].lanes // 2

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        fields = emit.address(b, values[4])
        source, target = emit.address(b, values[5]), emit.address(b, values[6])
        count, whole = scalar(b, fields, 3), emit.vector(I64, lanes)
        gamma, beta, *places = (
            pointer_of(b, fields, field)
            for field in (Field.GAMMA, Field.BETA, Field.MULTIPLIER, Field.RIGHT)
        )
        limits = [scalar(b, fields, field) for field in (Field.ZERO, Field.LOW, Field.HIGH)]
        means, factors = emit.splat(b, values[7], lanes), emit.splat(b, values[8], lanes)

        def made(index: Any) -> Sequence[tuple[Any, Any]]:
            codes = b.sext(load_codes(b, element(b, source, index, name), name, lanes), whole)
            product = b.mul(b.sub(codes, means), factors)
            normalized = b.ashr(product, emit.constant(whole, 1))
            parameter = b.mul(index, I64(8))
            sign = emit.load(b, emit.advance(b, gamma, parameter), whole, 8)
            shift = emit.load(b, emit.advance(b, beta, parameter), whole, 8)
            acc = b.add(b.sub(b.xor(normalized, sign), sign), shift)
            codes = wide.requantize(b, acc, places, index, limits, bool(shifted))
            small = b.trunc(codes, emit.vector(ir.IntType(8 * bytes_out), lanes))
            return [(small, emit.advance(b, target, b.mul(index, I64(bytes_out))))]

        over_lanes(b, lanes, count, made)
        return context.get_dummy_value()

    from numba import types

    return types.void(tier, kind, out_size, above, *[types.int64] * 5), codegen


scale_reciprocal = intrinsic(_scale_reciprocal)


@jit
def _nearest_mean(total: int, count: int) -> int:
    """Return total / count, ties to even."""
    mean = total // count
    rest = total - mean * count
    if 2 * rest > count or (2 * rest == count and mean & 1):
        mean += 1
    return mean


@cache
def reciprocal_norm_kernel(tier: Tier, kind: str, out_size: int, above: int) -> Any:
    """Return the kernel of `kernels.norm.layer_norm_by_reciprocal`; its words are `Field`s.

    `above` is that of `wide.scaled`.
    """
    name = tier.name

    def reciprocal_norm(words: int) -> None:
        at = int64s(words, _WORDS)
        rows = rows_at(at)
        width, shift = rows.width, at[_SHIFT]
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            total, squares = sums(name, kind, x_at, width)
            mean = _nearest_mean(total, width)
            if shift:
                x = array(pointer(x_at, kind), (width,))
                squares = 0
                for c in range(width):
                    deviation = (np.int64(x[c]) - mean) >> shift
                    squares += deviation * deviation
            else:
                squares += mean * (mean * width - 2 * total)
            if at[_TEN_STEPS]:
                root = ten_step_sqrt(squares)
            else:
                root = floor_sqrt(squares) << shift
            factor = at[_NUMERATOR] // max(root, 1)
            scale_reciprocal(name, kind, out_size, above, words, x_at, out_at, mean, factor)

    return native(reciprocal_norm)
