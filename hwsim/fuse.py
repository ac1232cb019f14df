"""Passes that bring a float graph into the shape that a datapath executes.

Every pass keeps the function that the graph computes, and the names of the values that it keeps;
`fold_factors` alone scales some of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    Attrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    GeluAttrs,
    MatMulAttrs,
    MeanAttrs,
    NoAttrs,
    NormAttrs,
    SoftmaxAttrs,
)
from hwsim.graph import Graph, Node, Value, rebuild
from hwsim.ops import Op
from hwsim.quant import FLOAT32

LINEAR = frozenset({Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED})
MOVES = frozenset(
    {Op.RESHAPE, Op.TRANSPOSE, Op.PAD, Op.CONCATENATION, Op.STRIDED_SLICE, Op.SPLIT, Op.GATHER}
)
# Moves that a positive factor passes through, one computed input to one output each.
_SHUFFLES = frozenset({Op.RESHAPE, Op.TRANSPOSE, Op.STRIDED_SLICE})
_CLAMPS = {
    Op.RELU: Activation.RELU,
    Op.RELU6: Activation.RELU6,
    Op.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
}


class _Edit:
    """Nodes and values of a graph while a pass rewrites it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
        self.values = dict(graph.values)

    def constant(self, name: str, data: NDArray[np.floating]) -> str:
        array = np.ascontiguousarray(data, np.float32)
        self.values[name] = Value(name, array.shape, FLOAT32, data=array)
        return name

    def data(self, name: str) -> NDArray[np.float64]:
        array = self.values[name].data
        assert array is not None
        return np.asarray(array, np.float64)

    def done(self) -> Graph:
        return rebuild(self.graph, tuple(self.nodes.values()), self.values.values())


def _only_reader(graph: Graph, name: str) -> Node | None:
    """Return the one node that reads a value, if it is no output and read once."""
    readers = graph.consumers[name]
    alone = len(readers) == 1 and list(readers[0].inputs).count(name) == 1
    return readers[0] if alone and name not in graph.output_names else None


def _to_fixpoint(graph: Graph, step: Callable[[Graph], Graph | None]) -> Graph:
    """Apply a rewrite until it finds nothing more."""
    while True:
        rewritten = step(graph)
        if rewritten is None:
            return graph
        graph = rewritten


def _absorb(graph: Graph, first: Node, second: Node, merged: Node, edit: _Edit) -> Graph:
    """Replace two adjacent nodes by one at the second's place."""
    edit.nodes = {
        node.name: (merged if node is second else node)
        for node in edit.nodes.values()
        if node is not first
    }
    return edit.done()


