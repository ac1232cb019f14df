"""Integer LayerNorm and RMSNorm: exact sums, an integer square root, one division.

Oracles: tests/oracle/hawq.py, ibert.py, ivit.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, requantize_wide, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def integer_sqrt(value: int) -> int:
    """Return floor(sqrt(value)) for 0 <= value < 2**62.

    Newton from a power of two above the root, at most twice it, falls until it is there: after at
    most 7 divisions, as the relative error squares in each and the last one only finds no fall.
    """
    if value < 2:
        return value
    bits = 0
    rest = value
    while rest > 0:
        rest >>= 1
        bits += 1
    root = 1 << ((bits + 1) // 2)
    while True:
        lower = (root + value // root) >> 1
        if lower >= root:
            return root
        root = lower


@jit
def layer_norm_rows(
    x: Codes,
    x_zero: int,
    centered: bool,
    gamma: Codes,
    beta: Codes,
    epsilon: int,
    fraction_bits: int,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Normalize each row of `x` (rows, channels); if `centered`, about its mean.

    With n channels, t = sum(x) if centered and else 0, d = n * x - t and
    s = floor(sqrt(n * sum(x**2) - t**2 + epsilon)), the normalized value is
    floor(d * 2**fraction_bits / s + 1/2); gamma and beta are applied to it in the accumulator,
    which is then requantized. `epsilon` is in units of n**2 * scale**2.
    """
    channels = x.shape[1]
    for row in range(x.shape[0]):
        total, squares = 0, 0
        for c in range(channels):
            code = widen(x[row, c]) - x_zero
            total += code
            squares += code * code
        if not centered:
            total = 0
        spread = max(integer_sqrt(channels * squares - total * total + epsilon), 1)
        for c in range(channels):
            deviation = channels * (widen(x[row, c]) - x_zero) - total
            normalized = ((deviation << (fraction_bits + 1)) + spread) // (2 * spread)
            out[row, c] = requantize(normalized * gamma[c] + beta[c], scaling, 0)


@jit
def ten_step_sqrt(value: int) -> int:
    """Return what ten Newton steps from 2**16 leave of sqrt(value); at least 64.

    Source: IntLayerNorm of I-ViT. From 34,596 on it is within 1 % of the root (hwsim says so).
    """
    root = 1 << 16
    for _ in range(10):
        root = (root + value // root) >> 1
    return root


@jit
def layer_norm_by_reciprocal(
    x: Codes,
    gamma: Codes,
    beta: Codes,
    ten_steps: bool,
    numerator: int,
    shift: int,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Normalize each row of `x` (rows, channels) by one 31-bit reciprocal of its deviation.

    With m the mean, ties to even, y = x - m and s = floor(sqrt(sum((y >> shift)**2))) << shift, the
    normalized value is y * floor(numerator / s) >> 1, in units of sqrt(channels) / 2**30. gamma is
    a sign per channel; its magnitude is in the scaling. Source: IntLayerNorm of I-BERT, and of
    I-ViT (`ten_steps`).
    """
    channels = x.shape[1]
    for row in range(x.shape[0]):
        total = 0
        for c in range(channels):
            total += widen(x[row, c])
        mean = total // channels
        rest = total - mean * channels
        if 2 * rest > channels or (2 * rest == channels and mean & 1):
            mean += 1
        squares = 0
        for c in range(channels):
            deviation = (widen(x[row, c]) - mean) >> shift
            squares += deviation * deviation
        root = ten_step_sqrt(squares) if ten_steps else integer_sqrt(squares) << shift
        factor = numerator // max(root, 1)
        for c in range(channels):
            normalized = ((widen(x[row, c]) - mean) * factor) >> 1
            out[row, c] = requantize_wide(normalized * gamma[c] + beta[c], scaling, c)
