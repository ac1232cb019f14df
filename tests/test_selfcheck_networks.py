"""The self-check's whole networks: the rows say what the runtimes say, and can be wrong."""

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.graph import Graph
from hwsim.selfcheck import AREAS
from hwsim.selfcheck.check import Places
from hwsim.selfcheck.divergence import Parting
from hwsim.selfcheck.divergence import _checked as parted
from hwsim.selfcheck.networks import SIDES, _checked
from hwsim.selfcheck.tiny import images, mixed, pixels, quantized_networks
from tests.litert import available
from tests.shared import data_file, model_file


def network(name: str) -> Graph:
    if not available():
        pytest.skip("ai_edge_litert is missing: 1 network is not compared")
    return hwsim.load(model_file(f"mlperf_tiny/{name}.tflite", "1 network is not compared"))


def folders() -> Places:
    images_file = data_file("cifar10/test_1000.npz", "networks run on drawn codes alone")
    model = model_file("mlperf_tiny/ad01_int8.tflite", "1 network is not compared")
    return Places(Path("absent"), model.parent.parent, images_file.parent.parent)


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side[0])
def test_a_network_equals_its_runtime(side: tuple) -> None:
    profile, against, run = side
    if profile == "tflm":
        pytest.importorskip("tflite_micro")
    graph = network("kws_ref_model")
    check = _checked(graph, profile, against, run, mixed(graph, None, 5))
    assert (check.run, check.skipped, check.wrong, check.note) == (5, 0, 0, "")
    assert check.elements > 300_000


def test_another_arithmetic_is_seen() -> None:
    graph = network("kws_ref_model")
    _, against, default = SIDES[1]
    check = _checked(graph, "tflite_ref", against, default, mixed(graph, None, 5))
    assert check.wrong == 5
    assert check.note.startswith("first ")


def test_two_paths_part_on_the_same_images() -> None:
    graph = network("pretrainedResnet_quant")
    shown = images(folders())
    assert shown is not None
    inputs = pixels(graph, shown[:60])
    assert inputs is not None
    check = parted(graph, inputs, "CIFAR-10")
    assert (check.run, check.skipped, check.wrong) == (60, 0, 0)
    theirs, ours = check.note.split(" between LiteRT's paths, ")
    assert ours.startswith(f"{theirs} between our profiles")
    assert int(theirs.split()[0]) > 10


def test_counts_of_a_parting() -> None:
    one = np.array([[1, 2], [3, 4], [5, 6]])
    other = np.array([[1, 2], [4, 3], [5, 9]])
    assert str(Parting.of(one, other)) == "2 of 3 outputs differ, 1 change top-1"


def test_pixels_fill_a_larger_image() -> None:
    graph = network("vww_96_int8")
    shown = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)
    made = pixels(graph, shown)
    assert made is not None
    (codes,) = made.values()
    assert codes.shape == (1, 96, 96, 3) and codes.dtype == np.int8
    assert np.array_equal(codes[0, ::3, 1::3].astype(int) + 128, shown[0])
    assert pixels(network("kws_ref_model"), shown) is None


def test_float_networks_are_passed_over() -> None:
    names = [name for name, graph, problem in quantized_networks(folders())]
    assert names == ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]


@pytest.mark.parametrize("area", ["networks", "divergence"])
def test_absent_folders_are_said(area: str, tmp_path: Path) -> None:
    (check,) = AREAS[area](Places(tmp_path, tmp_path, tmp_path), lambda text: None)
    assert (check.run, check.skipped, check.wrong) == (0, 1, 0)
    assert check.note.startswith("needs mlperf_tiny in the folder of models")
