"""Small float ONNX models: one list of nodes, inputs with a symbolic batch, constants by name."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 8  # the newest that onnxruntime loads for every opset used here


def model(
    nodes: Sequence[onnx.NodeProto],
    shapes: Mapping[str, Sequence[int]],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    batch: int | str = "batch",
) -> onnx.ModelProto:
    """Return a model whose inputs have these shapes behind the batch axis."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
        for name, shape in shapes.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    stored = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in (constants or {}).items()
    ]
    graph = helper.make_graph(list(nodes), "small", inputs, results, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = IR_VERSION if opset <= 19 else 9
    return made
