"""SOFTMAX in Q5.26 / Q12.19: int8 and uint8, and narrower codes under profile `hawq`."""

import math

import numpy as np

from tests.oracle.arith import (
    clamp,
    quantize_multiplier,
    rdbpot,
    sat32,
    srdhm,
    truncated_division,
)

EXP_FACTORS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
ONE_THIRD = 715827883
EXP_MINUS_EIGHTH = 1895147668
ACCUMULATION_BITS = 12


def exp_on_quarter(a: int) -> int:
    """exp on [-1/4, 0), Q0.31, by a fourth-order polynomial about -1/8."""
    x = a + 2**28
    x2 = srdhm(x, x)
    x3 = srdhm(x2, x)
    x4 = srdhm(x2, x2)
    tail = rdbpot(srdhm(rdbpot(x4, 2) + x3, ONE_THIRD) + x2, 1)
    return EXP_MINUS_EIGHTH + srdhm(EXP_MINUS_EIGHTH, x + tail)


def exp_on_negative(a: int) -> int:
    """exp of a Q5.26 number that is not positive, as Q0.31."""
    if a == 0:
        return 2**31 - 1
    fraction_bits = 26
    quarter = 2 ** (fraction_bits - 2)
    remainder_mod = (a & (quarter - 1)) - quarter
    result = exp_on_quarter(remainder_mod << 5)
    remainder = remainder_mod - a
    for exponent, factor in EXP_FACTORS:
        if (remainder >> (fraction_bits + exponent)) & 1:
            result = srdhm(result, factor)
    return result


def one_over_one_plus(a: int) -> int:
    """1 / (1 + x) for x in [0, 1), Q0.31, by three Newton steps."""
    total = a + 2**31 - 1
    half = truncated_division(total + (1 if total >= 0 else -1), 2)
    x = 1515870810 + srdhm(half, -1010580540)
    for _ in range(3):
        x += sat32(srdhm(x, 2**29 - srdhm(half, x)) << 2)
    return sat32(x << 1)


def softmax(
    codes: np.ndarray, *, input_scale: float, beta: float, unsigned: bool, bits: int = 8
) -> np.ndarray:
    """Softmax over the last axis; output scale 2**-bits, zero point the smallest code."""
    low = 0 if unsigned else -(2 ** (bits - 1))
    high = low + 2**bits - 1
    real = min(beta * input_scale * 2**26, 2.0**31 - 1)
    multiplier, left_shift = quantize_multiplier(real)
    smallest = -math.floor(31 * 2**26 / 2**left_shift)
    result = np.full(codes.shape, low, np.int64)
    for index in np.ndindex(*codes.shape[:-1]):
        row = codes[index].tolist()
        largest = max(row)
        exps = {
            c: exp_on_negative(srdhm((x - largest) << left_shift, multiplier))
            for c, x in enumerate(row)
            if x - largest >= smallest
        }
        total = sum(rdbpot(e, ACCUMULATION_BITS) for e in exps.values())
        headroom = 32 - total.bit_length()
        inverse = one_over_one_plus(((total << headroom) % 2**32) - 2**31)
        for c, e in exps.items():
            scaled = rdbpot(srdhm(inverse, e), ACCUMULATION_BITS - headroom + 31 - bits)
            result[(*index, c)] = clamp(scaled + low, low, high)
    return result
