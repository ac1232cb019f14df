"""QONNX files: quantizers as QONNX defines them, and the integer graphs that files become."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwsim
from hwsim.attributes import FakeTruncAttrs
from hwsim.cli import main
from hwsim.errors import FormatError, HwsimError, UnsupportedOperatorError
from hwsim.floats import apply_node, constants
from hwsim.fuse import LINEAR
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.quant import IntType, dequantize_array
from tests.oracle import qonnx as oracle
from tests.qonnx_models import GENERAL, MODES, Net, cnn, mlp, single

NETWORKS = {
    "cnn4": lambda seed: cnn(seed),
    "cnn8": lambda seed: cnn(seed, bits=8, final=True),
    "cnn2": lambda seed: cnn(seed, bits=2),
    "mlp4": lambda seed: mlp(seed, 4),
    "mlp1": lambda seed: mlp(seed, 1),
    "mlp16": lambda seed: mlp(seed, 16),
}


def saved(model: onnx.ModelProto, tmp_path: Path, name: str = "small") -> Path:
    path = tmp_path / f"{name}.onnx"
    onnx.save(model, path)
    return path


def tricky(shape: tuple[int, ...], scale: np.ndarray, seed: int) -> np.ndarray:
    """Return reals with exact ties, both clamps and zeros among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, shape).astype(np.float32) * 100 * np.float32(np.max(scale))
    halves = rng.integers(-40, 40, shape) / 2
    ties = (halves * np.broadcast_to(scale, shape)).astype(np.float32)
    return np.where(rng.integers(0, 2, shape) == 1, ties, x).astype(np.float32)


# The quantizers themselves.


@pytest.mark.parametrize("mode", MODES)
def test_quant_equals_the_oracle(mode: str, tmp_path: Path) -> None:
    compared = 0
    for seed in range(12):
        bits = (2, 3, 4, 8, 12, 16)[seed % 6]
        signed, narrow = seed // 2 % 2, seed // 4 % 2
        graph = hwsim.load(saved(single(seed, mode, bits, signed, narrow), tmp_path), "float")
        (node,) = (node for node in graph.nodes if node.op is Op.FAKE_QUANT)
        quant = node.attrs.quant  # type: ignore[union-attr]
        scale, zero = quant.broadcast(4)
        x = tricky((2, 3, 4, 4), scale, seed)
        (made,) = hwsim.run(graph, x, profile="float").values()
        for index in np.ndindex(*x.shape):
            channel = index[1] if not quant.is_per_tensor else 0
            _, expected = oracle.quant(
                x[index], quant.scale[channel], quant.zero_point[channel], bits, bool(signed),
                bool(narrow), mode,
            )  # fmt: skip
            assert made[index] == expected, (seed, x[index])
            compared += 1
    assert compared == 12 * 96


def test_quant_by_hand(tmp_path: Path) -> None:
    """Scale 1/2, 3 bits signed narrow: codes -3 ... 3, halves to even."""
    n = Net(0)
    graph = hwsim.load(saved(n.done((6,), n.quant("x", 0.5, 3, narrow=1)), tmp_path), "float")
    x = np.array([[-9, -0.75, -0.25, 0.25, 0.75, 1.4]], np.float32)
    (made,) = hwsim.run(graph, x, profile="float").values()
    assert made.tolist() == [[-1.5, -1.0, 0.0, 0.0, 1.0, 1.5]]


def test_bipolar_by_hand(tmp_path: Path) -> None:
    n = Net(0)
    for y in (n.bipolar("x", 0.25), n.quant("x", 0.25, 1)):
        graph = hwsim.load(saved(n.done((3,), y), tmp_path), "float")
        (made,) = hwsim.run(graph, np.float32([[-3, 0, 0.1]]), profile="float").values()
        assert made.tolist() == [[-0.25, 0.25, 0.25]]


@pytest.mark.parametrize("mode", MODES)
def test_trunc_equals_the_oracle(mode: str, tmp_path: Path) -> None:
    n = Net(0)
    inputs = ["x", *(n.constant(v) for v in (0.125, 3, 8, 5))]
    y = n.node("Trunc", inputs, GENERAL, rounding_mode=mode)
    graph = hwsim.load(saved(n.done((3, 4, 4), y), tmp_path), "float")
    assert isinstance(graph.nodes[-1].attrs, FakeTruncAttrs)
    x = tricky((2, 3, 4, 4), np.float32(0.125), 0)
    (made,) = hwsim.run(graph, x, profile="float").values()
    for index in np.ndindex(*x.shape):
        assert made[index] == oracle.trunc(x[index], 0.125, 3, 8, 5, mode), x[index]


