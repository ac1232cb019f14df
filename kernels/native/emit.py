"""LLVM IR of the vector steps that native kernels share.

Every function takes an IR builder and values, and adds instructions where the builder stands. No
Numba here: the same steps can be emitted for another CPU and read in its assembly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from hwsim.profile import Requant

from .target import Tier

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()

# 1.5 * 2**23: adding it to a float32 below 2**22 leaves the nearest integer, ties to even, in the
# low bits.
_MAGIC = 12582912.0
_MAGIC_BITS = 0x4B400000


def vector(element: ir.Type, lanes: int) -> ir.VectorType:
    """Return a vector type."""
    return ir.VectorType(element, lanes)


def constant(kind: ir.Type, value: float) -> ir.Constant:
    """Return a scalar, or a vector that holds it in every lane."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)
    return ir.Constant(kind, value)


def splat(b: Any, value: Any, lanes: int) -> Any:
    """Return a vector with `value` in every lane."""
    kind = vector(value.type, lanes)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), constant(vector(I32, lanes), 0))


def address(b: Any, value: Any) -> Any:
    """Return an int64 as a pointer to bytes."""
    return b.inttoptr(value, I8.as_pointer())


def load(b: Any, pointer: Any, kind: ir.Type, align: int = 1) -> Any:
    """Return what lies at a pointer to bytes."""
    return b.load(b.bitcast(pointer, kind.as_pointer()), align=align, typ=kind)


def store(b: Any, value: Any, pointer: Any, align: int = 1) -> None:
    """Write a value at a pointer to bytes."""
    b.store(value, b.bitcast(pointer, value.type.as_pointer()), align=align)


def advance(b: Any, pointer: Any, count: Any) -> Any:
    """Return a pointer to bytes, moved."""
    return b.gep(pointer, [count], source_etype=I8)


def shuffle(b: Any, first: Any, second: Any, picks: Sequence[int]) -> Any:
    """Return lanes of two vectors."""
    return b.shuffle_vector(first, second, ir.Constant(vector(I32, len(picks)), list(picks)))


def joined(b: Any, first: Any, second: Any) -> Any:
    """Return two vectors end to end."""
    return shuffle(b, first, second, range(2 * first.type.count))


def lower(b: Any, a: Any, c: Any) -> Any:
    """Return the smaller of two integers."""
    return b.select(b.icmp_signed("<", a, c), a, c)


def upper(b: Any, a: Any, c: Any) -> Any:
    """Return the larger of two integers."""
    return b.select(b.icmp_signed(">", a, c), a, c)


def call(b: Any, name: str, result: ir.Type, arguments: Sequence[Any]) -> Any:
    """Call an LLVM intrinsic."""
    module = b.function.module
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return b.call(function, arguments)


def add_quads(b: Any, tier: Tier, acc: Any, codes: Any, weights: Any) -> Any:
    """Return acc[l] + sum of four u8 codes * s8 weights per 32-bit lane; vectors of int32."""
    quarters = vector(I8, 4 * acc.type.count)
    return call(
        b, tier.quad, acc.type, [acc, b.bitcast(codes, quarters), b.bitcast(weights, quarters)]
    )


def add_pairs(b: Any, tier: Tier, acc: Any, codes: Any, weights: Any) -> Any:
    """Return acc[l] + sum of two s16 codes * s16 weights per 32-bit lane; vectors of int32."""
    lanes = acc.type.count
    halves, wide = vector(I16, 2 * lanes), vector(I32, 2 * lanes)
    codes, weights = b.bitcast(codes, halves), b.bitcast(weights, halves)
    if tier.pair_adds:
        return call(b, tier.pair, acc.type, [acc, codes, weights])
    if tier.pair:
        return b.add(acc, call(b, tier.pair, acc.type, [codes, weights]))
    products = b.mul(b.sext(codes, wide), b.sext(weights, wide))
    even = shuffle(b, products, products, range(0, 2 * lanes, 2))
    odd = shuffle(b, products, products, range(1, 2 * lanes, 2))
    return b.add(acc, b.add(even, odd))


def masked_store(b: Any, value: Any, pointer: Any, count: Any) -> None:
    """Write the first `count` (int32; any number) lanes of a vector."""
    lanes = value.type.count
    step = ir.Constant(vector(I32, lanes), list(range(lanes)))
    mask = b.icmp_signed("<", step, splat(b, count, lanes))
    place = b.bitcast(pointer, value.type.as_pointer())
    name = f"llvm.masked.store.v{lanes}i{value.type.element.width}.p0"
    call(b, name, ir.VoidType(), [value, place, mask])


