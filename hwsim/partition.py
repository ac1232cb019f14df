"""Units of choice: which layers share their bits, and which tensors each of them owns.

Values that only data movement separates hold the same codes: they form a *code group* with one
width and one scale. Layers that read one group are tied into one unit, by union-find on the graph.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from hwsim.attributes import ConvAttrs, MatMulAttrs, PoolAttrs
from hwsim.batch import with_batch
from hwsim.errors import InputError
from hwsim.fuse import LINEAR, MOVES, accumulator_values, fuse
from hwsim.graph import Graph, Node
from hwsim.ops import OPS, Op
from hwsim.quant import IntType
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

_WEIGHTED = LINEAR | {Op.TRANSPOSE_CONV}
CHOOSING = _WEIGHTED | {Op.MATMUL}
_MULTIPLYING = CHOOSING | {Op.LSTM, Op.SVDF}
# Width of a tensor that no layer's choice decides.
FREE_BITS = 8
# A residual stream sums many branches, and the network's outputs feed the host: both stay wide.
WIDE_BITS = 16


class _Disjoint:
    """Disjoint sets of names, merged by union; a set is named by its earliest member."""

    def __init__(self, names: Sequence[str]) -> None:
        self.rank = {name: index for index, name in enumerate(names)}
        self.parent = {name: name for name in names}

    def find(self, name: str) -> str:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def union(self, a: str, b: str) -> None:
        first, second = sorted((self.find(a), self.find(b)), key=self.rank.__getitem__)
        self.parent[second] = first


@dataclass(frozen=True)
class Partition:
    """The units of a fused graph.

    Args:
        graph: The fused graph.
        group: Code group of each activation, by value name.
        unit: Unit of each choosing node, by node name.
        owner: Unit that decides a group's width, by group; absent where nobody does.
        accumulators: Values that never leave an accumulator.
    """

    graph: Graph
    group: Mapping[str, str]
    unit: Mapping[str, str]
    owner: Mapping[str, str]
    accumulators: frozenset[str]

    @property
    def units(self) -> tuple[str, ...]:
        """Unit names in graph order."""
        return tuple(dict.fromkeys(self.unit.values()))

    def members(self, group: str) -> tuple[str, ...]:
        """Return the values of a code group, in graph order."""
        return tuple(name for name, found in self.group.items() if found == group)

    def free_bits(self, group: str) -> int:
        """Return the width of a group that no unit owns; a table takes no wide codes."""
        readers = [node for name in self.members(group) for node in self.graph.consumers[name]]
        if any(OPS[node.op].work is Work.TABLE for node in readers):
            return FREE_BITS
        for name in self.members(group):
            if name in self.graph.output_names:
                return WIDE_BITS
            if any(node.op in (Op.LAYER_NORM, Op.RMS_NORM) for node in self.graph.consumers[name]):
                return WIDE_BITS
        return FREE_BITS

    @property
    def border(self) -> frozenset[str]:
        """The units that read a network input or make a network output."""
        found = set()
        for name in self.graph.input_names:
            found |= {self.owner[g] for g in (self.group[name],) if g in self.owner}
        pending = list(self.graph.output_names)
        seen = set()
        while pending:
            name = pending.pop()
            node = self.graph.producer.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.name in self.unit:
                found.add(self.unit[node.name])
            else:
                pending += [source for source in node.inputs if source]
        return frozenset(found)


def partition(graph: Graph) -> Partition:
    """Return the units of a graph; a float graph is fused first."""
    fused = fuse(graph) if graph.is_float else graph
    names = [value.name for value in fused.activations]
    groups = _Disjoint(names)
    for node in fused.nodes:
        if node.op in MOVES or node.op is Op.MAX_POOL_2D:
            # A table's codes are moved, the indices that choose them are not.
            moved = node.inputs[:1] if node.op is Op.GATHER else node.inputs
            dynamic = [n for n in moved if n and not fused.values[n].is_constant]
            for name in (*dynamic, *node.outputs)[1:]:
                groups.union((*dynamic, *node.outputs)[0], name)
    choosers = [node for node in fused.nodes if node.op in CHOOSING]
    units = _Disjoint([node.name for node in choosers])
    first: dict[str, str] = {}
    for node in choosers:
        for name in read_by(fused, node):
            group = groups.find(name)
            units.union(first.setdefault(group, node.name), node.name)
    return Partition(
        graph=fused,
        group=MappingProxyType({name: groups.find(name) for name in names}),
        unit=MappingProxyType({node.name: units.find(node.name) for node in choosers}),
        owner=MappingProxyType({group: units.find(name) for group, name in first.items()}),
        accumulators=accumulator_values(fused) if graph.is_float else _stated_accumulators(fused),
    )


def _stated_accumulators(graph: Graph) -> frozenset[str]:
    """Return the 32-bit quantized values of an integer graph: sums that an ADD takes in."""
    return frozenset(
        value.name
        for value in graph.activations
        if value.quant is not None and value.dtype == IntType(32)
    )


def read_by(graph: Graph, node: Node) -> list[str]:
    """Return the activations that a choosing node multiplies."""
    slots = node.inputs[:2] if node.op is Op.MATMUL else node.inputs[:1]
    return [name for name in slots if not graph.values[name].is_constant]


def workload(graph: Graph) -> tuple[Unit, ...]:
    """Return what one inference of a graph asks of a platform, in graph order.

    Data movement is addressing: it costs nothing by itself, but what is read through it is read.
    The last few are kept: fusing a float graph takes far longer than pricing it.
    """
    return _workload(_Same(graph))


class _Same:
    """A graph as a key: equal where it is the same object."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        return self.graph is other.graph

    def __hash__(self) -> int:
        return id(self.graph)


