"""MACs, bit operations and weight bits, equal to what qonnx 1.0.0 counts.

The expected figures were printed by `qonnx.util.inference_cost.inference_cost(file,
discount_sparsity=False)` of qonnx 1.0.0 with onnx 1.17 on these very files.
"""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import hwsim
from hwsim import networks
from hwsim.inference_cost import InferenceCost, inference_cost
from tests.qonnx_models import Net
from tests.shared import model_file


def dense(weights: tuple[int, ...], activations: tuple[int, ...]) -> onnx.ModelProto:
    """Fully connected layers 12-10-6, a width of weights and of inputs each."""
    n = Net(1)
    y = n.quant("x", 1 / 32, activations[0])
    y = n.node("Gemm", [y, n.weights(10, 12, bits=weights[0])], transB=1)
    y = n.quant(n.node("Relu", [y]), 0.3, activations[1], signed=0)
    return n.done((12,), n.node("Gemm", [y, n.weights(6, 10, bits=weights[1])], transB=1))


def convolutions(bits: int) -> onnx.ModelProto:
    """A strided convolution with padding, a depthwise and a grouped one, a pointwise one."""
    n = Net(2)
    y = n.quant("x", 1 / 64, 8)
    y = n.node(
        "Conv", [y, n.weights(8, 3, 3, 3, bits=bits)], pads=[1] * 4, strides=[2, 2],
        kernel_shape=[3, 3],
    )  # fmt: skip
    y = n.quant(n.node("Relu", [y]), 0.11, bits, signed=0)
    y = n.node(
        "Conv", [y, n.weights(8, 1, 3, 3, bits=8)], group=8, pads=[1] * 4, kernel_shape=[3, 3]
    )
    y = n.quant(n.node("Relu", [y]), 0.07, 8, signed=0)
    y = n.node("Conv", [y, n.weights(4, 4, 1, 1, bits=bits)], group=2, kernel_shape=[1, 1])
    y = n.quant(y, 0.2, 6)
    y = n.node("Conv", [y, n.weights(5, 4, 2, 3)], kernel_shape=[2, 3])
    return n.done((3, 9, 7), n.quant(y, 0.3, 8))


def classifier() -> onnx.ModelProto:
    """A 2-bit convolution on 8-bit inputs and a 3-bit matmul on 4-bit ones."""
    n = Net(3)
    y = n.quant("x", 1 / 64, 8)
    y = n.node("Conv", [y, n.weights(6, 2, 3, 3, bits=2)], kernel_shape=[3, 3])
    y = n.quant(n.node("Relu", [y]), 0.2, 4, signed=0)
    y = n.node("Flatten", [y])
    w = n.node("Transpose", [n.weights(5, 96, bits=3, per_channel=False)], perm=[1, 0])
    return n.done((2, 6, 6), n.node("MatMul", [y, w]))


CASES: dict[str, tuple[Callable[[], onnx.ModelProto], InferenceCost]] = {
    "dense 8": (lambda: dense((8, 8), (8, 8)), InferenceCost(180, 11520, 1440)),
    "dense 4x6, 2x3": (lambda: dense((4, 2), (6, 3)), InferenceCost(180, 3240, 600)),
    "dense 3x16, 8x5": (lambda: dense((3, 8), (16, 5)), InferenceCost(180, 8160, 840)),
    "convolutions 8": (lambda: convolutions(8), InferenceCost(7040, 412160, 2912)),
    "convolutions 4": (lambda: convolutions(4), InferenceCost(7040, 217600, 1984)),
    "convolutions 3": (lambda: convolutions(3), InferenceCost(7040, 168960, 1752)),
    "classifier": (classifier, InferenceCost(2208, 33408, 1656)),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_to_qonnx(name: str, tmp_path: Path) -> None:
    build, expected = CASES[name]
    path = tmp_path / "net.onnx"
    onnx.save(build(), path)
    assert inference_cost(hwsim.load(path)) == expected


REAL = {  # of the batch dimension 1 and shapes inferred by onnx, as qonnx demands
    "digits_cnn": InferenceCost(763520, 781844480, 2466304),
    "digits_vit": InferenceCost(1281504, 1312260096, 2380800),
    "cifar10/resnet20.onnx": InferenceCost(40551040, 41524264960, 8586752),
    "cifar10/resnet56.onnx": InferenceCost(125485696, 128497352704, 27166208),
}


@pytest.mark.parametrize("name", REAL)
def test_equal_to_qonnx_on_real_networks(name: str) -> None:
    if name in networks.NAMES:
        path = networks.path(name)
    else:
        path = model_file(name, "its MACs, BOPs and weight bits are not compared")
    assert inference_cost(hwsim.load(path)) == REAL[name]


def test_by_hand(tmp_path: Path) -> None:
    """12 x 10 MACs of 4 x 6 bits and 10 x 6 of 2 x 3."""
    path = tmp_path / "net.onnx"
    onnx.save(dense((4, 2), (6, 3)), path)
    assert inference_cost(hwsim.load(path)) == InferenceCost(
        120 + 60, 120 * 24 + 60 * 6, 120 * 4 + 60 * 2
    )


def test_a_float_graph_counts_32_bits() -> None:
    graph = hwsim.load(networks.path(networks.NAMES[0]))
    found = inference_cost(graph)
    assert found.bops == found.macs * 1024
    eight = hwsim.quantize(graph, hwsim.calibrate(graph, hwsim.random_inputs(graph, 4)), 8)
    assert inference_cost(eight).bops == found.macs * 64
    assert inference_cost(eight).weight_bits * 4 == found.weight_bits
