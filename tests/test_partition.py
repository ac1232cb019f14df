import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim import networks
from hwsim.api import load
from hwsim.attributes import (
    Activation,
    FusedAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    PadAttrs,
    SliceAttrs,
    SoftmaxAttrs,
)
from hwsim.batch import with_batch
from hwsim.calibration import calibrate
from hwsim.graph import Graph
from hwsim.ops import OPS, Op
from hwsim.partition import FREE_BITS, WIDE_BITS, partition, workload
from hwsim.quantizer import quantize
from hwsim.tables import Option
from hwsim.workload import Work
from tests.float_graphs import FAMILIES, Maker, samples

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(os.environ.get("HWSIM_MODELS", ROOT / "../shared/models"))


def model(name: str) -> Graph:
    """Return one of the real models, or skip."""
    path = MODELS / name
    if not path.is_file():
        pytest.skip(f"{name} is missing: this case counts its multiplications; set HWSIM_MODELS")
    return load(path)


@pytest.mark.parametrize(
    ("name", "macs", "weights"),
    [
        ("pretrainedResnet_quant", 12_501_632, 77_360),
        ("pretrainedResnet", 12_501_632, 77_360),
        ("kws_ref_model", 2_656_768, 22_016),
        ("kws_ref_model_float32", 2_656_768, 22_016),
        ("vww_96_int8", 7_489_664, 208_112),
        ("vww_96_float", 7_489_664, 208_112),
        ("ad01_int8", 264_192, 264_192),
        ("ad01_fp32", 264_192, 264_192),
    ],
)
def test_mlperf_tiny_counts(name: str, macs: int, weights: int) -> None:
    units = workload(model(f"mlperf_tiny/{name}.tflite"))
    assert sum(unit.macs for unit in units) == macs
    assert sum(unit.weight_elements for unit in units) == weights


def stage(size: int, first: int, channels: int, layers: int) -> list[int]:
    """Return the multiplications of a ResNet stage of 3x3 convolutions, first one by hand."""
    pixels = size * size
    return [pixels * 9 * first * channels] + [pixels * 9 * channels * channels] * (layers - 1)


def test_resnet20_counts() -> None:
    units = workload(model("cifar10/resnet20.onnx"))
    expected = [32 * 32 * 27 * 16, *stage(32, 16, 16, 6), *stage(16, 16, 32, 6)]
    expected += [*stage(8, 32, 64, 6), 64 * 10]
    assert sum(expected) == 40_551_040
    assert [unit.macs for unit in units if unit.has_choice] == expected
    assert [unit.name for unit in units if unit.at_border] == ["/Relu_output_0", "logits"]
    assert sum(unit.bias_elements for unit in units) == 16 * 7 + 32 * 6 + 64 * 6 + 10
    # Padding and slicing of the option-A shortcuts move codes of the stream they read.
    parts = partition(model("cifar10/resnet20.onnx"))
    for before, layer in ((1, 2), (2, 3)):
        stream = f"/layer{before}/layer{before}.2/Relu_1_output_0"
        short = f"/layer{layer}/layer{layer}.0/shortcut/Pad_output_0"
        assert parts.group[stream] == parts.group[short]
        assert parts.owner[parts.group[short]] == f"/layer{layer}/layer{layer}.0/Relu_output_0"


def test_query_key_and_value_are_one_unit() -> None:
    parts = partition(FAMILIES["transformer"](0))
    assert parts.units == ("query", "scores", "context", "project", "fc1", "fc2", "head")
    assert {name for name, unit in parts.unit.items() if unit == "query"} == {
        "query", "key", "value"
    }  # fmt: skip
    assert parts.border == {"head"}  # the input is first added to: no layer reads it
    owned = {name: parts.owner.get(parts.group[name]) for name in parts.group}
    assert owned["query"] == owned["key"] == "scores"  # both operands, seen through transposes
    assert owned["value"] == "context"
    assert owned["scores"] is None


def projection(activation: Activation = Activation.RELU) -> Graph:
    m = Maker(0)
    x = m.conv(m.input(1, 6, 6, 3), 4, name="stem", activation=Activation.RELU)
    conv1 = m.conv(x, 8, stride=(2, 2), name="conv1", activation=Activation.RELU)
    conv2 = m.conv(conv1, 8, name="conv2")
    down = m.conv(x, 8, 1, stride=(2, 2), name="down")
    y = m.add(conv2, down, activation, name="sum")
    y = m.node(Op.MEAN, [y], MeanAttrs((1, 2), False), "mean")
    return m.done(m.dense(y, 3, name="head"))


def test_a_projection_is_tied_to_the_layer_beside_it() -> None:
    parts = partition(projection())
    assert parts.units == ("stem", "conv1", "conv2", "head")
    assert parts.unit["down"] == parts.unit["conv1"] == "conv1"
    assert parts.accumulators == {"down"}
    assert parts.border == {"stem", "head"}


