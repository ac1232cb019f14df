"""The same graph for another batch size, where its operators keep batch entries apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Attrs,
    ConcatAttrs,
    FullyConnectedAttrs,
    GatherAttrs,
    LstmAttrs,
    MeanAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SoftmaxAttrs,
    SplitAttrs,
    SvdfAttrs,
    TransposeAttrs,
)
from hwsim.errors import GraphError, InputError
from hwsim.graph import Graph, Node, Value
from hwsim.ops import OPS, Op

_PAIRS = (Op.MAXIMUM, Op.MINIMUM, Op.SQUARED_DIFFERENCE)


# Constants that hold every batch entry: joined parts and first states.
_ENTRY_CONSTANTS = {
    Op.CONCATENATION: slice(None),
    Op.LSTM: slice(9, 11),
    Op.SVDF: slice(3, 4),
}


def with_batch(graph: Graph, batch: int) -> Graph | None:
    """Return the graph for `batch` entries, or None if an operator mixes or moves the first axis.

    Every input and computed value must have the file's batch as its first axis.
    """
    old = _batch_of(graph)
    if old is None or old == batch:
        return None if old is None else graph
    try:
        return _resized(graph, old, batch)
    except GraphError:  # a rule that holds for one batch alone, such as the largest tensor
        return None


def batch_size(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """Return (first axis of the graph's first input that has one, the same of the arrays)."""
    for value in graph.inputs:
        if value.shape:
            return value.shape[0], inputs[value.name].shape[0]
    return 1, 1


def own_batch(graph: Graph) -> int:
    """Return the first axis of the graph's first input that has one."""
    return next((value.shape[0] for value in graph.inputs if value.shape), 1)


def entries(
    graph: Graph, inputs: Mapping[str, NDArray[Any]], start: int, stop: int
) -> dict[str, NDArray[Any]]:
    """Return entries start to stop of the first input, and their share of every other one.

    Inputs need not have one first axis; each is then a whole multiple of its own.
    """
    own = batch_size(graph, inputs)[0]
    part = {}
    for value in graph.inputs:
        array = inputs[value.name]
        if value.shape:
            rows = value.shape[0]
            array = array[start * rows // own : stop * rows // own]
        part[value.name] = np.asarray(array, order="C")
    return part


def joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the values of consecutive batches, joined along the first axis.

    Raises:
        InputError: If there is more than one batch, and a value has no axis to join along.
    """
    if len(parts) == 1:
        return {name: np.asarray(array, order="C") for name, array in parts[0].items()}
    for name, array in parts[0].items():
        if array.ndim == 0:
            raise InputError(
                f"batch must be the graph's own where value {name!r} has no axis, "
                f"not {len(parts)} times as large"
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _resized(graph: Graph, old: int, batch: int) -> Graph | None:
    values = dict(graph.values)
    for value in graph.inputs:
        values[value.name] = replace(value, shape=(batch, *value.shape[1:]))
    nodes = []
    for node in graph.nodes:
        operands = [graph.values[name] for name in node.inputs if name]
        inputs = node.inputs
        outputs = [graph.values[name] for name in node.outputs]
        if any(out.shape[:1] != (old,) for out in outputs) or not _keeps_batch(node, operands, old):
            return None
        if node.op in _ENTRY_CONSTANTS:
            slots = _ENTRY_CONSTANTS[node.op]
            parts = {name: _repeated(graph.values[name], batch) for name in inputs[slots] if name}
            inputs = tuple(parts[name].name if name in parts else name for name in inputs)
            values |= {part.name: part for part in parts.values() if part.is_constant}
        attrs = _for_batch(node.attrs, batch)
        shapes = OPS[node.op].infer(attrs, [values[name].shape for name in inputs if name])
        if any(shape[0] != batch for shape in shapes):
            return None
        for out, shape in zip(outputs, shapes, strict=True):
            values[out.name] = replace(out, shape=shape)
        nodes.append(replace(node, inputs=inputs, attrs=attrs))
    return replace(graph, nodes=tuple(nodes), values=values)


def _batch_of(graph: Graph) -> int | None:
    batches = {value.shape[:1] for value in graph.inputs}
    if len(batches) != 1 or () in batches:
        return None
    return batches.pop()[0]


def _repeated(value: Value, batch: int) -> Value:
    """Return a joined constant for every batch entry, under a name of its own.

    It must be the same in each entry. Other nodes may read the constant as it was.
    """
    if value.data is None:
        return value
    return replace(
        value,
        name=f"{value.name}/batch",
        shape=(batch, *value.shape[1:]),
        data=np.repeat(value.data[:1], batch, axis=0),
    )


def _keeps_batch(node: Node, operands: Sequence[Value], old: int) -> bool:
    """Whether entry i of the output depends on entry i of the inputs alone."""
    attrs, x = node.attrs, operands[0]
    if any(value.shape[:1] != (old,) for value in operands if not value.is_constant):
        return False
    match attrs:
        case TransposeAttrs():
            return attrs.perm[0] == 0
        case MeanAttrs():
            return 0 not in attrs.axes
        case PadAttrs():
            return attrs.before[0] == attrs.after[0] == 0
        case SliceAttrs():
            return (attrs.starts[0], attrs.strides[0], attrs.sizes[0]) == (0, 1, old)
        case SplitAttrs():
            return attrs.axis != 0
        case ConcatAttrs():
            return attrs.axis != 0 and _same_for_entries(operands)
        case LstmAttrs() | SvdfAttrs():
            slots = _ENTRY_CONSTANTS[node.op]
            others = [value for value in operands if value not in operands[slots]]
            return _only_data(others) and _same_for_entries(operands[slots])
        case ReshapeAttrs():
            return attrs.shape[:1] == (old,)
        case GatherAttrs():
            return attrs.axis == 0 and x.is_constant
        case FullyConnectedAttrs():
            return len(x.shape) >= 2 and _only_data(operands)
    if isinstance(attrs, SoftmaxAttrs) and attrs.causal and len(x.shape) < 3:
        return False
    if node.op in (Op.SOFTMAX, Op.LAYER_NORM, Op.RMS_NORM, Op.BATCH_NORM):
        return len(x.shape) >= 2 and _only_data(operands)
    if node.op is Op.MATMUL and len(node_shape(operands)) < 3:
        return False
    if node.op in (Op.MATMUL, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW, *_PAIRS):
        return all(_broadcasts_over_batch(value, len(node_shape(operands))) for value in operands)
    return _only_data(operands)


def _only_data(operands: Sequence[Value]) -> bool:
    """Whether weights and parameters are constants, the same for every entry."""
    return all(value.is_constant for value in operands[1:])


def _same_for_entries(operands: Sequence[Value]) -> bool:
    """Whether constants with a batch axis hold the same for every entry."""
    return all((v.data == v.data[:1]).all() for v in operands if v.data is not None)


def node_shape(operands: Sequence[Value]) -> tuple[int, ...]:
    """Return the longest operand shape: the one that the others broadcast to."""
    return max((value.shape for value in operands), key=len)


def _broadcasts_over_batch(value: Value, rank: int) -> bool:
    if value.is_constant:
        return len(value.shape) < rank or value.shape[0] == 1
    return len(value.shape) == rank


def _for_batch(attrs: Attrs, batch: int) -> Attrs:
    if isinstance(attrs, ReshapeAttrs):
        return ReshapeAttrs((batch, *attrs.shape[1:]))
    if isinstance(attrs, SliceAttrs):
        return replace(attrs, sizes=(batch, *attrs.sizes[1:]))
    return attrs
