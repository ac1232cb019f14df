"""SOFTMAX as machine code, by each of its methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import SoftmaxAttrs
from hwsim.kernels.arith import Scaling, doubling_high_multiply, saturate, scale
from hwsim.kernels.interpolate import INT16_MAX, INT16_MIN, look_up_513
from hwsim.kernels.jit import jit, native
from hwsim.kernels.lower_float32 import lifted_exponentials
from hwsim.kernels.lower_interpolate import softmax_16_scaling, softmax_tables
from hwsim.kernels.lower_softmax import (
    fixed_point,
    float_exponentials,
    integer_exponentials,
    reciprocal_limits,
)
from hwsim.kernels.scaling import Site, aligned
from hwsim.kernels.softmax import INTEGER_BITS, exp_on_negative
from hwsim.profile import Method

from .call import SCRATCH, Native, NativeCall, Place, Word, Work
from .layout import Layout
from .matrix import Constants
from .memory import array, int64s, pointer
from .rows import ENTRIES, has_byte_lookup, kind_of, row_words
from .softmax_kernel import Finish, float_softmax_kernel, softmax_kernel
from .target import Tier

_SUM_BITS = 12
_INT32_MAX = (1 << 31) - 1
_EXACT_FLOAT64 = 1 << 50  # dividend and divisor that `Finish.DIVISION` needs at most
_CODES = 2 * ENTRIES  # bytes of scratch for a table of codes


@dataclass(frozen=True)
class Exponentials:
    """Integer exponentials by distance to a row's largest code, and what is done with them.

    Args:
        parts: What a code is made of; int64.
        terms: What adds to the sum; int64.
        finish: How the sum makes codes.
        words: What `Finish` calls A, B, C.
        bits: Fraction bits of the result.
        least: A lower bound of what the result divides by, in units of `parts`.
    """

    parts: NDArray[np.int64]
    terms: NDArray[np.int64]
    finish: Finish
    words: tuple[Word, Word, Word]
    bits: int
    least: int


def softmax(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return SOFTMAX as machine code."""
    if 0 in site.operand(0).shape:
        return None
    if site.rule.method in (Method.FLOAT_TABLE, Method.LIFTED_EXP):
        return _by_floats(tier, site)
    if site.rule.method in (Method.LUT_513_FLOAT64, Method.LUT_513_FLOAT32):
        return _by_integers(tier, site, _interpolated(site))
    if site.rule.method is Method.GEMMLOWP:
        return _by_integers(tier, site, _gemmlowp(site))
    return _by_integers(tier, site, _by_method(site))


def _distances(site: Site) -> int:
    dtype = site.integer(site.operand(0))
    return dtype.max - dtype.min + 1


def _gemmlowp(site: Site) -> Exponentials:
    bits = site.integer(site.result()).bits
    parts = _gemmlowp_parts(*fixed_point(site), _distances(site))
    terms = (parts + (1 << (_SUM_BITS - 1))) >> _SUM_BITS
    return Exponentials(parts, terms, Finish.GEMMLOWP, (bits, 0, 0), bits, int(parts[0]))


@lru_cache(maxsize=16)
def _gemmlowp_parts(multiplier: int, left: int, smallest: int, count: int) -> NDArray[np.int64]:
    """Return gemmlowp's exponential of every difference 0, -1 ..."""
    made = np.zeros(count, np.int64)
    _gemmlowp_kernel()(multiplier, left, made, min(count, 1 - smallest))
    return made


@cache
def _gemmlowp_kernel() -> Any:
    """Return the kernel that computes them: a start with compiled kernels needs no Numba."""

    def gemmlowp_exponentials(words: int) -> None:
        at = int64s(words, 4)
        out = array(pointer(at[2], "int64"), (at[3],))
        for distance in range(at[3]):
            scaled = doubling_high_multiply(-distance << at[1], at[0])
            out[distance] = exp_on_negative(scaled, INTEGER_BITS)

    return native(gemmlowp_exponentials)


def _interpolated(site: Site) -> Exponentials:
    exponentials, reciprocals = softmax_tables(site.rule.method)
    parts = np.empty(_distances(site), np.int64)
    _fill_levels(softmax_16_scaling(site), exponentials, parts)
    return Exponentials(parts, parts, Finish.INTERPOLATED, (reciprocals, 0, 0), 15, 1)


@jit
def _fill_levels(scaling: Scaling, exponentials: NDArray[np.int16], out: NDArray[np.int64]) -> None:
    for distance in range(out.size):
        argument = scale(-distance, scaling, 0) + INT16_MAX
        out[distance] = look_up_513(exponentials, saturate(argument, INT16_MIN, INT16_MAX))


