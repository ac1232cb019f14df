"""ONNX Runtime as an oracle of integer graphs: outputs, and every tensor that it can show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hwsim.errors import OracleError, shown
from hwsim.graph import Graph
from hwsim.oracles import ONNX_LEVELS, require_package, source_file


def run_onnx_codes(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], against: str, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return values of an integer ONNX graph as ONNX Runtime computes them, one thread.

    Outputs come from the model as it is; other values from a copy that shows them, which may hinder
    a fusion. On x86-64, ONNX Runtime fuses QDQ pairs of int8 activations only if
    `session.qdqisint8allowed` is set, as it is here.

    Args:
        graph: Read from an `.onnx` file that is still there.
        inputs: Arrays by input name.
        against: "onnxruntime" or "onnxruntime_unoptimized".
        names: Values wanted; those that are no tensors of the file are left out.

    Raises:
        OracleError: If ONNX Runtime is missing or refuses the model.
    """
    path = source_file(graph, ".onnx", against)
    require_package("onnxruntime", against, "onnxruntime")
    level = ONNX_LEVELS[against]
    data = path.read_bytes()
    made = run_model(data, inputs, graph, graph.output_names, level)
    model = onnx.load_model_from_string(data)
    tensors = {name for node in model.graph.node for name in node.output}
    hidden = [name for name in names if name in tensors and name not in made]
    if hidden:
        for name in hidden:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        made |= run_model(model.SerializeToString(), inputs, graph, hidden, level)
    assert graph.origin is not None
    orders = graph.origin.orders
    return {
        name: array.transpose(orders[name]) if name in orders else array
        for name, array in made.items()
    }


def run_model(
    data: bytes,
    inputs: Mapping[str, NDArray[Any]],
    graph: Graph,
    names: Sequence[str],
    level: str,
) -> dict[str, NDArray[Any]]:
    """Return tensors of a model as ONNX Runtime computes them, one of the graph's batches a time.

    Args:
        data: The model.
        inputs: Arrays by input name, whole multiples of the graph's batch.
        graph: What the model was read as.
        names: Outputs of the model.
        level: A name of `onnxruntime.GraphOptimizationLevel`.

    Raises:
        OracleError: If ONNX Runtime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    parts = []
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for index in range(_batches(graph, inputs)):
            feed = {
                value.name: inputs[value.name][
                    index * value.shape[0] : (index + 1) * value.shape[0]
                ]
                if value.shape
                else inputs[value.name]
                for value in graph.inputs
            }
            parts.append(session.run(list(names), feed))
    except Exception as error:  # ONNX Runtime raises classes of its own for everything
        reason = shown(str(error).splitlines()[0])
        raise OracleError(f"{graph.name}: onnxruntime must run the model; {reason}") from error
    if len(parts) == 1:
        return dict(zip(names, map(np.asarray, parts[0]), strict=True))
    return {name: np.concatenate([part[slot] for part in parts]) for slot, name in enumerate(names)}


def _batches(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> int:
    for value in graph.inputs:
        if value.shape:
            return int(inputs[value.name].shape[0]) // value.shape[0]
    return 1
