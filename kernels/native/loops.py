"""Loops over codes in LLVM IR: full vectors, then what is left of a line."""

from collections.abc import Callable, Sequence
from typing import Any

from . import emit
from .emit import I32, I64

KINDS = {
    "int8": (emit.I8, True),
    "uint8": (emit.I8, False),
    "int16": (emit.I16, True),
    "uint16": (emit.I16, False),
    "int32": (emit.I32, True),
}
"""Storages that machine code reads and writes: their type in LLVM, whether they are signed."""


def bytes_of(kind: str) -> int:
    """Return the bytes of an element of a storage."""
    return int(KINDS[kind][0].width) // 8


def load_codes(b: Any, pointer: Any, kind: str, lanes: int) -> Any:
    """Return codes of a storage as int32 lanes."""
    element, signed = KINDS[kind]
    raw = emit.load(b, pointer, emit.vector(element, lanes))
    if element is I32:
        return raw
    wide = emit.vector(I32, lanes)
    return b.sext(raw, wide) if signed else b.zext(raw, wide)


def narrowed(b: Any, value: Any, kind: str) -> Any:
    """Return int32 lanes, whose values fit, as a storage."""
    element, _ = KINDS[kind]
    return value if element is I32 else b.trunc(value, emit.vector(element, value.type.count))


def counted(
    b: Any, end: Any, step: int, carried: Sequence[Any], body: Callable[..., Sequence[Any]]
) -> list[Any]:
    """Repeat `body(index, *carried) -> carried` for index = 0, step, 2 * step ... below `end`.

    Args:
        b: IR builder.
        end: int64.
        step: What is added to the index.
        carried: Values from one time to the next, as they are at first.
        body: Adds one time.

    Returns:
        The carried values after the last time.
    """
    before = b.block
    loop, done = b.append_basic_block("loop"), b.append_basic_block("loop.end")
    b.cbranch(b.icmp_signed(">", end, I64(0)), loop, done)
    b.position_at_end(loop)
    index = b.phi(I64)
    index.add_incoming(I64(0), before)
    held = [b.phi(value.type) for value in carried]
    for phi, value in zip(held, carried, strict=True):
        phi.add_incoming(value, before)
    made = body(index, *held)
    last = b.block
    following = b.add(index, I64(step))
    index.add_incoming(following, last)
    for phi, value in zip(held, made, strict=True):
        phi.add_incoming(value, last)
    b.cbranch(b.icmp_signed("<", following, end), loop, done)
    b.position_at_end(done)
    results = []
    for value, new in zip(carried, made, strict=True):
        phi = b.phi(value.type)
        phi.add_incoming(value, before)
        phi.add_incoming(new, last)
        results.append(phi)
    return results


def over_lanes(
    b: Any, lanes: int, count: Any, made: Callable[[Any], Sequence[tuple[Any, Any]]]
) -> None:
    """Store `made(index)`, vectors with their pointers, for index = 0, lanes, 2 * lanes ... .

    Args:
        b: IR builder.
        lanes: Elements of a vector, a power of two.
        count: int64: how many elements are written.
        made: Adds the instructions that make the elements from an index on; it may be called twice.
    """
    whole = b.and_(count, I64(-lanes))

    def full(index: Any) -> Sequence[Any]:
        for value, pointer in made(index):
            emit.store(b, value, pointer)
        return ()

    counted(b, whole, lanes, (), full)
    with b.if_then(b.icmp_signed(">", count, whole)):
        left = b.trunc(b.sub(count, whole), I32)
        for value, pointer in made(whole):
            emit.masked_store(b, value, pointer, left)


def scalar(b: Any, fields: Any, number: int) -> Any:
    """Return word `number` of the arguments at a pointer to bytes, int64."""
    return emit.load(b, emit.advance(b, fields, I64(8 * number)), I64, 8)


def int32_of(b: Any, fields: Any, number: int) -> Any:
    """Return the low half of an argument."""
    return b.trunc(scalar(b, fields, number), I32)


def pointer_of(b: Any, fields: Any, number: int) -> Any:
    """Return an argument that is an address as a pointer to bytes."""
    return emit.address(b, scalar(b, fields, number))


def element(b: Any, pointer: Any, index: Any, kind: str) -> Any:
    """Return the pointer to an element of a storage."""
    return emit.advance(b, pointer, b.mul(index, I64(bytes_of(kind))))