def _by_method(site: Site) -> Exponentials:
    method, bits = site.rule.method, site.integer(site.result()).bits
    parts = np.ascontiguousarray(integer_exponentials(site)[::-1])
    least = int(parts[0])
    if method not in (Method.IBERT, Method.IVIT):
        return Exponentials(parts, parts, Finish.DIVISION, (bits, 0, 0), bits, least)
    numerator, largest_sum = reciprocal_limits(method)
    words = (numerator, largest_sum, 32 - bits)
    return Exponentials(parts, parts, Finish.RECIPROCAL, words, bits, min(least, largest_sum))


def _by_integers(tier: Tier, site: Site, made: Exponentials) -> Native | None:
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, SoftmaxAttrs)
    dtype, keys = site.integer(out), x.shape[-1]
    largest = int(made.parts.max())
    if made.finish is Finish.DIVISION and largest * ((2 << made.bits) + 3 * keys) >= _EXACT_FLOAT64:
        return None
    narrow = max(largest, int(made.terms.max())) <= _INT32_MAX
    part = "int32" if narrow else "int64"
    by_bytes = site.integer(x).storage.itemsize == 1
    entries = max(made.parts.size, ENTRIES)
    parts, terms = _by_distance(made.parts, entries, part), _by_distance(made.terms, entries, part)
    wide = by_bytes and has_byte_lookup(tier) and int(terms.min()) >= 0
    tables = _planes(terms) if wide else terms
    reach = _reach(made) if by_bytes else 0
    queries = x.shape[-2] if attrs.causal else 1
    kernel = softmax_kernel(
        kind_of(site.integer(x)), part, kind_of(dtype), tier.lanes, int(wide)
    )  # fmt: skip
    row = -(-keys * parts.itemsize // _CODES) * _CODES

    def work(layouts: Mapping[str, Layout]) -> Work:
        words = (
            *row_words(x, out, layouts), int(made.finish), *made.words, int(site.zero_of(out)),
            dtype.max, keys - queries + 1, queries, reach, tables, len(tables) if wide else 0,
            parts, terms, entries, Place(SCRATCH, _CODES), Place(SCRATCH),
        )  # fmt: skip
        return Work((NativeCall(kernel, words),), _CODES + row)

    return Native(work)


def _by_distance(values: NDArray[Any], entries: int, kind: str) -> NDArray[Any]:
    """Return values padded with zeros, at the start of a cache line."""
    made = aligned((entries,), kind)
    made[: values.size] = values
    return made


def _planes(terms: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the bytes of 256 terms as one table each, lowest first; zero bytes have none."""
    count = max(-(-int(terms.max()).bit_length() // 8), 1)
    shifts = 8 * np.arange(count)[:, None]
    made = aligned((count, ENTRIES), np.uint8)
    made[...] = (terms.astype(np.int64) >> shifts) & 0xFF
    return made


def _reach(made: Exponentials) -> int:
    """Return the distance from which on every code is 0, with a margin for any rounding.

    A code is about parts * 2**bits / sum, and the sum is `least` or more.
    """
    alive = [
        d for d, part in enumerate(made.parts.tolist()) if part << (made.bits + 2) > made.least
    ]
    return max(alive, default=0) + 1


def _by_floats(tier: Tier, site: Site) -> Native | None:
    x, out = site.operand(0), site.result()
    dtype, source, keys = site.integer(out), site.integer(x), x.shape[-1]
    if source.storage.itemsize > 1:
        return None
    if site.rule.method is Method.FLOAT_TABLE:
        exponentials, factor = float_exponentials(site), site.scale_of(out)
        finish, steps = Finish.FLOAT_PRODUCT, 1 / factor
    else:
        table, factor = lifted_exponentials(site)
        exponentials, finish, steps = (
            np.ascontiguousarray(table[::-1]),
            Finish.FLOAT_QUOTIENT,
            factor,
        )
    factors = np.array([factor], np.float32)
    parts = _by_distance(exponentials, ENTRIES, "float32")
    alive = np.flatnonzero(parts.astype(np.float64) * steps * 4 > float(parts[0]))
    reach = int(alive.max(initial=0)) + 1
    wide = has_byte_lookup(tier)
    kernel = float_softmax_kernel(kind_of(source), kind_of(dtype), tier.lanes, int(wide))

    def work(layouts: Mapping[str, Layout]) -> Work:
        words = (
            *row_words(x, out, layouts), int(finish), int(site.zero_of(out)), dtype.min, dtype.max,
            reach, factors, parts, Place(SCRATCH, _CODES), Place(SCRATCH),
        )  # fmt: skip
        return Work((NativeCall(kernel, words),), _CODES + 4 * keys)

    return Native(work)
