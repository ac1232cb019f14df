"""The index of a trace: what each file holds, and by which rule words become others."""

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from hwsim.quant import IntType
from hwsim.rtl.layer import Layer, Port, Stage
from hwsim.rtl.testbench import stage_module, stream_module

CONVENTIONS = {
    "word": "one per line, hexadecimal, two's complement or IEEE 754 bits of the port's width",
    "order": "row-major over the port's shape; activations NHWC, conv weights O,kh,kw,I/groups, "
    "depthwise weights 1,kh,kw,O; a batch is the first axis",
    "line": "the same line of ports of one shape belongs to the same vector",
    "requantize": "code = clamp(scale(accumulator) + zero_point, qmin, qmax); multiplier and shift "
    "are taken from row (line modulo rows), or from the row that `select` names",
    "right_shift": "scale(x) = x * multiplier / 2**(fraction_bits + right_shift); negative shifts "
    "left",
}


def layer_entry(layer: Layer) -> dict[str, Any]:
    """Return a layer's entry of the index, plain data."""
    return {
        "name": layer.name,
        "folder": layer.folder,
        "operator": layer.operator,
        "method": layer.method,
        "attributes": {f.name: _plain(getattr(layer.attrs, f.name)) for f in fields(layer.attrs)},
        "numbers": dict(layer.numbers),
        "ports": [_port_entry(layer, port) for port in layer.ports.values()],
        "requantize": [_stage_entry(layer, stage) for stage in layer.stages],
        "stream_testbench": f"{layer.folder}/{stream_module(layer)}.sv",
    }


def _port_entry(layer: Layer, port: Port) -> dict[str, Any]:
    integer = isinstance(port.dtype, IntType)
    entry: dict[str, Any] = {
        "name": port.name,
        "role": port.role.value,
        "value": port.value,
        "file": f"{layer.folder}/{port.name}.hex",
        "format": "integer" if integer else f"binary{port.dtype.bits}",
        "width": port.dtype.bits,
        "signed": port.dtype.signed if isinstance(port.dtype, IntType) else True,
        "shape": list(port.words.shape),
        "words": int(port.words.size),
        "layout": "row-major",
    }
    if port.quant is not None:
        entry |= {
            "scale": list(port.quant.scale),
            "zero_point": list(port.quant.zero_point),
            "axis": port.quant.axis,
        }
    return entry


def _stage_entry(layer: Layer, stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name or "output",
        "rule": stage.requant.name.lower(),
        "rule_number": int(stage.requant),
        "rounding": ROUNDING[stage.requant.name],
        "multiplier_bits": stage.fraction,
        "qmin": stage.qmin,
        "qmax": stage.qmax,
        "zero_point": stage.zero_point,
        "accumulator": stage.accumulator,
        "code": stage.code,
        "factors": list(stage.factors),
        "select": stage.select,
        "testbench": f"{layer.folder}/{stage_module(layer, stage)}.sv"
        if stage.requant.is_fixed
        else None,
    }


ROUNDING: Mapping[str, str] = {
    "DOUBLE_ROUNDING": "product / 2**31 with ties up, then / 2**right_shift with ties away from 0",
    "DOUBLE_HALF_UP": "product / 2**31 with ties up, then / 2**right_shift with ties up",
    "HALF_UP": "once, ties toward +infinity",
    "HALF_AWAY": "once, ties away from zero",
    "HALF_EVEN": "once, ties to even",
    "FLOOR": "once, toward -infinity",
    "TRUNC": "once, toward zero",
    "REAL_HALF_AWAY": "float64 product, ties away from zero",
    "FLOAT32_HALF_EVEN": "float32 product, ties to even",
    "NONE": "none: the accumulator is the result",
}


def _plain(value: object) -> object:
    """Return an attribute as JSON data; an infinite bound becomes null."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
