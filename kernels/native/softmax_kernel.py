"""The loops of a softmax: largest code, sum of exponentials, codes.

The exponential of a code depends on its distance to the row's largest alone, so a table holds it.
Codes of 8 bits have at most 256 distances, and only the first of them can leave a code above 0:
a row first computes the code of each such distance, then looks its codes up.
"""

from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np

from hwsim.kernels.arith import widen
from hwsim.kernels.interpolate import INT16_MAX, INT16_MIN, look_up_513
from hwsim.kernels.jit import jit, native
from hwsim.kernels.softmax import leading_zeros_32, reciprocal

from .memory import array, int64s, pointer
from .rows import ROW_WORDS, look_up, maximum, row_places, rows_at, total

FIELDS = ROW_WORDS + 16
_ENTRIES = 256


class Finish(IntEnum):
    """How the sum of a row makes codes of its exponentials, and what words A, B, C mean.

    * GEMMLOWP: by gemmlowp's reciprocal. A: bits of the result.
    * RECIPROCAL: by one integer quotient. A: numerator, B: largest sum, C: right shift.
    * DIVISION: exact, halves up. A: bits of the result.
    * INTERPOLATED: by a table of 1 / (1 + x). A: its address, 513 int16 entries.
    * FLOAT_PRODUCT: times 1 / (sum * factor), all in float32; the factor has a word of its own.
    * FLOAT_QUOTIENT: times the factor, divided by the sum.
    """

    GEMMLOWP = 0
    RECIPROCAL = 1
    DIVISION = 2
    INTERPOLATED = 3
    FLOAT_PRODUCT = 4
    FLOAT_QUOTIENT = 5


_GEMMLOWP, _RECIPROCAL, _DIVISION = (int(one) for one in list(Finish)[:3])
_FLOAT_PRODUCT = int(Finish.FLOAT_PRODUCT)
_SUM_BITS = 12  # integer bits of gemmlowp's sum


@jit
def _codes(
    finish: int, parts: Any, count: int, total: int, a: int, b: int, c: int, zero: int, qmax: int,
    out: Any,
) -> None:  # fmt: skip
    """Write the codes of `count` exponentials in a row whose sum is `total`."""
    if finish == _GEMMLOWP:
        zeros = leading_zeros_32(total)
        inverse = reciprocal((total << zeros) - (1 << 31))
        shift = (_SUM_BITS - zeros) + 31 - a
        half = (1 << shift) >> 1
        for i in range(count):  # neither factor is negative, so ties away are ties up
            high = (inverse * widen(parts[i]) + (1 << 30)) >> 31
            out[i] = min(((high + half) >> shift) + zero, qmax)
    elif finish == _RECIPROCAL:
        factor = a // min(total, b)
        for i in range(count):
            out[i] = min(((widen(parts[i]) * factor) >> c) + zero, qmax)
    elif finish == _DIVISION:
        # (e * 2**(a + 1) + total) / (2 * total), rounded down. A whole number plus 1/2 over a whole
        # number is at least 1/2 of a unit from where the floor changes, which two roundings of
        # float64 do not reach below 2**50.
        inverse = np.divide(1.0, 2.0 * total)
        for i in range(count):
            exact = (float((widen(parts[i]) << (a + 1)) + total) + 0.5) * inverse
            out[i] = min(np.int32(exact) + zero, qmax)
    else:
        zeros = leading_zeros_32(total)
        centered = (((total << (zeros - 1)) + (1 << 13)) >> 14) - 98304
        inverse = look_up_513(
            array(pointer(a, "int16"), (513,)), min(max(centered, INT16_MIN), INT16_MAX)
        )
        shift = 31 - zeros
        half = 1 << (shift - 1)
        for i in range(count):
            out[i] = min(max((widen(parts[i]) * inverse + half) >> shift, 0), INT16_MAX)


