"""LLVM IR of `kernels.arith.requantize_wide`: accumulators of up to 62 bits, ties to even."""

from collections.abc import Sequence
from typing import Any

from . import emit
from .emit import I64

_LIMB = (1 << 31) - 1


def requantize(
    b: Any, acc: Any, places: Sequence[Any], first: Any, limits: Sequence[Any], above: bool
) -> Any:
    """Return the codes of int64 accumulators, as int64 lanes.

    Args:
        b: IR builder.
        acc: Accumulators.
        places: Pointers to bytes of the multipliers and of the right shifts, int64 per channel.
        first: Channel of the first lane, int64.
        limits: Zero point, smallest and largest code, int64; the last two minus the zero point.
        above: Whether no shift is 0.
    """
    lanes, kind = acc.type.count, acc.type
    at = b.mul(first, I64(8))
    multiplier, shift = (emit.load(b, emit.advance(b, place, at), kind, 8) for place in places)
    zero, low, high = (emit.splat(b, limit, lanes) for limit in limits)
    whole = scaled(b, acc, multiplier, shift, above)
    return b.add(emit.upper(b, emit.lower(b, whole, high), low), zero)


def scaled(b: Any, acc: Any, multiplier: Any, shift: Any, above: bool) -> Any:
    """Return acc * multiplier / 2**(31 + shift), ties to even; |acc| below 2**61.

    The product of up to 92 bits is held in two limbs, upper * 2**31 + under.

    Args:
        b: IR builder.
        acc: int64 lanes.
        multiplier: int64 lanes of 32 bits.
        shift: int64 lanes in [0, 62].
        above: Whether no shift is 0.
    """
    kind = acc.type
    limb, bits, one, none = (emit.constant(kind, value) for value in (_LIMB, 31, 1, 0))
    under = b.mul(b.and_(acc, limb), multiplier)
    upper = b.add(b.mul(b.ashr(acc, bits), multiplier), b.ashr(under, bits))
    under = b.and_(under, limb)
    if above:
        # One bit below the upper limb says whether anything is left in the lower one.
        left = b.sext(b.icmp_signed("!=", under, none), kind)
        jammed = b.sub(b.add(upper, upper), left)
        odd = b.and_(b.ashr(jammed, b.add(shift, one)), one)
        moved = b.sub(b.add(jammed, odd), one)
        return b.ashr(b.add(b.ashr(moved, shift), one), one)
    whole = b.ashr(upper, shift)
    rest = b.sub(upper, b.shl(whole, shift))
    half = b.lshr(b.shl(one, shift), one)
    # Where nothing is shifted, the half is in the lower limb.
    flat = b.icmp_signed("==", shift, none)
    rest = b.select(flat, under, rest)
    half = b.select(flat, emit.constant(kind, 1 << 30), half)
    more = b.or_(
        b.icmp_signed("!=", b.select(flat, none, under), none),
        b.icmp_signed("!=", b.and_(whole, one), none),
    )
    up = b.icmp_signed(">", rest, half)
    tie = b.icmp_signed("==", rest, half)
    return b.sub(whole, b.sext(b.or_(up, b.and_(tie, more)), kind))
