"""Export to ONNX: TFLite models come back with the same values, and ONNX Runtime agrees."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import hwsim
from hwsim import networks
from hwsim.cli import app
from hwsim.errors import GraphError, HwsimError
from hwsim.formats.onnx import read_onnx
from hwsim.formats.onnx_export import IR_VERSION, OPSET, export_onnx
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from hwsim.oracle_onnx import run_model
from tests.strategies import GENERATORS, generate
from tests.test_bench import small_network

STYLES = ("qdq", "qoperator")
SEEDS = 6


def exported(graph: Graph, style: str) -> tuple[bytes, Graph]:
    data = export_onnx(graph, style)
    return data, read_onnx(data, Path(f"{graph.name}.onnx"))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("operator", GENERATORS)
def test_generated_models_come_back(operator: str, style: str) -> None:
    """Every model that has a form in ONNX; those without one say so in a sentence."""
    refused: Counter[str] = Counter()
    for seed in range(SEEDS):
        case = generate(operator, seed)
        graph = read_tflite(case.model.to_bytes(), Path(f"{operator}.tflite"))
        try:
            mine = hwsim.run(graph, case.feed, profile="ort")
            data, back = exported(graph, style)
            theirs = hwsim.run(back, case.feed)
        except HwsimError as error:
            assert str(error)
            refused[str(error)] += 1
            continue
        assert back.profile == "ort"
        assert back.input_names == graph.input_names and back.output_names == graph.output_names
        for name, array in mine.items():
            assert np.array_equal(theirs[name], array), (seed, name)
        if onnxruntime_is_there():
            names = list(mine)
            run = run_model(data, dict(case.feed), back, names, "ORT_ENABLE_ALL")
            assert all(np.array_equal(run[name], mine[name]) for name in names), seed
    if operator in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "SOFTMAX"):
        assert sum(refused.values()) < SEEDS, refused


def onnxruntime_is_there() -> bool:
    try:
        import onnxruntime  # noqa: F401 -- its presence is the question
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_a_network_validates(tmp_path: Path, style: str, mean: bool) -> None:
    pytest.importorskip("onnxruntime")
    source, target = tmp_path / "net.tflite", tmp_path / "net.onnx"
    source.write_bytes(small_network(mean))
    made = CliRunner().invoke(app, ["export", str(source), "--to", str(target), "--style", style])
    assert made.exit_code == 0, made.output
    model = onnx.load(str(target))
    assert model.ir_version == IR_VERSION
    assert {o.domain: o.version for o in model.opset_import}[""] == OPSET
    graph = hwsim.load(target)
    inputs = hwsim.random_inputs(graph, 8, seed=3)
    found = hwsim.validate(graph, inputs, "onnxruntime")
    assert found.ok and not found.missing and len(found.rows) == len(graph.nodes)
    assert hwsim.validate(graph, inputs, "onnxruntime_unoptimized").elements == found.elements
    direct = hwsim.run(hwsim.load(source), inputs, profile="ort")
    for name, array in hwsim.run(graph, inputs).items():
        assert np.array_equal(direct[name], array)


def test_validate_finds_a_changed_weight(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph = read_tflite(small_network(False), Path("net.tflite"))
    path = tmp_path / "net.onnx"
    path.write_bytes(export_onnx(graph, "qoperator"))
    loaded = hwsim.load(path)
    inputs = hwsim.random_inputs(loaded, 4)
    assert not hwsim.validate(loaded, inputs, "onnxruntime", profile="hawq").ok


def test_an_unknown_style_is_refused() -> None:
    graph = read_tflite(small_network(False), Path("net.tflite"))
    with pytest.raises(GraphError, match=r"^style must be one of qdq, qoperator, not 'qat'$"):
        export_onnx(graph, "qat")


def test_a_float_graph_is_refused(tmp_path: Path) -> None:
    graph = read_tflite(generate("CONV_2D", 1).model.to_bytes(), Path("conv.tflite"))
    target = tmp_path / "net.txt"
    source = tmp_path / "conv.tflite"
    source.write_bytes(generate("CONV_2D", 1).model.to_bytes())
    made = CliRunner().invoke(app, ["export", str(source), "--to", str(target)])
    assert made.exit_code != 0 and not target.exists()
    assert str(made.exception) == "output file must end in .onnx, not 'net.txt'"
    assert graph.profile == "tflite_ref"


def test_wider_values_are_refused_by_name() -> None:
    graph = hwsim.load(networks.path("digits_cnn"))
    images = np.zeros((4, 1, 8, 8), np.float32) + np.linspace(0, 1, 4)[:, None, None, None]
    narrow = hwsim.quantize(graph, hwsim.calibrate(graph, images.astype(np.float32)), 8)
    with pytest.raises(GraphError, match=r"^value '.*' must have 8 bits and one scale .*not u?int"):
        export_onnx(narrow)