@cache
def softmax_kernel(kind: str, part: str, out_kind: str, lanes: int, wide: int) -> Any:
    """Return the kernel of integer exponentials.

    Words after those of `Rows`: finish, A, B, C, zero point, largest code, first visible column,
    queries, reach, tables, planes, exponentials, terms, entries, scratch, scratch of codes. Row r
    sees its first `first visible + r % queries` columns. `exponentials` and `terms` (what adds to
    the sum) are `part`s by distance, `tables` of `planes` those of `rows.total`. Distances from
    `reach` on leave the code 0; scratch holds a row of `part`s and 256 codes.
    """
    by_bytes = int(kind in ("int8", "uint8"))
    out_size = 2 if out_kind.endswith("16") else 1

    def softmax(words: int) -> None:
        at = int64s(words, FIELDS)
        rows = rows_at(at)
        finish, a, b, c = at[ROW_WORDS], at[ROW_WORDS + 1], at[ROW_WORDS + 2], at[ROW_WORDS + 3]
        zero, qmax = at[ROW_WORDS + 4], at[ROW_WORDS + 5]
        first_visible, queries = at[ROW_WORDS + 6], at[ROW_WORDS + 7]
        reach, tables, planes = at[ROW_WORDS + 8], at[ROW_WORDS + 9], at[ROW_WORDS + 10]
        entries = at[ROW_WORDS + 13]
        parts = array(pointer(at[ROW_WORDS + 11], part), (entries,))
        terms = array(pointer(at[ROW_WORDS + 12], part), (entries,))
        gathered = array(pointer(at[ROW_WORDS + 14], part), (rows.width,))
        table_at = at[ROW_WORDS + 15]
        table = array(pointer(table_at, out_kind), (_ENTRIES,))
        for i in range(_ENTRIES):
            table[i] = zero
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            x = array(pointer(x_at, kind), (rows.width,))
            out = array(pointer(out_at, out_kind), (rows.width,))
            visible = first_visible + row % queries
            largest = maximum(kind, lanes, x_at, visible)
            if by_bytes and 2 * visible >= reach:
                whole = total(wide, part, tables, planes, largest, x_at, visible)
                _codes(finish, parts, reach, whole, a, b, c, zero, qmax, table)
                look_up(wide, out_size, table_at, largest, x_at, out_at, visible)
            else:
                whole = 0
                for i in range(visible):
                    distance = np.uint64(largest - widen(x[i]))
                    whole += widen(terms[distance])
                    gathered[i] = parts[distance]
                _codes(finish, gathered, visible, whole, a, b, c, zero, qmax, out)
            for i in range(visible, rows.width):
                out[i] = zero

    return native(softmax)


@jit
def _rounded(exact: Any, zero: int, qmin: int, qmax: int) -> int:
    """Return a float32 as a code, ties to even."""
    nearest = min(max(np.rint(exact), np.float32(qmin - zero)), np.float32(qmax - zero))
    return int(np.int32(nearest)) + zero


@jit
def _float_codes(
    finish: int, parts: Any, count: int, total: Any, factor: Any, zero: int, qmin: int, qmax: int,
    out: Any,
) -> None:  # fmt: skip
    """Write the codes of `count` float32 exponentials in a row whose sum is `total`."""
    if finish == _FLOAT_PRODUCT:
        inverse = np.divide(np.float32(1), np.float32(total * factor))
        for i in range(count):
            out[i] = _rounded(np.float32(parts[i] * inverse), zero, qmin, qmax)
    else:
        for i in range(count):
            part = np.float32(parts[i] * factor)
            out[i] = _rounded(np.divide(part, total), zero, qmin, qmax)


@cache
def float_softmax_kernel(kind: str, out_kind: str, lanes: int, wide: int) -> Any:
    """Return the kernel of float32 exponentials of 8-bit codes, added in the row's order.

    Words after those of `Rows`: finish, zero point, smallest and largest code, reach, factor and
    256 exponentials by distance (addresses of float32), scratch of a row of float32, scratch of 256
    codes.
    """
    out_size = 2 if out_kind.endswith("16") else 1

    def float_softmax(words: int) -> None:
        at = int64s(words, FIELDS)
        rows = rows_at(at)
        finish, zero = at[ROW_WORDS], at[ROW_WORDS + 1]
        qmin, qmax, reach = at[ROW_WORDS + 2], at[ROW_WORDS + 3], at[ROW_WORDS + 4]
        factor = array(pointer(at[ROW_WORDS + 5], "float32"), (1,))[0]
        parts = array(pointer(at[ROW_WORDS + 6], "float32"), (_ENTRIES,))
        gathered = array(pointer(at[ROW_WORDS + 7], "float32"), (rows.width,))
        table_at = at[ROW_WORDS + 8]
        table = array(pointer(table_at, out_kind), (_ENTRIES,))
        for i in range(_ENTRIES):
            table[i] = zero
        for row in range(rows.number):
            x_at, out_at = row_places(rows, row)
            x = array(pointer(x_at, kind), (rows.width,))
            out = array(pointer(out_at, out_kind), (rows.width,))
            largest = maximum(kind, lanes, x_at, rows.width)
            whole = np.float32(0)
            if 2 * rows.width >= reach:
                for i in range(rows.width):
                    whole += parts[np.uint64(largest - widen(x[i]))]
                _float_codes(finish, parts, reach, whole, factor, zero, qmin, qmax, table)
                look_up(wide, out_size, table_at, largest, x_at, out_at, rows.width)
            else:
                for i in range(rows.width):
                    gathered[i] = parts[np.uint64(largest - widen(x[i]))]
                    whole += gathered[i]
                _float_codes(finish, gathered, rows.width, whole, factor, zero, qmin, qmax, out)

    return native(float_softmax)
