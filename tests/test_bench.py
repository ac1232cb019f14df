"""The benchmarks run and write what they say; no figure is judged here."""

import json
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.kernels.native.target import TIERS, tier
from tests.bench import bench_sweep, gemm, machine, networks, one_node, peak, speed, start, timing
from tests.bench.convolution import Layer
from tests.bench.convolution import Work as Convolution
from tests.bench.table import REFERENCE, Figure, Row, cells, markdown, seconds_in_words
from tests.oracle.arith import clamp, mbqm_double, quantize_multiplier
from tests.tflite_writer import Operator, Tensor, write

pytest.importorskip("ai_edge_litert", reason="tests/tflite_writer.py needs its schema")


def small_network(mean: bool) -> bytes:
    """Return a net with every operator that the ONNX export knows."""
    rng = np.random.default_rng(7)

    def activation(name: str, shape: tuple[int, ...], scale: float, zero: int) -> Tensor:
        return Tensor(name, shape, "int8", (scale,), (zero,))

    def weights(
        name: str, shape: tuple[int, ...], axis: int, channels: int, top: float = 0.02
    ) -> Tensor:
        scale = tuple(rng.uniform(top / 4, top, channels))
        data = rng.integers(-127, 128, shape)
        return Tensor(name, shape, "int8", scale, (0,) * channels, axis, data)

    def bias(name: str, channels: int) -> Tensor:
        return Tensor(name, (channels,), "int32", data=rng.integers(-2000, 2000, channels))

    pooled = activation("pooled", (1, 1, 1, 8), 0.05, -128)
    tensors = [
        activation("x", (1, 8, 8, 3), 0.02, -5),
        weights("w0", (8, 3, 3, 3), 0, 8), bias("b0", 8), activation("a", (1, 8, 8, 8), 0.05, -128),
        weights("w1", (1, 3, 3, 8), 3, 8), bias("b1", 8), activation("b", (1, 8, 8, 8), 0.05, -20),
        activation("sum", (1, 8, 8, 8), 0.06, -128),
        pooled, Tensor("shape", (2,), "int32", data=np.array([1, 8])),
        Tensor("axes", (2,), "int32", data=np.array([1, 2])),
        activation("flat", (1, 8), 0.05, -128),
        weights("w2", (5, 8), 0, 1, 0.004), bias("b2", 5), activation("logits", (1, 5), 0.1, 3),
        activation("y", (1, 5), 1 / 256, -128),
    ]  # fmt: skip
    window = {"strideH": 1, "strideW": 1, "padding": "SAME"}
    relu6 = {"fusedActivationFunction": "RELU6"}
    conv = Operator("CONV_2D", ("x", "w0", "b0"), ("a",), window | relu6)
    deep = Operator(
        "DEPTHWISE_CONV_2D", ("a", "w1", "b1"), ("b",), window | {"depthMultiplier": 1} | relu6
    )
    add = Operator("ADD", ("a", "b"), ("sum",), {"fusedActivationFunction": "RELU"})
    whole = {"strideH": 8, "strideW": 8, "filterHeight": 8, "filterWidth": 8, "padding": "VALID"}
    if mean:
        reduced = [Operator("MEAN", ("sum", "axes"), ("pooled",), {"keepDims": True})]
    else:
        reduced = [Operator("AVERAGE_POOL_2D", ("sum",), ("pooled",), whole)]
        tensors[tensors.index(pooled)] = activation("pooled", (1, 1, 1, 8), 0.06, -128)
        tensors = [
            activation("flat", (1, 8), 0.06, -128) if tensor.name == "flat" else tensor
            for tensor in tensors
        ]
    rest = [
        Operator("RESHAPE", ("pooled", "shape"), ("flat",), {"newShape": [1, 8]}),
        Operator("FULLY_CONNECTED", ("flat", "w2", "b2"), ("logits",)),
        Operator("SOFTMAX", ("logits",), ("y",), {"beta": 1.0}),
    ]
    return write(tensors, [conv, deep, add, *reduced, *rest], ["x"], ["y"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
    path.parent.mkdir()
    path.write_bytes(small_network(mean=False))
    return path


def row(**changes) -> Row:
    figures = {
        REFERENCE: Figure(2.0, 1.5, 2.5, 1.0),
        "wall s": Figure(2.0, 1.5, 2.5, 1.0, at_most=True),
    }
    base = {"part": "nets", "work": "a net", "threads": 1, "result": "3 ms", "exact": "all"}
    return Row(**{**base, "figures": figures, **changes})


def test_one_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "run_apart", apart)
    out = tmp_path / "out"
    assert speed.main(["--only", "nets", "--out", str(out)]) == 0
    text = (out / "speed.json").read_text(encoding="utf-8")
    page = (out / "speed.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out and page.count("| work ") == 1
    assert "LiteRT ref ≥ 1, wall s ≤ 1: MISSED (2)" in page and "2 of 4 goals reached." in page
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text + page)
    for folder in (tmp_path, machine.ROOT):
        assert str(folder) not in text + page
    found = json.loads(text)["parts"]["nets"]["rows"]
    assert [Row.from_json(one).work for one in found] == ["a net", "a net"]
    # Another part is added; the first keeps its figures.
    assert speed.main(["--only", "conv", "--out", str(out)]) == 0
    assert set(json.loads((out / "speed.json").read_text("utf-8"))["parts"]) == {"nets", "conv"}


def test_part_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    def some(name, index, *, quick):
        if name == "conv":
            raise RuntimeError("conv failed: no reason")
        return apart(name, index, quick=quick)

    monkeypatch.setattr(speed, "run_apart", some)
    assert speed.main(["--only", "conv,gemm", "--out", str(tmp_path)]) == 1
    assert "conv failed: no reason" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "speed.json").read_text("utf-8"))["parts"]) == ["gemm"]