@pytest.mark.parametrize("domain", ["finn.custom_op.general", "finn", "onnx.brevitas", GENERAL])
def test_domains_and_the_name_intquant(domain: str, tmp_path: Path) -> None:
    n = Net(0)
    y = n.quant("x", 0.5, 4, domain=domain, kind="IntQuant")
    graph = hwsim.load(saved(n.done((6,), y), tmp_path), "float")
    assert [node.op for node in graph.nodes] == [Op.FAKE_QUANT]


# Integer graphs.


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_the_integer_graph_are_the_files_codes(name: str, tmp_path: Path) -> None:
    """Codes times scales are the float graph's weights, exactly, at the declared width."""
    graph = hwsim.load(saved(NETWORKS[name](0), tmp_path))
    reals = hwsim.load(saved(NETWORKS[name](0), tmp_path), "float")
    bits = int(name[3:])
    layers = [n for n in graph.nodes if n.op in (Op.FULLY_CONNECTED, Op.CONV_2D)]
    theirs = [n for n in reals.nodes if n.op in (Op.FULLY_CONNECTED, Op.CONV_2D)]
    plain = 0
    assert graph.profile == "hawq"
    for mine, other in zip(layers, theirs, strict=True):
        weights, expected = graph.values[mine.inputs[1]], reals.values[other.inputs[1]].data
        assert isinstance(weights.dtype, IntType) and weights.data is not None
        assert weights.dtype.bits in (bits, 2)  # two-valued weights take two bits
        if bits == 1 and mine is layers[0]:
            assert set(np.unique(weights.data)) == {-1, 1}
        after = reals.consumers[other.outputs[0]]
        if not after or after[0].op is not Op.BATCH_NORM:
            assert weights.quant is not None
            assert np.array_equal(dequantize_array(weights.data, weights.quant), expected)
            plain += 1
    assert plain > 0


