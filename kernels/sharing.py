"""Which pieces a sweep over configurations runs, in which order, and what it keeps: no arrays.

A value's number stands for its content: the piece that makes it and the numbers of what the piece
reads. Two configurations' values of one number are the same bits on the same inputs, so one of
them is computed. Everything here is decided before an input is seen, memory included.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from hwsim.graph import Graph, Value

from .pieces import Contents, Piece, pieces_of


@dataclass(frozen=True, slots=True)
class Pass:
    """What one configuration still has to compute, given the values that wait for it.

    Args:
        name: The configuration's.
        converts: Inputs that become codes: (value number, a graph of the input alone).
        graph: Everything else that has to run, from values that wait to values that are wanted;
            None where all is there.
        pieces: Numbers of its pieces among `Shared.pieces`, in the order of its nodes.
        reads: Value numbers by the name of the graph's input.
        makes: Value numbers by the name of the graph's output.
        outputs: Value numbers by the name of the configuration's output.
        constants: Outputs that are constants of the configuration.
        frees: Numbers of values that no later pass reads.
        held_bytes: Size of the values that are there before or after it.
        working_bytes: Largest size of all values at one time if nodes run one by one.
    """

    name: str
    converts: tuple[tuple[int, Graph], ...]
    graph: Graph | None
    pieces: tuple[int, ...]
    reads: Mapping[str, int]
    makes: Mapping[str, int]
    outputs: Mapping[str, int]
    constants: Mapping[str, Value]
    frees: tuple[int, ...]
    held_bytes: int
    working_bytes: int


@dataclass(frozen=True)
class Schedule:
    """The passes of a sweep over one block of inputs.

    Args:
        passes: In an order in which neighbors share most.
        total: Pieces of all configurations, had each been run by itself, inputs among them.
        computed: Pieces that are run.
        kept_bytes: Largest size of the values that wait for a later pass.
        dropped: Values that a later pass computes again, because the limit had no room for them.
    """

    passes: tuple[Pass, ...]
    total: int
    computed: int
    kept_bytes: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Made:
    """A piece on given operands; without a part, an input."""

    piece: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    graph: Graph = field(compare=False, repr=False)
    part: Piece | None = field(compare=False, repr=False)
    lowering: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Configuration:
    name: str
    graph: Graph
    made: tuple[_Made, ...]
    outputs: Mapping[str, int]
    constants: Mapping[str, Value]


@dataclass(frozen=True)
class Shared:
    """Configurations whose values are numbered by content.

    Args:
        pieces: Every piece that is lowered differently or has other names, by number.
        users: The first configuration with each piece.
    """

    pieces: Mapping[int, Graph]
    users: Mapping[int, str]
    _ordered: Sequence[_Configuration]
    _sizes: Mapping[int, int]

    @classmethod
    def of(cls, configurations: Iterable[tuple[str, Graph]]) -> "Shared":
        """Number the values of named integer graphs, all for one batch."""
        contents = Contents()
        pieces: dict[int, Graph] = {}
        users: dict[int, str] = {}
        sizes: dict[int, int] = {}
        found = []
        for name, graph in configurations:
            found.append(_numbered(name, graph, contents, pieces, sizes))
            for made in found[-1].made:
                if made.part is not None:
                    users.setdefault(made.lowering, name)
        return cls(MappingProxyType(pieces), users, _by_shared_beginnings(found), sizes)

    def within(self, limit: int) -> Schedule:
        """Return the work that keeps at most `limit` bytes of values between passes.

        One pass's own values come on top: without them nothing runs.
        """
        return _walked(self._ordered, _uses(self._ordered), self._sizes, limit)


def _numbered(
    name: str, graph: Graph, contents: Contents, pieces: dict[int, Graph], sizes: dict[int, int]
) -> _Configuration:
    """Return a configuration with its values numbered; new pieces and sizes are filed."""
    numbers: dict[str, int] = {}
    made = []
    for value in graph.inputs:
        piece = contents.number("input", value.name, contents.form(value))
        numbers[value.name] = contents.number("value", piece, (), 0)
        single = Graph(graph.name, {value.name: value}, (), (value.name,), (value.name,))
        made.append(_Made(piece, (), (numbers[value.name],), single, None, piece))
    for part in pieces_of(graph):
        made.append(_instance(part, contents, numbers))
        if made[-1].lowering not in pieces:
            pieces[made[-1].lowering] = part.alone()
    for value_name, number in numbers.items():
        value = graph.values[value_name]
        sizes[number] = value.elements * value.dtype.storage.itemsize
    outputs = {n: numbers[n] for n in graph.output_names if n in numbers}
    constants = {n: graph.values[n] for n in graph.output_names if n not in numbers}
    return _Configuration(name, graph, tuple(made), outputs, constants)


def _instance(part: Piece, contents: Contents, numbers: dict[str, int]) -> _Made:
    piece = contents.piece(part)
    reads = tuple(numbers[name] for name in part.inputs)
    for slot, name in enumerate(part.outputs):
        numbers[name] = contents.number("value", piece, reads, slot)
    makes = tuple(numbers[name] for name in part.outputs)
    names = tuple((node.inputs, node.outputs) for node in part.nodes)
    return _Made(piece, reads, makes, part.graph, part, contents.number("named", piece, names))


def _by_shared_beginnings(found: Sequence[_Configuration]) -> list[_Configuration]:
    """Return configurations depth first: those that begin alike stand together.

    Where beginnings part, smaller groups come first: the value before the fork is then needed no
    more once the largest group, usually the unchanged network, goes on.
    """
    ordered: list[_Configuration] = []
    pending = [(list(found), 0)]
    while pending:
        group, depth = pending.pop()
        by_next: dict[_Made | None, list[_Configuration]] = {}
        for configuration in group:
            made = configuration.made
            by_next.setdefault(made[depth] if depth < len(made) else None, []).append(configuration)
        if len(group) == 1 or by_next.keys() == {None}:
            ordered += group
            continue
        branches = sorted(by_next.values(), key=len)
        pending += [(branch, depth + 1) for branch in reversed(branches)]
    return ordered


def _uses(ordered: Sequence[_Configuration]) -> dict[int, list[int]]:
    """Return, by value, the passes that read it if every piece runs once; in rising order."""
    first: set[_Made] = set()
    uses: dict[int, set[int]] = {}
    for index, configuration in enumerate(ordered):
        for number in configuration.outputs.values():
            uses.setdefault(number, set()).add(index)
        for made in configuration.made:
            if made not in first:
                first.add(made)
                for number in made.reads:
                    uses.setdefault(number, set()).add(index)
    return {number: sorted(passes) for number, passes in uses.items()}


def _walked(
    ordered: Sequence[_Configuration],
    uses: Mapping[int, Sequence[int]],
    sizes: Mapping[int, int],
    limit: int,
) -> Schedule:
    """Return the passes of configurations in the given order."""
    kept: set[int] = set()
    passes = []
    computed = most_kept = dropped = 0
    for index, configuration in enumerate(ordered):
        needed = _needed(configuration, kept)
        present = kept.union(*(made.makes for made in needed))
        wanted = {number: after for number in present if (after := _next(uses, number, index))}
        chosen = _within(wanted, sizes, limit)
        dropped += len(wanted) - len(chosen)
        computed += len(needed)
        most_kept = max(most_kept, sum(sizes[number] for number in chosen))
        passes.append(_pass(configuration, needed, kept, chosen, sizes))
        kept = chosen
    total = sum(len(configuration.made) for configuration in ordered)
    return Schedule(tuple(passes), total, computed, most_kept, dropped)


def _pass(
    configuration: _Configuration,
    needed: Sequence[_Made],
    kept: set[int],
    chosen: set[int],
    sizes: Mapping[int, int],
) -> Pass:
    """Return the pass that runs `needed` on kept values, and leaves the chosen ones."""
    staying = chosen | set(configuration.outputs.values())
    converts = tuple((made.makes[0], made.graph) for made in needed if made.part is None)
    given = kept.union(number for number, _ in converts)
    runs = [(made, made.part) for made in needed if made.part is not None]
    reads: dict[str, int] = {}
    makes: dict[str, int] = {}
    for made, part in runs:
        operands = zip(part.inputs, made.reads, strict=True)
        reads |= {name: number for name, number in operands if number in given}
        results = zip(part.outputs, made.makes, strict=True)
        makes |= {
            name: number
            for name, number in results
            if number in staying and number not in makes.values()
        }
    held = given.union(makes.values())
    return Pass(
        configuration.name,
        converts,
        _sub_graph(configuration.graph, [part for _, part in runs], tuple(reads), tuple(makes)),
        tuple(made.lowering for made, _ in runs),
        MappingProxyType(reads),
        MappingProxyType(makes),
        MappingProxyType(dict(configuration.outputs)),
        MappingProxyType(dict(configuration.constants)),
        tuple(sorted(held - chosen)),
        sum(sizes[number] for number in held),
        _working(needed, kept, staying, sizes),
    )


def _sub_graph(
    graph: Graph, parts: Sequence[Piece], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Graph | None:
    """Return the nodes of parts as a graph."""
    nodes = tuple(node for part in parts for node in part.nodes)
    if not nodes:
        return None
    names = dict.fromkeys(inputs)
    for node in nodes:
        names |= dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name)
    values = {name: graph.values[name] for name in names}
    return Graph(graph.name, values, nodes, inputs, outputs, graph.profile)


def _needed(configuration: _Configuration, kept: set[int]) -> list[_Made]:
    """Return what has to run for the outputs, given the kept values, in execution order."""
    missing = set(configuration.outputs.values()) - kept
    needed = []
    for made in reversed(configuration.made):
        if missing & set(made.makes):
            needed.append(made)
            missing |= set(made.reads) - kept
    return needed[::-1]


def _next(uses: Mapping[int, Sequence[int]], number: int, index: int) -> int | None:
    """Return the next pass after `index` that reads a value; it is never pass 0."""
    later = uses.get(number, ())
    place = bisect_right(later, index)
    return later[place] if place < len(later) else None


def _within(wanted: Mapping[int, int], sizes: Mapping[int, int], limit: int) -> set[int]:
    """Return values to keep: those that are read soonest, as far as the limit goes."""
    chosen = set()
    for number in sorted(wanted, key=lambda n: (wanted[n], sizes[n], n)):
        if sizes[number] <= limit:
            chosen.add(number)
            limit -= sizes[number]
    return chosen


def _working(
    needed: Sequence[_Made], kept: set[int], staying: set[int], sizes: Mapping[int, int]
) -> int:
    """Return the largest size of all values at one time in a pass."""
    last = {number: index for index, made in enumerate(needed) for number in made.reads}
    present = set(kept)
    size = most = sum(sizes[number] for number in present)
    for index, made in enumerate(needed):
        new = set(made.makes) - present
        present |= new
        size += sum(sizes[number] for number in new)
        most = max(most, size)
        done = {
            number
            for number in (*made.reads, *made.makes)
            if last.get(number, index) == index and number not in staying and number in present
        }
        present -= done
        size -= sum(sizes[number] for number in done)
    return most