def apart(name, index, *, quick):
    return {"rows": [row().as_json()], "circumstances": machine.circumstances()}


def test_unknown_part_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        speed.main(["--only", "gem"])
    assert stop.value.code == 2
    assert "--only must name parts of gemm" in capsys.readouterr().err


def test_columns_that_nobody_fills_are_left_out():
    head, line = cells([row()])
    assert head == ["work", "thr.", "hwsim", "LiteRT ref", "must reach"]
    assert line[:4] == ["a net", "1", "3 ms", "2"]
    assert len({len(text) for text in markdown([row(), row(work="another")]).splitlines()}) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.1234, "123 ms"), (3.2e-6, "3.2 µs"), (5e-8, "0.05 µs")]
)
def test_times_in_words(seconds, text):
    assert seconds_in_words(seconds) == text


def test_ratios_are_of_single_rounds():
    seconds = {"hwsim": [1.0, 2.0, 4.0], "peer": [3.0, 4.0, 4.0]}
    assert timing.faster(seconds, "hwsim") == {"peer": timing.Ratio(2.0, 1.0, 3.0)}


def test_slower_contender_takes_longer():
    def spin(seconds):
        def call():
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass

        return call

    field = {"short": spin(0.001), "long": spin(0.003)}
    seconds = timing.interleave(field, timing.Effort(3, 0.002, 0.0))
    assert timing.faster(seconds, "short")["long"].median > 1.5
    assert all(len(times) == 3 and min(times) > 0.0009 for times in seconds.values())


@pytest.mark.skipif(tier() is None, reason="machine code is off: nothing of ours is measured")
def test_products_are_checked_where_they_are_timed(monkeypatch):
    made = gemm.measure((5, 8, 6), timing.QUICK)
    assert [one.work for one in made] == [
        f"GEMM 5 x 8 x 6, {r} rounding" for r in one_node.ROUNDINGS
    ]
    right = gemm.requantized
    monkeypatch.setattr(gemm, "requantized", lambda *a: right(*a) ^ 1)
    with pytest.raises(ValueError, match="codes must equal the reference"):
        gemm.ours(gemm.Work.random(5, 8, 6), "double")


