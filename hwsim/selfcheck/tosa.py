"""Networks against the TOSA reference model, every value up to the softmax.

A model is converted by Arm's `tosa-converter-for-tflite` and `tosa-opt`, which are taken from PATH
and must share an environment with the Python module `tosa_reference_model`.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import OracleError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from hwsim.quant import IntType
from hwsim.selfcheck.check import Check, Places, Progress

AREA, PROFILE, AGAINST = "whole networks", "tosa", "TOSA reference model"
NETWORKS = ("kws_ref_model", "vww_96_int8", "pretrainedResnet_quant", "ad01_int8")
ENTRIES = 4
_SEED = 20_261_121
_TOOLS = ("tosa-converter-for-tflite", "tosa-opt")
_WORKER = Path(__file__).with_name("tosa_worker.py")
# A batch that the file leaves open becomes 1.
_OPEN_BATCH = ((r"tensor<\?x", "tensor<1x"), (r"(const_shape.*)dense<\[-1,", r"\1dense<[1,"))


def tosa(places: Places, progress: Progress) -> Iterator[Check]:
    """Run random codes through every network; softmax has no definition in TOSA."""
    missing = _missing()
    for name in NETWORKS:
        path = places.models / "mlperf_tiny" / f"{name}.tflite"
        lacks = missing or ("" if path.is_file() else f"needs models/mlperf_tiny/{path.name}")
        if lacks:
            yield Check(AREA, name, PROFILE, AGAINST, 0, 1, 0, 0, lacks)
            continue
        progress(f"{AGAINST}: {name}")
        differ, elements = compare(path)
        note = f"{differ} elements differ" if differ else ""
        yield Check(AREA, name, PROFILE, AGAINST, 1, 0, int(differ > 0), elements, note)


def _missing() -> str:
    """Return what the area needs and does not have."""
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            return f"needs {tool} on PATH (pip install tosa-tools tosa-converter-for-tflite)"
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "needs ai-edge-litert"
    return ""


def compare(path: Path) -> tuple[int, int]:
    """Return how many elements of a network's values differ, and how many were compared.

    Raises:
        OracleError: If a tool refuses the network.
    """
    content, ids = opened(path.read_bytes())
    graph = read_tflite(content, path)
    (x,) = graph.inputs
    rng = np.random.default_rng(_SEED)
    dtype = x.dtype
    assert isinstance(dtype, IntType)
    codes = rng.integers(dtype.min, dtype.max, (ENTRIES, *x.shape), dtype.storage, endpoint=True)
    theirs = _run_reference(content, codes)
    rows = codes.reshape(-1, *x.shape[1:])
    ours = execute(graph, PROFILES[PROFILE], {x.name: rows}, keep_all=True)
    names = _names(graph, ids)
    differ = elements = 0
    for name, array in zip(names, theirs, strict=True):
        differ += int(np.count_nonzero(ours[name].reshape(-1) != array.reshape(-1)))
        elements += array.size
    return differ, elements


def _names(graph: Graph, ids: list[int]) -> list[str]:
    assert graph.origin is not None
    by_id = {index: name for name, index in graph.origin.tensor_ids.items()}
    return [by_id[index] for index in ids]


def opened(content: bytes) -> tuple[bytes, list[int]]:
    """Return a model without its softmax, all it computes as outputs, and their tensors."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    kinds = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    softmax = schema.BuiltinOperator.SOFTMAX
    graph.operators = [op for op in graph.operators if kinds[op.opcodeIndex] != softmax]
    ids = [int(index) for op in graph.operators for index in op.outputs]
    graph.outputs = ids
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), ids


def _run_reference(content: bytes, codes: NDArray[Any]) -> list[NDArray[Any]]:
    """Return every output of a model as the reference model computes it."""
    with tempfile.TemporaryDirectory() as folder:
        model, text, binary, given, made = (
            Path(folder, name)
            for name in ("model.tflite", "model.mlir", "model.tosa", "inputs.npy", "outputs.npz")
        )
        model.write_bytes(content)
        np.save(given, codes)
        _call("tosa-converter-for-tflite", str(model), "--text", "-o", str(text))
        lines = text.read_text("utf-8")
        for pattern, replacement in _OPEN_BATCH:
            lines = re.sub(pattern, replacement, lines)
        text.write_text(lines, "utf-8")
        _call(
            "tosa-opt", str(text), "--tosa-serialize", f"--tosa-flatbuffer-filename={binary}",
            "-o", str(Path(folder, "ignored.mlir")),
        )  # fmt: skip
        tool = shutil.which("tosa-opt")
        assert tool is not None
        python = Path(tool).parent / "python"
        _call(str(python), "-I", str(_WORKER), str(binary), str(given), str(made))
        with np.load(made, allow_pickle=False) as archive:
            return [archive[str(i)] for i in range(len(archive.files))]


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OracleError(f"{Path(command[0]).name} must accept the network; it said: {said}")
