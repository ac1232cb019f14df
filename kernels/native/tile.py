"""The register tile of matrix products and convolutions, written as LLVM IR.

A tile is `rows` x `vectors` vectors of int32 accumulators that stay in registers from the bias to
the stored codes. One step reads one group of codes of each row (4 of 8 bits, or 2 of 16), repeats
it over a vector and adds its products with the weights of one group of all columns.
Source: reference/kernels.md, sections 3.1 to 3.5.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from llvmlite import ir

from hwsim.kernels.jit import intrinsic
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
    * WEIGHTS, WEIGHTS_IMAGE: [panel][segment][group][column][code of the group], column <
      vectors * lanes; and the stride from image to image.
    * BIAS, BIAS_IMAGE: int32 per column, likewise.
    * MULTIPLIER, LEFT, RIGHT: int32 per column, and REAL: see `emit.Factors`.
    * OUT, OUT_IMAGE, OUT_OFFSETS: the same of the result, int32 per row.
    * IMAGES, ROWS, COLUMNS: how many; rows are a multiple of the tile's.
    * ZERO, LOW, HIGH: see `emit.Range`.
    * SIGNS: a vector of sign bits. It lies in memory, so that LLVM cannot turn codes before it
      repeats them: that takes a general register per row, of which there are too few.
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
    WEIGHTS_IMAGE = 21
    BIAS_IMAGE = 22
    SIGNS = 23


@dataclass(frozen=True)
class Codes:
    """How the codes of a product are read: groups of four 8-bit codes, or of two of 16 bits.

    Depthwise convolutions also read 8-bit codes in pairs, which they widen themselves.

    Args:
        size: Bytes of an activation.
        flip: Whether its sign bit is turned, so that it fits the instruction: pairs are read as
            signed, quads as the tier says; the bias makes up for the offset.
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
    def signs(self) -> int:
        """The bits of a group that `flip` turns."""
        return 0x80808080 if self.quads else 0x80008000

    @property
    def step(self) -> int:
        """Bytes of activations in a group."""
        return self.group * self.size


@dataclass(frozen=True)
class Shape:
    """A tile.

    Args:
        rows: Rows of codes.
        vectors: Vectors of columns.
        out_size: Bytes of a result.
        near: See `emit.Factors`.
        whole: The type of the result if it is `near` and ends where that type ends, else "".
    """

    rows: int
    vectors: int
    out_size: int
    near: bool = False
    whole: str = ""

    @property
    def codes(self) -> tuple[int, int] | None:
        """The smallest and largest result, where it has all codes of its type."""
        if not self.whole:
            return None
        limits = np.iinfo(self.whole)
        return int(limits.min), int(limits.max)


@dataclass(frozen=True)
class Spot:
    """Where a tile stands; int64 values.

    Args:
        fields: Address of the fields.
        x: Codes of the image.
        weights: Its weights.
        bias: Its biases.
        out: Its result.
        row: First row.
        column: First column.
    """

    fields: Any
    x: Any
    weights: Any
    bias: Any
    out: Any
    row: Any
    column: Any

    def field(self, b: Any, name: Field) -> Any:
        """Return a field."""
        return emit.load(b, emit.advance(b, emit.address(b, self.fields), I64(8 * name)), I64, 8)

    def place(self, b: Any, name: Field) -> Any:
        """Return a field that is an address, as a pointer."""
        return emit.address(b, self.field(b, name))

    def pointers(self, b: Any, base: Any, name: Field, rows: int) -> list[Any]:
        """Return where each row is, by a table of offsets from `base`."""
        table = self.place(b, name)
        return [
            emit.advance(b, emit.address(b, base), entry(b, table, b.add(self.row, I64(index))))
            for index in range(rows)
        ]

    def biases(self, b: Any, shape: Shape, lanes: int) -> list[Any]:
        """Return the first value of the accumulators of a row."""
        first = emit.advance(b, emit.address(b, self.bias), b.mul(self.column, I64(4)))
        return [
            emit.load(b, emit.advance(b, first, I64(4 * lanes * v)), emit.vector(I32, lanes), 4)
            for v in range(shape.vectors)
        ]