def forced(graph: Graph, reals: Graph, x: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return, per quantizer, integer codes minus those that QONNX makes of the same inputs.

    Beside each stands how far a code may be off: one, and what half a unit of a rounded bias makes.

    Every quantizer's result is replaced by the integer graph's before anybody reads it, so that
    each difference is one layer's own.
    """
    import torch

    trace = hwsim.trace(graph, x)
    tensors = constants(reals)
    gaps = []
    # With the batch of one that the file has: one image at a time.
    for entry in range(len(x)):
        tensors |= {reals.input_names[0]: torch.from_numpy(x[entry : entry + 1])}
        for node in reals.nodes:
            made = apply_node(node, [tensors[name] if name else None for name in node.inputs])
            tensors |= made
            (out,) = node.outputs
            if node.op is not Op.FAKE_QUANT:
                continue
            name = out if out in trace else reals.input_names[0]
            quant = graph.values[name].quant
            assert quant is not None and quant.is_per_tensor
            codes = trace[name][entry : entry + 1]
            wanted = np.rint(made[out].numpy() / np.float32(quant.scale[0])) + quant.zero_point[0]
            allowed = 1
            maker = graph.producer.get(name)
            if maker is not None and maker.op in LINEAR and len(maker.inputs) > 2:
                unit = graph.values[maker.inputs[2]].quant
                assert unit is not None
                allowed += int(max(unit.scale) / 2 / quant.scale[0])
            gaps.append((codes.astype(np.int64) - wanted.astype(np.int64), allowed))
            tensors[out] = torch.from_numpy(dequantize_array(codes, quant))
    return gaps


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_makes_the_codes_of_qonnx(name: str, tmp_path: Path) -> None:
    """A code may differ where a rounded bias, or an operand rounded apart, decides."""
    elements = differing = 0
    for seed in range(4):
        path = saved(NETWORKS[name](seed), tmp_path)
        graph, reals = hwsim.load(path), hwsim.load(path, "float")
        shape = (4, *graph.inputs[0].shape[1:])
        x = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
        for gap, most in forced(graph, reals, x):
            assert np.abs(gap).max() <= most
            differing += int(np.count_nonzero(gap))
            elements += gap.size
    # Biases are whole numbers of s_x * s_w: coarse where weights have one or two bits.
    allowed = {"cnn2": 0.06, "mlp4": 0.0, "mlp16": 0.0}.get(name, 0.02)
    assert elements > 200 and differing <= allowed * elements, (differing, elements)


def test_a_layer_by_hand(tmp_path: Path) -> None:
    """x codes at 1/4, weights (3, -2) at 1/2, bias 0.3125 = 2.5 / 8 -> 2, output at 1/2."""
    n = Net(0)
    x = n.quant("x", 0.25, 8)
    w = n.quant(n.constant([[1.5, -1.0]]), 0.5, 3, narrow=1)
    y = n.quant(n.node("Gemm", [x, w, n.constant([0.3125])], transB=1), 0.5, 4)
    graph = hwsim.load(saved(n.done((2,), y), tmp_path))
    node = graph.nodes[-1]
    weights, bias = (graph.values[name].data for name in node.inputs[1:])
    assert weights is not None and weights.tolist() == [[3, -2]]
    assert bias is not None and bias.tolist() == [2]  # half to even
    codes = hwsim.run(graph, np.array([[5, 1], [-9, 100]], np.int8))
    # (15 - 2 + 2) / 8 / (1/2) = 3.75 -> 4;  (-27 - 200 + 2) / 4 -> clamped to -8
    assert codes[node.outputs[0]].tolist() == [[4], [-8]]


def test_negative_batch_norm_factors_turn_codes(tmp_path: Path) -> None:
    n = Net(0)
    x = n.quant("x", 0.25, 8)
    y = n.node("Conv", [x, n.quant(n.constant([[[[1.5]]], [[[1.0]]]]), 0.5, 3, narrow=1)])
    norm = [n.constant(v) for v in ([-2.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0])]
    y = n.quant(n.node("BatchNormalization", [y, *norm], epsilon=0.0), 0.5, 8)
    graph = hwsim.load(saved(n.done((1, 2, 2), y), tmp_path))
    node = next(node for node in graph.nodes if node.op is Op.CONV_2D)
    weights, bias = (graph.values[name] for name in node.inputs[1:])
    assert weights.data is not None and weights.data.ravel().tolist() == [-3, 2]
    assert weights.quant is not None and weights.quant.scale == (1.0, 0.5)
    assert bias.data is not None and bias.data.tolist() == [0, 8]


def test_zero_points_of_weights_are_taken_off(tmp_path: Path) -> None:
    """Codes 12 and 5 around 8 are 4 and -3, which unsigned codes do not hold: five bits do."""
    n = Net(0)
    w = n.quant(n.constant([[2.0, -1.5]]), 0.5, 4, zero=8, signed=0)
    y = n.quant(n.node("Gemm", [n.quant("x", 0.25, 8), w], transB=1), 0.5, 8)
    path = saved(n.done((2,), y), tmp_path)
    graph, reals = hwsim.load(path), hwsim.load(path, "float")
    weights = graph.values[graph.nodes[-1].inputs[1]]
    assert weights.data is not None and weights.data.tolist() == [[4, -3]]
    assert weights.dtype == IntType(5)
    stored = reals.values[reals.nodes[1].inputs[1]].data
    assert stored is not None and stored.tolist() == [[2.0, -1.5]]


def test_maps_behind_a_layer_are_folded_in_order(tmp_path: Path) -> None:
    """((acc / 8 + 1) * 3 - 0.5): the sum's unit becomes 3 / 8, the bias 2.5 = 6.67 units -> 7."""
    n = Net(0)
    w = n.quant(n.constant([[1.5, -1.0]]), 0.5, 3, narrow=1)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), w], transB=1)
    y = n.node("Mul", [n.node("Add", [y, n.constant([1.0])]), n.constant([3.0])])
    y = n.quant(n.node("Sub", [y, n.constant([0.5])]), 0.75, 8)
    graph = hwsim.load(saved(n.done((2,), y), tmp_path))
    weights, bias = (graph.values[name] for name in graph.nodes[-1].inputs[1:])
    assert weights.quant is not None and weights.quant.scale == (1.5,)
    assert bias.data is not None and bias.data.tolist() == [7]
    codes = hwsim.run(graph, np.array([[5, 1]], np.int8))
    assert codes[graph.output_names[0]].tolist() == [[10]]  # (15 - 2 + 7) / 2