@dataclass(frozen=True)
class Range:
    """Where codes end: int32 scalars.

    Args:
        zero: Zero point of the result.
        low: Smallest code minus the zero point.
        high: Largest code minus the zero point.
        codes: Smallest and largest code where they are known now, which saves steps.
    """

    zero: Any
    low: Any
    high: Any
    codes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Factors:
    """What a vector of accumulators is scaled by; vectors of one lane per accumulator.

    Args:
        multiplier: int32; read by rules of a fixed multiplier.
        left: int32 left shift before a doubling multiply; read by the double rules. Where sums are
            `near`, half of the second shift's unit instead.
        right: int32: the second shift of the double rules; the whole shift, 1 or more, of others.
        real: float32 or float64; read by floating-point rules.
        near: Whether all results have 31 bits, and under a double rule no accumulator more, nor a
            left shift, and all right shifts are 1 or more: it then needs no care for overflow.
    """

    multiplier: Any
    left: Any
    right: Any
    real: Any
    near: bool = False


DOUBLES = (Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP)
SINGLES = (
    Requant.HALF_UP, Requant.HALF_AWAY, Requant.HALF_EVEN, Requant.FLOOR, Requant.TRUNC,
)  # fmt: skip


def real_type(rule: Requant) -> ir.Type:
    """Return the type of a rule's real factors."""
    return F64 if rule is Requant.REAL_HALF_AWAY else F32


def load_factors(
    b: Any, rule: Requant, addresses: Sequence[Any], first: Any, lanes: int, near: bool = False
) -> Factors:
    """Return the factors from element `first` (int64) on.

    Args:
        b: IR builder.
        rule: Which arrays are read.
        addresses: Pointers to bytes of multiplier, left, right (int32) and real.
        first: Element.
        lanes: How many.
        near: See `Factors`.
    """
    multiplier = left = right = real = None
    at = b.mul(first, I64(4))
    whole = vector(I32, lanes)
    if rule.is_fixed:
        multiplier = load(b, advance(b, addresses[0], at), whole, 4)
        right = load(b, advance(b, addresses[2], at), whole, 4)
        if rule in DOUBLES:
            left = load(b, advance(b, addresses[1], at), whole, 4)
    elif rule is not Requant.NONE:
        size = 8 if rule is Requant.REAL_HALF_AWAY else 4
        pointer = advance(b, addresses[3], b.mul(first, I64(size)))
        real = load(b, pointer, vector(real_type(rule), lanes), size)
    return Factors(multiplier, left, right, real, near)


def requantize(b: Any, rule: Requant, acc: Any, factors: Factors, limits: Range) -> Any:
    """Return the codes of int32 accumulators, as int32 lanes.

    The rules are those of `kernels.arith.requantize`, for accumulators of 32 bits.
    """
    if rule is Requant.FLOAT32_SHIFTED:
        return _shifted(b, acc, factors, limits)
    lanes = acc.type.count
    low, high, zero = (splat(b, one, lanes) for one in (limits.low, limits.high, limits.zero))
    if rule is Requant.NONE:
        scaled = acc
    elif rule in DOUBLES:
        scaled = _twice(b, rule, acc, factors)
    elif rule in SINGLES:
        scaled = _once(b, rule, acc, factors, None if factors.near else (low, high))
    elif rule is Requant.FLOAT32_HALF_EVEN:
        floats = vector(F32, lanes)
        exact = b.fmul(b.sitofp(acc, floats), factors.real)
        return b.add(_nearest_even(b, exact, b.sitofp(low, floats), b.sitofp(high, floats)), zero)
    else:
        return b.add(_real(b, acc, factors, low, high), zero)
    if factors.near and limits.codes is not None:
        least, most = (constant(acc.type, code) for code in limits.codes)
        return upper(b, lower(b, b.add(scaled, zero), most), least)
    return b.add(upper(b, lower(b, scaled, high), low), zero)


def _twice(b: Any, rule: Requant, acc: Any, factors: Factors) -> Any:
    """Return acc * 2**left * multiplier / 2**31, ties up, / 2**right, ties away or up."""
    shifted = acc if factors.near else b.shl(acc, factors.left)
    even, odd = _products(b, shifted, factors.multiplier)
    half = constant(even.type, 1 << 30)
    # Bits 31 to 62 of a sum are the low word of one shifted right, the high word of one doubled.
    low = b.lshr(b.add(even, half), constant(even.type, 31))
    high = _woven(b, low, b.shl(b.add(odd, half), constant(even.type, 1)), acc.type)
    if factors.near:
        if rule is Requant.DOUBLE_ROUNDING:
            high = b.add(high, b.ashr(high, constant(acc.type, 31)))
        return b.ashr(b.add(high, factors.left), factors.right)
    one = constant(acc.type, 1)
    mask = b.sub(b.shl(one, factors.right), one)
    rest = b.and_(high, mask)
    middle = b.lshr(mask, one)
    if rule is Requant.DOUBLE_ROUNDING:
        middle = b.add(middle, b.lshr(high, constant(acc.type, 31)))
    above = b.sext(b.icmp_signed(">", rest, middle), acc.type)
    return b.sub(b.ashr(high, factors.right), above)


