"""A graph cut into pieces that are lowered and run on their own, and when two pieces are the same.

A lowering looks at its node, the node's operands and results, and, behind an operand wider than a
factor, at the node that bounds it (`hwsim.verify.largest_code`). So wide values, and values that
are no quantized codes, stay inside one piece; every other value may be a border.
"""

import hashlib
import weakref
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hwsim.graph import Graph, Node, Value
from hwsim.verify import MAX_FACTOR_BITS


@dataclass(frozen=True)
class Piece:
    """Nodes of a graph that run as one.

    Args:
        graph: The whole graph.
        nodes: In execution order.
        inputs: Activations that it reads and does not make, in the order of first use.
        outputs: Values that it makes and others need.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def alone(self) -> Graph:
        """Return the piece as a graph of its own."""
        names = dict.fromkeys(self.inputs)
        for node in self.nodes:
            names |= dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name)
        values = {name: self.graph.values[name] for name in names}
        whole = self.graph
        return Graph(whole.name, values, self.nodes, self.inputs, self.outputs, whole.profile)


def pieces_of(graph: Graph) -> tuple[Piece, ...]:
    """Cut a graph into its smallest pieces, in an order in which each is made before it is read.

    Nodes that no output needs are left out.
    """
    nodes = _needed(graph)
    groups = _groups(graph, nodes)
    pieces = tuple(_piece(graph, [nodes[index] for index in group]) for group in groups)
    if len(pieces) > 1 and any(_unquantized(piece) for piece in pieces):
        return (_piece(graph, nodes),)  # floats alone are no integer graph; beside codes they run
    return pieces


def _needed(graph: Graph) -> list[Node]:
    wanted = set(graph.output_names)
    kept = []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]


def _groups(graph: Graph, nodes: Sequence[Node]) -> list[list[int]]:
    """Return indices of nodes that may not be parted, groups in execution order."""
    maker = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    edges = [
        (maker[name], index)
        for index, node in enumerate(nodes)
        for name in dict.fromkeys(node.inputs)
        if name in maker
    ]
    group = list(range(len(nodes)))
    tied = [
        (maker[name], index)
        for index, node in enumerate(nodes)
        for name in dict.fromkeys(node.inputs)
        if name in maker and not _is_border(graph.values[name])
    ]
    for first, second in tied:
        _join(group, group[first], group[second])
    # A path that leaves a group and comes back would make the group its own operand.
    reach = _reach(group, edges)
    for index in range(len(nodes)):
        for other in range(index):
            a, b = group[index], group[other]
            if a != b and reach[a] >> b & 1 and reach[b] >> a & 1:
                _join(group, a, b)
    members: dict[int, list[int]] = {}
    for index, name in enumerate(group):
        members.setdefault(name, []).append(index)
    return _ordered(members, group, edges)


def _is_border(value: Value) -> bool:
    """Whether nothing before a value matters to the lowering of its readers."""
    return value.quant is not None and value.dtype.bits <= MAX_FACTOR_BITS


def _join(group: list[int], a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    group[:] = [low if name == high else name for name in group]


def _reach(group: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return, by group, the groups behind it as bits of an integer."""
    reach = [0] * len(group)
    between = {(group[a], group[b]) for a, b in edges if group[a] != group[b]}
    changed = True
    while changed:
        changed = False
        for a, b in sorted(between, reverse=True):
            found = reach[a] | 1 << b | reach[b]
            changed |= found != reach[a]
            reach[a] = found
    return reach


def _ordered(
    members: dict[int, list[int]], group: Sequence[int], edges: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Return groups in execution order; among those that are ready, the earliest first."""
    before: dict[int, set[int]] = {name: set() for name in members}
    for a, b in edges:
        if group[a] != group[b]:
            before[group[b]].add(group[a])
    done: dict[int, list[int]] = {}
    while len(done) < len(members):
        ready = next(n for n in members if n not in done and before[n] <= done.keys())
        done[ready] = members[ready]
    return list(done.values())


def _piece(graph: Graph, nodes: Sequence[Node]) -> Piece:
    made = dict.fromkeys(name for node in nodes for name in node.outputs)
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    inputs = tuple(n for n in read if n not in made and not graph.values[n].is_constant)
    outputs = tuple(
        name
        for name in made
        if name in graph.output_names
        or any(node.outputs[0] not in made for node in graph.consumers[name])
    )
    return Piece(graph, tuple(nodes), inputs, outputs)


def _unquantized(piece: Piece) -> bool:
    names = (name for node in piece.nodes for name in (*node.inputs, *node.outputs) if name)
    return all(piece.graph.values[name].quant is None for name in names)


@dataclass(frozen=True)
class Contents:
    """Numbers for things that are compared by what they hold: equal content, equal number."""

    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _digests: dict[int, tuple["weakref.ref[NDArray[Any]]", bytes]] = field(default_factory=dict)

    def number(self, *content: Hashable) -> int:
        """Return the number of a content."""
        return self._numbers.setdefault(content, len(self._numbers))

    def piece(self, piece: Piece) -> int:
        """Return the number of a piece: operators, attributes, formats, constants, wiring.

        Names do not count, nor do the operands' contents.
        """
        return self.number("piece", *self._description(piece))

    def _description(self, piece: Piece) -> Iterator[Hashable]:
        values = piece.graph.values
        place = {name: index for index, name in enumerate(piece.inputs)}
        yield tuple(self.form(values[name]) for name in piece.inputs)
        for node in piece.nodes:
            operands = tuple(
                ("", 0) if not name
                else ("made", place[name]) if name in place
                else ("constant", self.constant(values[name]))
                for name in node.inputs
            )  # fmt: skip
            place |= {name: len(place) + index for index, name in enumerate(node.outputs)}
            forms = tuple(self.form(values[name]) for name in node.outputs)
            # As text: 0 and 0.0 are equal and may mean a code and a real.
            yield node.op, repr(node.attrs), operands, forms
        yield tuple(place[name] for name in piece.outputs)

    def form(self, value: Value) -> int:
        """Return the number of a value's shape, type and parameters."""
        return self.number("form", value.shape, value.dtype, value.quant)

    def constant(self, value: Value) -> int:
        """Return the number of a constant."""
        assert value.data is not None
        return self.number("constant", self.form(value), self._digest(value.data))

    def _digest(self, data: NDArray[Any]) -> bytes:
        """Return a hash of an array's bytes; arrays of constants are never written to."""
        known = self._digests.get(id(data))
        if known is not None and known[0]() is data:
            return known[1]
        digest = hashlib.sha256(data.tobytes()).digest()
        self._digests[id(data)] = weakref.ref(data), digest
        return digest