def test_outputs_without_a_quantizer_are_accumulators(tmp_path: Path) -> None:
    n = Net(0)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), n.weights(3, 7, bits=4)], transB=1)
    path = saved(n.done((7,), y), tmp_path)
    graph, reals = hwsim.load(path), hwsim.load(path, "float")
    (out,) = graph.outputs
    assert out.dtype == IntType(32) and out.quant is not None and out.quant.axis == 1
    x = np.random.default_rng(0).normal(0, 1, (16, 7)).astype(np.float32)
    codes = hwsim.run(graph, x)[out.name]
    (expected,) = hwsim.run(reals, x, profile="float").values()
    assert np.abs(dequantize_array(codes, out.quant) - expected).max() < 1e-4


def test_another_profile_and_its_rounding(tmp_path: Path) -> None:
    n = Net(0)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), n.weights(4, 3, bits=4)], transB=1)
    path = saved(n.done((3,), n.quant(y, 0.5, 4, mode="FLOOR")), tmp_path)
    floor = tmp_path / "floor.toml"
    floor.write_text(
        'name = "floor"\nreproduces = "nothing"\nbased_on = "hawq"\n'
        '[[rule]]\noperators = ["fully_connected"]\nwidths = [8]\nshift = "floor"\n'
    )
    graph = hwsim.load(path, str(floor))
    reals = hwsim.load(path, "float")
    x = np.random.default_rng(0).normal(0, 1, (64, 3)).astype(np.float32)
    assert graph.profile == str(floor)
    made = hwsim.run(graph, x)[graph.output_names[0]]
    (expected,) = hwsim.run(reals, x, profile="float").values()
    assert np.array_equal(made, np.rint(expected / np.float32(0.5)))
    with pytest.raises(UnsupportedOperatorError, match="rounding_mode must be what profile hawq"):
        hwsim.load(path)


# Refusals: one sentence each.


def refusal(net: Net, shape: tuple[int, ...], out: str, tmp_path: Path) -> str:
    with pytest.raises(HwsimError) as error:
        hwsim.load(saved(net.done(shape, out), tmp_path))
    text = str(error.value)
    assert "\n" not in text and text.startswith("small.onnx: ")
    return text.removeprefix("small.onnx: ")


END = "; profile 'float' runs the file as QONNX defines it"


def test_what_does_not_fold_is_named(tmp_path: Path) -> None:
    n = Net(0)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), n.constant(np.ones((4, 3)))], transB=1)
    text = refusal(n, (3,), n.quant(y, 0.5, 4), tmp_path)
    assert "must be quantized; no Quant makes them" in text and text.endswith(END)

    n = Net(0)
    y = n.node("Gemm", ["x", n.weights(4, 3)], transB=1)
    text = refusal(n, (3,), n.quant(y, 0.5, 4), tmp_path)
    assert "input 'x' must be quantized; no Quant makes it" in text

    n = Net(0)
    y = n.node("Sigmoid", [n.quant("x", 0.25, 8)])
    text = refusal(n, (3,), n.quant(y, 0.5, 4), tmp_path)
    assert "(logistic): must be one of conv_2d" in text

    n = Net(0)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), n.weights(4, 3)], transB=1)
    text = refusal(n, (3,), n.bipolar(y, 0.5), tmp_path)
    assert "a computed tensor must have codes besides -1 and 1" in text

    n = Net(0)
    y = n.node("Gemm", [n.quant("x", 0.25, 8), n.weights(4, 3)], transB=1)
    text = refusal(n, (3,), n.quant(y, 0.5, 4, narrow=1), tmp_path)
    assert "codes must be [-8, 7] under profile hawq, not [-7, 7]; its field narrow" in text

    n = Net(0)
    y = n.node("Softmax", [n.quant("x", 0.25, 8)])
    text = refusal(n, (3,), y, tmp_path)
    assert "(softmax): must be followed by a Quant" in text


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"bits": 17}, r"bitwidth must be one number in \[1, 16\], not 17"),
        ({"bits": 2.5}, r"bitwidth must hold whole numbers; one is not"),
        ({"scale": -1.0}, r"scale must hold positive finite numbers; one is not"),
        ({"scale": np.ones((1, 2))}, r"scale and zeropt must hold one number, or one per index"),
        ({"zero": 0.5}, r"zeropt must hold whole numbers; one is not"),
        ({"zero": 200}, r"zeropt must be a code in \[-128, 127\]; one is not"),
        ({"mode": "NEAREST"}, r"rounding_mode must be one of ROUND, .*, not NEAREST"),
        ({"signed": 2}, r"signed must be 0 or 1, not 2"),
    ],
)
def test_broken_fields_are_named(field: dict[str, object], sentence: str, tmp_path: Path) -> None:
    n = Net(0)
    y = n.quant("x", **({"scale": 0.5} | field))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=rf"^small.onnx: node 0 \(Quant 'n0'\): {sentence}"):
        hwsim.load(saved(n.done((3,), y), tmp_path), "float")


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    n = Net(0)
    y = n.node("MultiThreshold", ["x", n.constant([[1.0]])], GENERAL)
    with pytest.raises(UnsupportedOperatorError, match="must be one of Quant, IntQuant"):
        hwsim.load(saved(n.done((3,), y), tmp_path))