def _products(b: Any, first: Any, second: Any) -> tuple[Any, Any]:
    """Return the 64-bit products of the even and of the odd lanes of two int32 vectors."""
    pairs = [_halves(b, value) for value in (first, second)]
    return b.mul(pairs[0][0], pairs[1][0]), b.mul(pairs[0][1], pairs[1][1])


def _halves(b: Any, value: Any) -> tuple[Any, Any]:
    """Return the even and the odd lanes of an int32 vector, in int64 lanes where they lie."""
    wide = vector(I64, value.type.count // 2)
    both, word = b.bitcast(value, wide), constant(wide, 32)
    return b.ashr(b.shl(both, word), word), b.ashr(both, word)


def _woven(b: Any, even: Any, odd: Any, kind: Any) -> Any:
    """Return the low words of `even` and the high words of `odd` in turn."""
    picks = [lane + kind.count * (lane % 2) for lane in range(kind.count)]
    return shuffle(b, b.bitcast(even, kind), b.bitcast(odd, kind), picks)


def _once(b: Any, rule: Requant, acc: Any, factors: Factors, limits: tuple[Any, Any] | None) -> Any:
    """Return acc * multiplier / 2**right with one rounding, clamped to `limits` if any."""
    products = _products(b, acc, factors.multiplier)
    wide = products[0].type
    word = constant(wide, 32)
    both = b.bitcast(factors.right, wide)
    shifts = b.and_(both, constant(wide, 0xFFFFFFFF)), b.lshr(both, word)
    even, odd = (
        _shifted_once(b, rule, product, shift)
        for product, shift in zip(products, shifts, strict=True)
    )
    if limits is not None:
        lows, highs = (_halves(b, limit) for limit in limits)
        even = upper(b, lower(b, even, highs[0]), lows[0])
        odd = upper(b, lower(b, odd, highs[1]), lows[1])
    return _woven(b, even, b.shl(odd, word), acc.type)


def _shifted_once(b: Any, rule: Requant, product: Any, shift: Any) -> Any:
    """Return product / 2**shift with one rounding; int64 lanes."""
    wide = product.type
    one = constant(wide, 1)
    if rule is Requant.FLOOR:
        return b.ashr(product, shift)
    sign = b.ashr(product, constant(wide, 63))
    if rule is Requant.TRUNC:
        below = b.sub(b.shl(one, shift), one)
        return b.ashr(b.add(product, b.and_(sign, below)), shift)
    if rule is Requant.HALF_AWAY:
        product = b.add(product, sign)
    elif rule is Requant.HALF_EVEN:
        odd = b.and_(b.ashr(product, shift), one)
        product = b.sub(b.add(product, odd), one)
    # (p + 2**(s - 1)) >> s, without the power of two.
    return b.ashr(b.add(b.ashr(product, b.sub(shift, one)), one), one)


def _nearest_even(b: Any, exact: Any, low: Any, high: Any) -> Any:
    """Return clamped float32 lanes as the nearest int32, ties to even; |bounds| < 2**22."""
    clamped = _clamped(b, exact, low, high)
    lanes = exact.type.count
    moved = b.fadd(clamped, constant(exact.type, _MAGIC))
    whole = vector(I32, lanes)
    return b.sub(b.bitcast(moved, whole), constant(whole, _MAGIC_BITS))


def _clamped(b: Any, exact: Any, low: Any, high: Any) -> Any:
    above = b.select(b.fcmp_ordered("<", exact, low), low, exact)
    return b.select(b.fcmp_ordered(">", above, high), high, above)


def _shifted(b: Any, acc: Any, factors: Factors, limits: Range) -> Any:
    """Return acc * real + zero in float32, clamped and rounded last."""
    lanes = acc.type.count
    floats = vector(F32, lanes)
    zero, low, high = (
        b.sitofp(splat(b, one, lanes), floats)
        for one in (
            limits.zero, b.add(limits.low, limits.zero), b.add(limits.high, limits.zero)
        )
    )  # fmt: skip
    exact = b.fadd(b.fmul(b.sitofp(acc, floats), factors.real), zero)
    return _nearest_even(b, exact, low, high)


def _real(b: Any, acc: Any, factors: Factors, low: Any, high: Any) -> Any:
    """Return acc * real in float64, clamped, to the nearest int32, ties away from zero."""
    doubles = vector(F64, acc.type.count)
    exact = b.fmul(b.sitofp(acc, doubles), factors.real)
    clamped = _clamped(b, exact, b.sitofp(low, doubles), b.sitofp(high, doubles))
    whole = b.fptosi(clamped, acc.type)
    rest = b.fsub(clamped, b.sitofp(whole, doubles))
    half = constant(doubles, 0.5)
    above = b.zext(b.fcmp_ordered(">=", rest, half), acc.type)
    below = b.zext(b.fcmp_ordered("<=", rest, constant(doubles, -0.5)), acc.type)
    return b.sub(b.add(whole, above), below)