@lru_cache(maxsize=4)
def _workload(key: _Same) -> tuple[Unit, ...]:
    """Return the units of a graph, which is frozen, so that they cannot go stale."""
    graph = key.graph
    single = with_batch(graph, 1) or graph
    parts = partition(single)
    tensors = _tensors_by_unit(parts)
    layers: dict[str, list[Layer]] = {}
    for order, node in enumerate(parts.graph.nodes):
        if OPS[node.op].work is Work.MOVE:
            continue
        if any(name in parts.accumulators for name in node.inputs):
            continue  # a fused addition rides on its layer's output stage
        name = parts.unit.get(node.name, node.name)
        layers.setdefault(name, []).append(_layer(parts.graph, node, order))
    choices = set(parts.units)
    border = parts.border
    names = [*layers, *(name for name in tensors if name not in layers)]
    return tuple(
        Unit(
            name=name,
            layers=tuple(layers.get(name, ())),
            tensors=tuple(tensors.get(name, ())),
            native=_native(parts, name) if name in choices else None,
            has_choice=name in choices,
            at_border=name in border,
        )
        for name in names
    )


def _tensors_by_unit(parts: Partition) -> dict[str, list[Tensor]]:
    graph = parts.graph
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    places = _places(graph)
    found: dict[str, list[Tensor]] = {}
    given = {parts.group[name] for name in graph.input_names}
    for value in graph.activations:
        if value.name in parts.accumulators:
            continue
        group = parts.group[value.name]
        maker = graph.producer.get(value.name)
        writes = 0 if maker is None or OPS[maker.op].work is Work.MOVE else 1
        readers = [n for n in graph.consumers[value.name] if OPS[n.op].work is not Work.MOVE]
        reads = sum(list(node.inputs).count(value.name) for node in readers)
        is_output = value.name in graph.output_names
        if not writes and not reads and not is_output:
            continue
        owner = parts.owner.get(group)
        bits = None if owner is not None else _free_width(parts, value.name, group)
        name = owner or _payer(graph, parts, group) or value.name
        found.setdefault(name, []).append(
            Tensor(
                value.name,
                value.elements,
                reads,
                max(writes, 1 if is_output else 0),
                bits,
                is_output or (group in given and not writes),
                _lifetime(parts, value.name, order),
                places.find(value.name),
            )
        )
    return found


