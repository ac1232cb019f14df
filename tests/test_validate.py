"""Two sides of one graph: every count against slow arithmetic of the tests' own."""

from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim import validation
from hwsim.archives import write_arrays
from hwsim.comparison import Validation, ValueComparison
from hwsim.errors import GraphError, InputError
from tests.litert import available
from tests.shared import data_file, model_file
from tests.small_graphs import (
    S_W,
    S_X,
    S_Y,
    SINGLE,
    Z_X,
    Z_Y,
    codes,
    conv_by_hand,
    network,
)

NET = network()
COUNT = 300
X = codes(NET, COUNT)


def row(result: Validation, value: str) -> ValueComparison:
    return next(row for row in result.rows if row.value == value)


def test_the_first_difference_is_found_and_counted_by_hand() -> None:
    twice, once = conv_by_hand(NET, X, once=False), conv_by_hand(NET, X, once=True)
    wrong = np.argwhere(twice != once)
    assert 0 < len(wrong) < twice.size  # otherwise the test compares nothing
    result = hwsim.validate(NET, X, SINGLE)
    found = row(result, "conv")
    assert result.first == found and not result.ok and result.samples == COUNT
    assert (found.differing, found.elements) == (len(wrong), twice.size)
    assert found.largest == np.abs(twice.astype(int) - once).max()
    assert found.runs == len(np.unique(wrong[:, 0]))
    assert found.inputs_equal is True and (found.own, found.inherited) == (len(wrong), 0)
    assert found.first is not None
    assert found.first.index == tuple(wrong[0])
    assert (found.first.a, found.first.b) == (twice[tuple(wrong[0])], once[tuple(wrong[0])])


def test_own_and_inherited_differences_are_told_apart() -> None:
    ours, theirs = hwsim.trace(NET, X), hwsim.trace(NET, X, profile=SINGLE)
    result = hwsim.validate(NET, X, SINGLE)
    for value in ("leaky", "flat", "logits"):
        found = row(result, value)
        assert found.differing == np.count_nonzero(ours[value] != theirs[value])
        assert found.inputs_equal is False
        assert found.own is not None and found.inherited is not None
        assert found.differing <= found.own + found.inherited
    # A reshape and a layer with one arithmetic in both profiles have nothing of their own.
    assert row(result, "flat").own == row(result, "logits").own == 0
    assert row(result, "flat").inherited == row(result, "flat").differing
    assert row(result, "logits").inherited == row(result, "logits").differing
    leaky = row(result, "leaky")
    assert {row.value for row in result.sources} == {"conv"} | ({"leaky"} if leaky.own else set())


def test_outputs_and_flips_are_those_of_the_traces() -> None:
    ours, theirs = (hwsim.run(NET, X, profile=p)["logits"] for p in ("tflite_ref", SINGLE))
    differing = np.flatnonzero((ours != theirs).any(axis=1))
    flips = np.flatnonzero(ours.argmax(axis=1) != theirs.argmax(axis=1))
    (output,) = hwsim.validate(NET, X, SINGLE).outputs
    assert output.differing == tuple(differing) and output.flips == tuple(flips)
    assert len(differing) > 0


def test_equal_sides_are_equal(tmp_path: Path) -> None:
    result = hwsim.validate(NET, X, "tflite_ref")
    assert result.ok and result.first is None and result.sources == ()
    assert all(row.own == row.inherited == row.runs == 0 for row in result.rows)
    saved = tmp_path / "trace.npz"
    write_arrays(saved, hwsim.trace(NET, X))
    assert hwsim.validate(NET, X, saved).ok
    assert hwsim.validate(NET, None, saved).ok  # on the inputs that it holds
    assert hwsim.validate(NET, None, saved, ours=saved).ok


