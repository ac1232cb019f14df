"""What a graph multiplies and stores, as QONNX counts it: MACs, bit operations, weight bits."""

from dataclasses import dataclass

from hwsim.fuse import fuse
from hwsim.graph import Graph, Value
from hwsim.partition import workload
from hwsim.quant import IntType

_FLOAT_BITS = 32


@dataclass(frozen=True, slots=True)
class InferenceCost:
    """Sums over the layers of one inference, batch 1.

    Args:
        macs: Multiply-accumulates, those with padding and with zero weights among them.
        bops: Bit operations: each multiply-accumulate times the bits of both operands.
        weight_bits: Stored weights; no biases, no scales.
    """

    macs: int
    bops: int
    weight_bits: int


def inference_cost(graph: Graph) -> InferenceCost:
    """Return the cost of a graph at the widths that it states; a float is 32 bits.

    Accumulators are in none of the figures. A recurrent operator counts its activations' width
    for the inputs and for the state.

    Source: qonnx 1.0.0, `inference_cost(..., discount_sparsity=False)`.
    """
    fused = fuse(graph) if graph.is_float else graph
    layers = [layer for unit in workload(graph) for layer in unit.layers if layer.macs]
    nodes = {node.name: node for node in fused.nodes}
    macs = bops = weight_bits = 0
    for layer in layers:
        node = nodes[layer.node]
        first, second = (fused.values[name] for name in node.inputs[:2])
        macs += layer.macs
        bops += layer.macs * _bits(first) * _bits(second)
        weight_bits += layer.weight_elements * _bits(second)
    return InferenceCost(macs, bops, weight_bits)


def _bits(value: Value) -> int:
    """Return the width of a tensor's codes."""
    return value.dtype.bits if isinstance(value.dtype, IntType) else _FLOAT_BITS
