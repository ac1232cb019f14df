"""Checks of ONNX nodes and tensors against the published operator schemas, before they are read.

A reader may then trust that required inputs and attributes are there and have their types.
"""

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, defs, helper, numpy_helper

from hwsim.errors import FormatError, shown
from hwsim.quant import IntType
from hwsim.shapes import MAX_AXES

OLDEST_OPSET = 7
NEWEST_OPSET = defs.onnx_opset_version()

# Two numbers for each axis of the largest rank; the pieces of a Split are counted apart.
_MOST_NUMBERS = {"split": 256, "value_ints": 1 << 16, "value_floats": 1 << 16}
_VARIADIC = defs.OpSchema.FormalParameterOption.Variadic
_REQUIRED = defs.OpSchema.FormalParameterOption.Single
_UNBOUNDED = ("min", "max")  # a clamp may be infinite

# Element types of codes that NumPy has no type for; absent where the onnx package is too old.
NARROW: Mapping[int, IntType] = MappingProxyType(
    {
        int(getattr(TensorProto, name)): dtype
        for name, dtype in (
            ("INT4", IntType(4)),
            ("UINT4", IntType(4, signed=False)),
            ("INT2", IntType(2)),
            ("UINT2", IntType(2, signed=False)),
        )
        if hasattr(TensorProto, name)
    }
)
CODES: Mapping[int, IntType] = MappingProxyType(
    {
        int(TensorProto.INT8): IntType(8),
        int(TensorProto.UINT8): IntType(8, signed=False),
        int(TensorProto.INT16): IntType(16),
        int(TensorProto.UINT16): IntType(16, signed=False),
        int(TensorProto.INT32): IntType(32),
        **NARROW,
    }
)


def check_node(node: NodeProto, opset: int) -> None:
    """Refuse a node that its operator's schema does not allow.

    Raises:
        FormatError: If the number of inputs or outputs, or an attribute's name or type, is wrong.
    """
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError as error:
        raise FormatError(f"operator must exist in opset {opset}; it does not") from error
    _check_count("inputs", len(node.input), schema.min_input, schema.max_input)
    _check_count("outputs", len(node.output), max(schema.min_output, 1), schema.max_output)
    _check_present("input", list(node.input), schema.inputs)
    _check_present("output", list(node.output), schema.outputs)
    for name, count in Counter(a.name for a in node.attribute).items():
        if count > 1:
            raise FormatError(f"attribute {shown(name)!r} must be given once, not {count} times")
    for attribute in node.attribute:
        _check_attribute(attribute, schema)
    given = {attribute.name for attribute in node.attribute}
    for name, formal in schema.attributes.items():
        if formal.required and name not in given:
            raise FormatError(f"attribute {name!r} must be given; it is missing")


# Inputs and attributes of operators outside ONNX; the onnx package has no schema of them.
_WINDOW = {
    "auto_pad": AttributeProto.STRING,
    "ceil_mode": AttributeProto.INT,
    "channels_last": AttributeProto.INT,
    "count_include_pad": AttributeProto.INT,
    "dilations": AttributeProto.INTS,
    "kernel_shape": AttributeProto.INTS,
    "pads": AttributeProto.INTS,
    "strides": AttributeProto.INTS,
}
_FOREIGN: Mapping[str, tuple[int, int, Mapping[str, int]]] = MappingProxyType(
    {
        "Clip": (5, 7, {"min": AttributeProto.FLOAT, "max": AttributeProto.FLOAT}),
        "DequantizeLinear": (2, 3, {"axis": AttributeProto.INT}),
        "Gelu": (5, 5, {"approximate": AttributeProto.STRING}),
        "HardSwish": (5, 5, {}),
        "Pad": (
            5, 8,
            {
                "mode": AttributeProto.STRING,
                "pads": AttributeProto.INTS,
                "value": AttributeProto.FLOAT,
            },
        ),
        "QGemm": (
            6, 9,
            {
                "alpha": AttributeProto.FLOAT,
                "beta": AttributeProto.FLOAT,
                "transA": AttributeProto.INT,
                "transB": AttributeProto.INT,
            },
        ),
        "QLinearAdd": (7, 8, {}),
        "QLinearAveragePool": (4, 5, _WINDOW),
        "QLinearConcat": (5, 4096, {"axis": AttributeProto.INT}),
        "QLinearGlobalAveragePool": (4, 5, {"channels_last": AttributeProto.INT}),
        "QLinearLeakyRelu": (4, 5, {"alpha": AttributeProto.FLOAT}),
        "QLinearMul": (7, 8, {}),
        "QLinearSigmoid": (4, 5, {}),
        "QLinearSoftmax": (4, 5, {"axis": AttributeProto.INT, "opset": AttributeProto.INT}),
        "QuantizeLinear": (2, 3, {"axis": AttributeProto.INT}),
        "Relu": (5, 5, {}),
        "Sub": (8, 8, {}),
        "Tanh": (5, 5, {}),
    }
)  # fmt: skip