@pytest.mark.parametrize("held", [1, 200, 5000])
def test_the_batch_changes_nothing(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hwsim.validate(NET, X, SINGLE).to_dict()
    monkeypatch.setattr(validation, "HELD_ELEMENTS", held)
    seen: list[int] = []
    assert hwsim.validate(NET, X, SINGLE, progress=seen.append).to_dict() == whole
    assert sum(seen) == COUNT and len(seen) > 1


@pytest.mark.parametrize("value", [name for node in NET.nodes for name in node.outputs])
def test_one_flipped_element_is_found(value: str, tmp_path: Path) -> None:
    arrays = {name: array.copy() for name, array in hwsim.trace(NET, X).items()}
    place = tuple(int(i) for i in np.argwhere(arrays[value] == arrays[value].max())[-1])
    arrays[value][place] -= 3
    saved = tmp_path / "trace.npz"
    write_arrays(saved, arrays)
    result = hwsim.validate(NET, X, saved)
    assert result.differing == 1 and result.first is not None
    found = result.first
    assert (found.value, found.node, found.differing) == (value, f"{value}_node", 1)
    assert (found.largest, found.inputs_equal, found.own, found.inherited) == (3.0, True, 1, 0)
    assert found.first is not None and found.first.index == place
    assert found.first.a - found.first.b == 3
    swapped = hwsim.validate(NET, X, "tflite_ref", ours=saved)
    assert swapped.first is not None and swapped.first.first is not None
    assert swapped.first.first.b - swapped.first.first.a == 3


def test_what_a_trace_lacks_is_named_and_blames_nobody(tmp_path: Path) -> None:
    saved = tmp_path / "trace.npz"
    theirs = hwsim.trace(NET, X, profile=SINGLE)
    write_arrays(saved, {name: theirs[name] for name in ("x", "conv", "logits")})
    result = hwsim.validate(NET, X, saved)
    assert result.missing == ("leaky", "flat")
    logits = row(result, "logits")
    assert (logits.inputs_equal, logits.own, logits.inherited) == (None, None, None)
    assert row(result, "conv").own == row(result, "conv").differing > 0


def test_shapes_that_a_recorder_dropped_are_put_back(tmp_path: Path) -> None:
    saved = tmp_path / "trace.npz"
    arrays = hwsim.trace(NET, X)
    squeezed = {name: array.reshape(-1) for name, array in arrays.items() if name != "x"}
    write_arrays(saved, {**squeezed, "conv": squeezed["conv"].astype(np.int64)})
    assert hwsim.validate(NET, X, saved).ok


def test_the_float_side_rounds_exact_reals_to_codes() -> None:
    result = hwsim.validate(NET, X, "float")
    weights, bias = NET.values["w"].data, NET.values["b"].data
    assert weights is not None and bias is not None
    reals = (X.astype(np.float64) - Z_X) * S_X
    exact = reals @ (weights.reshape(3, 2).T * S_W) + bias * (S_X * S_W)
    expected = np.clip(np.rint(np.maximum(exact, 0) / S_Y) + Z_Y, -128, 127)
    near_a_tie = np.abs(np.maximum(exact, 0) / S_Y % 1 - 0.5) < 1e-3
    ours = conv_by_hand(NET, X, once=False)
    differing = np.count_nonzero((ours != expected) & ~near_a_tie)
    found = row(result, "conv")
    assert found.inputs_equal is True and found.own == found.differing
    assert differing <= found.differing <= differing + np.count_nonzero(near_a_tie)
    assert row(result, "logits").own is not None


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        ({"against": "nobody"}, "side must be one of .*float, litert_ref.*, not 'nobody'"),
        ({"against": "absent.npz"}, "absent.npz: file must exist; it does not"),
        ({"against": "hawq", "ours": "hawq", "profile": "hawq"}, "ours and profile must not both"),
        ({"against": "hawq", "threads": 0}, "threads must be 1 or more, not 0"),
    ],
)
def test_wrong_sides_are_one_sentence(sides: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        hwsim.validate(NET, X, **sides)  # type: ignore[arg-type]


def test_traces_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    arrays = hwsim.trace(NET, X)
    saved = tmp_path / "trace.npz"

    def refused(change: dict[str, np.ndarray], sentence: str) -> None:
        write_arrays(saved, change)
        with pytest.raises(InputError, match=sentence):
            hwsim.validate(NET, X, saved)

    refused(arrays | {"x": arrays["x"] ^ 1}, "trace must be recorded on the inputs compared")
    refused({"other": X}, "trace.npz: archive must hold at least one value of the graph")
    refused({"conv": arrays["conv"][:7]}, "trace must hold 300 inferences .*, not 7")
    refused({"conv": arrays["conv"].reshape(-1)[:7]}, "'conv' must have a multiple of 12 elements")
    refused(arrays | {"leaky": arrays["leaky"][:5]}, "'leaky' must be recorded for 300 inferences")
    refused({"conv": arrays["conv"] + 0.5}, "'conv' must hold int8 numbers, not float64")
    refused({"conv": arrays["conv"].astype(int) + 200}, "'conv' must hold codes of int8")
    with pytest.raises(InputError, match="inputs must be given: no side is a trace"):
        hwsim.validate(NET, None, "hawq")
    floats = hwsim.load(Path(hwsim.__file__).parent / "networks" / "digits_cnn.onnx")
    with pytest.raises(GraphError, match="must hold quantized codes, not floats"):
        hwsim.validate(floats, hwsim.random_inputs(floats, 2), "hawq")


def test_two_paths_of_litert_part_where_our_profiles_say() -> None:
    """Both sides foreign: nobody can run one operator alone, but equal inputs still tell."""
    if not available():
        pytest.skip("ai_edge_litert is missing: 1 network is not compared")
    path = model_file("mlperf_tiny/kws_ref_model.tflite", "1 network is not compared")
    graph = hwsim.load(path)
    inputs = hwsim.random_inputs(graph, 20)
    foreign = hwsim.validate(graph, inputs, "litert", ours="litert_ref")
    mixed = hwsim.validate(graph, inputs, "litert")
    assert foreign.first is not None and mixed.first is not None
    assert foreign.first == mixed.first and foreign.differing == mixed.differing > 0
    assert [row.differing for row in foreign.rows] == [row.differing for row in mixed.rows]
    assert foreign.outputs == mixed.outputs
    assert foreign.rows[1].own is None and mixed.rows[1].own is not None


def test_resnet8_on_pictures_single_against_double() -> None:
    path = model_file("mlperf_tiny/pretrainedResnet_quant.tflite", "1 network is not compared")
    graph = hwsim.load(path)
    with np.load(data_file("cifar10/test_1000.npz", "100 images are not compared")) as archive:
        images = archive["x"][:100].astype(np.float32)
    result = hwsim.validate(graph, images, SINGLE)
    one, two = (hwsim.trace(graph, images, profile=p) for p in ("tflite_ref", SINGLE))
    for found in result.rows:
        wrong = one[found.value] != two[found.value]
        assert found.differing == np.count_nonzero(wrong)
    name = graph.output_names[0]
    (output,) = result.outputs
    assert output.differing == tuple(np.flatnonzero((one[name] != two[name]).any(axis=1)))
    assert output.flips == tuple(
        np.flatnonzero(one[name].argmax(axis=1) != two[name].argmax(axis=1))
    )
    assert len(output.differing) > 0