def _places(graph: Graph) -> _Disjoint:
    """Return the values that data movement alone separates: they lie in one place."""
    places = _Disjoint([value.name for value in graph.activations])
    for node in graph.nodes:
        if OPS[node.op].work is not Work.MOVE:
            continue
        moved = node.inputs[:1] if node.op is Op.GATHER else node.inputs
        dynamic = [name for name in moved if name and not graph.values[name].is_constant]
        for name in (*dynamic, *node.outputs)[1:]:
            places.union((*dynamic, *node.outputs)[0], name)
    return places


def _lifetime(parts: Partition, name: str, order: Mapping[str, int]) -> tuple[int, int]:
    """Return the first and the last node during which a value must be kept."""
    graph = parts.graph
    readers = [order[node.name] for node in graph.consumers[name]]
    first, maker = 0, graph.producer.get(name)
    while maker is not None:
        # What rides on a layer's output stage is written while that layer runs.
        first = order[maker.name]
        ridden = [source for source in maker.inputs if source in parts.accumulators]
        maker = graph.producer.get(ridden[0]) if ridden else None
    last = len(order) - 1 if name in graph.output_names else max(readers, default=first)
    return first, max(first, last)


def _free_width(parts: Partition, name: str, group: str) -> int:
    value = parts.graph.values[name]
    return value.dtype.bits if value.quant is not None else parts.free_bits(group)


def _payer(graph: Graph, parts: Partition, group: str) -> str | None:
    """Return the fixed work that pays for a group nobody owns: its first reader, else its maker."""
    nodes = [
        *(node for name in parts.members(group) for node in graph.consumers[name]),
        *(graph.producer[name] for name in parts.members(group) if name in graph.producer),
    ]
    for node in nodes:
        fused = any(name in parts.accumulators for name in node.inputs)
        if OPS[node.op].work is not Work.MOVE and node.name not in parts.unit and not fused:
            return node.name
    return None


def _native(parts: Partition, unit: str) -> Option | None:
    """Return the widths that an integer graph states; the widest where layers differ."""
    graph = parts.graph
    if graph.is_float:
        return None
    weights, activations = [0], [0]
    for node in graph.nodes:
        if parts.unit.get(node.name) != unit:
            continue
        activations += [graph.values[name].dtype.bits for name in read_by(graph, node)]
        if node.op is not Op.MATMUL:
            weights.append(graph.values[node.inputs[1]].dtype.bits)
    return Option(max(weights) or max(activations), max(activations))


def _layer(graph: Graph, node: Node, order: int) -> Layer:
    out = graph.values[node.outputs[0]]
    groups, m, n, k, kernel, weights = 1, out.elements, 1, 1, (1, 1), 0
    if node.op in _WEIGHTED:
        shape = graph.values[node.inputs[1]].shape
        weights = math.prod(shape)
        if node.op is Op.FULLY_CONNECTED:
            m, n, k = out.elements // shape[0], shape[0], shape[1]
        elif node.op is Op.TRANSPOSE_CONV:
            pixels = graph.values[node.inputs[0]].elements // shape[3]
            m, n, k = pixels, math.prod(shape[:3]), shape[3]
            kernel = (shape[1], shape[2])
        elif node.op is Op.DEPTHWISE_CONV_2D:
            groups, m, k = shape[3], out.elements // shape[3], shape[1] * shape[2]
            kernel = (shape[1], shape[2])
        else:
            assert isinstance(node.attrs, ConvAttrs)
            groups = node.attrs.groups
            m, n = out.elements // shape[0], shape[0] // groups
            k, kernel = math.prod(shape[1:]), (shape[1], shape[2])
    elif OPS[node.op].work is Work.RECURRENT:
        m, n, k, weights = _recurrent(graph, node)
    elif isinstance(node.attrs, MatMulAttrs):
        a = graph.values[node.inputs[0]].shape
        m, n = out.shape[-2:]
        k = a[-2] if node.attrs.transpose_a else a[-1]
        groups = math.prod(out.shape[:-2])
    elif isinstance(node.attrs, PoolAttrs):
        kernel = node.attrs.kernel
    has_bias = node.op in _WEIGHTED and len(node.inputs) > 2 and node.inputs[2]
    stride = node.attrs.stride if isinstance(node.attrs, ConvAttrs | PoolAttrs) else (1, 1)
    return Layer(
        node=node.name,
        work=OPS[node.op].work,
        macs=groups * m * n * k if node.op in _MULTIPLYING else 0,
        groups=groups,
        m=m,
        n=n,
        k=k,
        kernel=kernel,
        out_shape=out.shape,
        weight_elements=weights,
        bias_elements=graph.values[node.inputs[2]].elements if has_bias else 0,
        in_shape=graph.values[node.inputs[0]].shape,
        stride=stride,
        dilation=node.attrs.dilation if isinstance(node.attrs, ConvAttrs) else (1, 1),
        order=order,
        linear_in=_is_linear(graph, node.inputs[0]),
        linear_out=_is_linear(graph, node.outputs[0]),
        operator=node.op.name,
        rides=_rides(graph, node),
    )


