"""A group of lines of a matrix, centered and woven for products, written as LLVM IR."""

from typing import Any

from hwsim.kernels.jit import intrinsic

from . import emit
from .emit import I8, I16, I32, I64
from .target import TIERS, Tier


def emit_pack(b: Any, tier: Tier, kind: str, group: int, values: Any) -> None:
    """Add the packing of a vector of columns of one group of lines.

    Args:
        b: IR builder.
        tier: Instructions.
        kind: Type of the codes.
        group: Lines: 4 make 8-bit words, 2 make 16-bit words.
        values: int64: address of the first code of line 0, bytes from line to line, first line,
            lines of all, zero point, address of the packed words, address of the int32 sums.
    """
    source, pitch, first, depth, zero, target, sums = values
    lanes, narrow = tier.lanes, group == 4
    word = I8 if narrow else I16
    lines = []
    for index in range(group):
        line = b.add(first, I64(index))
        there = b.icmp_signed("<", line, depth)
        place = b.add(source, b.mul(b.select(there, line, I64(0)), pitch))
        code = I8 if kind.endswith("8") else I16
        codes = emit.load(b, emit.address(b, place), emit.vector(code, lanes))
        if code is not word:
            extend = b.zext if kind.startswith("u") else b.sext
            codes = extend(codes, emit.vector(word, lanes))
        centered = b.sub(codes, emit.splat(b, b.trunc(zero, word), lanes))
        lines.append(b.select(there, centered, emit.constant(centered.type, 0)))
    pairs = [emit.joined(b, lines[i], lines[i + 1]) for i in range(0, group, 2)]
    flat = pairs[0] if len(pairs) == 1 else emit.joined(b, *pairs)
    woven = emit.shuffle(b, flat, flat, [n + lanes * i for n in range(lanes) for i in range(group)])
    emit.store(b, woven, emit.address(b, target))
    total = emit.address(b, sums)
    acc = emit.load(b, total, emit.vector(I32, lanes), 4)
    ones = emit.constant(woven.type, 1)
    if narrow:
        acc = emit.add_quads(b, tier, acc, ones, woven)
    else:
        acc = emit.add_pairs(b, tier, acc, woven, ones)
    emit.store(b, acc, total, 4)


_BY_NAME = {tier.name: tier for tier in TIERS}


@intrinsic
def pack_group(
    typing_context: Any, variant: Any, source: Any, pitch: Any, first: Any, depth: Any, zero: Any,
    target: Any, sums: Any,
) -> Any:  # fmt: skip
    """Pack a vector of columns of a group; `variant` is a constant: tier, type and lines."""
    from numba import types

    tier, kind, group = variant.literal_value.split()

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        emit_pack(builder, _BY_NAME[tier], kind, int(group), values[1:])
        return context.get_dummy_value()

    return types.void(variant, *[types.int64] * 7), codegen
