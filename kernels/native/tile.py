"""The register tile of matrix products and convolutions, written as LLVM IR.

A tile is `rows` x `vectors` vectors of int32 accumulators that stay in registers from the bias to
the stored codes. One step reads one group of codes of each row (4 of 8 bits, or 2 of 16), repeats
it over a vector and adds its products with the weights of one group of all columns.
Source: reference/kernels.md, sections 3.1 to 3.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from hwsim.profile import Requant

from . import emit
from .emit import I16, I32, I64
from .target import TIERS, Tier


class Field(IntEnum):
    """The arguments of a matrix kernel, int64 words; addresses and strides are in bytes.

    * X, X_IMAGE: codes, and the stride from image to image.
    * ROW_OFFSETS: int32 per row: where the codes of its first segment begin.
    * SEGMENTS, SEGMENT_OFFSETS: runs of codes that a row reads: how many, int32 starts.
    * GROUPS: groups of codes in a segment.
    * WEIGHTS: [panel][segment][group][column][code of the group], column < vectors * lanes.
    * BIAS, MULTIPLIER, LEFT, RIGHT: int32 per column, and REAL: see `emit.Factors`.
    * OUT, OUT_IMAGE, OUT_OFFSETS: the same of the result, int32 per row.
    * IMAGES, ROWS, COLUMNS: how many; rows are a multiple of the tile's.
    * ZERO, LOW, HIGH: see `emit.Range`.
    """

    X = 0
    X_IMAGE = 1
    ROW_OFFSETS = 2
    SEGMENTS = 3
    SEGMENT_OFFSETS = 4
    GROUPS = 5
    WEIGHTS = 6
    BIAS = 7
    MULTIPLIER = 8
    LEFT = 9
    RIGHT = 10
    REAL = 11
    OUT = 12
    OUT_IMAGE = 13
    OUT_OFFSETS = 14
    IMAGES = 15
    ROWS = 16
    COLUMNS = 17
    ZERO = 18
    LOW = 19
    HIGH = 20


@dataclass(frozen=True)
class Codes:
    """How the codes of a product are read.

    Args:
        size: Bytes of an activation.
        flip: Whether its sign bit is turned, so that it fits the instruction: signed 8-bit codes
            become unsigned, unsigned 16-bit codes signed; the bias makes up for the offset.
        quads: Whether groups are four 8-bit codes, else two of 16 bits.
    """

    size: int
    flip: bool
    quads: bool

    @property
    def group(self) -> int:
        """Codes in a group."""
        return 4 if self.quads else 2

    @property
    def step(self) -> int:
        """Bytes of activations in a group."""
        return self.group * self.size


@dataclass(frozen=True)
class Shape:
    """A tile: `rows` x `vectors` vectors, codes of `out_size` bytes."""

    rows: int
    vectors: int
    out_size: int


def emit_tile(
    b: Any, tier: Tier, codes: Codes, shape: Shape, rule: Requant, values: Sequence[Any]
) -> None:
    """Add a tile to a function.

    Args:
        b: IR builder.
        tier: Whose instructions.
        codes: How codes are read.
        shape: Size of the tile.
        rule: Requantization.
        values: int64: address of the fields, codes, result, first row, first column.
    """
    fields, x, out, row, column = values
    base = emit.address(b, fields)

    def field(name: Field) -> Any:
        return emit.load(b, emit.advance(b, base, I64(8 * name)), I64, 8)

    def place(name: Field) -> Any:
        return emit.address(b, field(name))

    lanes, cells = tier.lanes, shape.rows * shape.vectors
    whole = emit.vector(I32, lanes)
    segments, groups = field(Field.SEGMENTS), field(Field.GROUPS)
    width = I64(4 * shape.vectors * lanes)  # bytes of weights in a group
    starts = [
        emit.advance(b, emit.address(b, x), _offset(b, place(Field.ROW_OFFSETS), row, index))
        for index in range(shape.rows)
    ]
    bias = place(Field.BIAS)
    at = b.mul(column, I64(4))
    first = [
        emit.load(b, emit.advance(b, bias, b.add(at, I64(4 * lanes * v))), whole, 4)
        for v in range(shape.vectors)
    ]
    panel = b.mul(b.mul(segments, groups), at)
    weights = emit.advance(b, place(Field.WEIGHTS), panel)
    offsets = place(Field.SEGMENT_OFFSETS)

    before = b.block
    outer, inner, after, done = (
        b.append_basic_block(name) for name in ("segment", "group", "segment.end", "tile.end")
    )
    b.branch(outer)
    b.position_at_end(outer)
    segment = b.phi(I64)
    segment_weights = b.phi(weights.type)
    sums = [b.phi(whole) for _ in range(cells)]
    segment.add_incoming(I64(0), before)
    segment_weights.add_incoming(weights, before)
    for cell, total in enumerate(sums):
        total.add_incoming(first[cell % shape.vectors], before)
    shift = _offset(b, offsets, segment, 0)
    lines = [emit.advance(b, start, shift) for start in starts]
    b.branch(inner)

    b.position_at_end(inner)
    group = b.phi(I64)
    group_weights = b.phi(weights.type)
    running = [b.phi(whole) for _ in range(cells)]
    group.add_incoming(I64(0), outer)
    group_weights.add_incoming(segment_weights, outer)
    for total, start in zip(running, sums, strict=True):
        total.add_incoming(start, outer)
    kernel = [
        emit.load(b, emit.advance(b, group_weights, I64(4 * lanes * v)), whole, 4 * lanes)
        for v in range(shape.vectors)
    ]
    where = b.mul(group, I64(codes.step))
    add = emit.add_quads if codes.quads else emit.add_pairs
    added = []
    for index, line in enumerate(lines):
        activation = emit.splat(b, _group(b, codes, emit.advance(b, line, where)), lanes)
        for v in range(shape.vectors):
            total = running[index * shape.vectors + v]
            added.append(add(b, tier, total, activation, kernel[v]))
    group_next = b.add(group, I64(1))
    weights_next = emit.advance(b, group_weights, width)
    group.add_incoming(group_next, inner)
    group_weights.add_incoming(weights_next, inner)
    for total, value in zip(running, added, strict=True):
        total.add_incoming(value, inner)
    b.cbranch(b.icmp_signed("<", group_next, groups), inner, after)

    b.position_at_end(after)
    segment_next = b.add(segment, I64(1))
    segment.add_incoming(segment_next, after)
    segment_weights.add_incoming(weights_next, after)
    for total, value in zip(sums, added, strict=True):
        total.add_incoming(value, after)
    b.cbranch(b.icmp_signed("<", segment_next, segments), outer, done)

    b.position_at_end(done)
    limits = emit.Range(*(b.trunc(field(f), I32) for f in (Field.ZERO, Field.LOW, Field.HIGH)))
    places = [place(f) for f in (Field.MULTIPLIER, Field.LEFT, Field.RIGHT, Field.REAL)]
    left = b.trunc(b.sub(field(Field.COLUMNS), column), I32)
    targets = [
        emit.advance(b, emit.address(b, out), _offset(b, place(Field.OUT_OFFSETS), row, index))
        for index in range(shape.rows)
    ]
    small = emit.vector(ir.IntType(8 * shape.out_size), lanes)
    for v in range(shape.vectors):
        beyond = b.add(column, I64(lanes * v))
        factors = emit.load_factors(b, rule, places, beyond, lanes)
        made = [
            b.trunc(
                emit.requantize(b, rule, added[index * shape.vectors + v], factors, limits), small
            )
            for index in range(shape.rows)
        ]
        count = b.sub(left, I32(lanes * v))
        bytes_in = b.mul(beyond, I64(shape.out_size))
        _store(b, tier, made, [emit.advance(b, target, bytes_in) for target in targets], count)


def _offset(b: Any, table: Any, index: Any, more: int) -> Any:
    """Return entry index + more of an int32 table, as int64."""
    at = b.mul(b.add(index, I64(more)), I64(4))
    return b.sext(emit.load(b, emit.advance(b, table, at), I32, 4), I64)


def _group(b: Any, codes: Codes, pointer: Any) -> Any:
    """Return one group of codes as int32."""
    if codes.quads or codes.size == 2:
        word = emit.load(b, pointer, I32)
        signs = 0x80808080 if codes.quads else 0x80008000
        return b.xor(word, I32(signs)) if codes.flip else word
    pair = emit.load(b, pointer, I16)
    word = b.zext(b.xor(pair, I16(0x8080)) if codes.flip else pair, I32)
    high = b.and_(b.shl(word, I32(8)), I32(0xFF0000))
    return b.or_(b.and_(word, I32(0xFF)), high)


def _store(b: Any, tier: Tier, made: Sequence[Any], targets: Sequence[Any], count: Any) -> None:
    """Write the first `count` lanes of each vector."""
    lanes = made[0].type.count
    if tier.masked:
        for value, target in zip(made, targets, strict=True):
            emit.masked_store(b, value, target, count)
        return
    full = b.icmp_signed(">=", count, I32(lanes))
    with b.if_else(full) as (then, otherwise):
        with then:
            for value, target in zip(made, targets, strict=True):
                emit.store(b, value, target)
        with otherwise:
            for value, target in zip(made, targets, strict=True):
                emit.masked_store(b, value, target, count)


_BY_NAME = {tier.name: tier for tier in TIERS}


def _tile(
    typing_context: Any, tier: Any, size: Any, flip: Any, quads: Any, rows: Any, vectors: Any,
    out_size: Any, rule: Any, fields: Any, x: Any, out: Any, row: Any, column: Any,
) -> Any:  # fmt: skip
    """Compute one tile; see `emit_tile`. The first eight arguments are constants."""
    constants = (tier, size, flip, quads, rows, vectors, out_size, rule)
    if not all(isinstance(one, types.Literal) for one in constants):
        raise TypingError("tile is described by constants")
    name, bytes_in, turned, by_four, height, width, bytes_out, number = (
        one.literal_value for one in constants
    )
    codes = Codes(bytes_in, bool(turned), bool(by_four))
    shape = Shape(height, width, bytes_out)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        emit_tile(builder, _BY_NAME[name], codes, shape, Requant(number), values[8:])
        return context.get_dummy_value()

    return types.void(*constants, *[types.int64] * 5), codegen


tile: Any = intrinsic(prefer_literal=True)(_tile)
