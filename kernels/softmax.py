"""Softmax: by gemmlowp's fixed point, by exponentials of code differences, or by float32 ones.

The first has Q5.26 inputs, Q0.31 exponentials and one reciprocal per row. Source:
tensorflow/lite/kernels/internal/reference/softmax.h and gemmlowp's fixedpoint.h; the formulas are
written out in numerics.md, section 3.5. Oracle: tests/oracle/softmax.py. The others take the
integers of hwsim/exponentials.py. Oracles: tests/oracle/ibert.py, ivit.py, pwl.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import INT32_MAX, INT32_MIN, doubling_high_multiply, rounding_shift, saturate, widen
from .jit import jit

Codes = NDArray[np.integer]

INTEGER_BITS = 5  # of a softmax's argument
_EXP_MINUS_EIGHTH = 1895147668  # exp(-1/8) in Q0.31
_THIRD = 715827883  # 1/3 in Q0.31
# exp(-2**k) in Q0.31 for k = -2 ... 4.
_EXP_OF_POWER = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_48_OVER_17 = 1515870810  # Q2.29
_MINUS_32_OVER_17 = -1010580540  # Q2.29
_SUM_BITS = 12  # integer bits of the sum of exponentials


@jit
def _exp_on_quarter(a: int) -> int:
    """Return exp(a) in Q0.31 for a in [-1/4, 0) given in Q0.31."""
    x = a + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    tail = doubling_high_multiply(rounding_shift(x4, 2) + x3, _THIRD) + x2
    return _EXP_MINUS_EIGHTH + doubling_high_multiply(
        _EXP_MINUS_EIGHTH, x + rounding_shift(tail, 1)
    )


@jit
def exp_on_negative(a: int, integer_bits: int) -> int:
    """Return exp(a) in Q0.31 for a <= 0 with at most 5 integer bits, the other 31 fraction."""
    if a == 0:
        return INT32_MAX
    quarter = 1 << (29 - integer_bits)
    fraction = (a & (quarter - 1)) - quarter
    result = _exp_on_quarter(fraction << integer_bits)
    remainder = fraction - a
    for index in range(2 + integer_bits):
        if (remainder >> (29 - integer_bits + index)) & 1:
            result = doubling_high_multiply(result, _EXP_OF_POWER[index])
    return result


@jit
def _half_denominator(a: int) -> int:
    """Return (1 + x) / 2 in Q0.31 for x given as `a` in Q0.31, ties away from zero."""
    total = a + INT32_MAX
    return (total + 1) // 2 if total >= 0 else -((1 - total) // 2)


@jit
def _newton(half: int) -> int:
    """Return the reciprocal of `half` (Q0.31, in [1/2, 1)) in Q2.29, by three Newton steps."""
    x = _48_OVER_17 + doubling_high_multiply(half, _MINUS_32_OVER_17)
    for _ in range(3):
        error = (1 << 29) - doubling_high_multiply(half, x)
        x += saturate(doubling_high_multiply(x, error) << 2, INT32_MIN, INT32_MAX)
    return x


@jit
def reciprocal(a: int) -> int:
    """Return 1 / (1 + x) in Q0.31 for x in [0, 1) given as `a` in Q0.31."""
    return saturate(_newton(_half_denominator(a)) << 1, INT32_MIN, INT32_MAX)


@jit
def mirrored_reciprocal(a: int) -> int:
    """Return (1 - x) / (1 + x) in Q0.31 for x in [0, 1) given as `a` in Q0.31."""
    return saturate((_newton(_half_denominator(a)) - (1 << 29)) << 2, INT32_MIN, INT32_MAX)


@jit
def leading_zeros_32(value: int) -> int:
    """Return the leading zeros of a positive 32-bit number."""
    count = 0
    while value < (1 << 31):
        value <<= 1
        count += 1
    return count


@jit
def softmax_rows(
    x: Codes,
    multiplier: int,
    left_shift: int,
    smallest_difference: int,
    out_bits: int,
    zero_point: int,
    qmax: int,
    first_visible: int,
    queries: int,
    out: Codes,
) -> None:
    """Write softmax of each row of `x` (rows, classes) in units of 2**-out_bits.

    The caller bounds the classes so that the sum stays below 2**31 (see `MAX_CLASSES`). Row r sees
    its first `first_visible + r % queries` columns; the others get the code of 0.
    """
    for row in range(x.shape[0]):
        visible = first_visible + row % queries
        out[row, visible:] = zero_point
        largest = widen(x[row, 0])
        for i in range(visible):
            largest = max(largest, widen(x[row, i]))
        total = 0
        for i in range(visible):
            difference = widen(x[row, i]) - largest
            if difference >= smallest_difference:
                scaled = doubling_high_multiply(difference << left_shift, multiplier)
                total += rounding_shift(exp_on_negative(scaled, INTEGER_BITS), _SUM_BITS)
        zeros = leading_zeros_32(total)
        inverse = reciprocal((total << zeros) - (1 << 31))
        shift = (_SUM_BITS - zeros) + 31 - out_bits
        for i in range(visible):
            difference = widen(x[row, i]) - largest
            code = 0
            if difference >= smallest_difference:
                scaled = doubling_high_multiply(difference << left_shift, multiplier)
                exponential = exp_on_negative(scaled, INTEGER_BITS)
                code = rounding_shift(doubling_high_multiply(inverse, exponential), shift)
            out[row, i] = min(code + zero_point, qmax)


@jit
def softmax_by_reciprocal(
    x: Codes,
    exponentials: Codes,
    numerator: int,
    largest_sum: int,
    right_shift: int,
    zero_point: int,
    qmax: int,
    first_visible: int,
    queries: int,
    out: Codes,
) -> None:
    """Write e * floor(numerator / sum(e)) >> right_shift for each row of `x` (rows, classes).

    `exponentials[-1 - d]` belongs to a code that is d below its row's largest; the sum saturates
    at `largest_sum`. Row r sees its first `first_visible + r % queries` columns, the others get
    the code of 0. Source: IntSoftmax of I-BERT and of I-ViT.
    """
    zero_difference = exponentials.size - 1
    for row in range(x.shape[0]):
        visible = first_visible + row % queries
        out[row, visible:] = zero_point
        largest = widen(x[row, 0])
        for i in range(visible):
            largest = max(largest, widen(x[row, i]))
        total = 0
        for i in range(visible):
            total += exponentials[zero_difference + widen(x[row, i]) - largest]
        factor = numerator // min(total, largest_sum)
        for i in range(visible):
            exponential = exponentials[zero_difference + widen(x[row, i]) - largest]
            out[row, i] = min(((exponential * factor) >> right_shift) + zero_point, qmax)


@jit
def softmax_by_division(
    x: Codes,
    exponentials: Codes,
    out_bits: int,
    zero_point: int,
    qmax: int,
    first_visible: int,
    queries: int,
    out: Codes,
) -> None:
    """Write e * 2**out_bits / sum(e), halves up, for each row of `x` (rows, classes).

    Arguments as for `softmax_by_reciprocal`.
    """
    zero_difference = exponentials.size - 1
    for row in range(x.shape[0]):
        visible = first_visible + row % queries
        out[row, visible:] = zero_point
        largest = widen(x[row, 0])
        for i in range(visible):
            largest = max(largest, widen(x[row, i]))
        total = 0
        for i in range(visible):
            total += exponentials[zero_difference + widen(x[row, i]) - largest]
        for i in range(visible):
            exponential = exponentials[zero_difference + widen(x[row, i]) - largest]
            code = ((exponential << (out_bits + 1)) + total) // (2 * total)
            out[row, i] = min(code + zero_point, qmax)


@jit
def softmax_rows_by_table(
    x: Codes,
    exponentials: NDArray[np.float32],
    out_scale: float,
    zero_point: int,
    qmin: int,
    qmax: int,
    out: Codes,
) -> None:
    """Write softmax of each row of `x` (rows, classes); entry d of the table is exp(-d * scale).

    Every step is float32, the sum in element order; ties go to even.
    Source: Softmax of tensorflow/lite/kernels/internal/optimized/optimized_ops.h.
    """
    for row in range(x.shape[0]):
        largest = widen(x[row, 0])
        for i in range(x.shape[1]):
            largest = max(largest, widen(x[row, i]))
        total = np.float32(0)
        for i in range(x.shape[1]):
            total = np.float32(total + exponentials[largest - widen(x[row, i])])
        inverse = np.float32(1) / np.float32(total * np.float32(out_scale))
        for i in range(x.shape[1]):
            exact = np.float32(exponentials[largest - widen(x[row, i])] * inverse)
            out[row, i] = saturate(int(np.rint(exact)) + zero_point, qmin, qmax)
