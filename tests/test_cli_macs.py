"""The command line of arithmetic energy: mac-models, and cost with a named model."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import hwsim
from hwsim import networks
from hwsim.cli import main
from tests.test_inference_cost import convolutions

CNN = str(networks.path(networks.NAMES[0]))


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Return (status, output, errors) of a call."""
    monkeypatch.setattr(sys, "argv", ["hwsim", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


@pytest.fixture
def integer_model(tmp_path: Path) -> tuple[str, str]:
    """Return paths of an integer model of four convolutions and of inputs for it."""
    path, data = tmp_path / "int8.onnx", tmp_path / "x.npz"
    onnx.save(convolutions(8), path)
    np.savez(data, x=next(iter(hwsim.random_inputs(hwsim.load(path), 2).values())))
    return str(path), str(data)


def test_one_command_compares_the_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text, _ = said(monkeypatch, capsys, "mac-models", CNN, "-b", "4", "--json")
    ratios = {one["model"]: one["ratio"] for one in json.loads(text)["models"]}
    assert status == 0
    assert ratios["ratio"] == pytest.approx(0.25)
    assert ratios["cells_nangate45"] == pytest.approx(0.517, abs=0.001)
    assert ratios["spingarn"] == pytest.approx(0.5)


def test_cost_says_which_model_was_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("cost", CNN, "-p", "nvidia_h100", "--json")
    _, own, _ = said(monkeypatch, capsys, *call)
    status, text, _ = said(monkeypatch, capsys, *call, "--mac-model", "jouppi_7nm")
    assert status == 0
    priced, before = json.loads(text), json.loads(own)
    assert priced["notes"][0].startswith("Arithmetic energy by model jouppi_7nm: ")
    # 0.07 pJ multiply + 0.030 pJ add, each multiply-accumulate.
    assert priced["total"]["energy_mac_j"] == pytest.approx(before["total"]["macs"] * 1e-13)


@pytest.mark.parametrize("dataflow", ["os", "ws"])
def test_toggles_of_a_models_own_operands(
    dataflow: str,
    integer_model: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, data = integer_model
    call = ("mac-models", model, "-d", data, "--dataflow", dataflow)
    status, text, _ = said(monkeypatch, capsys, *call, "--json")
    shown = json.loads(text)
    models = {one["model"]: one for one in shown["models"]}
    assert status == 0
    assert 0.1 < models["toggles_sky130"]["ratio"] < 1.2
    assert "sampling error" in models["toggles_sky130"]["says"]
    assert len(shown["toggles"]) == 4
    status, text, _ = said(monkeypatch, capsys, *call)
    assert status == 0 and "bits flipped per multiply-accumulate" in text
    assert ("no gate-level run prices them" in text) == (dataflow == "ws")


def test_cost_by_toggles(
    integer_model: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, data = integer_model
    call = ("cost", model, "-d", data, "-p", "nvidia_t4", "--mac-model", "toggles_osu018", "--json")
    status, text, _ = said(monkeypatch, capsys, *call)
    assert status == 0
    assert "toggles_osu018: toggles counted on the integer engine" in json.loads(text)["notes"][0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("cost", CNN, "--mac-model", "b2"), "mac model must be one of ratio, horowitz_45nm, "),
        (
            ("cost", CNN, "--mac-model", "toggles_osu018"),
            "--mac-model toggles_osu018 must have --data, and --bits left out",
        ),
        (
            ("cost", CNN, "-p", "pynq_z2", "-b", "4", "--mac-model", "ratio"),
            "pynq_z2: a mac model needs a platform with energy per MAC",
        ),
        (
            ("mac-models", CNN, "-b", "4", "-d", "x.npz"),
            "--bits must be left out with --data",
        ),
    ],
)
def test_bad_calls_are_a_sentence(
    words: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, errors = said(monkeypatch, capsys, *words)
    assert status == 2
    assert errors.startswith(f"hwsim: {sentence}")
