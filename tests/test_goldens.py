"""Oracles and kernels against integers that the authors' own code computed (tests/goldens)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwsim.kernels.elementwise import rescale
from hwsim.kernels.scaling import fixed_scaling
from hwsim.profile import OperatorRule, Requant
from tests.oracle import hawq
from tests.oracle.arith import f32_mul

HERE = Path(__file__).resolve().parent / "goldens"


def cases(name: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((HERE / f"{name}.json").read_text("utf-8"))[kind]
    assert found
    return found


def requantized(x: list[int], ratio: float) -> list[int]:
    """Return codes as the kernel computes them, unclamped."""
    scaling = fixed_scaling(OperatorRule(Requant.HALF_EVEN), [ratio], 0, -(1 << 62), 1 << 62)
    made = np.empty((len(x), 1), np.int64)
    rescale(np.array(x, np.int64).reshape(-1, 1), np.int64(0), scaling, made)
    return [int(code) for code in made.ravel()]


def clamped(codes: list[int]) -> list[int]:
    return [min(max(code, -128), 127) for code in codes]


@pytest.mark.parametrize("case", cases("hawq", "fixedpoint"))
def test_hawq_v3_requantizes_and_adds(case: dict[str, Any]) -> None:
    out = case["out_scale"]
    ratio = f32_mul(case["activation_scale"], case["weight_scale"]) / out
    other = f32_mul(case["identity_activation_scale"], case["identity_weight_scale"]) / out
    ours = requantized(case["x"], ratio)
    assert clamped(ours) == case["y"]
    assert [hawq.rescale(acc, ratio) for acc in case["x"]] == ours
    branch = requantized(case["identity"], other)
    assert [a + b for a, b in zip(ours, branch, strict=True)] == case["y_added"]


@pytest.mark.parametrize("case", cases("ibert", "requantize"))
def test_ibert_requantizes_and_adds(case: dict[str, Any]) -> None:
    ours = requantized(case["x"], case["in_scale"] / case["out_scale"])
    assert clamped(ours) == case["y"]
    branch = requantized(case["identity"], case["identity_scale"] / case["out_scale"])
    assert clamped([a + b for a, b in zip(ours, branch, strict=True)]) == case["y_added"]