def test_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = saved(cnn(0), tmp_path)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3, 6, 6), np.float32))
    for profile in ("float", "hawq"):
        words = ["hwsim", "run", str(path), str(tmp_path / "x.npz"), "--profile", profile, "--json"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        out = capsys.readouterr()
        assert not left.value.code, out.err
        made = json.loads(out.out)
        kind = {"float": "float32", "hawq": "int32"}[profile]
        assert [o["dtype"] for o in made["outputs"].values()] == [kind]


# The qonnx package itself, where it is installed (1.0.0 with onnx 1.17).


def test_the_qonnx_package_makes_the_same_reals(tmp_path: Path) -> None:
    pytest.importorskip("qonnx", reason="qonnx is missing: its executor is not compared")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    def executed(path: Path, x: np.ndarray) -> np.ndarray:
        model = ModelWrapper(str(path)).transform(InferShapes())
        (made,) = execute_onnx(model, {"x": x}).values()
        return np.asarray(made)

    elements = differing = 0
    for seed in range(24):
        mode, bits = MODES[seed % len(MODES)], (2, 3, 4, 8, 12, 16)[seed % 6]
        path = saved(single(seed, mode, bits, seed // 2 % 2, seed // 4 % 2), tmp_path)
        graph = hwsim.load(path, "float")
        node = graph.nodes[0]
        x = tricky((1, 3, 4, 4), node.attrs.quant.broadcast(4)[0], seed)  # type: ignore[union-attr]
        (mine,) = hwsim.run(graph, x, profile="float").values()
        theirs = executed(path, x)
        elements += mine.size
        differing += int(np.count_nonzero(mine != theirs))
    assert elements == 24 * 48 and differing == 0
    elements = differing = 0
    for name, build in NETWORKS.items():
        for seed in range(3):
            path = saved(build(seed), tmp_path)
            graph = hwsim.load(path, "float")
            x = np.random.default_rng(seed).normal(0, 1, graph.inputs[0].shape).astype(np.float32)
            (mine,) = hwsim.run(graph, x, profile="float").values()
            theirs = executed(path, x)
            elements += mine.size
            # Sums of floats have no exact order: a tie may fall either way, once in a while.
            differing += int(np.count_nonzero(np.abs(mine - theirs) > 1e-4))
    assert elements > 50 and differing == 0


@pytest.mark.parametrize("name", ["cnn4", "mlp4"])
def test_a_file_without_one_of_its_quantizers_runs_or_is_refused(name: str, tmp_path: Path) -> None:
    whole = NETWORKS[name](0)
    positions = [i for i, n in enumerate(whole.graph.node) if n.domain == GENERAL]
    refused = 0
    for position in positions:
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        node = model.graph.node[position]
        node.op_type, node.domain = "Identity", ""
        del node.input[1:], node.attribute[:]
        path = saved(model, tmp_path)
        assert hwsim.load(path, "float").is_float
        try:
            graph = hwsim.load(path)
        except HwsimError as error:
            assert str(error).startswith("small.onnx: node ") and "\n" not in str(error)
            refused += 1
            continue
        feed = np.zeros((1, *graph.inputs[0].shape[1:]), np.float32)
        assert hwsim.run(graph, feed)
    assert refused >= len(positions) - 2