def emit_tile(b: Any, tier: Tier, codes: Codes, shape: Shape, rule: Requant, spot: Spot) -> None:
    """Add a tile of a matrix product to a function."""
    lanes, cells = tier.lanes, shape.rows * shape.vectors
    whole = emit.vector(I32, lanes)
    segments, groups = spot.field(b, Field.SEGMENTS), spot.field(b, Field.GROUPS)
    width = I64(4 * shape.vectors * lanes)  # bytes of weights in a group
    starts = spot.pointers(b, spot.x, Field.ROW_OFFSETS, shape.rows)
    first = spot.biases(b, shape, lanes)
    panel = b.mul(b.mul(segments, groups), b.mul(spot.column, I64(4)))
    weights = emit.advance(b, emit.address(b, spot.weights), panel)
    offsets = spot.place(b, Field.SEGMENT_OFFSETS)
    signs = emit.load(b, spot.place(b, Field.SIGNS), whole, 4 * lanes) if codes.flip else None

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
    shift = entry(b, offsets, segment)
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
        activation = emit.splat(b, emit.load(b, emit.advance(b, line, where), I32), lanes)
        if signs is not None:
            activation = b.xor(activation, signs)
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
    emit_result(b, tier, shape, rule, spot, added)


def emit_depthwise(
    b: Any, tier: Tier, codes: Codes, shape: Shape, rule: Requant, spot: Spot
) -> None:
    """Add a tile of a depthwise convolution: `rows` pixels x one vector of channels.

    A group is one code of each of 4 (or 2) taps; SEGMENT_OFFSETS has an entry per tap.
    """
    lanes = tier.lanes
    whole = emit.vector(I32, lanes)
    groups = spot.field(b, Field.GROUPS)
    offsets = spot.place(b, Field.SEGMENT_OFFSETS)
    at = b.mul(spot.column, I64(codes.size))
    starts = [
        emit.advance(b, start, at)
        for start in spot.pointers(b, spot.x, Field.ROW_OFFSETS, shape.rows)
    ]
    block = b.mul(groups, b.mul(spot.column, I64(4)))
    weights = emit.advance(b, emit.address(b, spot.weights), block)
    first = spot.biases(b, shape, lanes)[0]

    before = b.block
    loop, done = b.append_basic_block("taps"), b.append_basic_block("tile.end")
    b.branch(loop)
    b.position_at_end(loop)
    group = b.phi(I64)
    group.add_incoming(I64(0), before)
    running = [b.phi(whole) for _ in range(shape.rows)]
    for total in running:
        total.add_incoming(first, before)
    tap = b.mul(group, I64(codes.group))
    shifts = [entry(b, offsets, b.add(tap, I64(index))) for index in range(codes.group)]
    kernel = emit.load(b, emit.advance(b, weights, b.mul(group, I64(4 * lanes))), whole, 4 * lanes)
    add = emit.add_quads if codes.quads else emit.add_pairs
    added = [
        add(b, tier, total, _taps(b, codes, start, shifts, lanes), kernel)
        for total, start in zip(running, starts, strict=True)
    ]
    group_next = b.add(group, I64(1))
    group.add_incoming(group_next, loop)
    for total, value in zip(running, added, strict=True):
        total.add_incoming(value, loop)
    b.cbranch(b.icmp_signed("<", group_next, groups), loop, done)

    b.position_at_end(done)
    emit_result(b, tier, shape, rule, spot, added)


def _taps(b: Any, codes: Codes, start: Any, shifts: Sequence[Any], lanes: int) -> Any:
    """Return a group of taps of `lanes` channels, the taps of a channel side by side."""
    kind = emit.vector(ir.IntType(8 * codes.size), lanes)
    taps = [emit.load(b, emit.advance(b, start, shift), kind) for shift in shifts]
    pairs = [emit.joined(b, taps[i], taps[i + 1]) for i in range(0, len(taps), 2)]
    lane_major = [lane + lanes * tap for lane in range(lanes) for tap in range(len(taps))]
    flat = pairs[0] if len(pairs) == 1 else emit.joined(b, *pairs)
    mixed = emit.shuffle(b, flat, flat, lane_major)
    if codes.flip:
        sign = 1 << (8 * codes.size - 1)
        mixed = b.xor(mixed, emit.constant(mixed.type, sign))
    if codes.size == 1 and not codes.quads:
        return b.zext(mixed, emit.vector(I16, 2 * lanes))
    return mixed


