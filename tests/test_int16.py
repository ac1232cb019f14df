"""int16 against LiteRT itself: every code of every table, and softmax rows of every kind."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import FormatError
from tests.litert import LiteRT, LiteRTRefused, available
from tests.selfcheck_cases import WIDE_SCALES, Tally, judge, wide_sweep
from tests.strategies import Draw, generate, single, softmax_16
from tests.tflite_writer import Tensor

SWEEPS = [(operator, scale) for operator, scales in WIDE_SCALES.items() for scale in scales]
SOFTMAX_CASES = 150


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip(f"ai_edge_litert is missing: {len(SWEEPS)} sweeps are not compared")
    with LiteRT() as worker:
        yield worker


@pytest.mark.parametrize(("operator", "scale"), SWEEPS)
def test_every_code_equals_litert(litert: LiteRT, operator: str, scale: float) -> None:
    tally = Tally(operator)
    judge(litert, tally, wide_sweep(operator, scale))
    assert (tally.run, tally.wrong, tally.note) == (1, 0, "")
    assert tally.elements == (1 << 15 if operator == "RSQRT" else 1 << 16)


def test_softmax_equals_litert(litert: LiteRT) -> None:
    tally = Tally("SOFTMAX")
    for seed in range(SOFTMAX_CASES):
        judge(litert, tally, softmax_16(Draw([seed, 16])))
    assert (tally.run, tally.wrong, tally.note) == (SOFTMAX_CASES, 0, "")
    assert tally.elements > 50_000


def test_float32_softmax_tables_are_others() -> None:
    """TFLite Micro and CMSIS-NN form the tables in float32; 1 / (1 + x) differs in two entries."""
    from hwsim.kernels.lower_interpolate import softmax_tables
    from hwsim.profile import Method

    double, single = (
        softmax_tables(method) for method in (Method.LUT_513_FLOAT64, Method.LUT_513_FLOAT32)
    )
    assert np.array_equal(double[0], single[0])
    assert np.flatnonzero(double[1] != single[1]).tolist() == [160, 294]


@pytest.mark.parametrize("operator", ["ADD", "SUB", "MUL"])
def test_a_million_pairs_equal_litert(litert: LiteRT, operator: str) -> None:
    """One bit of the common scale more or less shows in few of them."""
    shape = (1 << 10, 1 << 10)
    rng = np.random.default_rng(7)
    feed = {name: rng.integers(-32768, 32768, shape).astype(np.int16) for name in "ab"}
    a, b = Tensor("a", shape, "int16", (1e-3,)), Tensor("b", shape, "int16", (7.3e-4,))
    out = Tensor("out", shape, "int16", (2.1e-3 if operator != "MUL" else 0.02,))
    tally = Tally(operator)
    judge(litert, tally, single(operator, [a, b], [out], feed))
    assert (tally.run, tally.wrong, tally.note) == (1, 0, "")
    assert tally.elements == 1 << 20


SYMMETRIC = [
    "CONV_2D_INT16", "DEPTHWISE_CONV_2D_INT16", "TRANSPOSE_CONV_INT16", "FULLY_CONNECTED_INT16",
    "BATCH_MATMUL_INT16", "ADD_INT16", "SUB_INT16", "MUL_INT16", "QUANTIZE_INT16",
    "LEAKY_RELU_INT16", "RELU_INT16", "RELU6_INT16", "MEAN_INT16", "LOGISTIC_INT16", "TANH_INT16",
    "EXP_INT16", "RSQRT_INT16", "SOFTMAX_INT16", "CONCATENATION_INT16",
]  # fmt: skip


@pytest.mark.parametrize("operator", SYMMETRIC)
def test_a_zero_point_is_refused_as_litert_does(
    litert: LiteRT, tmp_path: Path, operator: str
) -> None:
    case = generate(operator, 3)
    name = case.model.outputs[0]
    tensors = tuple(
        replace(tensor, zero_point=(9,)) if tensor.name == name else tensor
        for tensor in case.model.tensors
    )
    data = replace(case.model, tensors=tensors).to_bytes()
    with pytest.raises(LiteRTRefused):
        litert.run(data, [case.feed])
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    kind = case.model.operators[0].builtin
    sentence = rf"net.tflite: operator 0 \({kind}\): zero point of int16 '{name}' must be 0, not 9"
    with pytest.raises(FormatError, match=sentence):
        hwsim.load(path)
