"""The benchmark of whole networks runs and writes what it says; no figure is judged here."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.bench import bench_networks, bench_sweep
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


def test_benchmark_runs_once(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWSIM_MODELS", str(tmp_path))
    monkeypatch.setattr(bench_networks, "SAMPLE_S", 1e-4)
    monkeypatch.setattr(bench_networks, "WARM_UP_S", 1e-4)
    assert bench_networks.main(["--rounds", "1", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "networks.json").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "networks.md").read_text(encoding="utf-8")
    assert page in capsys.readouterr().out
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text + page)
    for folder in (tmp_path, bench_networks.ROOT):
        assert str(folder) not in text + page
    rows = json.loads(text)["networks"]["ResNet8"]["contenders"]
    assert list(rows) == list(bench_networks.CONTENDERS)
    for name, row in rows.items():
        assert row["status"] == "timed" and len(row["rounds_ms"]) == 1, name
        assert row["times_faster_than_litert_reference"]["median"] > 0
    assert rows[bench_networks.HWSIM]["equals_litert_reference_on_timed_input"]


def test_missing_package_is_said(model, monkeypatch):
    monkeypatch.setitem(bench_networks.CONTENDERS, bench_networks.QDQ, "hwsim-no-such-package")
    made = bench_networks.bench(model, 1, sample_s=1e-4, warm_up_s=1e-4, inputs=1)
    row = made["contenders"][bench_networks.QDQ]
    assert bench_networks.cell(row) == bench_networks.ABSENT


def test_missing_models_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HWSIM_MODELS", str(tmp_path))
    assert bench_networks.main(["--out", str(tmp_path / "out")]) == 2
    assert "HWSIM_MODELS" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
