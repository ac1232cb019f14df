"""Integer LayerNorm: exact sums, integer square root, one division per element.

Oracle: tests/oracle/hawq.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def integer_sqrt(value: int) -> int:
    """Return floor(sqrt(value)) for 0 <= value < 2**62.

    Newton from a power of two above the root falls until it is there, so it needs no step count.
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
    gamma: Codes,
    beta: Codes,
    epsilon: int,
    fraction_bits: int,
    scaling: Scaling,
    out: Codes,
) -> None:
    """Normalize each row of `x` (rows, channels); the zero point cancels.

    With n channels, d = n * x - sum(x) and s = floor(sqrt(n * sum(x**2) - sum(x)**2 + epsilon)),
    the normalized value is floor(d * 2**fraction_bits / s + 1/2); gamma and beta are applied to it
    in the accumulator, which is then requantized. `epsilon` is in units of n**2 * scale**2.
    """
    channels = x.shape[1]
    for row in range(x.shape[0]):
        total, squares = 0, 0
        for c in range(channels):
            code = widen(x[row, c])
            total += code
            squares += code * code
        spread = max(integer_sqrt(channels * squares - total * total + epsilon), 1)
        for c in range(channels):
            deviation = channels * widen(x[row, c]) - total
            normalized = ((deviation << (fraction_bits + 1)) + spread) // (2 * spread)
            out[row, c] = requantize(normalized * gamma[c] + beta[c], scaling, 0)