def _rescaled(edit: _Edit, node: Node, factor: NDArray[np.float64], shift: NDArray[np.float64],
              name: str) -> Node:  # fmt: skip
    """Return a linear node whose output is factor * y + shift, per output channel."""
    weights = edit.data(node.inputs[1])
    by_channel = (-1, 1, 1, 1) if node.op is Op.CONV_2D else (-1, 1)
    spread = factor if node.op is Op.DEPTHWISE_CONV_2D else factor.reshape(by_channel)
    bias = edit.data(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0
    inputs = (
        node.inputs[0],
        edit.constant(f"{name}/weights", weights * spread),
        edit.constant(f"{name}/bias", bias * factor + shift),
    )
    return replace(node, inputs=inputs)


def _channels(graph: Graph, node: Node) -> int:
    return graph.values[node.outputs[0]].shape[-1]


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold BATCH_NORM into the linear operator before it, or make it a 1x1 depthwise one."""
    return _to_fixpoint(graph, _fold_one_batch_norm)


def _fold_one_batch_norm(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op is not Op.BATCH_NORM:
            continue
        edit = _Edit(graph)
        attrs = node.attrs
        assert isinstance(attrs, NormAttrs)
        gamma, beta, mean, variance = (edit.data(name) for name in node.inputs[1:])
        factor = gamma / np.sqrt(variance + attrs.epsilon)
        shift = beta - mean * factor
        before = graph.producer.get(node.inputs[0])
        if before is not None and _absorbs(before) and _only_reader(graph, node.inputs[0]):
            merged = _rescaled(edit, before, factor, shift, node.outputs[0])
            merged = replace(merged, name=node.outputs[0], outputs=node.outputs)
            return _absorb(graph, before, node, merged, edit)
        if len(graph.values[node.inputs[0]].shape) == 4:
            inputs = (
                node.inputs[0],
                edit.constant(f"{node.outputs[0]}/weights", factor.reshape(1, 1, 1, -1)),
                edit.constant(f"{node.outputs[0]}/bias", shift),
            )
            edit.nodes[node.name] = Node(
                node.name, Op.DEPTHWISE_CONV_2D, inputs, node.outputs, ConvAttrs()
            )
            return edit.done()
    return None


def _absorbs(node: Node) -> bool:
    """Whether a per-channel affine map may be folded into a node."""
    return node.op in LINEAR and _activation(node.attrs) is Activation.NONE


def _activation(attrs: Attrs) -> Activation:
    if isinstance(attrs, ConvAttrs | FullyConnectedAttrs | FusedAttrs):
        return attrs.activation
    return Activation.NONE


def fold_bias(graph: Graph) -> Graph:
    """Fold an ADD of one constant per channel into the linear operator before it."""
    return _to_fixpoint(graph, _fold_one_bias)


def _fold_one_bias(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op is not Op.ADD or _activation(node.attrs) is not Activation.NONE:
            continue
        for slot in (0, 1):
            constant, other = graph.values[node.inputs[slot]], node.inputs[1 - slot]
            before = graph.producer.get(other)
            if constant.data is None or before is None or not _absorbs(before):
                continue
            channels = _channels(graph, before)
            shape = graph.values[node.outputs[0]].shape
            per_channel = constant.shape in ((channels,), *_row_shapes(channels, len(shape)))
            if not per_channel or shape != graph.values[other].shape:
                continue
            if _only_reader(graph, other) is None:
                continue
            edit = _Edit(graph)
            shift = edit.data(constant.name).reshape(-1)
            merged = _rescaled(edit, before, np.ones(channels), shift, node.outputs[0])
            merged = replace(merged, name=node.outputs[0], outputs=node.outputs)
            return _absorb(graph, before, node, merged, edit)
    return None


def _row_shapes(channels: int, rank: int) -> list[tuple[int, ...]]:
    return [(*(1,) * extra, channels) for extra in range(1, rank)]


def _positive_factor(graph: Graph, node: Node) -> tuple[str, float] | None:
    """Return (operand, factor) of a product with one positive constant number."""
    if node.op not in (Op.MUL, Op.DIV) or _activation(node.attrs) is not Activation.NONE:
        return None
    for slot in (1, 0) if node.op is Op.MUL else (1,):
        constant = graph.values[node.inputs[slot]]
        if constant.data is not None and constant.elements == 1 and float(constant.data.item()) > 0:
            number = float(constant.data.item())
            return node.inputs[1 - slot], number if node.op is Op.MUL else 1.0 / number
    return None


def fold_factors(graph: Graph) -> Graph:
    """Fold products with a positive number into a matmul, linear operator or softmax nearby.

    Values between a product and where it is folded keep their names, but are scaled.
    """
    return _to_fixpoint(graph, _fold_one_factor)


def _fold_one_factor(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        found = _positive_factor(graph, node)
        if found is None or graph.values[found[0]].shape != graph.values[node.outputs[0]].shape:
            continue
        operand, factor = found
        target = _behind(graph, operand) or _ahead(graph, node)
        if target is None:
            continue
        edit = _Edit(graph)
        edit.nodes[target.name] = _multiplied(edit, target, factor)
        return _bypass(edit, node, operand)
    return None


def _behind(graph: Graph, name: str) -> Node | None:
    """Return the node that makes a value, seen through shuffles that nobody else reads."""
    while _only_reader(graph, name) is not None:
        node = graph.producer.get(name)
        if node is None:
            return None
        if node.op is Op.MATMUL or _absorbs(node):
            return node
        if node.op not in _SHUFFLES:
            return None
        name = node.inputs[0]
    return None


def _ahead(graph: Graph, node: Node) -> Node | None:
    """Return the node that reads a value, seen through shuffles."""
    reader = _only_reader(graph, node.outputs[0])
    while reader is not None:
        if reader.op in (Op.MATMUL, Op.SOFTMAX):
            return reader
        if reader.op not in _SHUFFLES:
            return None
        reader = _only_reader(graph, reader.outputs[0])
    return None


def _multiplied(edit: _Edit, node: Node, factor: float) -> Node:
    attrs = node.attrs
    if isinstance(attrs, MatMulAttrs):
        return replace(node, attrs=replace(attrs, scale=attrs.scale * factor))
    if isinstance(attrs, SoftmaxAttrs):
        return replace(node, attrs=replace(attrs, beta=attrs.beta * factor))
    channels = _channels(edit.graph, node)
    name = f"{node.outputs[0]}/scaled"
    return _rescaled(edit, node, np.full(channels, factor), np.zeros(channels), name)


def _bypass(edit: _Edit, node: Node, operand: str) -> Graph:
    """Drop a node whose output is its operand from here on."""
    out = node.outputs[0]
    del edit.nodes[node.name]
    if out in edit.graph.output_names:
        # The output keeps its name: the operand's producer takes it over.
        made = edit.graph.producer[operand]
        renamed = replace(
            edit.nodes[made.name],
            outputs=tuple(out if name == operand else name for name in made.outputs),
        )
        edit.nodes[made.name] = renamed
        return edit.done()
    for name, other in edit.nodes.items():
        if out in other.inputs:
            inputs = tuple(operand if source == out else source for source in other.inputs)
            edit.nodes[name] = replace(other, inputs=inputs)
    return edit.done()


def find_gelu(graph: Graph) -> Graph:
    """Replace x/2 * (1 + erf(x / sqrt(2))), in the orders that exporters write it, by GELU."""
    return _to_fixpoint(graph, _find_one_gelu)


def _find_one_gelu(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op is not Op.ERF:
            continue
        inner = graph.producer.get(node.inputs[0])
        scaled = _positive_factor(graph, inner) if inner is not None else None
        plus_one = _only_reader(graph, node.outputs[0])
        if scaled is None or not math.isclose(scaled[1], math.sqrt(0.5), rel_tol=1e-6):
            continue
        if plus_one is None or plus_one.op is not Op.ADD or not _has_number(graph, plus_one, 1.0):
            continue
        x = scaled[0]
        last = _half_of(graph, plus_one.outputs[0], x)
        if last is None:
            continue
        edit = _Edit(graph)
        edit.nodes[last.name] = Node(last.name, Op.GELU, (x,), last.outputs, GeluAttrs())
        return edit.done()
    return None


def _half_of(graph: Graph, bracket: str, x: str) -> Node | None:
    """Return the node that completes GELU: x, the bracket or their product is halved."""
    product = _only_reader(graph, bracket)
    if product is None:
        return None
    after = _only_reader(graph, product.outputs[0])
    if _is_half(graph, product, bracket):
        return after if after is not None and _other(after, product.outputs[0]) == x else None
    other = _other(product, bracket)
    halved = graph.producer.get(other) if other is not None else None
    if halved is not None and _is_half(graph, halved, x):
        return product
    if other == x and after is not None and _is_half(graph, after, product.outputs[0]):
        return after
    return None


def _other(node: Node, name: str) -> str | None:
    """Return the operand that a plain product takes besides `name`."""
    if node.op is not Op.MUL or _activation(node.attrs) is not Activation.NONE:
        return None
    return next((operand for operand in node.inputs if operand != name), None)


def _is_half(graph: Graph, node: Node, x: str) -> bool:
    found = _positive_factor(graph, node)
    return found is not None and found == (x, 0.5)


def _has_number(graph: Graph, node: Node, number: float) -> bool:
    return any(
        value is not None
        and value.data is not None
        and value.elements == 1
        and float(value.data.item()) == number
        for value in graph.operands(node)
    )


def find_silu(graph: Graph) -> Graph:
    """Replace x * sigmoid(x) by SILU."""
    return _to_fixpoint(graph, _find_one_silu)


def _find_one_silu(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op is not Op.LOGISTIC:
            continue
        product = _only_reader(graph, node.outputs[0])
        if product is None or _other(product, node.outputs[0]) != node.inputs[0]:
            continue
        edit = _Edit(graph)
        edit.nodes[product.name] = Node(
            product.name, Op.SILU, node.inputs, product.outputs, NoAttrs()
        )
        return edit.done()
    return None


def find_rms_norm(graph: Graph) -> Graph:
    """Replace x / sqrt(mean(x**2) + epsilon) * gamma, as exporters write it, by RMS_NORM."""
    return _to_fixpoint(graph, _find_one_rms_norm)


def _find_one_rms_norm(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        found = _mean_square(graph, node) if node.op is Op.SQRT else None
        divided = _only_reader(graph, node.outputs[0])
        if found is None or divided is None or divided.op is not Op.DIV:
            continue
        x, epsilon = found
        last: Node | None = divided
        if divided.inputs[0] != x:  # x * (1 / sqrt)
            last = _only_reader(graph, divided.outputs[0])
            ones = graph.values[divided.inputs[0]]
            if ones.data is None or not np.all(ones.data == 1) or last is None:
                continue
            if _other(last, divided.outputs[0]) != x:
                continue
        assert last is not None
        edit = _Edit(graph)
        channels = graph.values[x].shape[-1]
        gamma = np.ones(channels)
        scaled = _only_reader(graph, last.outputs[0])
        factor = _other(scaled, last.outputs[0]) if scaled is not None else None
        if scaled is not None and factor is not None:
            constant = graph.values[factor]
            if constant.data is not None and constant.shape[-1:] == (constant.elements,):
                if constant.elements == channels:
                    gamma, last = edit.data(factor).reshape(-1), scaled
        if graph.values[last.outputs[0]].shape != graph.values[x].shape:
            continue
        name = edit.constant(f"{last.outputs[0]}/gamma", gamma)
        edit.nodes[last.name] = Node(
            last.name, Op.RMS_NORM, (x, name), last.outputs, NormAttrs(epsilon)
        )
        return edit.done()
    return None


def _mean_square(graph: Graph, root: Node) -> tuple[str, float] | None:
    """Return (x, epsilon) where a square root's operand is mean(x**2) + epsilon, last axis."""
    total = graph.producer.get(root.inputs[0])
    if total is None or total.op is not Op.ADD or _activation(total.attrs) is not Activation.NONE:
        return None
    for mean_name, constant in (total.inputs, total.inputs[::-1]):
        number, mean = graph.values[constant], graph.producer.get(mean_name)
        if number.data is None or number.elements != 1 or mean is None:
            continue
        square = graph.producer.get(mean.inputs[0]) if mean.op is Op.MEAN else None
        if square is None or not isinstance(mean.attrs, MeanAttrs):
            continue
        x = square.inputs[0]
        last = (len(graph.values[x].shape) - 1,)
        if mean.attrs != MeanAttrs(last, True) or not 0 <= float(number.data.item()):
            continue
        if square.op is Op.MUL and square.inputs == (x, x):
            return x, float(number.data.item())
        if square.op is Op.POW and _has_number(graph, square, 2.0):
            return x, float(number.data.item())
    return None


_MASKED = -1e4  # exp of it is 0 in float32 beside any logit that a network has


def find_causal(graph: Graph) -> Graph:
    """Fuse the addition of a causal mask, 0 or a very negative number, into SOFTMAX."""
    return _to_fixpoint(graph, _find_one_causal)


def _find_one_causal(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        attrs = node.attrs
        added = graph.producer.get(node.inputs[0]) if isinstance(attrs, SoftmaxAttrs) else None
        if added is None or added.op is not Op.ADD or _only_reader(graph, node.inputs[0]) is None:
            continue
        assert isinstance(attrs, SoftmaxAttrs)
        for scores, mask in (added.inputs, added.inputs[::-1]):
            constant, shape = graph.values[mask], graph.values[scores].shape
            if constant.data is None or shape != graph.values[node.inputs[0]].shape:
                continue
            if not _is_causal(np.broadcast_to(constant.data, shape)) or attrs.causal:
                continue
            edit = _Edit(graph)
            edit.nodes[node.name] = replace(
                node, inputs=(scores,), attrs=replace(attrs, causal=True)
            )
            return edit.done()
    return None


def _is_causal(mask: NDArray[np.floating]) -> bool:
    if mask.ndim < 2 or mask.shape[-1] < mask.shape[-2]:
        return False
    queries, keys = mask.shape[-2:]
    seen = np.tri(queries, keys, keys - queries, dtype=bool)
    return bool(np.all(np.where(seen, mask == 0, mask <= _MASKED)))


def fuse_clamps(graph: Graph) -> Graph:
    """Fuse RELU, RELU6 and RELU_N1_TO_1 into the operator before them."""
    return _to_fixpoint(graph, _fuse_one_clamp)


def _fuse_one_clamp(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op not in _CLAMPS:
            continue
        before = graph.producer.get(node.inputs[0])
        if before is None or _only_reader(graph, node.inputs[0]) is None:
            continue
        attrs = before.attrs
        if not isinstance(attrs, ConvAttrs | FullyConnectedAttrs | FusedAttrs):
            continue
        if attrs.activation is not Activation.NONE or before.op in (Op.MUL, Op.DIV):
            continue
        merged = replace(
            before,
            name=node.outputs[0],
            outputs=node.outputs,
            attrs=replace(attrs, activation=_CLAMPS[node.op]),
        )
        return _absorb(graph, before, node, merged, _Edit(graph))
    return None


def fold_divisions(graph: Graph) -> Graph:
    """Replace a division by nonzero constants by the product with their reciprocals."""
    edit = _Edit(graph)
    for node in graph.nodes:
        divisor = graph.values[node.inputs[1]] if node.op is Op.DIV else None
        if divisor is None or divisor.data is None or not np.all(divisor.data):
            continue
        with np.errstate(over="ignore"):
            reciprocal = np.asarray(1.0 / edit.data(divisor.name), np.float32)
        if np.isfinite(reciprocal).all():
            name = edit.constant(f"{node.outputs[0]}/reciprocal", reciprocal)
            edit.nodes[node.name] = replace(node, op=Op.MUL, inputs=(node.inputs[0], name))
    return edit.done()


PASSES: Sequence[Callable[[Graph], Graph]] = (
    fold_batch_norm,
    find_gelu,
    find_silu,
    find_rms_norm,
    find_causal,
    fold_divisions,
    fold_bias,
    fold_factors,
    find_causal,  # a factor stood between mask and softmax
    fuse_clamps,
)


def fuse(graph: Graph) -> Graph:
    """Return the float graph that calibration, quantization and pricing speak of."""
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph


def accumulator_values(graph: Graph) -> frozenset[str]:
    """Return the values that live in an accumulator only: conv+add and conv+add+ReLU groups.

    Where both operands of an ADD are made by linear operators, the later one stays in its
    accumulator and the earlier one is stored. In an integer graph they are the 32-bit values.
    """
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    found = set()
    for node in graph.nodes:
        if node.op is not Op.ADD or node.inputs[0] == node.inputs[1]:
            continue
        candidates = []
        for name in node.inputs:
            before = graph.producer.get(name)
            if before is None or not _absorbs(before) or _only_reader(graph, name) is None:
                continue
            if graph.values[name].shape == graph.values[node.outputs[0]].shape:
                candidates.append((order[before.name], name))
        if candidates:
            found.add(max(candidates)[1])
    return frozenset(found)


def gelu_accumulators(graph: Graph) -> frozenset[str]:
    """Return the sums of linear operators that only a GELU reads."""
    found = set()
    for node in graph.nodes:
        before = graph.producer.get(node.inputs[0]) if node.op is Op.GELU else None
        if before is not None and _absorbs(before) and _only_reader(graph, node.inputs[0]):
            found.add(node.inputs[0])
    return frozenset(found)
