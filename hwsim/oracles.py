"""Foreign runtimes as oracles: LiteRT and TFLite Micro for TFLite files, ONNX Runtime for ONNX."""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import OracleError
from hwsim.graph import Graph

TFLITE_MICRO = "tflite_micro"
LITERT_KERNELS = {"litert_ref": "reference", "litert": "default"}

Runtime = Callable[[Graph, Mapping[str, NDArray[Any]], Sequence[str]], dict[str, NDArray[Any]]]


def run_litert(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], against: str, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return values of a TFLite graph as LiteRT computes them.

    Args:
        graph: Read from a `.tflite` file that is still there.
        inputs: Codes by input name.
        against: "litert_ref" or "litert".
        names: Values wanted.

    Raises:
        OracleError: If LiteRT is missing, refuses the model, or dies.
    """
    _require("ai_edge_litert", against, "ai-edge-litert")
    shown, made = _in_a_process(
        graph, inputs, against, names, "hwsim.litert_worker", [LITERT_KERNELS[against]]
    )
    return dict(zip(shown, made, strict=True))


def run_tflite_micro(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return values of a TFLite graph as TFLite Micro computes them.

    Args:
        graph: Read from a `.tflite` file that is still there.
        inputs: Codes by input name.
        names: Values wanted; those that no operator of the file makes are left out.

    Raises:
        OracleError: If TFLite Micro is missing, refuses the model, or dies.
    """
    _require("tflite_micro", TFLITE_MICRO, "tflite-micro")
    made_by_nodes = [name for name in names if name in graph.producer]
    assert graph.origin is not None
    slots = ",".join(str(graph.origin.tensor_ids[name]) for name in graph.input_names)
    shown, made = _in_a_process(
        graph, inputs, TFLITE_MICRO, made_by_nodes, "hwsim.tflite_micro_worker", [slots]
    )
    return dict(zip(shown, made, strict=True))


def _in_a_process(
    graph: Graph,
    inputs: Mapping[str, NDArray[Any]],
    against: str,
    names: Sequence[str],
    module: str,
    arguments: Sequence[str],
) -> tuple[list[str], list[NDArray[Any]]]:
    """Return the values that the file has a tensor of, made by a worker module.

    Raises:
        OracleError: If the worker does not end well.
    """
    path = _source(graph, ".tflite", against)
    assert graph.origin is not None
    ids = graph.origin.tensor_ids
    shown = [name for name in names if name in ids]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        arrays: dict[str, Any] = {str(ids[name]): array for name, array in inputs.items()}
        np.savez(given, **arrays)
        wanted = ",".join(str(ids[name]) for name in shown)
        command = [
            sys.executable, "-m", module, str(path), str(given), str(made), *arguments, wanted,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not made.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise OracleError(
                f"{path.name}: {against} must run the model; its process ended with status "
                f"{done.returncode}: {last}"
            )
        with np.load(made, allow_pickle=False) as archive:
            return shown, [archive[str(ids[name])] for name in shown]


def run_onnxruntime(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of an ONNX file as ONNX Runtime computes them, one thread.

    Raises:
        OracleError: If ONNX Runtime is missing or refuses the model.
    """
    path = _source(graph, ".onnx", "onnxruntime")
    _require("onnxruntime", "onnxruntime", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        made = session.run(None, dict(inputs))
    except Exception as error:  # ONNX Runtime raises classes of its own for everything
        reason = str(error).splitlines()[0]
        raise OracleError(f"{path.name}: onnxruntime must run the model; {reason}") from error
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, made, strict=True))


def _source(graph: Graph, suffix: str, against: str) -> Path:
    """Return the graph's own file, unchanged since it was read."""
    origin = graph.origin
    if origin is None or origin.path.suffix != suffix:
        raise OracleError(f"{against}: the graph must come from a {suffix} file")
    if not origin.path.is_file():
        raise OracleError(f"{against}: {origin.path.name} must still be where it was read")
    if hashlib.sha256(origin.path.read_bytes()).hexdigest() != origin.sha256:
        raise OracleError(f"{against}: {origin.path.name} must not change after it was read")
    return origin.path


def _require(module: str, against: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise OracleError(
            f"{against}: {package} must be installed; pip install 'hwsim[oracle]' brings it"
        )


def _litert_side(kernels: str) -> Runtime:
    return lambda graph, inputs, names: run_litert(graph, inputs, kernels, names)


# What `validate` can run besides our own engines: graph, inputs and wanted values -> those that
# the runtime shows, by name.
RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        **{name: _litert_side(name) for name in LITERT_KERNELS},
        TFLITE_MICRO: run_tflite_micro,
        "onnxruntime": lambda graph, inputs, names: run_onnxruntime(graph, inputs),
    }
)
