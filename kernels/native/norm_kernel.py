"""The loops of LAYER_NORM and RMS_NORM, vectors of channels at a time.

A quotient of integers is taken by one product in float64. Its dividend is moved up by 1/2, so it
is at least 1/2 over the divisor away from a whole number, and moved above 0, where truncation
rounds down; two roundings of float64 do not reach that distance while dividends are below 2**51.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hwsim.kernels.jit import jit, native
from hwsim.kernels.norm import ten_step_sqrt
from hwsim.norm import FRACTION_BITS
from hwsim.profile import Requant

from . import emit, wide
from .emit import F64, I32, I64
from .memory import array, int64s, pointer
from .rows import (
    ROW_WORDS,
    Words,
    element,
    extended,
    lanes_below,
    literals,
    repeat,
    row_places,
    rows_at,
    store_below,
)
from .target import TIERS, Tier

_BY_NAME = {tier.name: tier for tier in TIERS}
NORMALIZED_LIMIT = 1 << 18
"""Above every normalized code, which is at most 2 * sqrt(channels) in units of 2**-10."""


class Field(IntEnum):
    """The words of a norm after those of `Rows`; addresses are of arrays padded for vectors.

    * X_ZERO, CENTERED, EPSILON: see `kernels.norm.layer_norm_rows`.
    * GAMMA, BETA: int32 per channel; int64 by a reciprocal, where GAMMA is 0 or -1 for its sign.
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


