"""validate, identify and attribute as a person meets them."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim import networks
from hwsim.archives import write_arrays
from hwsim.cli import main
from tests.strategies import generate

CNN = str(networks.path("digits_cnn"))
MINE = """
name = "block_x"
reproduces = "requantizer of block X"
based_on = "tflite_ref"

[[rule]]
operators = ["conv_2d"]
shift = "floor"
"""


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    def run(*words: str, status: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["hwsim", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert (left.value.code or 0) == status, out + err
        return out, err

    return run


Call = Callable[..., tuple[str, str]]


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "conv.tflite"
    path.write_bytes(generate("CONV_2D", 3).model.to_bytes())
    return str(path)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return str(path)


def test_validate_between_two_profiles(model: str, mine: str, call: Call) -> None:
    graph = hwsim.load(model)
    inputs = hwsim.random_inputs(graph, 5, 2)
    words = ("validate", model, "--a", "tflite_ref", "--b", mine, "--random", "5", "--seed", "2")
    shown = json.loads(call(*words, "--json", status=1)[0])
    one, two = (hwsim.run(graph, inputs, profile=p)["ofmap"] for p in ("tflite_ref", mine))
    place = np.argwhere(one != two)[0]
    first = shown["first"]
    assert (shown["a"], shown["against"], shown["samples"]) == ("tflite_ref", "block_x", len(one))
    assert shown["differing"] == first["differing"] == np.count_nonzero(one != two) > 0
    assert (first["value"], first["operator"], first["inputs_equal"]) == ("ofmap", "conv_2d", True)
    assert first["first"]["index"] == place.tolist()
    assert (first["first"]["a"], first["first"]["b"]) == (one[tuple(place)], two[tuple(place)])
    text = call(*words, status=1)[0]
    assert f"{np.count_nonzero(one != two):,} of {one.size:,} elements differ" in text
    index = ", ".join(map(str, place))
    assert f"on equal inputs, at [{index}]: {one[tuple(place)]} (tflite_ref)" in text
    assert "0 of" in call("validate", model, "--b", "tflite_ref", "--random", "3")[0]


def test_refusals_of_validate(model: str, call: Call) -> None:
    assert call("validate", model, "--b", "hawq", "--against", "hawq", status=2)[1] == (
        "hwsim: --b and --against must not both be given: each names side B\n"
    )
    refused = call("validate", model, "--a", "nobody", status=2)[1]
    assert refused.startswith("hwsim: side must be one of tflite_ref, ")
    assert refused.endswith(", a profile's .toml or a trace's .npz, not 'nobody'\n")
    assert call("validate", CNN, "--a", "hawq", status=2)[1].startswith(
        "hwsim: graph 'digits_cnn' must hold quantized codes, not floats"
    )


def test_identify_names_the_profile_and_writes_what_separates(
    model: str, mine: str, tmp_path: Path, call: Call
) -> None:
    saved, out = tmp_path / "trace.npz", tmp_path / "separate.npz"
    call("trace", model, "--random", "4", "--profile", mine, "--out", str(saved))
    only = ("--only", "tflite_ref", "--only", mine)
    words = ("identify", str(saved), model, *only)
    shown = json.loads(call(*words, "--json")[0])
    assert shown["consistent"] == ["block_x"] and shown["left_out"] == []
    assert shown["operators"][0]["differing"]["tflite_ref"] > 0
    assert "consistent with all of them: block_x" in call(*words)[0]
    assert call("identify", str(saved), model, "--only", "tflite_ref", status=1)[0]
    # One inference at the zero points: both profiles remain, an input separates them.
    graph = hwsim.load(model)
    (x,) = graph.inputs
    assert x.quant is not None
    quiet = np.full(x.shape, x.quant.zero_point[0], x.dtype.storage)
    traces = [hwsim.trace(graph, quiet, profile=p)["ofmap"] for p in ("tflite_ref", mine)]
    if np.array_equal(*traces):
        write_arrays(saved, {x.name: quiet, "ofmap": traces[0]})
        text = call(*words, "--separate", str(out))[0]
        assert "tflite_ref | block_x" in text and "elements off zero give" in text
        with np.load(out) as archive:
            made = hwsim.run(graph, archive[f"0/input/{x.name}"], profile=mine)["ofmap"]
            assert np.array_equal(archive["0/output/block_x/ofmap"], made)
            assert (archive["0/output/tflite_ref/ofmap"] != made).any()


def test_identify_bare_requantizations(tmp_path: Path, call: Call) -> None:
    saved, out = tmp_path / "bare.npz", tmp_path / "separate.npz"
    # acc / 4 rounded down: -1.25 is -2, -0.5 is -1, 0.75 is 0.
    arrays = {
        "acc": [-5, -2, 3, 6],
        "multiplier": [1 << 30],
        "shift": [1],
        "output": [-2, -1, 0, 1],
    }
    write_arrays(saved, {name: np.array(numbers) for name, numbers in arrays.items()})
    shown = json.loads(call("identify", str(saved), "--separate", str(out), "--json")[0])
    assert shown["consistent"] == ["floor"] and shown["differing"]["trunc"] == 2
    text = call("identify", str(saved))[0]
    assert "consistent: floor" in text
    arrays["output"] = [9, 9, 9, 9]
    write_arrays(saved, {name: np.array(numbers) for name, numbers in arrays.items()})
    assert "consistent: no rule" in call("identify", str(saved), status=1)[0]


def test_refusals_of_identify(model: str, mine: str, tmp_path: Path, call: Call) -> None:
    saved = tmp_path / "trace.npz"
    write_arrays(saved, {"other": np.zeros(3, np.int8)})
    assert call("identify", str(saved), model, status=2)[1] == (
        "hwsim: trace.npz: archive must hold at least one value of the graph by name, "
        "not only other\n"
    )
    assert call("identify", "absent.npz", model, status=2)[1] == (
        "hwsim: absent.npz: file must exist; it does not\n"
    )
    assert "is missing" in call("identify", str(saved), status=2)[1]
    both = ("--profile", mine, "--only", mine)
    assert "must not both be given" in call("identify", str(saved), model, *both, status=2)[1]
    words = ("--no-search", "--separate", str(tmp_path / "s.npz"))
    assert "must not be given with" in call("identify", str(saved), model, *words, status=2)[1]


def test_attribute_prints_and_writes_its_table(model: str, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "errors.csv"
    shown = json.loads(call("attribute", model, "--random", "4", "-o", str(out), "--json")[0])
    samples = 4 * hwsim.load(model).inputs[0].shape[0]
    assert (shown["reference"], shown["samples"]) == ("float twin", samples)
    (value,) = shown["values"]
    assert value["inherited_sqnr_db"] is None and value["inherited_largest"] == 0  # exact
    with out.open() as stream:
        (line,) = csv.DictReader(stream)
    assert line["value"] == "ofmap" and float(line["own_sqnr_db"]) == value["own_sqnr_db"]
    assert "exact" in call("attribute", model, "--random", "4")[0]


def test_attribute_quantizes_a_float_model(tmp_path: Path, call: Call) -> None:
    data = tmp_path / "digits.npz"
    np.savez(data, x=networks.digits_split().x_test[:32])
    words = ("attribute", CNN, "--data", str(data), "--bits", "W4A8", "--json")
    shown = json.loads(call(*words)[0])
    assert (shown["profile"], shown["reference"]) == ("hawq", "digits_cnn")
    assert shown["values"][-1]["value"] == "logits"


def test_refusals_of_attribute(model: str, call: Call) -> None:
    assert call("attribute", model, "-o", "errors.txt", status=2)[1] == (
        "hwsim: --out must end in .csv, not 'errors.txt'\n"
    )
    assert call("attribute", model, "--bits", "8", status=2)[1] == (
        "hwsim: --bits must not be given: MODEL holds quantized codes already\n"
    )
    assert call("attribute", CNN, "--reference", CNN, status=2)[1] == (
        "hwsim: --reference must not be given: a float MODEL is its own reference\n"
    )
    assert (
        "must hold floats, not quantized codes"
        in (call("attribute", model, "--reference", model, status=2)[1])
    )
