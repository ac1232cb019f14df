"""Reader of TFLite files: FlatBuffer tables to a validated Graph, no TensorFlow."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import (
    FormatError,
    GraphError,
    HwsimError,
    UnsupportedOperatorError,
    shown,
)
from hwsim.formats.flatbuffer import Buffer, Record
from hwsim.formats.tflite_ops import READERS, Operator, Tensor
from hwsim.formats.tflite_recurrent import RECURRENT_READERS
from hwsim.formats.tflite_schema import (
    BUILTIN_NAMES,
    TENSOR_TYPES,
    BufferSlot,
    ModelSlot,
    OperatorCodeSlot,
    OperatorSlot,
    QuantizationSlot,
    SubGraphSlot,
    TensorSlot,
)
from hwsim.graph import Graph, Node, Origin, Value, rebuild
from hwsim.quant import FLOAT32, DType, IntType, QuantParams
from hwsim.shapes import MAX_AXES, MAX_ELEMENTS

IDENTIFIER = b"TFL3"
_VERSION = 3
ALL_READERS = {**READERS, **RECURRENT_READERS}

_TYPES: Mapping[str, DType] = {
    "FLOAT32": FLOAT32,
    "INT2": IntType(2),
    "INT4": IntType(4),
    "INT8": IntType(8),
    "UINT8": IntType(8, signed=False),
    "INT16": IntType(16),
    "INT32": IntType(32),
    "INT64": IntType(64),
}
# LiteRT refuses these where int16 codes have a zero point; TFLite Micro's convolutions ignore it.
_SYMMETRIC_INT16 = frozenset(
    {
        "ADD", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXP",
        "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC", "MEAN", "MUL", "QUANTIZE", "RELU",
        "RELU6", "RELU_N1_TO_1", "RSQRT", "SOFTMAX", "SUB", "TANH", "TRANSPOSE_CONV",
    }
)  # fmt: skip


def read_tflite(data: bytes, path: Path) -> Graph:
    """Return the graph of a `.tflite` file's first subgraph.

    Args:
        data: The whole file.
        path: What errors and the graph's origin call it.

    Raises:
        FormatError: If the bytes are no valid TFLite model.
        UnsupportedOperatorError: If an operator has no reader; the message lists those that do.
        GraphError: If shapes, types or parameters contradict each other.
    """
    buffer = Buffer(path.name, data)
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise FormatError(
            f"{path.name}: file must carry the identifier 'TFL3' at byte 4, "
            f"not {data[4:8]!r} ({len(data)} bytes)"
        )
    model = Record.root(buffer)
    version = model.scalar(ModelSlot.VERSION, "uint32", 0)
    if version != _VERSION:
        raise FormatError(f"{path.name}: schema version must be {_VERSION}, not {version}")
    subgraphs = model.records(ModelSlot.SUBGRAPHS)
    if len(subgraphs) != 1:
        raise FormatError(f"{path.name}: subgraphs must be 1, not {len(subgraphs)}")
    subgraph = subgraphs[0]
    tensors = _read_tensors(buffer, model, subgraph)
    inputs = _names(buffer, tensors, subgraph.ints(SubGraphSlot.INPUTS), "graph input")
    outputs = _names(buffer, tensors, subgraph.ints(SubGraphSlot.OUTPUTS), "graph output")
    if not inputs or not outputs:
        raise FormatError(f"{path.name}: model must have an input and an output, not neither")
    nodes: list[Node] = []
    values = {tensor.value.name: tensor.value for tensor in tensors}
    for operator in _read_operators(buffer, model, subgraph, tensors):
        made, extra = _translate(buffer, operator)
        nodes += made
        values |= {value.name: value for value in extra}
    graph = _assemble(path, data, nodes, values, inputs, outputs, tensors)
    return rebuild(graph, graph.nodes, graph.values.values())


def _assemble(
    path: Path,
    data: bytes,
    nodes: Sequence[Node],
    values: Mapping[str, Value],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    tensors: Sequence[Tensor],
) -> Graph:
    quantized = any(value.quant is not None for value in values.values())
    try:
        return Graph(
            name=path.stem,
            values=values,
            nodes=tuple(nodes),
            input_names=inputs,
            output_names=outputs,
            profile="tflite_ref" if quantized else "",
            origin=Origin(
                path,
                hashlib.sha256(data).hexdigest(),
                {tensor.value.name: index for index, tensor in enumerate(tensors)},
            ),
        )
    except HwsimError as error:
        raise GraphError(f"{path.name}: {error}") from error


def _names(
    buffer: Buffer, tensors: Sequence[Tensor], indices: Sequence[int], what: str
) -> tuple[str, ...]:
    for index in indices:
        if not 0 <= index < len(tensors):
            raise buffer.fail(f"{what} {index} is not one of its {len(tensors)} tensors")
    return tuple(tensors[index].value.name for index in indices)


def _read_tensors(buffer: Buffer, model: Record, subgraph: Record) -> list[Tensor]:
    buffers = model.records(ModelSlot.BUFFERS)
    tensors: list[Tensor] = []
    taken: set[str] = set()
    for index, record in enumerate(subgraph.records(SubGraphSlot.TENSORS)):
        # Names need not be unique, nor present, in a file; a graph's are both.
        text = record.text(TensorSlot.NAME) or f"tensor_{index}"
        name = "".join(letter if letter.isprintable() else "?" for letter in text)
        name = name if name not in taken else f"{name}#{index}"
        while name in taken:
            name += "'"
        taken.add(name)
        try:
            tensors.append(_read_tensor(buffer, buffers, record, name))
        except HwsimError as error:
            if str(error).startswith(buffer.name):
                raise
            raise GraphError(f"{buffer.name}: tensor {index} ({shown(name)!r}): {error}") from error
    return tensors


def _read_tensor(buffer: Buffer, buffers: Sequence[Record], record: Record, name: str) -> Tensor:
    code = record.scalar(TensorSlot.TYPE, "int8", 0)
    kind = TENSOR_TYPES.get(code, str(code))
    if kind not in _TYPES:
        raise FormatError(f"type must be one of {', '.join(_TYPES)}, not {kind}")
    if record.record(TensorSlot.SPARSITY) is not None:
        raise FormatError("tensor must be dense, not sparse")
    dtype = _TYPES[kind]
    shape = record.ints(TensorSlot.SHAPE)
    if len(shape) > MAX_AXES:
        raise FormatError(f"shape must have at most {MAX_AXES} axes, not {len(shape)}")
    if min(shape, default=1) < 0 or math.prod(shape) > MAX_ELEMENTS:
        raise FormatError(
            f"shape must hold at most {MAX_ELEMENTS} elements on axes of 0 or more, not {shape}"
        )
    data = _read_data(buffer, buffers, record, dtype, shape)
    quant, problem = _read_quant(record, dtype, len(shape))
    if 0 in shape:
        # An empty constant is legal in a file (a scalar's shape); no operator computes on one.
        return Tensor(Value(name, (), IntType(32)), np.zeros(0, np.int32), True, problem)
    return Tensor(Value(name, shape, dtype, quant, data), data, False, problem)


def _read_data(
    buffer: Buffer,
    buffers: Sequence[Record],
    record: Record,
    dtype: DType,
    shape: tuple[int, ...],
) -> NDArray[np.generic] | None:
    index = record.scalar(TensorSlot.BUFFER, "uint32", 0)
    if index >= len(buffers):
        raise FormatError(f"buffer must be one of {len(buffers)}, not {index}")
    raw = buffers[index].array(BufferSlot.DATA, "uint8")
    offset = buffers[index].scalar(BufferSlot.OFFSET, "uint64", 0)
    if (raw is None or raw.size == 0) and offset > 1:
        size = buffers[index].scalar(BufferSlot.SIZE, "uint64", 0)
        if size == 0:
            return None
        if offset + size > len(buffer.data):
            raise FormatError(f"buffer must end inside the file, not at byte {offset + size}")
        buffer.charge(size)
        raw = np.frombuffer(buffer.data, np.uint8, count=size, offset=offset)
    if raw is None or raw.size == 0:
        return None
    elements = math.prod(shape)
    packed = isinstance(dtype, IntType) and dtype.bits < 8
    expected = -(-elements * dtype.bits // 8)
    if raw.size != expected:
        raise FormatError(
            f"data must be {expected} bytes for {dtype} of shape {shape}, not {raw.size}"
        )
    if packed:
        return _unpacked(raw, dtype.bits, elements).reshape(shape)
    little_endian = dtype.storage.newbyteorder("<")
    data = np.frombuffer(raw.tobytes(), little_endian).astype(dtype.storage).reshape(shape)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise FormatError("constant must be finite, not NaN or infinite")
    return data


def _unpacked(raw: NDArray[np.uint8], bits: int, elements: int) -> NDArray[np.int8]:
    """Return signed codes that share bytes, the lowest bits first."""
    places = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (raw[:, np.newaxis] >> places).reshape(-1)[:elements]
    # Left to the top of a byte and back: the sign comes along.
    unused = 8 - bits
    return (codes << unused).astype(np.uint8).view(np.int8) >> unused


def _read_quant(record: Record, dtype: DType, rank: int) -> tuple[QuantParams | None, str]:
    """Return (parameters, "") or (None, what is wrong with them).

    Any other problem is only raised where parameters are read: nothing asks for a bias' own scale.
    """
    table = record.record(TensorSlot.QUANTIZATION)
    if table is None or not isinstance(dtype, IntType):
        return None, ""
    scales = table.array(QuantizationSlot.SCALE, "float32")
    if scales is None or scales.size == 0:
        return None, ""
    zero_points = table.ints(QuantizationSlot.ZERO_POINT, "int64") or (0,) * scales.size
    axis = table.scalar(QuantizationSlot.DIMENSION, "int32", 0)
    # The runtime looks at it even where one scale serves the whole tensor.
    if not 0 <= axis < max(rank, 1):
        raise FormatError(f"quantized_dimension must be in [0, {max(rank, 1) - 1}], not {axis}")
    try:
        return (
            QuantParams(
                tuple(float(scale) for scale in scales),
                zero_points,
                axis if scales.size > 1 else None,
            ),
            "",
        )
    except HwsimError as error:
        return None, str(error)


def _read_operators(
    buffer: Buffer, model: Record, subgraph: Record, tensors: Sequence[Tensor]
) -> list[Operator]:
    codes = [
        (
            max(
                record.scalar(OperatorCodeSlot.BUILTIN_CODE, "int32", 0),
                record.scalar(OperatorCodeSlot.DEPRECATED_BUILTIN_CODE, "int8", 0),
            ),
            record.text(OperatorCodeSlot.CUSTOM_CODE),
        )
        for record in model.records(ModelSlot.OPERATOR_CODES)
    ]
    operators = []
    for index, record in enumerate(subgraph.records(SubGraphSlot.OPERATORS)):
        opcode = record.scalar(OperatorSlot.OPCODE_INDEX, "uint32", 0)
        if opcode >= len(codes):
            raise buffer.fail(f"operator {index} uses code {opcode} of {len(codes)}")
        code, custom = codes[opcode]
        known = 0 <= code < len(BUILTIN_NAMES)
        name = BUILTIN_NAMES[code] if known else f"builtin {code}"
        if name not in ALL_READERS:
            kind = f"CUSTOM ({shown(custom)})" if name == "CUSTOM" else name
            raise UnsupportedOperatorError(
                f"{buffer.name}: operator {index} must be one of {', '.join(sorted(ALL_READERS))}, "
                f"not {kind}"
            )
        operators.append(
            Operator(
                index=index,
                kind=name,
                inputs=_pick(buffer, tensors, record.ints(OperatorSlot.INPUTS), index),
                outputs=_pick(buffer, tensors, record.ints(OperatorSlot.OUTPUTS), index),
                options=record.record(OperatorSlot.OPTIONS),
            )
        )
    return operators


def _pick(
    buffer: Buffer, tensors: Sequence[Tensor], indices: Sequence[int], operator: int
) -> tuple[Tensor | None, ...]:
    for index in indices:
        if not -1 <= index < len(tensors):
            raise buffer.fail(f"operator {operator} uses tensor {index} of {len(tensors)}")
    return tuple(None if index == -1 else tensors[index] for index in indices)


def _translate(buffer: Buffer, operator: Operator) -> tuple[list[Node], list[Value]]:
    place = f"{buffer.name}: operator {operator.index} ({operator.kind})"
    try:
        _check_symmetric(operator)
        return ALL_READERS[operator.kind](operator)
    except HwsimError as error:
        if str(error).startswith(buffer.name):
            raise
        raise type(error)(f"{place}: {error}") from error


def _check_symmetric(operator: Operator) -> None:
    """Refuse zero points of int16 codes that are read and written."""
    if operator.kind not in _SYMMETRIC_INT16:
        return
    values = [
        tensor.value for tensor in (*operator.inputs, *operator.outputs) if tensor is not None
    ]
    wide = [value for value in values if value.dtype == IntType(16)]
    for value in wide if len(wide) > 1 else ():  # one alone: QUANTIZE between widths
        if value.quant is not None and any(value.quant.zero_point):
            raise FormatError(
                f"zero point of int16 {value.name!r} must be 0, not {value.quant.zero_point[0]}"
            )
