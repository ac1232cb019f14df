"""Profile `tflm` and its oracle against TFLite Micro's Python package."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import GraphError
from hwsim.formats.tflite import read_tflite
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from tests.litert import LiteRT, LiteRTDied, LiteRTRefused, available
from tests.oracle import tflm
from tests.strategies import Case, every_code, generate, single
from tests.test_oracle_vs_litert import SWEEPS
from tests.tflite_writer import Tensor

PROFILE = PROFILES["tflm"]
OPERATORS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "AVERAGE_POOL_2D",
    "MAX_POOL_2D", "LOGISTIC", "TANH", "HARD_SWISH", "QUANTIZE", "LEAKY_RELU", "RELU", "RESHAPE",
    "SQUEEZE", "TRANSPOSE", "PAD", "PADV2", "CONCATENATION", "STRIDED_SLICE", "SLICE", "SPLIT",
    "MEAN", "SOFTMAX", "DEQUANTIZE", "BATCH_MATMUL",
)  # fmt: skip
SEEDS = 40
CASES = len(OPERATORS) * SEEDS


@pytest.fixture(scope="module")
def micro() -> Iterator[LiteRT]:
    if find_spec("tflite_micro") is None or not available():
        pytest.skip(f"tflite_micro or ai_edge_litert is missing: {CASES} models are not compared")
    with LiteRT(kernels="micro") as worker:
        yield worker


def engine(case: Case) -> dict[str, np.ndarray]:
    graph = read_tflite(case.model.to_bytes(), Path("model.tflite"))
    feed = {name: case.feed[name] for name in graph.input_names}
    return execute(graph, PROFILE, feed, keep_all=True)


def compare(micro: LiteRT, case: Case) -> int | None:
    """Return the elements compared, or None where TFLite Micro or the profile refuses."""
    try:
        theirs = micro.run(case.model.to_bytes(), [case.feed], repr(case))[0]
        ours = engine(case)
    except (LiteRTDied, LiteRTRefused, GraphError):
        return None
    expected = tflm.run(case.model, case.feed)
    compared = 0
    for name in case.model.operators[0].outputs:
        assert np.array_equal(expected[name].ravel(), theirs[name].ravel()), (name, case)
        assert np.array_equal(ours[name].ravel(), theirs[name].ravel()), (name, case)
        compared += theirs[name].size
    return compared


@pytest.mark.parametrize("operator", OPERATORS)
def test_engine_and_oracle_equal_tflite_micro(micro: LiteRT, operator: str) -> None:
    compared = [compare(micro, generate(operator, seed)) for seed in range(SEEDS)]
    # uint8 models are refused on both sides, and TANH to another scale than 1/128 on ours.
    assert sum(elements is not None for elements in compared) >= SEEDS // 4


@pytest.mark.parametrize("operator", ["LOGISTIC", "TANH", "HARD_SWISH"])
def test_every_code_of_the_table_operators(micro: LiteRT, operator: str) -> None:
    for scale, share in SWEEPS:
        x = Tensor("x", (1, 256), "int8", (scale,), (-128 + round(255 * share),))
        out_scale, out_zero_point = {
            "LOGISTIC": (1 / 256, -128),
            "TANH": (1 / 128, 0),
            "HARD_SWISH": (scale * 0.7, -128 + round(255 * (1 - share) * 0.3)),
        }[operator]
        out = Tensor("out", (1, 256), "int8", (out_scale,), (out_zero_point,))
        case = single(operator, [x], [out], {"x": every_code("int8")})
        assert compare(micro, case) == 256


def relu_6(scale: float, zero_point: int) -> Case:
    x = Tensor("x", (1, 256), "int8", (scale,), (zero_point,))
    out = Tensor("out", (1, 256), "int8", (scale,), (zero_point,))
    return single("RELU6", [x], [out], {"x": every_code("int8")})


def test_relu_6_clamps_codes(micro: LiteRT) -> None:
    for scale, share in SWEEPS:
        assert compare(micro, relu_6(scale, -128 + round(255 * share))) == 256


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (generate("RELU6", 0), "profile tflm: input must be int8 with the parameters of the outp"),
        (generate("TANH", 0), "output must be int8 with scale 0.0078125 and zero point 0"),
    ],
)
def test_what_the_profile_leaves_out_is_refused_by_name(case: Case, sentence: str) -> None:
    with pytest.raises(GraphError, match=f"^node 'out' .*: {sentence}"):
        engine(case)
