"""The loops of GELU by I-BERT's polynomial and by I-ViT's shifts."""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

from llvmlite import ir

from hwsim.gelu import ERF_SHIFT
from hwsim.kernels.jit import intrinsic, native

from . import emit, wide
from .emit import I64
from .loops import element, load_codes, over_lanes, pointer_of, scalar
from .memory import int64s
from .rows import ENTRIES, ROW_WORDS, literals, look_up, maximum, row_places, rows_at
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
    typing_context: Any,
    tier: Any,
    kind: Any,
    out_size: Any,
    above: Any,
    fields: Any,
    x: Any,
    out: Any,
) -> Any:
    """Write one row of `gelu_by_polynomial`."""
    tier_name, name, bytes_out, shifted = literals(tier, kind, out_size, above)
    lanes = _BY_NAME[tier_name].lanes // 2

    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        fields = emit.address(b, values[4])
        source, target = emit.address(b, values[5]), emit.address(b, values[6])
        count, whole = scalar(b, fields, 3), emit.vector(I64, lanes)
        zeros = emit.splat(b, scalar(b, fields, Field.X_ZERO), lanes)
        *constants, multiplier, right = (
            pointer_of(b, fields, field)
            for field in (Field.KNEE, Field.HEIGHT, Field.ONE, Field.MULTIPLIER, Field.RIGHT)
        )
        limits = [scalar(b, fields, field) for field in (Field.ZERO, Field.LOW, Field.HIGH)]
        none = emit.constant(whole, 0)

        def made(index: Any) -> Sequence[tuple[Any, Any]]:
            codes = b.sext(load_codes(b, element(b, source, index, name), name, lanes), whole)
            centered = b.sub(codes, zeros)
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
            codes = wide.requantize(b, acc, (multiplier, right), index, limits, bool(shifted))
            small = b.trunc(codes, emit.vector(ir.IntType(8 * bytes_out), lanes))
            return [(small, emit.advance(b, target, b.mul(index, I64(bytes_out))))]

        over_lanes(b, lanes, count, made)
        return context.get_dummy_value()

    from numba import types

    return types.void(tier, kind, out_size, above, *[types.int64] * 3), codegen


polynomial = intrinsic(_polynomial)


@cache
def polynomial_kernel(tier: Tier, kind: str, out_size: int, above: int) -> Any:
    """Return the kernel of `kernels.gelu.gelu_by_polynomial`; its words are `Field`s.

    `above` is that of `wide.scaled`.
    """
    name = tier.name

    def gelu_polynomial(words: int) -> None:
        rows = rows_at(int64s(words, _WORDS))
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            polynomial(name, kind, out_size, above, words, x_at, out_at)

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
