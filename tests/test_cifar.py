"""ResNet-20 as a user brings it: read, quantized and run, with its accuracy counted."""

import numpy as np
import pytest
from numpy.typing import NDArray

import hwsim
from hwsim.graph import Graph
from tests.shared import data_file, model_file

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def prepared(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((images.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


def images(name: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(data_file(f"cifar10/{name}", "ResNet-20 is not measured")) as archive:
        return prepared(archive["x"][:count]), archive["y"][:count]


def correct(graph: Graph, x: NDArray[np.float32], y: NDArray[np.int64], profile: str) -> int:
    made = hwsim.run(graph, x, profile=profile, threads=2)["logits"]
    return int((made.argmax(axis=1) == y).sum())


@pytest.fixture(scope="module")
def resnet20() -> Graph:
    return hwsim.load(model_file("cifar10/resnet20.onnx", "ResNet-20 is not measured"))


def test_float_accuracy_is_the_published_one(resnet20: Graph) -> None:
    x, y = images("test_1000.npz", 1000)
    assert correct(resnet20, x, y, "float") == 915


def test_nothing_is_left_of_the_exporters_glue(resnet20: Graph) -> None:
    operators = {node.op.value for node in resnet20.nodes}
    moves = [node for node in resnet20.nodes if node.op.value == "transpose"]
    assert len(moves) == 1 and moves[0].inputs == ("input",)
    assert operators == {
        "transpose", "conv_2d", "batch_norm", "relu", "add", "strided_slice", "pad",
        "average_pool_2d", "reshape", "fully_connected",
    }  # fmt: skip


def test_w8a8_stays_within_three_tenths_of_a_point(resnet20: Graph) -> None:
    x, y = images("test_1000.npz", 1000)
    ranges = hwsim.calibrate(resnet20, images("train_20000.npz", 256)[0])
    assert correct(hwsim.quantize(resnet20, ranges, 8), x, y, "hawq") >= 915 - 3
