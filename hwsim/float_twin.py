"""The float network that an integer graph stands for: the same nodes on dequantized constants."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import PadAttrs, ReshapeAttrs
from hwsim.errors import GraphError
from hwsim.fuse import LINEAR
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.quant import FLOAT32, IntType, dequantize_array


def float_twin(graph: Graph) -> Graph:
    """Return the float graph of an integer graph; nodes and values keep their names.

    Weights and parameters are dequantized; a bias is its code times s_x * s_w, whatever scale the
    file stores for it. Fused activations keep their real bounds. QUANTIZE and DEQUANTIZE become
    copies. The ends of an integer range clamp nothing: saturation is an error of the integer graph,
    not a part of the function.

    Raises:
        GraphError: If a constant operand holds integers that stand for no reals.
    """
    values = {value.name: replace(value, dtype=FLOAT32, quant=None) for value in graph.activations}
    nodes = []
    for node in graph.nodes:
        inputs = []
        for slot, name in enumerate(node.inputs):
            if name and graph.values[name].is_constant:
                data = _reals(graph, node, slot)
                # Two nodes may read one bias code under different scales.
                name = f"{node.name}/{slot}/{name}"
                values[name] = Value(name, data.shape, FLOAT32, data=data)
            inputs.append(name)
        nodes.append(_float_node(graph, replace(node, inputs=tuple(inputs))))
    return replace(graph, nodes=tuple(nodes), values=values, profile="", origin=None)


def _float_node(graph: Graph, node: Node) -> Node:
    if node.op in (Op.QUANTIZE, Op.DEQUANTIZE):
        shape = graph.values[node.outputs[0]].shape
        return replace(node, op=Op.RESHAPE, attrs=ReshapeAttrs(shape))
    if isinstance(node.attrs, PadAttrs) and node.attrs.value is not None:
        quant = graph.values[node.outputs[0]].quant
        if quant is not None:
            scale, zero_point = quant.scale[0], quant.zero_point[0]
            return replace(
                node, attrs=replace(node.attrs, value=scale * (int(node.attrs.value) - zero_point))
            )
    return node


def _reals(graph: Graph, node: Node, slot: int) -> NDArray[np.float32]:
    """Return the reals of a constant operand."""
    value = graph.values[node.inputs[slot]]
    assert value.data is not None
    if value.is_float:
        return np.asarray(value.data, np.float32)
    if slot == 2 and node.op in LINEAR:
        x, weights = graph.values[node.inputs[0]], graph.values[node.inputs[1]]
        if x.quant is not None and weights.quant is not None:
            scales = x.quant.scale[0] * np.array(weights.quant.scale, np.float64)
            return (value.data.astype(np.float64) * scales).astype(np.float32)
    if value.quant is None:
        raise GraphError(
            f"node {node.name!r} ({node.op.value}): constant {value.name!r} must have quantization "
            "parameters to stand for reals"
        )
    assert isinstance(value.dtype, IntType)
    return dequantize_array(value.data.astype(np.int64), value.quant)
