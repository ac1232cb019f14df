import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsim.errors import QuantizationError
from hwsim.multiplier import Multiplier, float32_product, quantize_multiplier
from hwsim.quant import Rounding
from tests.oracle import arith

STEADY = settings(deadline=None, derandomize=True, max_examples=500)
SMALLEST = 2.0**-32


@STEADY
@given(real=st.floats(SMALLEST, 2.0**31, exclude_max=True).filter(lambda x: x < 2.0**31 - 0.5))
@example(real=1.0)
@example(real=math.nextafter(1.0, 0.0))  # carries into 2**31
@example(real=1.0 - 2.0**-32)  # the smallest that carries: a tie, away from zero
@example(real=1.0 - 2.0**-32 - 2.0**-53)  # the largest that does not
@example(real=1.0 - 2.0**-31)
@example(real=SMALLEST)
@example(real=math.nextafter(2.0**-31, 0.0))
@example(real=0.5 + 2.0**-33)  # ties at the other end
@example(real=2.0**30)
def test_multiplier_is_the_nearest(real: float) -> None:
    made = quantize_multiplier(real)
    assert 2**30 <= made.multiplier < 2**31
    assert -31 <= made.right_shift <= 31
    unit = Fraction(2) ** (-31 - made.right_shift)
    value = made.multiplier * unit
    # Half a unit of 31 bits: that of the exponent before the carry, if there was one.
    _, exponent = math.frexp(real)
    grid = Fraction(2) ** (exponent - 31)
    assert value == Rounding.HALF_AWAY.of(Fraction(real) / grid) * grid
    assert Fraction(made.real) == value
    assert quantize_multiplier(-real) == Multiplier(-made.multiplier, made.right_shift)
    multiplier, left = arith.quantize_multiplier(real)
    assert (made.multiplier, made.right_shift) == (multiplier, -left)


def test_carry() -> None:
    assert quantize_multiplier(math.nextafter(1.0, 0.0)) == Multiplier(2**30, -1)
    assert quantize_multiplier(1.0) == Multiplier(2**30, -1)
    assert quantize_multiplier(math.nextafter(SMALLEST, 0.0)) == Multiplier(2**30, 31)


@pytest.mark.parametrize("real", [0.0, -0.0, 2.0**-33, 5e-324, SMALLEST * (1 - 2.0**-31)])
def test_what_no_accumulator_shows_is_zero(real: float) -> None:
    assert quantize_multiplier(real) == Multiplier(0, 0)


@pytest.mark.parametrize("real", [2.0**31, -(2.0**31), 1e300])
def test_too_large(real: float) -> None:
    sentence = f"scale ratio must be below 2**31, not {real:g}"
    with pytest.raises(QuantizationError, match=f"^{re.escape(sentence)}$"):
        quantize_multiplier(real)


@pytest.mark.parametrize("real", [math.inf, -math.inf, math.nan])
def test_not_finite(real: float) -> None:
    sentence = f"scale ratio must be a finite number, not {real}"
    with pytest.raises(QuantizationError, match=f"^{re.escape(sentence)}$"):
        quantize_multiplier(real)


@STEADY
@given(a=st.floats(2.0**-20, 8.0, width=32), b=st.floats(2.0**-20, 8.0, width=32))
def test_float32_product_is_rounded_once(a: float, b: float) -> None:
    assert float32_product(a, b) == float(np.float32(a * b))  # 48 bits: exact in float64
