"""The loops of GELU by I-BERT's polynomial and by I-ViT's shifts."""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from hwsim.gelu import ERF_SHIFT
from hwsim.kernels.jit import native

from . import emit, wide
from .emit import I64
from .memory import int64s
from .rows import (
    ENTRIES,
    ROW_WORDS,
    Words,
    element,
    extended,
    literals,
    look_up,
    maximum,
    repeat,
    row_places,
    rows_at,
    store_below,
)
from .target import TIERS, Tier

_BY_NAME = {tier.name: tier for tier in TIERS}
_ENTRIES = ENTRIES


class Field(IntEnum):
    """The words of a polynomial after those of `Rows`; addresses of int64 per channel, padded.

    * X_ZERO, KNEE, HEIGHT, ONE: see `kernels.gelu.gelu_by_polynomial`.
    * MULTIPLIER, RIGHT, ZERO, LOW, HIGH: see `wide.requantize`.
    """

    X_ZERO = ROW_WORDS
    KNEE = ROW_WORDS + 1
    HEIGHT = ROW_WORDS + 2
    ONE = ROW_WORDS + 3
    MULTIPLIER = ROW_WORDS + 4
    RIGHT = ROW_WORDS + 5
    ZERO = ROW_WORDS + 6
    LOW = ROW_WORDS + 7
    HIGH = ROW_WORDS + 8


_WORDS = int(Field.HIGH) + 1


def _polynomial(
    typing_context: Any, tier: Any, kind: Any, out_size: Any, fields: Any, x: Any, out: Any
) -> Any:
    """Write one row of `gelu_by_polynomial`."""
    tier_name, name, bytes_out = literals(tier, kind, out_size)
    instructions, code = _BY_NAME[tier_name], element(name)
    lanes = instructions.lanes // 2

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        words = Words(b, values[3])
        source, target = emit.address(b, values[4]), emit.address(b, values[5])
        count, whole = words.number(3), emit.vector(I64, lanes)
        zeros = emit.splat(b, words.number(Field.X_ZERO), lanes)
        constants = [words.place(field) for field in (Field.KNEE, Field.HEIGHT, Field.ONE)]
        places = words.place(Field.MULTIPLIER), words.place(Field.RIGHT)
        limits = [words.number(field) for field in (Field.ZERO, Field.LOW, Field.HIGH)]
        none = emit.constant(whole, 0)

        def turn(index: Any, carried: Sequence[Any]) -> list[Any]:
            at = emit.advance(b, source, b.mul(index, I64(code.width // 8)))
            read = emit.load(b, at, emit.vector(code, lanes))
            centered = b.sub(extended(b, name, read, whole), zeros)
            knee, height, one = (
                emit.load(b, emit.advance(b, place, b.mul(index, I64(8))), whole, 8)
                for place in constants
            )
            sign = b.ashr(centered, emit.constant(whole, 63))
            magnitude = b.sub(b.xor(centered, sign), sign)
            root = b.sub(emit.lower(b, magnitude, knee), knee)
            erf = b.add(b.mul(root, root), height)
            erf = b.sub(b.xor(erf, sign), sign)
            erf = b.select(b.icmp_signed("==", centered, none), none, erf)
            acc = b.mul(centered, b.add(b.ashr(erf, emit.constant(whole, ERF_SHIFT)), one))
            made = wide.requantize(b, acc, places, index, limits)
            small = b.trunc(made, emit.vector(ir.IntType(8 * bytes_out), lanes))
            end = emit.advance(b, target, b.mul(index, I64(bytes_out)))
            store_below(b, instructions, small, end, b.sub(count, index))
            return []

        repeat(b, count, lanes, [], turn)
        return context.get_dummy_value()

    return types.void(tier, kind, out_size, *[types.int64] * 3), codegen


polynomial: Any = intrinsic(prefer_literal=True)(_polynomial)


@cache
def polynomial_kernel(tier: Tier, kind: str, out_size: int) -> Any:
    """Return the kernel of `kernels.gelu.gelu_by_polynomial`; its words are `Field`s."""
    name = tier.name

    def gelu_polynomial(words: int) -> None:
        rows = rows_at(int64s(words, _WORDS))
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            polynomial(name, kind, out_size, words, x_at, out_at)

    return native(gelu_polynomial)


@cache
def shifts_kernel(kind: str, out_size: int, lanes: int, by_vectors: int) -> Any:
    """Return the kernel of a function of a row's largest 8-bit code and the distance to it.

    Words after those of `Rows`: smallest code, address of [largest code][distance] results.
    """

    def gelu_shifts(words: int) -> None:
        at = int64s(words, ROW_WORDS + 2)
        rows = rows_at(at)
        least, tables = at[ROW_WORDS], at[ROW_WORDS + 1]
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            largest = maximum(kind, lanes, x_at, rows.width)
            table = tables + (largest - least) * (_ENTRIES * out_size)
            look_up(by_vectors, out_size, table, largest, x_at, out_at, rows.width)

    return native(gelu_shifts)
