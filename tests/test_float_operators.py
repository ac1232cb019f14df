"""Float rules that no network of ours needs, against LiteRT's float kernels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.formats.tflite import read_tflite
from tests.litert import LiteRT, available
from tests.strategies import Case, Draw, index_tensor, single
from tests.tflite_writer import Tensor

pytest.importorskip("torch", reason="torch is missing: 140 float models are not compared")
SEEDS = 20


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip("ai_edge_litert is missing: 140 float models are not compared")
    with LiteRT() as worker:
        yield worker


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, "float32")


def pair(draw: Draw, builtin: str) -> Case:
    feed = {
        "a": draw.rng.normal(size=(3, 1, 5)).astype(np.float32),
        "b": draw.rng.normal(size=(4, 5)).astype(np.float32),
    }
    ins = [tensor("a", 3, 1, 5), tensor("b", 4, 5)]
    return single(builtin, ins, [tensor("y", 3, 4, 5)], feed)


def unary(draw: Draw, builtin: str) -> Case:
    x = draw.rng.uniform(0.01, 9, (2, 7)).astype(np.float32)
    return single(builtin, [tensor("x", 2, 7)], [tensor("y", 2, 7)], {"x": x})


def transpose_conv(draw: Draw) -> Case:
    stride = (draw.integer(1, 3), draw.integer(1, 3))
    kernel = (draw.integer(1, 4), draw.integer(1, 4))
    padding = draw.choice(["SAME", "VALID"])
    size = [
        max(n * s - draw.integer(0, s - 1), 1)
        if padding == "SAME"
        else (n - 1) * s + k + draw.integer(0, s - 1)
        for n, k, s in zip((3, 2), kernel, stride, strict=True)
    ]
    weights = draw.rng.normal(size=(4, *kernel, 3)).astype(np.float32)
    bias = draw.rng.normal(size=4).astype(np.float32)
    ins = [
        index_tensor("shape", [2, *size, 4]),
        Tensor("w", weights.shape, "float32", data=weights),
        tensor("x", 2, 3, 2, 3),
    ]
    if draw.flip():
        ins.append(Tensor("b", (4,), "float32", data=bias))
    x = draw.rng.normal(size=(2, 3, 2, 3)).astype(np.float32)
    options = {"padding": padding, "strideH": stride[0], "strideW": stride[1]}
    activation = draw.choice(["NONE", "RELU", "RELU6"])
    return single(
        "TRANSPOSE_CONV", ins, [tensor("y", 2, *size, 4)], {"x": x},
        fusedActivationFunction=activation, **options,
    )  # fmt: skip


MAKERS = {
    "TRANSPOSE_CONV": transpose_conv,
    **{name: pair for name in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")},
    **{name: unary for name in ("EXP", "RSQRT", "GELU")},
}


@pytest.mark.parametrize("builtin", MAKERS)
def test_float_rules_agree_with_litert(litert: LiteRT, builtin: str) -> None:
    for seed in range(SEEDS):
        draw = Draw([seed])
        make = MAKERS[builtin]
        case = make(draw) if make is transpose_conv else make(draw, builtin)
        model = case.model.to_bytes()
        graph = read_tflite(model, Path("net.tflite"))
        made = hwsim.run(graph, case.feed, profile="float")["y"]
        (theirs,) = litert.run(model, [case.feed], repr(case))
        np.testing.assert_allclose(made, theirs["y"], rtol=2e-5, atol=2e-5, err_msg=repr(case))