@pytest.mark.parametrize("rounding", ["double", "single"])
def test_expected_codes_follow_the_oracle(rounding):
    acc = np.array([[-100000, 2**20, 5, -5], [77777, -(2**19), 1 << 9, -(1 << 9)]], np.int64)
    scales = np.array([0.01, 0.02, 0.125, 0.25], np.float32)
    made = one_node.requantized(acc, scales, 2.0**-7, 3, rounding)
    for (i, j), code in np.ndenumerate(made):
        multiplier, shift = quantize_multiplier(2.0**-7 * float(scales[j]))
        value = int(acc[i, j])
        if rounding == "double":
            expected = mbqm_double(value, multiplier, shift)
        else:
            expected = (value * multiplier + (1 << (30 - shift))) >> (31 - shift)
        assert code == clamp(expected + 3, -128, 127)


def test_expected_sums_are_a_convolution():
    work = Convolution.random(Layer(5, 3, 4, 3, 2))
    total = work.accumulator().reshape(3, 3, 4)
    padded = np.pad(work.x[0].astype(int) + 3, ((1, 1), (1, 1), (0, 0)))
    for i, j, n in np.ndindex(total.shape):
        window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert total[i, j, n] == (window * work.w[n].astype(int)).sum() + work.bias[n]


@pytest.mark.skipif(
    tier() is not TIERS[0], reason="the target lacks AVX-512 VNNI: its peak is not looked at"
)
def test_peak_is_the_instruction_alone():
    kernel = peak.peak_kernel(TIERS[0])
    kernel(2)
    (text,) = kernel.inspect_asm().values()
    loop = [line for line in text.splitlines() if "vpdpbusd" in line]
    assert len(loop) >= peak.accumulators(TIERS[0]) and not any("(" in line for line in loop)


def test_networks_meet_their_peers(model, monkeypatch):
    monkeypatch.setenv("HWSIM_MODELS", str(model.parents[1]))
    made = networks.rows(timing.QUICK, 1, (1,))
    assert made and made[0].work == "ResNet8, batch 1, call"
    assert set(networks.PACKAGES) <= set(made[0].figures)
    assert "LiteRT reference 0" in made[0].exact


def test_wrong_codes_are_refused(model):
    graph = hwsim.load(model)
    x = hwsim.random_inputs(graph, 1)["x"]
    field = networks.contenders(graph, model.read_bytes(), x, 1)
    for one in field.values():
        one.call()
    networks.agreement(field)
    wrong = field[networks.CALL].result() ^ 1
    field[networks.CALL] = networks.Contender(field[networks.CALL].call, lambda: wrong)
    field.pop(networks.PROGRAM, None)
    with pytest.raises(ValueError, match="reference kernels"):
        networks.agreement(field)


def test_missing_package_is_left_out(model, monkeypatch):
    monkeypatch.setitem(networks.PACKAGES, networks.QDQ, "hwsim-no-such-package")
    graph = hwsim.load(model)
    x = hwsim.random_inputs(graph, 1)["x"]
    assert networks.QDQ not in networks.contenders(graph, model.read_bytes(), x, 1)


def test_missing_models_are_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("HWSIM_MODELS", str(tmp_path))
    assert networks.rows(timing.QUICK, 1, (1,)) == []


def test_largest_cut(model):
    graph = hwsim.load(model)
    weights, cut = start.largest_cut(graph, 2)
    assert weights == sum(v.data.nbytes for v in graph.values.values() if v.data is not None)
    # The sum reads both convolutions: 8 x 8 x 8 codes each, and its own.
    assert cut == 2 * 3 * 8 * 8 * 8


def test_sweep_benchmark_runs_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWSIM_MODELS", str(tmp_path))  # the shipped network instead
    out = tmp_path / "out"
    arguments = ["--images", "9", "--rounds", "1", "--options", "W4A8", "--out", str(out)]
    assert bench_sweep.main(arguments) == 0
    page = (out / "sweep.md").read_text(encoding="utf-8")
    assert page in capsys.readouterr().out
    found = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert found["configurations"] == found["units"] + 1
    assert found["sweep_over_full_runs"] > 0 and len(found["rounds"]) == 1
    assert found["computed_pieces"] < found["pieces"]
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", json.dumps(found) + page)
