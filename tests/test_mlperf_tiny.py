"""Real networks on the engine: every intermediate value equals LiteRT's reference kernels."""

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.oracles import run_litert
from tests.litert import available
from tests.shared import data_file, model_file

NETWORKS = (
    "pretrainedResnet_quant.tflite",
    "kws_ref_model.tflite",
    "vww_96_int8.tflite",
    "ad01_int8.tflite",
)
RANDOM = 16


def network(name: str) -> Path:
    if not available():
        pytest.skip("ai_edge_litert is missing: 1 network is not compared")
    return model_file(f"mlperf_tiny/{name}", "1 network is not compared")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_value_equals_litert_reference(name: str) -> None:
    graph = hwsim.load(network(name))
    result = hwsim.validate(graph, hwsim.random_inputs(graph, RANDOM), "litert_ref")
    assert result.missing == ()
    assert [row.value for row in result.rows] == [n for x in graph.nodes for n in x.outputs]
    assert result.elements > 100_000 // 4
    assert result.differing == 0


def test_a_wrong_multiplier_is_seen() -> None:
    """The comparison can fail: LiteRT's default kernels are another arithmetic."""
    graph = hwsim.load(network("kws_ref_model.tflite"))
    result = hwsim.validate(graph, hwsim.random_inputs(graph, 4), "litert")
    assert not result.ok
    assert result.first is not None and result.first.operator == "conv_2d"


def test_resnet8_on_real_images_equals_litert_reference() -> None:
    graph = hwsim.load(network("pretrainedResnet_quant.tflite"))
    with np.load(data_file("cifar10/test_1000.npz", "1,000 images are not compared")) as archive:
        images, labels = archive["x"], archive["y"]
    codes = (images.astype(np.int16) - 128).astype(np.int8)
    as_reals = hwsim.run(graph, images.astype(np.float32), threads=2)
    made = hwsim.run(graph, codes, threads=2)
    name = graph.output_names[0]
    assert np.array_equal(as_reals[name], made[name])
    # Every output byte of LiteRT reference, and so its accuracy: both sides count 1,000 images.
    theirs = run_litert(graph, {graph.input_names[0]: codes}, "litert_ref", [name])
    assert np.array_equal(made[name], theirs[name])
    assert int((theirs[name].argmax(axis=1) == labels).sum()) == 880


@pytest.mark.parametrize("name", ("pretrainedResnet_quant.tflite", "kws_ref_model.tflite"))
def test_batch_and_threads_change_no_bit(name: str) -> None:
    graph = hwsim.load(model_file(f"mlperf_tiny/{name}", "1 network is not compared"))
    inputs = hwsim.random_inputs(graph, 64)
    key = graph.input_names[0]
    whole = hwsim.trace(graph, inputs, threads=2)
    for size in (1, 7):
        parts = [
            hwsim.trace(graph, {key: inputs[key][start : start + size]})
            for start in range(0, 21, size)
        ]
        for value, array in whole.items():
            joined = np.concatenate([part[value] for part in parts])
            assert np.array_equal(joined, array[: len(joined)])