def check_foreign_node(node: NodeProto) -> None:
    """Refuse a node of a domain other than ONNX's whose form is not the documented one.

    Raises:
        FormatError: If the number of inputs, or an attribute's name or type, is wrong.
    """
    fewest, most, attributes = _FOREIGN[node.op_type]
    _check_count("inputs", len(node.input), fewest, most)
    _check_count("outputs", len(node.output), 1, 1)
    if not node.input[0] and node.op_type != "QLinearConcat":
        raise FormatError("input 0 must be present")
    for name, count in Counter(a.name for a in node.attribute).items():
        if count > 1:
            raise FormatError(f"attribute {shown(name)!r} must be given once, not {count} times")
    for attribute in node.attribute:
        if attribute.name not in attributes:
            known = ", ".join(attributes) or "none"
            raise FormatError(f"attribute must be one of {known}, not {shown(attribute.name)!r}")
        _check_value(attribute, attributes[attribute.name])


def _check_count(what: str, count: int, fewest: int, most: int) -> None:
    if not fewest <= count <= most:
        allowed = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise FormatError(f"{what} must be {allowed}, not {count}")


def _check_present(what: str, names: list[str], formals: Any) -> None:
    for slot, name in enumerate(names):
        formal = formals[min(slot, len(formals) - 1)]
        if not name and formal.option in (_REQUIRED, _VARIADIC):
            raise FormatError(f"{what} {slot} ({formal.name}) must be present")


def _check_attribute(attribute: AttributeProto, schema: defs.OpSchema) -> None:
    name = attribute.name
    if name not in schema.attributes:
        known = ", ".join(schema.attributes) or "none"
        raise FormatError(f"attribute must be one of {known}, not {shown(name)!r}")
    kind: Any = schema.attributes[name].type  # an enumeration that its stub gives no number
    _check_value(attribute, int(kind))


def _check_value(attribute: AttributeProto, wanted: int) -> None:
    name = attribute.name
    if attribute.type != wanted:
        kinds = AttributeProto.AttributeType
        given = kinds.Name(attribute.type) if attribute.type in kinds.values() else attribute.type
        raise FormatError(f"attribute {name!r} must be {kinds.Name(wanted)}, not {given}")
    value = helper.get_attribute_value(attribute)
    if isinstance(value, list | tuple):
        most = _MOST_NUMBERS.get(name, 2 * MAX_AXES)
        if len(value) > most:
            raise FormatError(
                f"attribute {name!r} must hold at most {most} numbers, not {len(value)}"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value) or name not in _UNBOUNDED:
            raise FormatError(f"attribute {name!r} must be a finite number, not {value}")


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return a checked node's attributes as Python values, strings decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {
        name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in found.items()
    }


def array_of(tensor: TensorProto, what: str) -> NDArray[Any]:
    """Return a tensor of the file as an array.

    Raises:
        FormatError: If it is stored elsewhere, malformed, or neither numbers nor booleans.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        raise FormatError(f"{what} must be stored in the file, not in external data")
    if len(tensor.dims) > MAX_AXES or min(tensor.dims, default=0) < 0:
        raise FormatError(f"{what} must have at most {MAX_AXES} axes, all of 0 or more")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # a broken tensor raises whatever the decoder met first
        raise FormatError(f"{what} must be a well-formed tensor") from error
    if tensor.data_type in NARROW:
        return array.astype(NARROW[tensor.data_type].storage)
    if array.dtype.kind not in "fiub":
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise FormatError(f"{what} must hold numbers of a type that NumPy has, not {kind}")
    return array