def _rides(graph: Graph, node: Node) -> bool:
    """Return whether a table is all that follows the layer that makes its input."""
    maker = graph.producer.get(node.inputs[0])
    if OPS[node.op].work is not Work.TABLE or maker is None:
        return False
    alone = len(graph.consumers[node.inputs[0]]) == 1
    alone = alone and node.inputs[0] not in graph.output_names
    return alone and OPS[maker.op].work not in (Work.MOVE, Work.TABLE, Work.SOFTMAX)


def _is_linear(graph: Graph, name: str) -> bool:
    """Return whether a value crosses the border, or data movement shows it in another order."""
    if name in graph.input_names or name in graph.output_names:
        return True
    maker = graph.producer.get(name)
    touching = [*graph.consumers[name], *([maker] if maker else [])]
    return any(
        OPS[node.op].work is Work.SOFTMAX
        or (OPS[node.op].work is Work.MOVE and not _keeps_rows(graph, node))
        for node in touching
    )


def _keeps_rows(graph: Graph, node: Node) -> bool:
    """Return whether data movement changes no more than the shape above (width, channels)."""
    before, after = graph.values[node.inputs[0]].shape, graph.values[node.outputs[0]].shape
    return node.op is Op.RESHAPE and (1, 1, *before)[-2:] == (1, 1, *after)[-2:]


def _recurrent(graph: Graph, node: Node) -> tuple[int, int, int, int]:
    """Return (m, n, k, weights) of a recurrent operator as one GEMM, a row for every step."""
    x = graph.values[node.inputs[0]].shape
    if node.op is Op.SVDF:
        features, memory = graph.values[node.inputs[2]].shape
        depth = x[-1] + memory
        return x[0], features, depth, features * depth
    units = graph.values[node.inputs[9]].shape[1]
    gates, depth = 4 * units, x[-1] + units
    return x[0] * x[1], gates, depth, gates * depth


Bits = int | str | Option | tuple[int, int]


def as_option(bits: Bits) -> Option:
    """Return the option of a width, a pair, "W4A8" or an option."""
    if isinstance(bits, Option):
        return bits
    if isinstance(bits, str):
        return Option.parse(bits)
    if isinstance(bits, tuple):
        return Option(*bits)
    return Option(bits, bits)


def selection_of(
    units: Sequence[str],
    border: frozenset[str],
    bits: Bits | Mapping[str, Bits],
    first_last: Bits | None = None,
) -> dict[str, Option]:
    """Return the option of every unit.

    Args:
        units: All units.
        border: Those that `first_last` speaks of.
        bits: One choice for all, or one per unit.
        first_last: The choice of the first and last layers, where it differs.

    Raises:
        InputError: If a mapping misses a unit or names an unknown one.
    """
    if isinstance(bits, Mapping):
        for name in bits:
            if name not in units:
                raise InputError(f"unit must be one of {', '.join(units)}, not {name!r}")
        for name in units:
            if name not in bits:
                raise InputError(f"unit {name!r} must have bits; it is missing")
        chosen = {name: as_option(bits[name]) for name in units}
    else:
        chosen = dict.fromkeys(units, as_option(bits))
    if first_last is not None:
        chosen |= dict.fromkeys((name for name in units if name in border), as_option(first_last))
    return chosen