def test_an_option_a_shortcut_holds_the_codes_of_its_stream() -> None:
    m = Maker(0)
    x = m.conv(m.input(1, 6, 6, 3), 4, name="stem", activation=Activation.RELU)
    conv1 = m.conv(x, 6, stride=(2, 2), name="conv1", activation=Activation.RELU)
    conv2 = m.conv(conv1, 6, name="conv2")
    short = m.node(Op.STRIDED_SLICE, [x], SliceAttrs((0,) * 4, (1, 2, 2, 1), (1, 3, 3, 4)))
    short = m.node(Op.PAD, [short], PadAttrs((0, 0, 0, 1), (0, 0, 0, 1)))
    graph = m.done(m.add(conv2, short, name="sum"))
    parts = partition(graph)
    assert parts.units == ("stem", "conv1", "conv2")
    assert parts.group[short] == parts.group["stem"]
    assert parts.owner[parts.group[short]] == "conv1"
    assert parts.accumulators == {"conv2"}
    assert parts.border == {"stem", "conv2"}


def test_widths_of_what_nobody_owns() -> None:
    m = Maker(0)
    x = m.input(1, 4, 8)
    y = m.dense(x, 8, name="y")
    table = m.node(Op.TANH, [m.norm(y)], NoAttrs(), "tanh")
    scores = m.node(Op.MATMUL, [table, table], MatMulAttrs(transpose_b=True), "scores")
    graph = m.done(m.node(Op.SOFTMAX, [scores], SoftmaxAttrs(), "softmax"))
    parts = partition(graph)
    free = {name: parts.free_bits(group) for name, group in parts.group.items()}
    assert free["y"] == WIDE_BITS and free["softmax"] == WIDE_BITS
    assert free["scores"] == FREE_BITS


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_access_is_paid_once(family: str, quantized: bool, seed: int) -> None:
    graph = FAMILIES[family](seed)
    if quantized:
        graph = quantize(graph, calibrate(graph, samples(graph, 4, seed)), 4)
    parts = partition(graph)
    fused = parts.graph
    units = workload(graph)
    assert len({unit.name for unit in units}) == len(units)
    tensors = [tensor for unit in units for tensor in unit.tensors]
    paid = {tensor.name: tensor for tensor in tensors}
    assert len(paid) == len(tensors)
    moves = {op for op, spec in OPS.items() if spec.work is Work.MOVE}
    for value in fused.activations:
        maker = fused.producer.get(value.name)
        real = maker is not None and maker.op not in moves
        reads = sum(node.inputs.count(value.name) for node in fused.nodes if node.op not in moves)
        is_output = value.name in fused.output_names
        if value.name in parts.accumulators:
            assert value.name not in paid
        elif real or reads or is_output:
            tensor = paid[value.name]
            assert (tensor.writes, tensor.reads) == (int(real or is_output), reads)
            assert tensor.elements == value.elements
            assert tensor.is_io or not (is_output or value.name in fused.input_names)
        else:
            assert value.name not in paid
    layers = [layer.node for unit in units for layer in unit.layers]
    assert len(set(layers)) == len(layers)
    riding = {n.name for n in fused.nodes if set(n.inputs) & parts.accumulators}
    assert set(layers) == {n.name for n in fused.nodes if n.op not in moves} - riding
    for unit in units:
        assert unit.has_choice == (unit.name in parts.units)
        assert unit.at_border == (unit.name in parts.border)
        assert unit.native == (Option(4, 4) if quantized and unit.has_choice else None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_workload_does_not_depend_on_the_batch(family: str, seed: int) -> None:
    graph = FAMILIES[family](seed)
    larger = with_batch(graph, 6)
    assert larger is not None
    assert workload(larger) == workload(graph)


@pytest.mark.parametrize("name", networks.NAMES)
def test_float_and_integer_graphs_have_the_same_work(name: str) -> None:
    graph = load(networks.path(name))
    images = np.random.default_rng(0).uniform(0, 1, (2, 1, 8, 8)).astype(np.float32)
    made = workload(quantize(graph, calibrate(graph, images), "W4A6"))
    plain = [replace(unit, native=None) for unit in made]
    assert plain == list(workload(graph))
    assert {unit.native for unit in made if unit.has_choice} == {Option(4, 6), Option(6, 6)} - (
        set() if "vit" in name else {Option(6, 6)}
    )


def test_macs_by_hand() -> None:
    units = {unit.name: unit for unit in workload(projection())}
    assert units["stem"].macs == 36 * 27 * 4
    assert units["conv1"].macs == 9 * (9 * 4 * 8 + 4 * 8)  # with the projection
    assert units["conv2"].macs == 9 * 72 * 8
    assert units["head"].macs == 8 * 3
    assert units["mean"].macs == 0 and not units["mean"].has_choice
    m = Maker(0)
    x = m.input(1, 5, 5, 4)
    y = m.conv(x, 8, depthwise=True, name="depthwise", padding=(0,) * 4)
    m.conv(y, 6, groups=2, name="grouped", bias=False)
    y = m.node(Op.MUL, ["grouped", "grouped"], FusedAttrs(), "square")
    units = {unit.name: unit for unit in workload(m.done(y))}
    assert units["depthwise"].macs == 9 * 9 * 8
    assert units["depthwise"].layers[0].groups == 8
    assert units["grouped"].macs == 9 * 9 * 4 * 6
    assert (units["grouped"].weight_elements, units["grouped"].bias_elements) == (216, 0)
    m = Maker(0)
    a, b = m.input(1, 2, 5, 3, name="a"), m.input(1, 2, 3, 7, name="b")
    (unit,) = workload(m.done(m.node(Op.MATMUL, [a, b], MatMulAttrs(), "product")))
    layer = unit.layers[0]
    assert (layer.groups, layer.m, layer.k, layer.n, layer.macs) == (2, 5, 3, 7, 210)
