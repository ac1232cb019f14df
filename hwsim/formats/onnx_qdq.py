"""QDQ graphs as operators on codes: DequantizeLinear -> operator -> QuantizeLinear is one node.

A QDQ graph alone does not define integer arithmetic. The pairs are fused here as ONNX Runtime
fuses them at ORT_ENABLE_ALL (profile `ort`); operators that it leaves in float32, but that compute
each element from one code of each operand, have one result too and are named by `BETWEEN`.

An operator whose result is clamped before it is quantized (Conv, Relu, QuantizeLinear) is fused
too, the clamp after it. Where saturation alone does not clamp as much, ONNX Runtime computes that
operator in float32 and may round a few codes differently.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx
from onnx import NodeProto, helper

from hwsim.formats.onnx_quantized import BETWEEN, MICROSOFT

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"

# Operator -> (domain, name) of its form on codes; the inputs are triples, then the output's pair.
_LINEAR: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Add": (MICROSOFT, "QLinearAdd"),
        "AveragePool": (MICROSOFT, "QLinearAveragePool"),
        "Clip": (BETWEEN, "Clip"),
        "Conv": ("", "QLinearConv"),
        "Gelu": (BETWEEN, "Gelu"),
        "Gemm": (MICROSOFT, "QGemm"),
        "GlobalAveragePool": (MICROSOFT, "QLinearGlobalAveragePool"),
        "HardSwish": (BETWEEN, "HardSwish"),
        "LeakyRelu": (MICROSOFT, "QLinearLeakyRelu"),
        "MatMul": ("", "QLinearMatMul"),
        "Mul": (MICROSOFT, "QLinearMul"),
        "Relu": (BETWEEN, "Relu"),
        "Sigmoid": (MICROSOFT, "QLinearSigmoid"),
        "Softmax": (MICROSOFT, "QLinearSoftmax"),
        "Sub": (BETWEEN, "Sub"),
        "Tanh": (BETWEEN, "Tanh"),
    }
)
# Operators that move codes, or pick one of them: they run on codes as they are.
_MOVES = frozenset(
    """
    Expand Flatten Gather Identity MaxPool Reshape Slice Split Squeeze Transpose Unsqueeze
    """.split()
)
_ACTIVATIONS = ("Relu", "Clip")


@dataclass
class Folded:
    """A graph's nodes after folding.

    Args:
        nodes: In execution order.
        reasons: Why a node was left in float, by its first output.
    """

    nodes: list[NodeProto]
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Target:
    """Where a float operator's result goes: perhaps through a clamp, into a QuantizeLinear."""

    clamp: NodeProto | None
    quantize: NodeProto


class _Pairs:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, nodes: Sequence[NodeProto], outputs: Iterable[onnx.ValueInfoProto]) -> None:
        self.made = {name: node for node in nodes for name in node.output}
        self.read: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                self.read.setdefault(name, []).append(node)
        for info in outputs:
            self.read.setdefault(info.name, []).append(NodeProto())

    def triple(self, name: str) -> list[str] | None:
        """Return (codes, scale, zero point) of a dequantized tensor."""
        node = self.made.get(name)
        if node is None or node.op_type != DEQUANTIZE:
            return None
        return [*node.input, ""][:3]

    def target(self, node: NodeProto, clamps: bool) -> _Target | None:
        """Return where a result is quantized, if that is all that reads it."""
        reader = self.only_reader(node)
        clamp = None
        if clamps and reader is not None and reader.op_type in _ACTIVATIONS:
            clamp, reader = reader, self.only_reader(reader)
        if reader is None or reader.op_type != QUANTIZE:
            return None
        return _Target(clamp, reader)

    def only_reader(self, node: NodeProto) -> NodeProto | None:
        """Return the node that alone reads a node's only output."""
        readers = self.read.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and len(node.output) == 1 else None