def emit_result(
    b: Any, tier: Tier, shape: Shape, rule: Requant, spot: Spot, sums: Sequence[Any]
) -> None:
    """Requantize and store a tile of accumulators, row by row."""
    lanes = tier.lanes
    names = (Field.ZERO, Field.LOW, Field.HIGH)
    zero, low, high = (b.trunc(spot.field(b, name), I32) for name in names)
    limits = emit.Range(zero, low, high, shape.codes)
    places = [spot.place(b, f) for f in (Field.MULTIPLIER, Field.LEFT, Field.RIGHT, Field.REAL)]
    left = b.trunc(b.sub(spot.field(b, Field.COLUMNS), spot.column), I32)
    targets = spot.pointers(b, spot.out, Field.OUT_OFFSETS, shape.rows)
    small = emit.vector(ir.IntType(8 * shape.out_size), lanes)
    for v in range(shape.vectors):
        column = b.add(spot.column, I64(lanes * v))
        factors = emit.load_factors(b, rule, places, column, lanes, shape.near)
        made = [
            emit.requantize(b, rule, sums[index * shape.vectors + v], factors, limits)
            for index in range(shape.rows)
        ]
        if shape.out_size < 4:
            made = [b.trunc(codes, small) for codes in made]
        count = b.sub(left, I32(lanes * v))
        at = b.mul(column, I64(shape.out_size))
        _store(b, tier, made, [emit.advance(b, target, at) for target in targets], count)


def entry(b: Any, table: Any, index: Any) -> Any:
    """Return an entry of an int32 table, as int64."""
    return b.sext(emit.load(b, emit.advance(b, table, b.mul(index, I64(4))), I32, 4), I64)


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


@dataclass(frozen=True)
class Variant:
    """What a tile computes: constants of its machine code."""

    tier: Tier
    codes: Codes
    shape: Shape
    rule: Requant
    depthwise: bool = False

    @property
    def text(self) -> str:
        """One word that says all: the form in which a compiled function can hold it."""
        parts = (
            self.tier.name, *map(int, astuple(self.codes)), self.shape.rows, self.shape.vectors,
            self.shape.out_size, int(self.shape.near), self.shape.whole, int(self.rule),
            int(self.depthwise),
        )  # fmt: skip
        return " ".join(str(part) or "-" for part in parts)

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Return the variant of a text."""
        tier, size, flip, quads, rows, vectors, out_size, near, whole, rule, by_channel = (
            text.split()
        )
        return cls(
            next(one for one in TIERS if one.name == tier),
            Codes(int(size), flip == "1", quads == "1"),
            Shape(int(rows), int(vectors), int(out_size), near == "1", whole.strip("-")),
            Requant(int(rule)),
            by_channel == "1",
        )


@intrinsic
def tile(
    typing_context: Any, variant: Any, fields: Any, x: Any, weights: Any, bias: Any, out: Any,
    row: Any, column: Any,
) -> Any:  # fmt: skip
    """Compute one tile of a `Variant`, written as a constant text; the rest is a `Spot`."""
    from numba import types
    from numba.core.errors import TypingError

    if not isinstance(variant, types.StringLiteral):
        raise TypingError("variant must be a constant")
    chosen = Variant.parse(variant.literal_value)
    emitted = emit_depthwise if chosen.depthwise else emit_tile

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        spot = Spot(*values[1:])
        emitted(builder, chosen.tier, chosen.codes, chosen.shape, chosen.rule, spot)
        return context.get_dummy_value()

    return types.void(variant, *[types.int64] * 7), codegen
