"""Bits that flip on the wires of a multiply-accumulate unit, counted on operand sequences.

Five wires are counted per operation: weight, activation, the array of partial products (the AND of
every weight bit with every activation bit), the product sign-extended to the accumulator's width,
and the accumulator. A value that stays does not flip a bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

WIRES = ("weight", "activation", "partial_products", "accumulator_input", "accumulator")


@dataclass(frozen=True, slots=True)
class Toggles:
    """Mean flips per multiply-accumulate, with the standard errors of a sample.

    Args:
        mean: One mean per wire of `WIRES`.
        error: Standard error of each mean; 0 where everything was counted.
        operations: Multiply-accumulates counted.
    """

    mean: tuple[float, ...]
    error: tuple[float, ...]
    operations: int

    @property
    def total(self) -> float:
        """Flips of all wires per multiply-accumulate."""
        return sum(self.mean)

    def on(self, wire: str) -> float:
        """Return the flips of one wire."""
        return self.mean[WIRES.index(wire)]


def flips(values: Codes, bits: int) -> Codes:
    """Return how many of the low `bits` bits change between neighbors of the last axis."""
    return _ones((values[..., 1:] ^ values[..., :-1]), bits)


def array_flips(
    weights: Codes, activations: Codes, weight_bits: int, activation_bits: int
) -> Codes:
    """Return how many of the partial products w_i & a_j change between neighbors."""
    on = _ones(weights, weight_bits) * _ones(activations, activation_bits)
    kept = _ones(weights[..., 1:] & weights[..., :-1], weight_bits) * _ones(
        activations[..., 1:] & activations[..., :-1], activation_bits
    )
    changed: Codes = on[..., 1:] + on[..., :-1] - 2 * kept
    return changed


def count(
    weights: Codes, activations: Codes, sums: Codes, widths: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return the mean flips per operation of every stream, shape (streams, wires).

    Args:
        weights: (streams, length) operands in the order of the wire.
        activations: The same.
        sums: What the accumulator holds after each operation.
        widths: Bits of weight, activation and accumulator.
    """
    weight_bits, activation_bits, accumulator_bits = widths
    wires = (
        flips(weights, weight_bits),
        flips(activations, activation_bits),
        array_flips(weights, activations, weight_bits, activation_bits),
        flips(weights * activations, accumulator_bits),
        flips(sums, accumulator_bits),
    )
    return np.stack([wire.mean(axis=-1) for wire in wires], axis=-1)


def _ones(values: Codes, bits: int) -> Codes:
    """Return the ones among the low `bits` bits of two's complement numbers."""
    ones: Codes = np.bitwise_count(values & ((1 << bits) - 1)).astype(np.int64)
    return ones


def summary(streams: NDArray[np.float64], operations: int, exact: bool) -> Toggles:
    """Return the mean over equally likely streams; `exact` says that there are no others."""
    mean = streams.mean(axis=0)
    many = len(streams) > 1 and not exact
    error = streams.std(axis=0, ddof=1) / np.sqrt(len(streams)) if many else np.zeros(len(mean))
    return Toggles(tuple(map(float, mean)), tuple(map(float, error)), operations)