def fold_qdq(graph: onnx.GraphProto, opset: int) -> Folded:
    """Return the nodes of a graph with its QDQ patterns as operators on codes."""
    all_nodes = list(graph.node)  # kept: a node is known by its identity below
    if not any(node.op_type == DEQUANTIZE for node in all_nodes):
        return Folded(all_nodes)
    pairs = _Pairs(all_nodes, graph.output)
    folded = Folded([])
    gone: set[int] = set()
    instead: dict[int, Sequence[NodeProto]] = {}
    for node in all_nodes:
        if id(node) in gone or not any(pairs.triple(name) for name in node.input[:2]):
            continue
        if node.op_type in _MOVES:
            instead[id(node)] = _moved(node, pairs)
        elif node.op_type in (*_LINEAR, "Concat", "Pad"):
            made = _fused(node, pairs, opset)
            if isinstance(made, str):
                folded.reasons[node.output[0]] = made
                continue
            target, nodes = made
            gone |= {id(node), *(id(n) for n in (target.clamp, target.quantize) if n is not None)}
            instead[id(target.quantize)] = nodes
    for node in all_nodes:
        if id(node) in instead:
            folded.nodes.extend(instead[id(node)])
        elif id(node) not in gone:
            folded.nodes.append(node)
    return folded


def _fused(node: NodeProto, pairs: _Pairs, opset: int) -> tuple[_Target, Sequence[NodeProto]] | str:
    """Return the nodes that replace one pattern, or why there are none."""
    target = pairs.target(node, clamps=node.op_type not in _ACTIVATIONS)
    if target is None:
        return "its result must be read by one QuantizeLinear alone"
    triples: list[list[str]] = []
    data = _data_inputs(node)
    for slot in data:
        triple = pairs.triple(node.input[slot])
        if triple is None:
            return f"its input {slot} must come from DequantizeLinear"
        triples.append(triple)
    scale, zero = [*target.quantize.input, ""][1:3]
    out = target.quantize.output[0]
    if target.clamp is None:
        return target, [_on_codes(node, triples, (scale, zero), out, pairs, opset)]
    open_name = f"{node.output[0]}/codes"
    first = _on_codes(node, triples, (scale, zero), open_name, pairs, opset)
    clamp = target.clamp
    between = helper.make_node(
        clamp.op_type, [open_name, scale, zero, scale, zero, *clamp.input[1:]], [out],
        name=clamp.name, domain=BETWEEN,
    )  # fmt: skip
    between.attribute.extend(clamp.attribute)
    return target, [first, between]


def _data_inputs(node: NodeProto) -> range:
    """Return the slots whose tensors must be codes."""
    if node.op_type == "Concat":
        return range(len(node.input))
    two = ("Add", "Conv", "Gemm", "MatMul", "Mul", "Sub")
    return range(2 if node.op_type in two else 1)


def _on_codes(
    node: NodeProto,
    triples: Sequence[list[str]],
    out_params: tuple[str, str],
    out: str,
    pairs: _Pairs,
    opset: int,
) -> NodeProto:
    """Return a float operator's form on codes."""
    flat = [name for triple in triples for name in triple]
    kind = node.op_type
    attrs = list(node.attribute)
    if kind == "Concat":
        domain, name, inputs = MICROSOFT, "QLinearConcat", [*out_params, *flat]
    elif kind == "Pad":
        domain, name, inputs = BETWEEN, "Pad", [*flat, *out_params, *node.input[1:]]
    else:
        domain, name = _LINEAR[kind]
        inputs = [*flat, *out_params]
        if kind in ("Conv", "Gemm"):
            bias = node.input[2] if len(node.input) > 2 else ""
            known = pairs.triple(bias)
            codes = bias if known is None else known[0]
            inputs = [*flat, *out_params, codes] if kind == "Conv" else [*flat, codes, *out_params]
        elif kind == "Clip":
            inputs = [*inputs, *node.input[1:]]
    made = helper.make_node(name, inputs, [out], name=node.name, domain=domain)
    made.attribute.extend(attrs)
    if kind == "Softmax":
        made.attribute.append(helper.make_attribute("opset", opset))
    return made


def _moved(node: NodeProto, pairs: _Pairs) -> Sequence[NodeProto]:
    """Return a move of codes, and the conversion of what it moved back to reals.

    A QuantizeLinear behind it then turns codes into codes.
    """
    triple = pairs.triple(node.input[0])
    assert triple is not None
    codes, scale, zero = triple
    moved = NodeProto()
    moved.CopyFrom(node)
    moved.input[0] = codes
    back = []
    for slot, name in enumerate(node.output):
        if name:
            moved.output[slot] = f"{name}/codes"
            inputs = [f"{name}/codes", scale, zero] if zero else [f"{name}/codes", scale]
            back.append(helper.make_node(DEQUANTIZE, inputs, [name], name=f"{node.name}/real"))
    return [moved, *back]
