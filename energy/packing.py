"""How many exact products one DSP block holds.

Weights w_i stand side by side in the wide port, s bits apart; the activation that they share is
the narrow operand: (sum of w_i * 2^(s*i)) * a = sum of (w_i * a) * 2^(s*i). Two things make it
exact again outside the block: each product borrows a one from the next where it is negative, so
the next gets it back (an increment); and products that overlap by a bit are told apart by the
lowest bit of the upper one, which is the AND of its operands' lowest bits. Without the
correction the result is wrong by a one: mean error 0.37 for four 4-bit products
(arXiv 2203.11028).
"""

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Packing:
    """Products in one block.

    Args:
        products: How many; they share the activation.
        spacing_bits: Distance between their lowest bits.
        correction_lut: LUTs that make them exact.
    """

    products: int
    spacing_bits: int
    correction_lut: int


@cache
def packing(w_bits: int, a_bits: int, wide_bits: int, narrow_bits: int) -> Packing:
    """Return the densest exact packing of signed products; products 0 if one does not fit.

    Args:
        w_bits: Width of a weight.
        a_bits: Width of the shared activation.
        wide_bits: Signed width of the port that holds the weights.
        narrow_bits: Signed width of the other port.
    """
    if a_bits > narrow_bits or w_bits > wide_bits:
        return Packing(0, 0, 0)
    best = Packing(1, 0, 0)
    for overlap in (0, 1):
        spacing = w_bits + a_bits - overlap
        # One bit more than the weights span: a negative sum of them must not wrap.
        count = 1 + (wide_bits - 1 - w_bits) // spacing
        if count > best.products:
            upper = count - 1
            best = Packing(count, spacing, upper * (w_bits + a_bits + overlap))
    return best
