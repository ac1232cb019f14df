"""Integers as the lines that `$readmemh` reads."""

import numpy as np
from numpy.typing import NDArray

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_NEWLINE = ord("\n")
MAX_WIDTH = 64


def hex_lines(words: NDArray[np.generic], width: int) -> bytes:
    """Return one word per line, row-major, as ceil(width / 4) hex digits.

    Args:
        words: Integers of any shape; floats are written as the bits of their IEEE format.
        width: Bits of the port, 1 to 64; negative words are two's complement of this width.

    Raises:
        ValueError: If a word does not fit: in [-2**(width - 1), 2**width).
    """
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"width must be in [1, {MAX_WIDTH}], not {width}")
    flat = np.ascontiguousarray(words).reshape(-1)
    if flat.dtype.kind == "f":
        flat = flat.view(np.dtype(f"u{flat.dtype.itemsize}"))
    if flat.size:
        low, high = int(flat.min()), int(flat.max())
        if low < -(1 << (width - 1)) or high >= 1 << width:
            raise ValueError(f"words must fit {width} bits, not [{low}, {high}]")
    with np.errstate(over="ignore"):
        bits = flat.astype(np.uint64) & np.uint64((1 << width) - 1)
    digits = -(-width // 4)
    text = np.empty((flat.size, digits + 1), np.uint8)
    for place in range(digits):
        nibble = (bits >> np.uint64(4 * (digits - 1 - place))) & np.uint64(15)
        text[:, place] = _DIGITS[nibble.astype(np.intp)]
    text[:, digits] = _NEWLINE
    return text.tobytes()
