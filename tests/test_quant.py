import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.errors import QuantizationError
from hwsim.quant import (
    FloatType,
    IntType,
    QuantParams,
    Rounding,
    dequantize_array,
    quantize_array,
    symmetric_scale,
)

EXACT = [Fraction(n, 2) for n in (-5, -3, -1, 1, 3, 5)]
STEADY = settings(deadline=None, derandomize=True)


def whole(sentence: str) -> str:
    return f"^{re.escape(sentence)}$"


@pytest.mark.parametrize(
    ("rounding", "row"),
    [
        (Rounding.HALF_UP, [-2, -1, 0, 1, 2, 3]),
        (Rounding.HALF_AWAY, [-3, -2, -1, 1, 2, 3]),
        (Rounding.HALF_EVEN, [-2, -2, 0, 0, 2, 2]),
        (Rounding.FLOOR, [-3, -2, -1, 0, 1, 2]),
        (Rounding.TRUNC, [-2, -1, 0, 0, 1, 2]),
    ],
)
def test_rounding_table(rounding: Rounding, row: list[int]) -> None:
    assert [rounding.of(exact) for exact in EXACT] == row


def test_every_rounding_is_in_the_table() -> None:
    assert len(Rounding) == 5


@pytest.mark.parametrize("rounding", Rounding)
@STEADY
@given(numerator=st.integers(-(2**70), 2**70), denominator=st.integers(1, 2**40))
def test_rounding_moves_less_than_one(rounding: Rounding, numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    away = abs(rounding.of(exact) - exact)
    assert away < 1 if rounding in (Rounding.FLOOR, Rounding.TRUNC) else away <= Fraction(1, 2)
    assert rounding.of(Fraction(numerator)) == numerator


@pytest.mark.parametrize("bits", range(1, 65))
def test_integer_types(bits: int) -> None:
    signed, unsigned = IntType(bits), IntType(bits, signed=False)
    assert (signed.min, signed.max) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert (unsigned.min, unsigned.max) == (0, 2**bits - 1)
    for dtype in (signed, unsigned):
        limits = np.iinfo(dtype.storage)
        assert limits.min <= dtype.min and dtype.max <= limits.max
        assert dtype.storage.itemsize == 1 or 8 * dtype.storage.itemsize < 2 * bits
        assert eval(repr(dtype)) == dtype
    assert (str(signed), str(unsigned)) == (f"int{bits}", f"uint{bits}")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: IntType(0), "bits must be in [1, 64], not 0"),
        (lambda: IntType(65), "bits must be in [1, 64], not 65"),
        (lambda: FloatType(8), "float bits must be one of 16, 32, 64, not 8"),
        (lambda: QuantParams((0.0,), (0,)), "scale[0] must be a positive finite number, not 0.0"),
        (lambda: QuantParams((1.0, -1.0), (0, 0), 0),
         "scale[1] must be a positive finite number, not -1.0"),
        (lambda: QuantParams.per_tensor(float("inf")),
         "scale[0] must be a positive finite number, not inf"),
        (lambda: QuantParams.per_tensor(float("nan")),
         "scale[0] must be a positive finite number, not nan"),
        (lambda: QuantParams((), ()), "scale must hold at least one number, not none"),
        (lambda: QuantParams((1.0,), (0, 0)),
         "zero_point must hold 1 codes, one per scale, not 2"),
        (lambda: QuantParams((1.0, 1.0), (0, 0)), "per-tensor scale must be one number, not 2"),
        (lambda: QuantParams((1.0,), (0,), -1), "axis must be 0 or more, not -1"),
        (lambda: quantize_array(np.array([np.nan]), IntType(8), ONE, Rounding.HALF_EVEN),
         "values to quantize must be finite, not NaN or infinite"),
        (lambda: quantize_array(np.array([-np.inf]), IntType(8), ONE, Rounding.HALF_AWAY),
         "values to quantize must be finite, not NaN or infinite"),
        (lambda: quantize_array(np.ones(1), IntType(8), ONE, Rounding.FLOOR),
         "rounding of a real must be half_even or half_away, not floor"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(QuantizationError, match=whole(sentence)):
        make()


ONE = QuantParams.per_tensor(1.0)
TYPES = st.builds(IntType, st.integers(1, 32), st.booleans())
RULES = st.sampled_from([Rounding.HALF_EVEN, Rounding.HALF_AWAY])


@STEADY
@given(
    halves=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=20),
    exponent=st.integers(-20, 20), dtype=TYPES, rule=RULES, data=st.data(),
)  # fmt: skip
def test_ties_are_exact(
    halves: list[int], exponent: int, dtype: IntType, rule: Rounding, data: st.DataObject
) -> None:
    zero = data.draw(st.integers(max(dtype.min, -(2**20)), min(dtype.max, 2**20)))
    scale = 2.0**exponent
    reals = np.array(halves, np.float32) * np.float32(scale / 2)
    made = quantize_array(reals, dtype, QuantParams.per_tensor(scale, zero), rule)
    expected = [
        min(max(rule.of(Fraction(half, 2)) + zero, dtype.min), dtype.max) for half in halves
    ]
    assert made.dtype == dtype.storage
    assert made.tolist() == expected


@STEADY
@given(
    reals=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    scale=st.floats(2.0**-10, 8.0, width=32), rule=RULES, wide=st.booleans(),
)  # fmt: skip
def test_quotients_are_rounded_in_the_precision_of_the_reals(
    reals: list[float], scale: float, rule: Rounding, wide: bool
) -> None:
    array = np.array(reals, np.float64 if wide else np.float32)
    made = quantize_array(array, IntType(32), QuantParams.per_tensor(scale), rule)
    step = array.dtype.type(scale)
    assert made.tolist() == [rule.of(Fraction(float(real / step))) for real in array]


@pytest.mark.parametrize("rule", [Rounding.HALF_EVEN, Rounding.HALF_AWAY])
@pytest.mark.parametrize("below", [np.nextafter(0.5, 0), np.nextafter(np.float32(0.5), 0)])
def test_just_below_a_half_is_zero(rule: Rounding, below: np.floating) -> None:
    for sign in (1, -1):
        array = np.array([sign * below], type(below))
        assert quantize_array(array, IntType(8), ONE, rule).tolist() == [0]


def test_channels_have_their_own_parameters() -> None:
    params = QuantParams((1.0, 0.5), (0, 3), 1)
    reals = np.array([[1.0, 1.0], [-2.0, -2.0]], np.float32)
    codes = quantize_array(reals, IntType(8), params, Rounding.HALF_EVEN)
    assert codes.tolist() == [[1, 5], [-2, -1]]
    assert dequantize_array(codes, params).tolist() == reals.tolist()
    assert dequantize_array(codes, params).dtype == np.float32


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_what_is_too_large_saturates(value: float) -> None:
    for bits in (1, 8, 31, 32, 53):
        dtype = IntType(bits)
        params = QuantParams.per_tensor(1e-3)
        codes = quantize_array(np.array([value]), dtype, params, Rounding.HALF_EVEN)
        assert codes.tolist() == [dtype.max if value > 0 else dtype.min]


@STEADY
@given(magnitude=st.floats(1e-30, 1e30), dtype=TYPES)
def test_symmetric_scale_maps_the_magnitude_to_the_largest_code(
    magnitude: float, dtype: IntType
) -> None:
    assert symmetric_scale(magnitude, dtype) == magnitude / max(dtype.max, 1)
    assert symmetric_scale(0.0, dtype) == 1.0
