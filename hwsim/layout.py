"""Removal of the transposes that a reader puts around image operators."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hwsim.attributes import (
    Attrs,
    ConcatAttrs,
    FakeQuantAttrs,
    MeanAttrs,
    PadAttrs,
    ReshapeAttrs,
    Shape,
    SliceAttrs,
    SplitAttrs,
    TransposeAttrs,
)
from hwsim.graph import Graph, Node, Value, rebuild
from hwsim.ops import Op

# Marks a value that is the file's tensor in another axis order.
SUFFIX = "/nhwc"

_UNARY = frozenset({
    Op.RELU, Op.RELU6, Op.RELU_N1_TO_1, Op.CLIP, Op.LEAKY_RELU, Op.LOGISTIC, Op.TANH,
    Op.HARD_SWISH, Op.GELU, Op.SILU, Op.ERF, Op.SQRT, Op.QUANTIZE, Op.DEQUANTIZE,
    Op.FAKE_QUANT, Op.FAKE_TRUNC,
})  # fmt: skip
_BINARY = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.POW})
_MOVABLE = _UNARY | _BINARY | {Op.CONCATENATION, Op.PAD, Op.STRIDED_SLICE, Op.SPLIT, Op.MEAN}


@dataclass(frozen=True)
class _View:
    """A value that is another one with permuted axes: axis i is axis perm[i] of `source`."""

    source: str
    perm: tuple[int, ...]


def _identity(perm: Sequence[int]) -> bool:
    return list(perm) == list(range(len(perm)))


def _only_moves_ones(shape: Shape, perm: tuple[int, ...]) -> bool:
    """Whether a transpose of `shape` leaves the elements in memory order."""
    return [axis for axis in perm if shape[axis] != 1] == sorted(
        axis for axis in perm if shape[axis] != 1
    )


class _Sinker:
    """One walk over a graph in execution order; views are made real only where one is needed."""

    def __init__(self, graph: Graph) -> None:
        self.values = dict(graph.values)
        self.views: dict[str, _View] = {}
        self.nodes: list[Node] = []

    def real(self, name: str) -> str:
        """Return a value in its own axis order, emitting the transpose if there is none yet."""
        view = self.views.pop(name, None)
        if view is None:
            return name
        if _identity(view.perm):
            self.views[name] = view
            return view.source
        shape = self.values[view.source].shape
        target = self.values[name].shape
        attrs: Attrs = TransposeAttrs(view.perm)
        op = Op.TRANSPOSE
        if _only_moves_ones(shape, view.perm):
            op, attrs = Op.RESHAPE, ReshapeAttrs(target)
        self.nodes.append(Node(name, op, (view.source,), (name,), attrs))
        return name

    def transpose(self, node: Node, perm: tuple[int, ...]) -> None:
        """Record a transpose as a view of the oldest value it comes from."""
        source = node.inputs[0]
        view = self.views.get(source)
        if view is not None:
            source, perm = view.source, tuple(view.perm[axis] for axis in perm)
        self.views[node.outputs[0]] = _View(source, perm)

    def shared_perm(self, node: Node) -> tuple[int, ...] | None:
        """Return the permutation that all computed operands are seen through, if it is one."""
        dynamic = [name for name in node.inputs if name and not self.values[name].is_constant]
        perms = {self.views[name].perm if name in self.views else None for name in dynamic}
        perm = perms.pop() if len(perms) == 1 else None
        if perm is None or _identity(perm):
            return None
        ranks = {len(self.values[name].shape) for name in dynamic}
        constant_ranks = [
            len(self.values[n].shape) for n in node.inputs if n and self.values[n].is_constant
        ]
        return (
            perm if ranks == {len(perm)} and max(constant_ranks, default=0) <= len(perm) else None
        )

    def sink(self, node: Node, perm: tuple[int, ...]) -> None:
        """Emit the node before the transpose instead of behind it."""
        inputs = tuple(self._before(name, perm) if name else "" for name in node.inputs)
        attrs, out_perm = _moved(node.attrs, perm)
        outputs = []
        for name in node.outputs:
            value = self.values[name]
            moved = f"{name}{SUFFIX}"
            inverse = _inverse(out_perm)
            shape = tuple(value.shape[axis] for axis in inverse)
            self.values[moved] = replace(value, name=moved, shape=shape)
            self.views[name] = _View(moved, out_perm)
            outputs.append(moved)
        self.nodes.append(Node(outputs[0], node.op, inputs, tuple(outputs), attrs))

    def _before(self, name: str, perm: tuple[int, ...]) -> str:
        value = self.values[name]
        if value.data is None:
            return self.views[name].source
        if math.prod(value.shape) == 1:
            return name
        padded = value.data.reshape((1,) * (len(perm) - value.data.ndim) + value.data.shape)
        data = padded.transpose(_inverse(perm)).copy()
        moved = f"{name}{SUFFIX}"
        self.values[moved] = replace(value, name=moved, shape=data.shape, data=data)
        return moved

    def keep(self, node: Node) -> None:
        """Emit the node where it is."""
        inputs = tuple(self.real(name) if name else "" for name in node.inputs)
        self.nodes.append(replace(node, inputs=inputs))


def _inverse(perm: Sequence[int]) -> tuple[int, ...]:
    inverse = [0] * len(perm)
    for index, axis in enumerate(perm):
        inverse[axis] = index
    return tuple(inverse)


def _moved(attrs: Attrs, perm: tuple[int, ...]) -> tuple[Attrs, tuple[int, ...]]:
    """Return attributes for the source's axes, and the view of the output."""

    def to_source(numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(numbers[index] for index in _inverse(perm))

    match attrs:
        case ConcatAttrs():
            return replace(attrs, axis=perm[attrs.axis]), perm
        case FakeQuantAttrs() if attrs.quant.axis is not None:
            quant = replace(attrs.quant, axis=perm[attrs.quant.axis])
            return replace(attrs, quant=quant), perm
        case SplitAttrs():
            return replace(attrs, axis=perm[attrs.axis]), perm
        case PadAttrs():
            moved = replace(attrs, before=to_source(attrs.before), after=to_source(attrs.after))
            return moved, perm
        case SliceAttrs():
            return (
                SliceAttrs(
                    to_source(attrs.starts), to_source(attrs.strides), to_source(attrs.sizes)
                ),
                perm,
            )
        case MeanAttrs():
            axes = tuple(sorted(perm[axis] for axis in attrs.axes))
            if attrs.keep_dims:
                return MeanAttrs(axes, True), perm
            left = [perm[i] for i in range(len(perm)) if i not in attrs.axes]
            ranked = sorted(left)
            return MeanAttrs(axes, False), tuple(ranked.index(axis) for axis in left)
    return attrs, perm


def sink_transposes(graph: Graph) -> Graph:
    """Return an equal graph whose transposes are pushed down until they cancel or must stay.

    A value whose axis order changed for good takes over the file's name.
    """
    walk = _Sinker(graph)
    for node in graph.nodes:
        if isinstance(node.attrs, TransposeAttrs):
            walk.transpose(node, node.attrs.perm)
            continue
        perm = walk.shared_perm(node) if node.op in _MOVABLE else None
        if perm is None:
            walk.keep(node)
        else:
            walk.sink(node, perm)
    renames: dict[str, str] = {}
    for name in graph.output_names:
        made = walk.real(name)
        if made == name:
            continue
        if made in renames or made in (*graph.input_names, *graph.output_names):
            # Two names for one tensor: a reshape to its own shape stands for the copy.
            attrs = ReshapeAttrs(walk.values[name].shape)
            walk.nodes.append(Node(name, Op.RESHAPE, (made,), (name,), attrs))
        else:
            renames[made] = name
    sunk = _renamed(graph, walk.nodes, walk.values, renames)
    return _restore_names(rebuild(sunk, sunk.nodes, sunk.values.values()))


def _renamed(
    graph: Graph, nodes: Sequence[Node], values: Mapping[str, Value], renames: Mapping[str, str]
) -> Graph:
    """Return the graph with values renamed."""
    final = {name: value for name, value in values.items() if name not in renames.values()}
    for old, new in renames.items():
        final[new] = replace(final.pop(old), name=new)

    def rename(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(renames.get(name, name) for name in names)

    moved = [
        replace(
            node,
            name=renames.get(node.name, node.name),
            inputs=rename(node.inputs),
            outputs=rename(node.outputs),
        )
        for node in nodes
    ]
    return replace(graph, nodes=tuple(moved), values=final)


def _restore_names(graph: Graph) -> Graph:
    taken = set(graph.values)
    renames: dict[str, str] = {}
    for name in graph.values:
        short = name
        while short.endswith(SUFFIX):
            short = short.removesuffix(SUFFIX)
        if short != name and short not in taken:
            renames[name] = short
            taken.add(short)
    return _renamed(graph, graph.nodes, graph.values, renames)