def _sums(typing_context: Any, kind: Any, lanes: Any, x: Any, count: Any) -> Any:
    """Return the sums of `count` codes at an address and of their squares, as int64."""
    name, width = literals(kind, lanes)
    code = element(name)

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        start, end = emit.address(b, values[2]), values[3]
        whole = emit.vector(I32, width)
        # Squares of 16 bits take 32, as unsigned numbers; 4096 of 8 bits stay below 2**31.
        squared = emit.vector(I64, width) if code.width > 8 else whole

        def turn(index: Any, carried: Sequence[Any]) -> list[Any]:
            at = b.mul(index, I64(code.width // 8))
            codes = emit.load(b, emit.advance(b, start, at), emit.vector(code, width))
            mask = lanes_below(b, I32, width, b.sub(end, index))
            every = b.select(mask, extended(b, name, codes, whole), emit.constant(whole, 0))
            square = b.mul(every, every)
            if code.width > 8:
                square = b.zext(square, squared)
            return [b.add(carried[0], every), b.add(carried[1], square)]

        first = [emit.constant(whole, 0), emit.constant(squared, 0)]
        added = repeat(b, end, width, first, turn)
        made = []
        for vector in added:
            bits = vector.type.element.width
            reduce = f"llvm.vector.reduce.add.v{width}i{bits}"
            one = emit.call(b, reduce, vector.type.element, [vector])
            made.append(b.sext(one, I64) if bits < 64 else one)
        return context.make_tuple(b, signature.return_type, made)

    pair = cast(Any, types).UniTuple(types.int64, 2)
    return pair(kind, lanes, types.int64, types.int64), codegen


sums: Any = intrinsic(prefer_literal=True)(_sums)


def _normalize(
    typing_context: Any, tier: Any, kind: Any, out_size: Any, rule: Any, fields: Any, x: Any,
    out: Any, offset: Any, spread: Any,
) -> Any:  # fmt: skip
    """Write one row of `layer_norm_rows`: deviations are width * code - offset."""
    tier_name, name, bytes_out, number = literals(tier, kind, out_size, rule)
    instructions, requant, code = _BY_NAME[tier_name], Requant(number), element(name)
    lanes = instructions.lanes

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        words = Words(b, values[4])
        source, target = emit.address(b, values[5]), emit.address(b, values[6])
        count, whole, doubles = words.number(3), emit.vector(I32, lanes), emit.vector(F64, lanes)
        gamma, beta = words.place(Field.GAMMA), words.place(Field.BETA)
        places = [words.place(field) for field in
                  (Field.MULTIPLIER, Field.LEFT, Field.RIGHT, Field.REAL)]  # fmt: skip
        limits = emit.Range(
            *(b.trunc(words.number(field), I32) for field in (Field.ZERO, Field.LOW, Field.HIGH))
        )
        channels = emit.splat(b, b.trunc(count, I32), lanes)
        offsets = emit.splat(b, b.trunc(values[7], I32), lanes)
        divisor = b.mul(values[8], I64(2))
        moved = b.add(values[8], b.mul(divisor, I64(NORMALIZED_LIMIT)))
        base = b.fadd(b.sitofp(moved, F64), F64(0.5))
        bases = emit.splat(b, base, lanes)
        inverse = emit.splat(b, b.fdiv(F64(1.0), b.sitofp(divisor, F64)), lanes)
        unit = emit.constant(doubles, float(2 << FRACTION_BITS))
        limit = emit.constant(whole, NORMALIZED_LIMIT)

        def turn(index: Any, carried: Sequence[Any]) -> list[Any]:
            at = emit.advance(b, source, b.mul(index, I64(code.width // 8)))
            codes = extended(b, name, emit.load(b, at, emit.vector(code, lanes)), whole)
            deviation = b.sub(b.mul(codes, channels), offsets)
            exact = b.fadd(b.fmul(b.sitofp(deviation, doubles), unit), bases)
            normalized = b.sub(b.fptosi(b.fmul(exact, inverse), whole), limit)
            parameter = b.mul(index, I64(4))
            acc = b.add(
                b.mul(normalized, emit.load(b, emit.advance(b, gamma, parameter), whole, 4)),
                emit.load(b, emit.advance(b, beta, parameter), whole, 4),
            )
            factors = emit.load_factors(b, requant, places, index, lanes)
            made = emit.requantize(b, requant, acc, factors, limits)
            small = b.trunc(made, emit.vector(ir.IntType(8 * bytes_out), lanes))
            end = emit.advance(b, target, b.mul(index, I64(bytes_out)))
            store_below(b, instructions, small, end, b.sub(count, index))
            return []

        repeat(b, count, lanes, [], turn)
        return context.get_dummy_value()

    return types.void(tier, kind, out_size, rule, *[types.int64] * 5), codegen


normalize: Any = intrinsic(prefer_literal=True)(_normalize)


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
def norm_kernel(tier: Tier, kind: str, out_size: int, rule: Requant) -> Any:
    """Return the kernel of `kernels.norm.layer_norm_rows`; its words are `Field`s."""
    name, lanes, number = tier.name, tier.lanes, int(rule)

    def norm(words: int) -> None:
        at = int64s(words, _WORDS)
        rows = rows_at(at)
        width, zero = rows.width, at[_X_ZERO]
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            total, squares = sums(kind, lanes, x_at, width)
            # Of codes minus the zero point.
            squares += zero * (zero * width - 2 * total)
            offset, mean = total, total - width * zero
            if not at[_CENTERED]:
                offset, mean = width * zero, 0
            spread = max(floor_sqrt(width * squares - mean * mean + at[_EPSILON]), 1)
            normalize(name, kind, out_size, number, words, x_at, out_at, offset, spread)

    return native(norm)


def _scale_reciprocal(
    typing_context: Any, tier: Any, kind: Any, out_size: Any, fields: Any, x: Any, out: Any,
    mean: Any, factor: Any,
) -> Any:  # fmt: skip
    """Write one row of `layer_norm_by_reciprocal`."""
    tier_name, name, bytes_out = literals(tier, kind, out_size)
    instructions, code = _BY_NAME[tier_name], element(name)
    lanes = instructions.lanes // 2

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        words = Words(b, values[3])
        source, target = emit.address(b, values[4]), emit.address(b, values[5])
        count, whole = words.number(3), emit.vector(I64, lanes)
        gamma, beta = words.place(Field.GAMMA), words.place(Field.BETA)
        places = words.place(Field.MULTIPLIER), words.place(Field.RIGHT)
        limits = [words.number(field) for field in (Field.ZERO, Field.LOW, Field.HIGH)]
        means, factors = emit.splat(b, values[6], lanes), emit.splat(b, values[7], lanes)

        def turn(index: Any, carried: Sequence[Any]) -> list[Any]:
            at = emit.advance(b, source, b.mul(index, I64(code.width // 8)))
            codes = extended(b, name, emit.load(b, at, emit.vector(code, lanes)), whole)
            product = b.mul(b.sub(codes, means), factors)
            normalized = b.ashr(product, emit.constant(whole, 1))
            parameter = b.mul(index, I64(8))
            sign = emit.load(b, emit.advance(b, gamma, parameter), whole, 8)
            shift = emit.load(b, emit.advance(b, beta, parameter), whole, 8)
            acc = b.add(b.sub(b.xor(normalized, sign), sign), shift)
            made = wide.requantize(b, acc, places, index, limits)
            small = b.trunc(made, emit.vector(ir.IntType(8 * bytes_out), lanes))
            end = emit.advance(b, target, b.mul(index, I64(bytes_out)))
            store_below(b, instructions, small, end, b.sub(count, index))
            return []

        repeat(b, count, lanes, [], turn)
        return context.get_dummy_value()

    return types.void(tier, kind, out_size, *[types.int64] * 5), codegen


scale_reciprocal: Any = intrinsic(prefer_literal=True)(_scale_reciprocal)


@jit
def _nearest_mean(total: int, count: int) -> int:
    """Return total / count, ties to even."""
    mean = total // count
    rest = total - mean * count
    if 2 * rest > count or (2 * rest == count and mean & 1):
        mean += 1
    return mean


@cache
def reciprocal_norm_kernel(tier: Tier, kind: str, out_size: int) -> Any:
    """Return the kernel of `kernels.norm.layer_norm_by_reciprocal`; its words are `Field`s."""
    name, lanes = tier.name, tier.lanes

    def reciprocal_norm(words: int) -> None:
        at = int64s(words, _WORDS)
        rows = rows_at(at)
        width, shift = rows.width, at[_SHIFT]
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            total, squares = sums(kind, lanes, x_at, width)
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
            scale_reciprocal(name, kind, out_size, words, x_at, out_at, mean, factor)

    return native(reciprocal_norm)
