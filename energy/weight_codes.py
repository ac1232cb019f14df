"""How many bits the Ethos-U weight stream takes for given codes.

The stream is a Golomb-Rice code, or a direct index into a palette of the codes that occur; zeros
may be coded as runs between the others. The engine reads weights in pieces of its array, so the
stream holds zeros where a kernel or a depth does not fill a piece.
"""

import numpy as np
from numpy.typing import NDArray

_PALETTE = 32  # codes that a palette may hold
_NATIVE_BITS = 8
_LEAST_BITS = 0.16  # per weight: what all-zero weights take in Vela 5.2.0


def narrowed_bits(encoded: int, weights: int, weight_bits: int) -> int:
    """Return the stored bits of weights quantized more coarsely than their encoded 8 bits.

    A step twice as wide takes one bit from the entropy of every weight (exact for fine steps),
    down to what zeros take.
    """
    saved = max(_NATIVE_BITS - weight_bits, 0) * weights
    return max(encoded - saved, min(encoded, round(_LEAST_BITS * weights)))


def stream_bits(codes: NDArray[np.int64], padding: int = 0) -> int:
    """Return the estimated bits of a weight stream.

    Args:
        codes: Weight codes minus their zero point, any shape.
        padding: Zeros that the engine's pieces add.
    """
    values, counts = np.unique(codes, return_counts=True)
    table = dict(zip(values.tolist(), counts.tolist(), strict=True))
    if padding:
        table[0] = table.get(0, 0) + padding
    total = sum(table.values())
    if not total:
        return 0
    zeros = table.pop(0, 0)
    floor = _LEAST_BITS * total
    if not table:
        return round(floor)
    with_zeros = _symbol_bits({**table, 0: zeros} if zeros else table)
    runs = _symbol_bits(table) + _run_bits(zeros, total - zeros)
    return round(max(min(with_zeros, runs), floor))


def _symbol_bits(table: dict[int, int]) -> float:
    """Return the bits of symbols by their counts: direct index or the best Rice parameter."""
    values = np.array(list(table), np.int64)
    counts = np.array(list(table.values()), np.int64)
    order = np.argsort(-counts, kind="stable")
    if len(values) <= _PALETTE:
        index = np.empty(len(values), np.int64)
        index[order] = np.arange(len(values))
    else:
        # The most frequent codes come first, every other one by its sign and magnitude.
        index = np.where(values > 0, 2 * values, -2 * values + 1)
        index = np.argsort(np.argsort(index, kind="stable"), kind="stable")
    direct = float(counts.sum() * max(int(index.max()).bit_length(), 1))
    rice = min(
        float(np.sum(counts * ((index >> parameter) + 1 + parameter))) for parameter in range(8)
    )
    return min(direct, rice)


def _run_bits(zeros: int, others: int) -> float:
    """Return the bits of the runs of zeros before each other code, at the best Rice parameter."""
    mean = zeros / others
    return min(others * (mean / (1 << parameter) + 1 + parameter) for parameter in range(8))
