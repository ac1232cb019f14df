"""TFLite readers of LSTM and SVDF.

TFLite keeps their states in variable tensors from one run to the next. A graph keeps nothing: each
run starts from states of zero, as an interpreter does after its variables are reset.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from hwsim.attributes import LstmAttrs, Shape, SvdfAttrs, TransposeAttrs
from hwsim.errors import FormatError
from hwsim.formats.tflite_ops import Made, Operator, Reader
from hwsim.graph import Node, Value
from hwsim.ops import Op

_TANH = 4
_TIME_MAJOR = (1, 0, 2)


def _lstm(operator: Operator) -> Made:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peepholes, projection or layer normalization."""
    for name, slots in (
        ("peephole weights", range(9, 12)),
        ("projection weights", range(16, 18)),
        ("layer normalization", range(20, 24)),
    ):
        if any(_present(operator, slot) for slot in slots):
            raise FormatError(f"LSTM must have no {name}")
    if operator.option(0, "int8", 0) != _TANH:
        raise FormatError(f"fused activation must be TANH, not {operator.option(0, 'int8', 0)}")
    x, out = operator.value(0, "input"), operator.out()
    if len(x.shape) != 3 or len(out.shape) != 3:
        raise FormatError(f"input and output must have 3 axes, not {len(x.shape)}")
    weights = [operator.value(slot, "weights").name for slot in range(1, 9)]
    batch = x.shape[1] if operator.option(3, "bool", False) else x.shape[0]
    shape = (batch, out.shape[2])
    hidden = _zero_state(operator, 18, shape)
    cell = _zero_state(operator, 19, shape)
    biases = [
        operator.value(slot, "bias").name if _present(operator, slot) else ""
        for slot in range(12, 16)
    ]
    clip = operator.option(1, "float32", 0.0)
    if not clip >= 0:
        raise FormatError(f"cell_clip must be 0 or more, not {clip}")
    attrs = LstmAttrs(clip if clip > 0 else math.inf)
    last = [_next(out, state, what) for state, what in ((hidden, "hidden"), (cell, "cell"))]
    made = [hidden, cell, *last]
    nodes = []
    source, target = x.name, out.name
    if operator.option(3, "bool", False):
        source, target = f"{out.name}/input", f"{out.name}/sequence"
        turn = TransposeAttrs(_TIME_MAJOR)
        made += [
            replace(value, name=name, shape=(batch, value.shape[0], value.shape[2]), data=None)
            for value, name in ((x, source), (out, target))
        ]
        nodes.append(Node(source, Op.TRANSPOSE, (x.name,), (source,), turn))
    inputs = (source, *weights, hidden.name, cell.name, *biases)
    names = (target, *(value.name for value in last))
    nodes.append(Node(target, Op.LSTM, inputs, names, attrs))
    if target != out.name:
        nodes.append(Node(out.name, Op.TRANSPOSE, (target,), (out.name,), turn))
    return nodes, made


def _svdf(operator: Operator) -> Made:
    """SVDF; its state is stored flat, (batch, features * memory)."""
    x, out = operator.value(0, "input"), operator.out()
    feature, time = (operator.value(slot, "weights") for slot in (1, 2))
    if len(time.shape) != 2 or len(x.shape) != 2:
        raise FormatError(f"input and time weights must have 2 axes, not {len(x.shape)}")
    state = _zero_state(operator, 4, (x.shape[0], *time.shape))
    after = _next(out, state, "state")
    bias = (operator.value(3, "bias").name,) if _present(operator, 3) else ()
    attrs = SvdfAttrs(operator.option(0, "int32", 0), operator.activation(1))
    inputs = (x.name, feature.name, time.name, state.name, *bias)
    return [Node(out.name, Op.SVDF, inputs, (out.name, after.name), attrs)], [state, after]


def _present(operator: Operator, slot: int) -> bool:
    return slot < len(operator.inputs) and operator.inputs[slot] is not None


def _zero_state(operator: Operator, slot: int, shape: Shape) -> Value:
    """Return a variable tensor as a constant of real zeros."""
    value = operator.value(slot, "state")
    if value.quant is None:
        data = np.zeros(shape, value.dtype.storage)
    else:
        data = np.full(shape, value.quant.zero_point[0], value.dtype.storage)
    if data.size != value.elements:
        raise FormatError(
            f"state {value.name!r} must hold {data.size} elements, not {value.elements}"
        )
    return replace(value, shape=shape, data=data)


def _next(out: Value, state: Value, what: str) -> Value:
    """Return the state behind an operator, which no tensor of the file holds."""
    return replace(state, name=f"{out.name}/{what}", data=None)


RECURRENT_READERS: Mapping[str, Reader] = MappingProxyType(
    {"UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm, "SVDF": _svdf}
)
