"""Reader of float ONNX files: glue folded, images turned to NHWC, a validated float Graph."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from hwsim.errors import FormatError, GraphError, HwsimError, UnsupportedOperatorError
from hwsim.formats.onnx_fold import FOLDABLE, constant_of, fold
from hwsim.formats.onnx_ops import READERS, Builder
from hwsim.graph import Graph, Origin, Value
from hwsim.layout import sink_transposes
from hwsim.quant import FLOAT32

_GLUE = ("Constant", "Identity", "Dropout", "Cast", *sorted(FOLDABLE))


def read_onnx(data: bytes, path: Path) -> Graph:
    """Return the float graph of an `.onnx` file, for batch 1 where the batch is symbolic.

    Graph inputs and outputs keep the file's names and axis order; inside, images are NHWC.

    Raises:
        FormatError: If the bytes are no ONNX model, or a constant is broken.
        UnsupportedOperatorError: If an operator has no reader; the message lists those that do.
        GraphError: If shapes contradict each other.
    """
    model = _parse(data, path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < 7:
        raise FormatError(f"{path.name}: opset must be 7 or newer, not {opset}")
    builder = Builder(opset)
    for initializer in model.graph.initializer:
        builder.constants[initializer.name] = _tensor(initializer, path)
    inputs = []
    for info in model.graph.input:
        if info.name not in builder.constants:
            builder.add_value(_input(info, path))
            inputs.append(info.name)
    for index, node in enumerate(model.graph.node):
        place = f"{path.name}: node {index} ({node.op_type} {node.name!r})"
        try:
            _read_node(builder, node)
        except HwsimError as error:
            raise type(error)(f"{place}: {error}") from error
    outputs = tuple(builder.resolve(info.name) for info in model.graph.output)
    if not inputs or not outputs:
        raise FormatError(f"{path.name}: model must have an input and an output, not neither")
    return _finish(builder, path, data, tuple(inputs), outputs, model)


def _finish(
    builder: Builder,
    path: Path,
    data: bytes,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    model: onnx.ModelProto,
) -> Graph:
    names = tuple(info.name for info in model.graph.output)
    for name, made in zip(names, outputs, strict=True):
        if made not in builder.values or made in builder.constants:
            raise GraphError(f"{path.name}: output {name!r} must be computed, not a constant")
    origin = Origin(path, hashlib.sha256(data).hexdigest())
    try:
        graph = Graph(path.stem, builder.values, tuple(builder.nodes), inputs, outputs, "", origin)
        return sink_transposes(graph)
    except HwsimError as error:
        raise GraphError(f"{path.name}: {error}") from error


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise FormatError(f"{path.name}: file must be an ONNX model; it does not parse") from error
    if not model.graph.node:
        raise FormatError(f"{path.name}: file must be an ONNX model with nodes, not an empty one")
    for initializer in model.graph.initializer:
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            raise FormatError(
                f"{path.name}: initializer {initializer.name!r} must be stored in the file, "
                "not in external data"
            )
    return model


def _tensor(initializer: onnx.TensorProto, path: Path) -> NDArray[Any]:
    try:
        array = numpy_helper.to_array(initializer)
    except Exception as error:  # a broken tensor raises whatever the decoder met first
        raise FormatError(
            f"{path.name}: initializer {initializer.name!r} must be a well-formed tensor"
        ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FormatError(
            f"{path.name}: initializer {initializer.name!r} must be finite, not NaN or infinite"
        )
    return np.asarray(array)


def _input(info: onnx.ValueInfoProto, path: Path) -> Value:
    tensor = info.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise FormatError(f"{path.name}: input {info.name!r} must be FLOAT, not {kind}")
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(dim.dim_value)
        elif axis == 0:
            shape.append(1)
        else:
            raise FormatError(
                f"{path.name}: axis {axis} of input {info.name!r} must be a fixed size, "
                f"not {dim.dim_param or dim.dim_value!r}"
            )
    try:
        return Value(info.name, tuple(shape), FLOAT32)
    except HwsimError as error:
        raise FormatError(f"{path.name}: {error}") from error


def _read_node(builder: Builder, node: onnx.NodeProto) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise _unsupported(f"{node.domain}.{node.op_type}")
    names = [builder.resolve(name) if name else "" for name in node.input]
    if node.op_type == "Constant":
        builder.constants[node.output[0]] = constant_of(node)
        return
    if node.op_type == "Shape" and names[0] in builder.values:
        shape = np.array(builder.values[names[0]].shape, np.int64)
        attrs = builder.attributes(node)
        start, end = attrs.get("start", 0), attrs.get("end")
        builder.constants[node.output[0]] = shape[start:end]
        return
    known: Mapping[str, NDArray[Any]] = builder.constants
    if all(not name or name in known for name in names) and node.op_type in FOLDABLE:
        operands = [known[name] if name else None for name in names]
        for name, array in zip(node.output, fold(node, operands, builder.opset), strict=False):
            builder.constants[name] = array
        return
    if node.op_type not in READERS:
        raise _unsupported(node.op_type)
    for name in filter(None, names):
        if name not in known and name not in builder.values:
            raise GraphError(f"input {name!r} must be made before it is read")
    READERS[node.op_type](builder, node, names)


def _unsupported(kind: str) -> UnsupportedOperatorError:
    known = ", ".join(sorted({*READERS, *_GLUE}))
    return UnsupportedOperatorError(f"operator must be one of {known}, not {kind}")
