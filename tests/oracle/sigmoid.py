"""LOGISTIC and TANH of int16 codes by the 256-entry table; numerics.md 3.4."""

import math


def exact(i: float) -> float:
    """65536 * logistic(i / 24)."""
    return 65536.0 / (1.0 + math.exp(-i / 24.0))


TABLE = [
    math.floor(exact(i) + (exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2) / 2 + 0.5)
    for i in range(255)
] + [65535]


def _between(magnitude: int, bits: int, beyond: int) -> int:
    step, rest = divmod(magnitude, 2**bits)
    if step >= 255:
        return beyond
    return TABLE[step] * 2**bits + rest * (TABLE[step + 1] - TABLE[step])


def logistic(x: int) -> int:
    """Return Q0.15 of x in units of 2**-12 / 3."""
    r = _between(abs(x), 9, 0x7FFF * 2**10)
    return (r + 512) // 2**10 if x >= 0 else (2**25 - r + 511) // 2**10


def tanh(x: int) -> int:
    """Return Q0.15 of x in units of 2**-12 / 3."""
    r = _between(abs(x), 8, 0xFFFF * 2**8)
    return (r - 2**23 + 128) // 2**8 if x >= 0 else (-r + 2**23 + 127) // 2**8
