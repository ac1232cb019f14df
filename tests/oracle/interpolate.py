"""int16 non-linearities: LOGISTIC and TANH, SOFTMAX, and tables of 513 entries.

Entries of float32 tables are formed with correctly rounded functions, as glibc 2.41 and newer do.
LiteRT calls the host's libm; with glibc 2.36's erfcf one entry in 300 tables of GELU differs.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from tests.oracle.arith import (
    clamp,
    f32,
    f32_div,
    f32_mul,
    mbqm_double,
    quantize_multiplier,
    round_half_away,
)
from tests.oracle.sigmoid import logistic, tanh

LOW, HIGH = -(2**15), 2**15 - 1


def f64(value: float) -> float:
    """Keep float64."""
    return float(value)


def table_513(
    function: Callable[[float], float],
    low: float,
    high: float,
    output_scaling: float,
    narrow: Callable[[float], float],
) -> list[int]:
    """Return the entries; `narrow` rounds every step to the table's precision."""
    step = narrow(narrow(high - low) / 512)
    half_step = narrow(step / 2)

    def scaled(x: float) -> int:
        return round_half_away(narrow(narrow(function(x)) * output_scaling))

    entries = []
    for i in range(512):
        x = narrow(low + narrow(i * step))
        after = narrow(low + narrow((i + 1) * step))
        value = scaled(x)
        line = narrow(narrow(narrow(function(after)) * output_scaling) + value)
        error = round_half_away(narrow(line / 2)) - scaled(narrow(x + half_step))
        entries.append(clamp(value - round_half_away(Fraction(error, 2)), LOW, HIGH))
    return [*entries, clamp(scaled(high), LOW, HIGH)]


def between(table: list[int], code: int) -> int:
    """Look a code up: the line between entries 128 codes apart, ties up."""
    index, rest = divmod(code + 2**15, 128)
    return table[index] + math.floor(
        Fraction((table[index + 1] - table[index]) * rest, 128) + Fraction(1, 2)
    )


def exp_f32(x: float) -> float:
    """expf."""
    return f32(math.exp(x))


def gelu_f32(x: float) -> float:
    """0.5f * x * erfcf(-x * sqrt(0.5f))."""
    return f32_mul(f32_mul(0.5, x), f32(math.erfc(f32_mul(x, f32(-math.sqrt(0.5))))))


def lookup(
    codes: np.ndarray,
    *,
    function: str,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
) -> np.ndarray:
    """EXP, GELU and RSQRT of int16 codes."""
    ends = [f32_mul(output_scale, code - output_zero_point) for code in (LOW, HIGH)]

    def rsqrt_f32(x: float) -> float:
        return f32_div(1.0, f32(math.sqrt(x))) if x > 0 else ends[1]

    table = table_513(
        {"EXP": exp_f32, "GELU": gelu_f32, "RSQRT": rsqrt_f32}[function],
        *(f32_mul(input_scale, code - input_zero_point) for code in (LOW, HIGH)),
        f32_div(65536.0, f32(ends[1] - ends[0])),
        f32,
    )
    return np.array([between(table, x) for x in codes.ravel().tolist()]).reshape(codes.shape)


def near_power(scale: float) -> int | None:
    """CheckedLog2: the exponent of a scale within 1e-3 of a power of two in the logarithm."""
    log2 = f32_mul(f32(math.log(scale)), f32_div(1.0, f32(math.log(2.0))))
    whole = round_half_away(log2)
    return whole if f32(abs(f32(log2 - whole))) < f32(1e-3) else None


def sigmoid(codes: np.ndarray, *, function: str, input_scale: float) -> np.ndarray:
    """LOGISTIC or TANH; results in units of 2**-15."""
    power = near_power(input_scale)
    powers = (-12, -11) if function == "TANH" else (-12,)
    if power in powers:
        assert power is not None
        multiplier, shift = 3 * 2 ** (12 + power), 0
    else:
        ratio, shift = input_scale * 4096.0 * 3.0, 0
        while ratio <= 32767 / 2 and shift <= 30:
            ratio, shift = ratio * 2, shift + 1
        multiplier = int(ratio)
    curve = tanh if function == "TANH" else logistic

    def one(x: int) -> int:
        moved = Fraction(x * multiplier, 2**shift) + (Fraction(1, 2) if shift else 0)
        return curve(math.floor(moved))

    return np.array([one(x) for x in codes.ravel().tolist()]).reshape(codes.shape)


def softmax_tables(narrow: Callable[[float], float]) -> tuple[list[int], list[int]]:
    """Return exp on [-10, 0] and 1 / (1 + x) on [0, 1], in units of 2**-15."""

    def reciprocal(x: float) -> float:
        return narrow(1.0 / narrow(1.0 + x))

    return (
        table_513(math.exp, -10.0, 0.0, 32768.0, narrow),
        table_513(reciprocal, 0.0, 1.0, 32768.0, narrow),
    )


def softmax(
    codes: np.ndarray, *, input_scale: float, beta: float, narrow: Callable[[float], Any] = f64
) -> np.ndarray:
    """SOFTMAX over the last axis; results in units of 2**-15."""
    exponentials, reciprocals = softmax_tables(narrow)
    scaling = quantize_multiplier(input_scale * beta / (10.0 / 65535.0))
    rows = codes.reshape(-1, codes.shape[-1]).tolist()
    result = []
    for row in rows:
        levels = []
        for x in row:
            moved = mbqm_double(x - max(row), *scaling) + 32767
            levels.append(between(exponentials, clamp(moved, LOW, HIGH)))
        total = sum(levels)
        zeros = 32 - total.bit_length()
        mantissa = (total * 2 ** (zeros - 1) + 2**13) // 2**14
        inverse = between(reciprocals, clamp(mantissa - 2**16 - 2**15, LOW, HIGH))
        shift = 31 - zeros
        result.append(
            [clamp((e * inverse + 2 ** (shift - 1)) // 2**shift, 0, HIGH) for e in levels]
        )
    return np.array(result).reshape(codes.shape)
