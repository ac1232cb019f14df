import numpy as np
import pytest
from numpy.typing import NDArray

from hwsim.energy.packing import packing

PORTS = {"DSP48E1": (25, 18), "DSP48E2": (27, 18)}


def unpacked(
    weights: NDArray[np.int64],
    a: NDArray[np.int64],
    bits: int,
    spacing: int,
    ports: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the products of one block as its output and the operands' lowest bits give them.

    Args:
        weights: Shape (samples, products).
        a: Shape (samples,).
        bits: Width of a product.
        spacing: Distance of the weights.
        ports: Signed widths, which the operands must not leave.
    """
    word = sum(weights[:, i] << (spacing * i) for i in range(weights.shape[1]))
    assert np.all(np.abs(word * 2 + 1) < 1 << ports[0]) and np.all(
        np.abs(a * 2 + 1) < 1 << ports[1]
    )
    output = word * a
    assert np.all(np.abs(output * 2 + 1) < 1 << 48)
    overlap = bits - spacing
    found = []
    for i in range(weights.shape[1]):
        if i + 1 == weights.shape[1]:
            found.append(output)
            break
        low = output & ((1 << spacing) - 1)
        # The bits above the spacing hold what is left of this product plus the next one.
        above = (output >> spacing) & ((1 << overlap) - 1)
        following = (weights[:, i + 1] & a) & ((1 << overlap) - 1)
        value = low | (((above - following) & ((1 << overlap) - 1)) << spacing)
        value = value - ((value >> (bits - 1)) << bits)
        found.append(value)
        output = (output - value) >> spacing
    return np.stack(found, axis=1)


@pytest.mark.parametrize("part", PORTS)
@pytest.mark.parametrize("w", range(2, 9))
@pytest.mark.parametrize("a", range(2, 9))
def test_packed_products_are_exact(part: str, w: int, a: int) -> None:
    packed = packing(w, a, *PORTS[part])
    rng = np.random.default_rng(w * 16 + a)
    shape = (20_000, packed.products)
    weights = rng.integers(-(1 << (w - 1)), 1 << (w - 1), shape)
    inputs = rng.integers(-(1 << (a - 1)), 1 << (a - 1), shape[0])
    weights[:2], inputs[:2] = -(1 << (w - 1)), [-(1 << (a - 1)), (1 << (a - 1)) - 1]
    expected = weights * inputs[:, None]
    if packed.products > 1:
        got = unpacked(weights, inputs, w + a, packed.spacing_bits, PORTS[part])
        np.testing.assert_array_equal(got, expected)
        # One more weight would leave the port.
        last = packed.products * packed.spacing_bits
        assert ((1 << last) << (w - 1)) > 1 << (PORTS[part][0] - 1) or last + w > PORTS[part][0] - 1


def test_the_vendors_counts_are_reached() -> None:
    # AMD WP487: two 8-bit products in a DSP48E2; FINN: four of 4 bits.
    assert packing(8, 8, *PORTS["DSP48E2"]).products == 2
    assert packing(4, 4, *PORTS["DSP48E2"]).products == 4
    assert packing(4, 4, *PORTS["DSP48E1"]).products == 3


def test_four_small_products_without_correction_have_the_published_error() -> None:
    # arXiv 2203.11028: mean absolute error 0.37 of four INT4 products (two by two operands,
    # unsigned times signed, fields as wide as a product) that nobody corrects.
    rng = np.random.default_rng(0)
    weights, inputs = rng.integers(-8, 8, (200_000, 2)), rng.integers(0, 16, (200_000, 2))
    output = (inputs[:, 0] + (inputs[:, 1] << 11)) * (weights[:, 0] + (weights[:, 1] << 22))
    errors = []
    for j in range(2):
        for i in range(2):
            field = (output >> (11 * i + 22 * j)) & 0xFF
            value = field - ((field >> 7) << 8)
            errors.append(np.abs(value - weights[:, j] * inputs[:, i]).mean())
    assert round(float(np.mean(errors)), 2) == 0.37


def test_what_no_port_takes_is_not_packed() -> None:
    assert packing(8, 19, 27, 18).products == 0
    assert packing(28, 8, 27, 18).products == 0
    assert packing(16, 16, 25, 18).products == 1
