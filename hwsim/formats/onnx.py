"""Reader of ONNX files: glue folded, images turned to NHWC, a validated Graph.

A quantized file (QDQ, QLinear operators, integer products) makes an integer graph whose profile is
`ort`; QDQ patterns are folded as `hwsim.formats.onnx_qdq` says.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from hwsim.formats.onnx_codes import COUNTS
from hwsim.formats.onnx_fold import FOLDABLE, MAX_FOLDED, constant_of, fold
from hwsim.formats.onnx_ops import READERS
from hwsim.formats.onnx_qdq import Folded, fold_qdq
from hwsim.formats.onnx_qonnx import DOMAINS, read_quantizer
from hwsim.formats.onnx_quantized import BETWEEN, QUANTIZED
from hwsim.formats.onnx_schema import (
    CODES,
    NARROW,
    NEWEST_OPSET,
    OLDEST_OPSET,
    array_of,
    attributes_of,
    check_foreign_node,
    check_node,
)
from hwsim.graph import Graph, Origin, Value
from hwsim.inputs import check_indices
from hwsim.layout import sink_transposes
from hwsim.ops import OPS, Op
from hwsim.quant import FLOAT32, DType, IntType
from hwsim.workload import Work

MAX_OUTPUTS = 1024

_INPUT_TYPES: Mapping[int, DType] = MappingProxyType(
    {
        onnx.TensorProto.FLOAT: FLOAT32,
        onnx.TensorProto.INT64: IntType(64),
        **CODES,
    }
)
_GLUE = ("Constant", "Identity", "Dropout", "Cast", *sorted(FOLDABLE))


def read_onnx(data: bytes, path: Path, facet: Facet = Facet.REALS) -> Graph:
    """Return the graph of an `.onnx` file, for batch 1 where the batch is symbolic.

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
    folded = fold_qdq(model.graph, opset)
    builder = Builder(opset, max(MAX_FOLDED, len(data)), facet=facet)
    try:
        inputs = _read_border(builder, model.graph)
    except HwsimError as error:
        raise type(error)(f"{path.name}: {error}") from error
    for index, node in enumerate(folded.nodes):
        try:
            _read_node(builder, node)
            _refuse_reals(builder, node, folded)
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
        if initializer.data_type in NARROW:
            builder.narrow[initializer.name] = NARROW[initializer.data_type]
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
    if not builder.quantized:
        _count(builder)
    origin = Origin(path, hashlib.sha256(data).hexdigest())
    try:
        profile = "ort" if builder.quantized else ""
        nodes = tuple(builder.nodes)
        graph = Graph(path.stem, builder.values, nodes, inputs, names, profile, origin)
        check_indices(graph)
        sunk, orders = sink_transposes(graph)
        return replace(sunk, origin=replace(origin, orders=orders))
    except HwsimError as error:
        raise GraphError(f"{path.name}: {error}") from error


def _count(builder: Builder) -> None:
    """Let codes that no operator gave a scale stand for themselves: they are moved alone."""
    for name, value in builder.values.items():
        if isinstance(value.dtype, IntType) and value.dtype.bits < 32 and value.data is None:
            builder.values[name] = replace(value, quant=COUNTS)
            builder.quantized = True


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
        raise FormatError(f"{place} must be FLOAT or integers, not {shown(kind)}")
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
    domain = "" if node.domain == "ai.onnx" else node.domain
    reader = QUANTIZED.get((domain, node.op_type)) or (
        None if domain else READERS.get(node.op_type)
    )
    if reader is None and (domain or node.op_type not in _GLUE):
        raise _unsupported(f"{domain}.{node.op_type}" if domain else node.op_type)
    if domain:
        check_foreign_node(node)
    else:
        check_node(node, builder.opset)
    for name in filter(None, node.output):
        builder.check_name(name)
    names = [builder.resolve(name) if name else "" for name in node.input]
    if not domain and _fold_node(builder, node, names):
        return
    if reader is None:
        raise FormatError("operator must have constant inputs alone; it computes shapes")
    for name in filter(None, names):
        if name not in builder.constants and name not in builder.values:
            raise GraphError(f"input {shown(name)!r} must be made before it is read")
    reader(builder, node, names)


# Where reals may stand in a graph on codes: at its ends, and moved on the way.
_ENDS = frozenset({Op.QUANTIZE, Op.DEQUANTIZE, Op.DYNAMIC_QUANTIZE})


def _refuse_reals(builder: Builder, node: onnx.NodeProto, folded: Folded) -> None:
    """Refuse an operator on reals that were codes: a QDQ file leaves its arithmetic open."""
    if not builder.nodes or not node.output or builder.nodes[-1].outputs[0] not in node.output:
        return
    made = builder.nodes[-1]
    if made.op in _ENDS or OPS[made.op].work is Work.MOVE:
        return
    for name in made.inputs:
        if name in builder.dequantized:
            reason = folded.reasons.get(node.output[0], "it has no form on codes there")
            raise UnsupportedOperatorError(
                "operator on dequantized codes must fold into one on codes under profile ort; "
                f"{reason}"
            )


def _fold_node(builder: Builder, node: onnx.NodeProto, names: Sequence[str]) -> bool:
    """File what a node makes if that is known before a run; return whether it is."""
    if node.op_type == "Constant":
        builder.add_constant(node.output[0], constant_of(node))
        for attribute in node.attribute:
            if attribute.name == "value" and attribute.t.data_type in NARROW:
                builder.narrow[node.output[0]] = NARROW[attribute.t.data_type]
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
    quantized = (name for domain, name in QUANTIZED if domain != BETWEEN)
    known = ", ".join(sorted({*READERS, *_GLUE, *quantized}))
    return UnsupportedOperatorError(f"operator must be one of {known}, not {shown(kind)}")
