"""Write small `.tflite` files: a handful of tensors and operators as bytes.

A `Model` is plain data. `Model.to_bytes` needs ai_edge_litert (the schema) and flatbuffers;
building one and giving it to `tests.oracle.graph` needs neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Builtin operator -> name of its options table without the suffix "Options".
OPTIONS = {
    "ADD": "Add",
    "AVERAGE_POOL_2D": "Pool2D",
    "BATCH_MATMUL": "BatchMatMul",
    "CONCATENATION": "Concatenation",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "DEQUANTIZE": "Dequantize",
    "EMBEDDING_LOOKUP": None,
    "EXP": "Exp",
    "EXPAND_DIMS": "ExpandDims",
    "FULLY_CONNECTED": "FullyConnected",
    "GATHER": "Gather",
    "GELU": "Gelu",
    "HARD_SWISH": "HardSwish",
    "LEAKY_RELU": "LeakyRelu",
    "LOGISTIC": None,
    "MAXIMUM": "MaximumMinimum",
    "MAX_POOL_2D": "Pool2D",
    "MEAN": "Reducer",
    "MINIMUM": "MaximumMinimum",
    "MUL": "Mul",
    "PACK": "Pack",
    "PAD": "Pad",
    "PADV2": "PadV2",
    "QUANTIZE": "Quantize",
    "RELU": None,
    "RELU6": None,
    "RELU_N1_TO_1": None,
    "RESHAPE": "Reshape",
    "RSQRT": None,
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SPLIT": "Split",
    "SPLIT_V": "SplitV",
    "SQUARED_DIFFERENCE": "SquaredDifference",
    "SQUEEZE": "Squeeze",
    "STRIDED_SLICE": "StridedSlice",
    "SUB": "Sub",
    "SVDF": "SVDF",
    "TANH": None,
    "TRANSPOSE": "Transpose",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    "TRANSPOSE_CONV": "TransposeConv",
    "UNPACK": "Unpack",
}


# Types of which several codes share a byte.
PACKED_BITS = {"int4": 4, "int2": 2}


def packed_codes(data: np.ndarray, bits: int) -> np.ndarray:
    """Return signed codes as bytes, the first in the lowest bits."""
    packed = np.zeros(-(-data.size * bits // 8), np.uint8)
    for place, code in enumerate(data.ravel().tolist()):
        packed[place * bits // 8] |= code % 2**bits << place * bits % 8
    return packed


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor; constant where `data` is given, float or index tensor where `scale` is empty.

    `scale` and `zero_point` have one entry, or one per channel of `axis`. Scales are rounded to
    float32 here, so that an oracle sees what the file holds. A variable keeps a state between runs.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None
    variable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "scale", tuple(float(np.float32(s)) for s in self.scale))
        if self.scale and not self.zero_point:
            object.__setattr__(self, "zero_point", (0,) * len(self.scale))
        if self.data is not None:
            stored = np.asarray(self.data, "int8" if self.dtype in PACKED_BITS else self.dtype)
            if stored.shape != self.shape:
                raise ValueError(f"{self.name}: data has shape {stored.shape}, not {self.shape}")
            object.__setattr__(self, "data", stored)


@dataclass(frozen=True)
class Operator:
    """One operator: builtin name, tensor names ("" for an absent input), and its options.

    Options carry the schema's field names; `padding` and `fusedActivationFunction` are given by
    name ("SAME", "RELU6").
    """

    builtin: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """Tensors, operators in order, and the names of the graph's inputs and outputs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def to_bytes(self) -> bytes:
        """Return the model as a `.tflite` file."""
        return write(self.tensors, self.operators, self.inputs, self.outputs)


def write(
    tensors: Sequence[Tensor],
    operators: Sequence[Operator],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Return a `.tflite` file with one subgraph."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    model.description = "written by tests/tflite_writer.py"
    model.buffers = [schema.BufferT()]
    index = {tensor.name: position for position, tensor in enumerate(tensors)}
    if len(index) != len(tensors):
        raise ValueError("two tensors share a name")
    index[""] = -1

    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = []
    for tensor in tensors:
        packed = schema.TensorT()
        packed.name = tensor.name
        packed.shape = list(tensor.shape)
        packed.hasRank = True
        packed.isVariable = tensor.variable
        packed.type = getattr(schema.TensorType, tensor.dtype.upper())
        if tensor.data is None:
            packed.buffer = 0
        else:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(tensor.data.tobytes(), np.uint8)
            if tensor.dtype in PACKED_BITS:
                buffer.data = packed_codes(tensor.data, PACKED_BITS[tensor.dtype])
            packed.buffer = len(model.buffers)
            model.buffers.append(buffer)
        if tensor.scale:
            packed.quantization = schema.QuantizationParametersT()
            packed.quantization.scale = np.array(tensor.scale, np.float32)
            packed.quantization.zeroPoint = np.array(tensor.zero_point, np.int64)
            packed.quantization.quantizedDimension = tensor.axis
        graph.tensors.append(packed)

    codes: list[str] = []
    graph.operators = []
    for operator in operators:
        if operator.builtin not in codes:
            codes.append(operator.builtin)
        packed = schema.OperatorT()
        packed.opcodeIndex = codes.index(operator.builtin)
        packed.inputs = [index[name] for name in operator.inputs]
        packed.outputs = [index[name] for name in operator.outputs]
        family = OPTIONS[operator.builtin]
        if family is not None:
            packed.builtinOptionsType = getattr(schema.BuiltinOptions, f"{family}Options")
            packed.builtinOptions = getattr(schema, f"{family}OptionsT")()
        for name, value in operator.options.items():
            if not hasattr(packed.builtinOptions, name):
                raise ValueError(f"{operator.builtin} has no option {name!r}")
            if name == "padding":
                value = getattr(schema.Padding, value)
            elif name == "fusedActivationFunction":
                value = getattr(schema.ActivationFunctionType, value)
            setattr(packed.builtinOptions, name, value)
        graph.operators.append(packed)
    graph.inputs = [index[name] for name in inputs]
    graph.outputs = [index[name] for name in outputs]
    model.subgraphs = [graph]

    model.operatorCodes = []
    for builtin in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, builtin)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        model.operatorCodes.append(code)

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
