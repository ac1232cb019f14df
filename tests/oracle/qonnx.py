"""QONNX's quantizers, one element at a time; every step rounds to float32.

Source: qonnx 1.0.0, custom_op/general/intquant.py, bipolar_quant.py, trunc.py.
"""

import math

import numpy as np

F = np.float32


def rounded(y: np.float32, mode: str) -> np.float32:
    """Round a float32 as a rounding mode of QONNX says."""
    sign = F(math.copysign(1, y)) if y else F(0)
    match mode:
        case "ROUND" | "HALF_EVEN":
            return F(round(float(y)))
        case "CEIL":
            return F(math.ceil(y))
        case "FLOOR":
            return F(math.floor(y))
        case "UP":
            return sign * F(math.ceil(abs(y)))
        case "DOWN":
            return F(math.trunc(float(y)))
        case "HALF_UP":
            return sign * F(math.floor(F(abs(y)) + F(0.5)))
        case "HALF_DOWN":
            return sign * F(math.ceil(F(abs(y)) - F(0.5)))
    raise ValueError(mode)


def ends(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Smallest and largest code."""
    if signed:
        return -(2 ** (bits - 1)) + (1 if narrow else 0), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - (1 if narrow else 0)


def quant(
    x: float, scale: float, zero: int, bits: int, signed: bool, narrow: bool, mode: str
) -> tuple[int, np.float32]:
    """Return the code and the real that Quant makes of x."""
    y = F(F(x) / F(scale)) + F(zero)
    if bits == 1 and signed:
        code = F(1) if y >= 0 else F(-1)
    else:
        low, high = ends(bits, signed, narrow)
        code = rounded(min(max(y, F(low)), F(high)), mode)
    return int(code), F(F(code - F(zero)) * F(scale))


def trunc(x: float, scale: float, zero: int, in_bits: int, out_bits: int, mode: str) -> np.float32:
    """Return what Trunc, version 1, makes of x."""
    y = rounded(F(F(x) / F(scale)) + F(zero), "ROUND")
    y = rounded(F(y / F(2.0 ** (in_bits - out_bits))), mode)
    return F(F(y - F(zero)) * F(scale))
