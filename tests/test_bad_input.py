"""What a user can get wrong is refused in one whole sentence, of the right class."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

import hwsim
from hwsim import networks
from hwsim.errors import (
    FormatError,
    GraphError,
    HwsimError,
    InputError,
    QuantizationError,
    UnsupportedOperatorError,
)
from hwsim.formats import onnx as onnx_reader
from hwsim.formats import tflite as tflite_reader
from hwsim.formats.onnx import read_onnx
from hwsim.formats.onnx_quantized import MICROSOFT, QUANTIZED
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from tests import mutations
from tests.onnx_writer import model as onnx_model
from tests.tflite_writer import Model, Operator, Tensor

ROOT = Path(__file__).resolve().parent.parent
MODELS = Path(os.environ.get("HWSIM_MODELS", ROOT / "../shared/models"))
CODES = np.zeros((1, 5, 5, 2), np.int8)
IMAGES = np.zeros((2, 1, 8, 8), np.float32)


def refused(kind: type[HwsimError], sentence: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$") as caught:
        call()
    assert type(caught.value) is kind


def tflite(made: Model | None = None) -> bytes:
    pytest.importorskip(
        "ai_edge_litert", reason="ai_edge_litert is missing: its schema writes the file of the case"
    )
    return (made or mutations.network()).to_bytes()


@pytest.fixture
def integers() -> Graph:
    return read_tflite(tflite(), Path("net.tflite"))


@pytest.fixture(scope="module")
def floats() -> Graph:
    return hwsim.load(networks.path("digits_cnn"))


FILES = {
    "empty.tflite": (
        b"", "file must carry the identifier 'TFL3' at byte 4, not b'' (0 bytes)",
    ),
    "random.tflite": (
        b"\x9a\x01\xfe\x33\x04\x05\x06\x07\xab\xcd",
        "file must carry the identifier 'TFL3' at byte 4, not b'\\x04\\x05\\x06\\x07' (10 bytes)",
    ),
    "bare.tflite": (
        b"\xff\xff\xff\x7fTFL3",
        "file must be a valid FlatBuffer; a table lies at byte 2147483647 of 8",
    ),
    "empty.onnx": (b"", "file must be an ONNX model with nodes, not an empty one"),
    "random.onnx": (
        b"\x9a\x01\xfe\x33\x04\x05\x06\x07\xab\xcd",
        "file must be an ONNX model; it does not parse",
    ),
    "model.pb": (b"", "file must end in .tflite or .onnx, not '.pb'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_no_model(name: str, tmp_path: Path) -> None:
    data, sentence = FILES[name]
    (tmp_path / name).write_bytes(data)
    refused(FormatError, f"{name}: {sentence}", lambda: hwsim.load(tmp_path / name))


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    sentence = f"{path}: file must be readable; No such file or directory"
    refused(FormatError, sentence, lambda: hwsim.load(path))


def test_folder_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "folder.onnx"
    path.mkdir()
    sentence = f"{path}: file must be readable; Is a directory"
    refused(FormatError, sentence, lambda: hwsim.load(path))


def test_truncated_tflite() -> None:
    data = tflite()
    for size in range(0, len(data), 7):
        with pytest.raises(HwsimError, match=r"^net\.tflite: [^\n]+$"):
            read_tflite(data[:size], Path("net.tflite"))


def test_truncated_onnx() -> None:
    data = mutations.image_net().SerializeToString()
    for size in range(0, len(data) - 40, 7):
        with pytest.raises(HwsimError, match=r"^net\.onnx: [^\n]+$"):
            read_onnx(data[:size], Path("net.onnx"))


def test_float_graph_where_integers_are_needed(floats: Graph) -> None:
    refused(
        GraphError,
        "graph 'digits_cnn' must hold quantized codes, not floats; quantize it, or ask for "
        "profile 'float'",
        lambda: hwsim.run(floats, IMAGES),
    )


def test_integer_graph_where_floats_are_needed(integers: Graph, floats: Graph) -> None:
    sentence = "graph 'net' must hold floats, not quantized codes"
    refused(GraphError, sentence, lambda: hwsim.run(integers, CODES, profile="float"))
    refused(GraphError, sentence, lambda: hwsim.calibrate(integers, [CODES]))
    refused(GraphError, sentence, lambda: hwsim.sensitivity(integers, CODES))
    ranges = hwsim.calibrate(floats, [IMAGES])
    refused(
        QuantizationError,
        "graph 'net' must hold floats to be quantized, not integer codes",
        lambda: hwsim.quantize(integers, ranges),
    )


INPUTS: dict[str, tuple[Any, str]] = {
    "shape": (CODES[:, :4], "input 'x' must have shape (batch, 5, 5, 2), not (1, 4, 5, 2)"),
    "rank": (CODES[0], "input 'x' must have shape (batch, 5, 5, 2), not (5, 5, 2)"),
    "batch": (CODES[:0], "input 'x' must have shape (batch, 5, 5, 2), not (0, 5, 5, 2)"),
    "dtype": (CODES.astype(np.int16), "input 'x' must be int8 codes or floats, not int16"),
    "object": (CODES.astype(object), "input 'x' must be int8 codes or floats, not object"),
    "ragged": ([[1], [1, 2]], "input 'x' must be an array, not a ragged sequence"),
    "name": ({"z": CODES}, "input must be one of x, not 'z'"),
    "missing": ({}, "input 'x' must be given; it is missing"),
    "NaN": (
        np.full(CODES.shape, np.nan), "input 'x' must be finite, not NaN or infinite",
    ),
    "beyond float32": (
        np.full(CODES.shape, 1e300), "input 'x' must fit float32, not be beyond its range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INPUTS)
def test_input_that_does_not_fit(case: str, integers: Graph) -> None:
    given, sentence = INPUTS[case]
    refused(InputError, sentence, lambda: hwsim.run(integers, given))


def test_nan_in_data(floats: Graph) -> None:
    data = IMAGES.copy()
    data[1, 0, 3, 3] = np.nan
    sentence = "input 'input' must be finite, not NaN or infinite"
    refused(InputError, sentence, lambda: hwsim.run(floats, data, profile="float"))
    refused(InputError, sentence, lambda: hwsim.calibrate(floats, [IMAGES, data]))
    refused(InputError, sentence, lambda: hwsim.sensitivity(floats, data))


def test_calibration_data_that_does_not_fit(floats: Graph) -> None:
    refused(
        InputError,
        "calibration data must hold at least one batch, not none",
        lambda: hwsim.calibrate(floats, []),
    )
    refused(
        InputError,
        "input 'input' must have shape (batch, 1, 8, 8), not (2, 1, 4, 8)",
        lambda: hwsim.calibrate(floats, [IMAGES[:, :, :4]]),
    )


def test_options(integers: Graph) -> None:
    refused(
        InputError,
        "threads must be 1 or more, not 0",
        lambda: hwsim.run(integers, CODES, threads=0),
    )


def test_unsupported_onnx_operator() -> None:
    made = onnx_model([node("Relu", ["x"], ["a"]), node("Sin", ["a"], ["y"], name="wave")],
                      {"x": (3,)})  # fmt: skip
    quantized = {name for domain, name in QUANTIZED if domain in ("", MICROSOFT)}
    known = ", ".join(sorted({*onnx_reader.READERS, *onnx_reader._GLUE, *quantized}))
    refused(
        UnsupportedOperatorError,
        f"net.onnx: node 1 (Sin 'wave'): operator must be one of {known}, not Sin",
        lambda: read_onnx(made.SerializeToString(), Path("net.onnx")),
    )


def test_unsupported_tflite_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tflite()
    readers = {name: read for name, read in tflite_reader.ALL_READERS.items() if name != "ADD"}
    monkeypatch.setattr(tflite_reader, "ALL_READERS", readers)
    known = ", ".join(sorted(readers))
    refused(
        UnsupportedOperatorError,
        f"net.tflite: operator 2 must be one of {known}, not ADD",
        lambda: read_tflite(data, Path("net.tflite")),
    )


def _external(made: onnx.ModelProto) -> None:
    tensor = made.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"


def _symbolic(made: onnx.ModelProto) -> None:
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def _nan(made: onnx.ModelProto) -> None:
    tensor = made.graph.initializer[0]
    tensor.raw_data = b"\x00\x00\xc0\x7f" * (len(tensor.raw_data) // 4)


def _unsorted(made: onnx.ModelProto) -> None:
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([nodes[1], nodes[0], *nodes[2:]])


def _huge_padding(made: onnx.ModelProto) -> None:
    pads = next(a for a in made.graph.node[0].attribute if a.name == "pads")
    pads.ints[:] = [2**20, 2**20, 0, 0]


def _many_numbers(made: onnx.ModelProto) -> None:
    pads = next(a for a in made.graph.node[0].attribute if a.name == "pads")
    pads.ints[:] = [1] * 100_000


def _text_axis(made: onnx.ModelProto) -> None:
    del made.graph.node[8].attribute[:]
    made.graph.node[8].attribute.append(onnx.helper.make_attribute("axis", "one"))


EDITED: dict[str, tuple[Callable[[onnx.ModelProto], None], type[HwsimError], str]] = {
    "external data": (
        _external, FormatError,
        "initializer 'w' must be stored in the file, not in external data",
    ),
    "symbolic axis": (
        _symbolic, FormatError, "axis 2 of input 'x' must be a fixed size, not 'height'",
    ),
    "NaN weights": (_nan, FormatError, "initializer 'w' must be finite, not NaN or infinite"),
    "order": (
        _unsorted, GraphError,
        "node 0 (BatchNormalization ''): input 'a' must be made before it is read",
    ),
    "huge padding": (
        _huge_padding, GraphError,
        "node 0 (Conv ''): padded input must hold at most 268435456 elements, not 2199048421448",
    ),
    "endless attribute": (
        _many_numbers, FormatError,
        "node 0 (Conv ''): attribute 'pads' must hold at most 32 numbers, not 100000",
    ),
    "attribute's type": (
        _text_axis, FormatError, "node 8 (Flatten ''): attribute 'axis' must be INT, not STRING",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITED)
def test_edited_onnx(case: str) -> None:
    edit, kind, sentence = EDITED[case]
    made = mutations.image_net()
    edit(made)
    data = made.SerializeToString()
    refused(kind, f"net.onnx: {sentence}", lambda: read_onnx(data, Path("net.onnx")))


BOMBS = {
    "ConstantOfShape": (["size"], 2**40),
    "Expand": (["column", "size"], 2**40),
    "Tile": (["column", "times"], 2**40 * 64),
    "Range": (["zero", "many", "one"], 2**26 + 1),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_folding_bomb(kind: str) -> None:
    names, size = BOMBS[kind]
    constants = {
        "size": np.array([2**20, 2**20]), "times": np.array([2**20, 2**20]),
        "column": np.zeros((64, 1) if kind == "Tile" else (2**20, 1), np.float32),
        "zero": np.int64(0), "many": np.int64(2**60), "one": np.int64(1),
    }  # fmt: skip
    nodes = [node(kind, names, ["c"]), node("Add", ["x", "c"], ["y"])]
    data = onnx_model(nodes, {"x": (3,)}, constants).SerializeToString()
    refused(
        FormatError,
        f"net.onnx: node 0 ({kind} ''): constant must hold at most 67108864 elements, not {size}",
        lambda: read_onnx(data, Path("net.onnx")),
    )


def test_constants_that_double_without_end() -> None:
    nodes = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    nodes.append(node("Add", ["x", "c40"], ["y"]))
    made = onnx_model(nodes, {"x": (3,)}, {"c0": np.zeros(1 << 16, np.float32)})
    refused(
        FormatError,
        "net.onnx: node 9 (Concat ''): constants computed from others must be few; they never end",
        lambda: read_onnx(made.SerializeToString(), Path("net.onnx")),
    )


def test_scales_along_the_wrong_axis() -> None:
    """A kernel reads one multiplier per output channel; with fewer it would read past the end."""
    rng = np.random.default_rng(0)
    tensors = (
        Tensor("x", (1, 4), "int8", (0.1,)),
        Tensor("w", (8, 4), "int8", (0.1,) * 4, (), 1, rng.integers(-9, 9, (8, 4))),
        Tensor("y", (1, 8), "int8", (0.1,)),
    )
    made = Model(tensors, (Operator("FULLY_CONNECTED", ("x", "w", ""), ("y",)),), ("x",), ("y",))
    graph = read_tflite(tflite(made), Path("net.tflite"))
    refused(
        GraphError,
        "node 'y' (fully_connected): 'w' must have one scale, or one per index of axis 0, "
        "not of axis 1",
        lambda: hwsim.run(graph, np.zeros((1, 4), np.int8)),
    )


def test_bias_that_overflows_its_own_bound() -> None:
    tensors = (
        Tensor("x", (1, 4), "int8", (0.1,)),
        Tensor("w", (1, 4), "int8", (0.1,), data=np.ones((1, 4))),
        Tensor("b", (1,), "int64", (0.01,), data=np.array([2**63 - 1])),
        Tensor("y", (1, 1), "int8", (0.1,)),
    )
    made = Model(tensors, (Operator("FULLY_CONNECTED", ("x", "w", "b"), ("y",)),), ("x",), ("y",))
    graph = read_tflite(tflite(made), Path("net.tflite"))
    refused(
        GraphError,
        "node 'y': the accumulator must fit 32 bits, not 65; narrow the operands or split the "
        "reduction",
        lambda: hwsim.run(graph, np.zeros((1, 4), np.int8)),
    )


def test_inputs_with_different_first_axes_run_in_batches() -> None:
    tensors = (
        Tensor("a", (2, 3), "int8", (0.1,)),
        Tensor("b", (1, 3), "int8", (0.1,)),
        Tensor("y", (2, 3), "int8", (0.1,)),
    )
    made = Model(tensors, (Operator("ADD", ("a", "b"), ("y",)),), ("a", "b"), ("y",))
    graph = read_tflite(tflite(made), Path("net.tflite"))
    rng = np.random.default_rng(0)
    a, b = rng.integers(-50, 50, (6, 3)).astype(np.int8), rng.integers(-50, 50, (3, 3)).astype("i1")
    together = hwsim.run(graph, {"a": a, "b": b})["y"]
    apart = [
        hwsim.run(graph, {"a": a[2 * i : 2 * i + 2], "b": b[i : i + 1]})["y"] for i in range(3)
    ]
    assert np.array_equal(together, np.concatenate(apart))


def test_hybrid_operators() -> None:
    path = MODELS / "mlperf_tiny/kws_ref_model_float32.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is missing: 1 case of a hybrid model needs it")
    graph = hwsim.load(path)
    name = graph.nodes[next(i for i, n in enumerate(graph.nodes) if "conv" in n.op.value)].name
    feed = hwsim.random_inputs(graph, 1)
    refused(
        GraphError,
        f"node {name!r} (conv_2d): input must hold integer codes like the weights, not float32; "
        "hybrid operators do not run",
        lambda: hwsim.run(graph, feed),
    )
    refused(
        GraphError,
        "graph 'kws_ref_model_float32' must hold floats, not quantized codes",
        lambda: hwsim.run(graph, feed, profile="float"),
    )
