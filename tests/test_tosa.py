"""The profiles tosa and tosa_single scale as TOSA's apply_scale_32 says."""

import random

import numpy as np
import pytest

from hwsim.kernels.arith import requantize_row
from hwsim.kernels.scaling import pack_scaling
from hwsim.multiplier import Multiplier
from hwsim.ops import Op
from hwsim.profiles import PROFILES

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
ROUNDS = 40_000


def apply_scale_32(value: int, multiplier: int, shift: int, double_round: bool) -> int:
    """TOSA 1.0, section on rescaling, word for word."""
    assert multiplier >= 0
    assert 2 <= shift <= 62
    rounding = 1 << (shift - 1)
    if double_round and shift > 31:
        rounding += 1 << 30 if value >= 0 else -(1 << 30)
    result = value * multiplier + rounding
    result >>= shift
    assert INT32_MIN <= result <= INT32_MAX
    return result


def representable(value: int, multiplier: int, shift: int) -> bool:
    """Whether the result has 32 bits, as TOSA requires, and a left shift loses none."""
    shifted = value << max(31 - shift, 0)
    exact = value * multiplier >> shift
    return INT32_MIN < exact < INT32_MAX and INT32_MIN <= shifted <= INT32_MAX


def triples() -> list[tuple[int, int, int]]:
    rng = random.Random(20_261_121)
    edges = (0, 1, 2, 3, 5, 2**20, 2**30 - 1, 2**30, 2**30 + 1, INT32_MAX)
    values = sorted({sign * edge for edge in edges for sign in (1, -1)} | {INT32_MIN})
    multipliers = (0, 2**30, 2**30 + 1, 3 << 29, 2**31 - 2, 2**31 - 1)
    found = [(v, m, s) for v in values for m in multipliers for s in range(2, 63)]
    for _ in range(ROUNDS):
        width = rng.randrange(1, 32)
        value = rng.randrange(-(1 << width), 1 << width)
        found.append((value, rng.randrange(2**30, 2**31), rng.randrange(2, 63)))
    for shift in range(31, 63):  # exact ties of both signs
        found += [(odd << (shift - 31), 2**30, shift) for odd in (-5, -3, -1, 1, 3, 5)]
    return [triple for triple in found if representable(*triple)]


@pytest.mark.parametrize(("name", "double_round"), [("tosa", True), ("tosa_single", False)])
def test_scaling_is_apply_scale_32(name: str, double_round: bool) -> None:
    rule = PROFILES[name].rule(Op.CONV_2D, 8)
    cases = triples()
    assert len(cases) > ROUNDS // 2
    values = np.array([value for value, _, _ in cases], np.int64)
    multipliers = [Multiplier(m, shift - 31) for _, m, shift in cases]
    scaling = pack_scaling(rule, multipliers, [0.0] * len(cases), 0, INT32_MIN, INT32_MAX)
    made = np.empty(len(cases), np.int64)
    requantize_row(values, scaling, made)
    expected = [apply_scale_32(*case, double_round) for case in cases]
    assert made.tolist() == expected
    # The two modes are different arithmetics, so this test can fail.
    assert expected != [apply_scale_32(*case, not double_round) for case in cases]


@pytest.mark.parametrize("name", ["tosa", "tosa_single"])
def test_shifts_are_those_of_the_specification(name: str) -> None:
    for rule in PROFILES[name].rules.values():
        if rule.requant.is_fixed:
            assert tuple(31 + shift for shift in rule.right_shifts) == (2, 62)


@pytest.mark.parametrize("name", ["tosa", "tosa_single"])
def test_operators_without_a_definition_have_no_row(name: str) -> None:
    known = {op for op, _ in PROFILES[name].rules}
    undefined = {Op.SOFTMAX, Op.MEAN, Op.LAYER_NORM, Op.LEAKY_RELU, Op.LSTM, Op.SVDF, Op.RSQRT}
    assert not known & undefined
    assert {Op.CONV_2D, Op.FULLY_CONNECTED, Op.ADD, Op.AVERAGE_POOL_2D, Op.TANH} <= known
