"""Reader of float ONNX files: glue folded, images turned to NHWC, a validated float Graph."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hwsim.errors import (
    FormatError,
    GraphError,
    HwsimError,
    UnsupportedOperatorError,
    shown,
)
from hwsim.formats.onnx_builder import Builder, Facet
from hwsim.formats.onnx_fold import FOLDABLE, MAX_FOLDED, constant_of, fold
from hwsim.formats.onnx_ops import READERS
from hwsim.formats.onnx_qonnx import DOMAINS, read_quantizer
from hwsim.formats.onnx_schema import (
    NEWEST_OPSET,
    OLDEST_OPSET,
    array_of,
    attributes_of,
    check_node,
)
from hwsim.graph import Graph, Origin, Value
from hwsim.inputs import check_indices
from hwsim.layout import sink_transposes
from hwsim.quant import FLOAT32, DType, IntType

MAX_OUTPUTS = 1024

_INPUT_TYPES: Mapping[int, DType] = MappingProxyType(
    {
        onnx.TensorProto.FLOAT: FLOAT32,
        onnx.TensorProto.INT32: IntType(32),
        onnx.TensorProto.INT64: IntType(64),
    }
)
_GLUE = ("Constant", "Identity", "Dropout", "Cast", *sorted(FOLDABLE))


def read_onnx(data: bytes, path: Path, facet: Facet = Facet.REALS) -> Graph:
    """Return the float graph of an `.onnx` file, for batch 1 where the batch is symbolic.

    Graph inputs and outputs keep the file's names and axis order; inside, images are NHWC. QONNX
    quantizers of constants become their `facet`, those of computed tensors FAKE_QUANT.

    Raises:
        FormatError: If the bytes are no ONNX model, or a constant is broken.
        UnsupportedOperatorError: If an operator has no reader; the message lists those that do.
        GraphError: If shapes contradict each other.
    """
    model = _parse(data, path)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise FormatError(
            f"{path.name}: opset must be in [{OLDEST_OPSET}, {NEWEST_OPSET}], not {opset}"
        )
    builder = Builder(opset, max(MAX_FOLDED, len(data)), facet=facet)
    try:
        inputs = _read_border(builder, model.graph)
    except HwsimError as error:
        raise type(error)(f"{path.name}: {error}") from error
    for index, node in enumerate(model.graph.node):
        try:
            _read_node(builder, node)
        except HwsimError as error:
            place = f"{path.name}: node {index} ({shown(node.op_type)} {shown(node.name)!r})"
            raise type(error)(f"{place}: {error}") from error
    outputs = tuple(builder.resolve(info.name) for info in model.graph.output)
    if not inputs or not outputs:
        raise FormatError(f"{path.name}: model must have an input and an output, not neither")
    return _finish(builder, path, data, inputs, outputs, model)


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    """Yield all that a graph names; protobuf hands out bytes where a string is no UTF-8."""
    for node in graph.node:
        yield from (node.op_type, node.name, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)


def _read_border(builder: Builder, graph: onnx.GraphProto) -> tuple[str, ...]:
    """File initializers and graph inputs; return the names of those that the caller gives."""
    for initializer in graph.initializer:
        builder.add_constant(initializer.name, _initializer(initializer))
    stored = set(builder.constants)
    inputs = [info for info in graph.input if info.name not in stored]
    for info in inputs:
        builder.check_name(info.name)
        builder.add_value(_input(info))
    return tuple(info.name for info in inputs)


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
        place = f"{path.name}: output {shown(name)!r}"
        if names.count(name) > 1:
            raise GraphError(f"{place} must be listed once")
        if made not in builder.values or made in builder.constants:
            raise GraphError(f"{place} must be computed, not a constant")
        if made != name:
            builder.rename(made, name)
    origin = Origin(path, hashlib.sha256(data).hexdigest())
    try:
        graph = Graph(path.stem, builder.values, tuple(builder.nodes), inputs, names, "", origin)
        check_indices(graph)
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
    if not all(isinstance(text, str) for text in _texts(model.graph)):
        raise FormatError(f"{path.name}: every name must be UTF-8; one is not")
    if len(model.graph.output) > MAX_OUTPUTS:
        raise FormatError(
            f"{path.name}: outputs must be at most {MAX_OUTPUTS}, not {len(model.graph.output)}"
        )
    return model


def _initializer(initializer: onnx.TensorProto) -> NDArray[Any]:
    what = f"initializer {shown(initializer.name)!r}"
    array = array_of(initializer, what)
    # Masks hold -inf; whatever else reads one refuses it.
    if array.dtype.kind == "f" and not (np.isfinite(array) | np.isneginf(array)).all():
        raise FormatError(f"{what} must be finite, not NaN or infinite")
    return array


def _input(info: onnx.ValueInfoProto) -> Value:
    place, tensor = f"input {shown(info.name)!r}", info.type.tensor_type
    if tensor.elem_type not in _INPUT_TYPES:
        kinds = onnx.TensorProto.DataType
        known = tensor.elem_type in kinds.values()
        kind = kinds.Name(tensor.elem_type) if known else f"type {tensor.elem_type}"
        raise FormatError(f"{place} must be FLOAT, INT32 or INT64, not {shown(kind)}")
    if not tensor.HasField("shape"):
        raise FormatError(f"{place} must have a shape; it is missing")
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(dim.dim_value)
        elif axis == 0:
            shape.append(1)
        else:
            given = shown(dim.dim_param) if dim.dim_param else dim.dim_value
            raise FormatError(f"axis {axis} of {place} must be a fixed size, not {given!r}")
    return Value(info.name, tuple(shape), _INPUT_TYPES[tensor.elem_type])


def _read_node(builder: Builder, node: onnx.NodeProto) -> None:
    if node.domain in DOMAINS:
        for name in filter(None, node.output):
            builder.check_name(name)
        read_quantizer(
            builder, node, [builder.resolve(name) if name else "" for name in node.input]
        )
        return
    if node.domain not in ("", "ai.onnx"):
        raise _unsupported(f"{node.domain}.{node.op_type}")
    if node.op_type not in READERS and node.op_type not in _GLUE:
        raise _unsupported(node.op_type)
    check_node(node, builder.opset)
    for name in filter(None, node.output):
        builder.check_name(name)
    names = [builder.resolve(name) if name else "" for name in node.input]
    if _fold_node(builder, node, names):
        return
    if node.op_type not in READERS:
        raise FormatError("operator must have constant inputs alone; it computes shapes")
    for name in filter(None, names):
        if name not in builder.constants and name not in builder.values:
            raise GraphError(f"input {shown(name)!r} must be made before it is read")
    READERS[node.op_type](builder, node, names)


def _fold_node(builder: Builder, node: onnx.NodeProto, names: Sequence[str]) -> bool:
    """File what a node makes if that is known before a run; return whether it is."""
    if node.op_type == "Constant":
        builder.add_constant(node.output[0], constant_of(node))
        return True
    if node.op_type == "Shape" and names[0] in builder.values:
        shape = np.array(builder.values[names[0]].shape, np.int64)
        attrs = attributes_of(node)
        start, end = attrs.get("start", 0), attrs.get("end")
        builder.add_constant(node.output[0], shape[start:end])
        return True
    known = builder.constants
    if node.op_type not in FOLDABLE or not all(not name or name in known for name in names):
        return False
    operands = [known[name] if name else None for name in names]
    for name, array in zip(node.output, fold(node, operands, builder.opset), strict=False):
        builder.spend(array.size)
        if name:
            builder.add_constant(name, array)
    return True


def _unsupported(kind: str) -> UnsupportedOperatorError:
    known = ", ".join(sorted({*READERS, *_GLUE}))
    return UnsupportedOperatorError(f"operator must be one of {known}, not {shown(kind)}")
