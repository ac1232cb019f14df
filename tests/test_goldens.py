"""Oracles and kernels against integers that the authors' own code computed (tests/goldens)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.attributes import Attrs, GeluAttrs, SoftmaxAttrs
from hwsim.graph import Graph, Node, Value
from hwsim.kernels.elementwise import rescale
from hwsim.kernels.scaling import fixed_scaling
from hwsim.ops import Op
from hwsim.profile import OperatorRule, Requant
from hwsim.quant import INT8, IntType, QuantParams
from tests.oracle import hawq, ibert, ivit
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


def one_node(op: Op, attrs: Attrs, case: dict[str, Any], out: IntType, unit: float) -> Graph:
    """Return a graph of one operator on the case's int8 codes."""
    shape = np.shape(case["x"])
    x = Value("x", shape, INT8, QuantParams.per_tensor(case["scale"]))
    y = Value("y", shape, out, QuantParams.per_tensor(unit))
    node = Node("y", op, ("x",), ("y",), attrs)
    return Graph("golden", {"x": x, "y": y}, (node,), ("x",), ("y",), "hawq")


def run(graph: Graph, case: dict[str, Any], profile: str) -> list[list[int]]:
    made = hwsim.run(graph, np.array(case["x"], np.int8), profile=profile)["y"]
    rows: list[list[int]] = made.astype(np.int64).tolist()
    return rows


@pytest.mark.parametrize("case", cases("ibert", "softmax"))
def test_ibert_softmax(case: dict[str, Any]) -> None:
    for row, exponentials, expected in zip(case["x"], case["exp"], case["y"], strict=True):
        assert [ibert.i_exp(x - max(row), case["scale"]) for x in row] == exponentials
        assert ibert.softmax(row, case["scale"]) == [min(code, 255) for code in expected]
    graph = one_node(Op.SOFTMAX, SoftmaxAttrs(), case, IntType(8, signed=False), 2.0**-8)
    assert run(graph, case, "ibert") == np.minimum(case["y"], 255).tolist()


@pytest.mark.parametrize("case", cases("ibert", "gelu"))
def test_ibert_gelu(case: dict[str, Any]) -> None:
    for row, expected in zip(case["x"], case["y"], strict=True):
        assert [ibert.i_gelu(x, case["scale"]) for x in row] == expected
    assert ibert.gelu_unit(case["scale"]) == pytest.approx(case["unit"], rel=1e-12)


@pytest.mark.parametrize("case", cases("ibert", "layer_norm"))
def test_ibert_layer_norm(case: dict[str, Any]) -> None:
    for row, expected in zip(case["x"], case["y"], strict=True):
        assert ibert.normalize(row, 0) == expected


@pytest.mark.parametrize("case", cases("ivit", "softmax"))
def test_ivit_softmax(case: dict[str, Any]) -> None:
    for row, expected in zip(case["x"], case["y"], strict=True):
        assert ivit.softmax(row, case["scale"]) == [min(code, 127) for code in expected]
    graph = one_node(Op.SOFTMAX, SoftmaxAttrs(), case, INT8, 2.0**-7)
    assert run(graph, case, "ivit") == np.minimum(case["y"], 127).tolist()


@pytest.mark.parametrize("case", cases("ivit", "gelu"))
def test_ivit_gelu(case: dict[str, Any]) -> None:
    for row, expected in zip(case["x"], case["y"], strict=True):
        assert ivit.gelu(row, case["scale"]) == expected
    graph = one_node(Op.GELU, GeluAttrs(), case, IntType(16), case["scale"] * 2.0**-7)
    assert run(graph, case, "ivit") == case["y"]


@pytest.mark.parametrize("case", cases("ivit", "layer_norm"))
def test_ivit_layer_norm(case: dict[str, Any]) -> None:
    for row, std, expected in zip(case["x"], case["std"], case["y"], strict=True):
        center = ibert.mean(row)
        assert ivit.integer_sqrt(sum((x - center) ** 2 for x in row)) == std
        assert ivit.normalize(row) == expected
