"""Which profiles a recording is consistent with, operator by operator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import HwsimError, InputError
from hwsim.graph import Graph, Node
from hwsim.isolation import computed_inputs, isolated
from hwsim.kernels.plan import execute, lower
from hwsim.kernels.sameness import same_step
from hwsim.profile import NumericProfile
from hwsim.recorded import Recording, as_recorded
from hwsim.separation import separate
from hwsim.verdicts import Identification, OperatorVerdict, Search, Verdict


@dataclass(frozen=True)
class _Class:
    """Profiles whose step for one operator is provably the same; the first stands for all."""

    members: tuple[NumericProfile, ...]
    step: Any


def identify(
    graph: Graph,
    trace: Mapping[str, NDArray[Any]],
    profiles: Sequence[NumericProfile],
    *,
    place: str = "trace",
    search: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Identification:
    """Return which profiles reproduce a recording exactly, operator by operator.

    Each operator runs alone on its recorded operands, so one wrong operator blames no other.

    Args:
        graph: What was run.
        trace: Recorded operands and outputs by value name; any subset.
        profiles: Candidates.
        place: What errors call the trace.
        search: Look for inputs that separate the profiles that remain.
        progress: Called with the name of each finished operator.

    Raises:
        InputError: If the trace does not fit the graph, or holds no operator whole.
        GraphError: If the graph holds floats alone.
    """
    names = [profile.name for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"profiles must have different names, not two {name!r}")
    recording = as_recorded(graph, trace, place)
    rows, left_out, classes = [], [], {}
    for node in graph.nodes:
        if not _is_recorded(graph, node, recording):
            left_out.append(node.name)
            continue
        row, groups = _row(graph, node, recording, profiles)
        rows.append(row)
        classes[node.name] = groups
        if progress is not None:
            progress(node.name)
    if not rows:
        raise InputError(
            f"{place}: trace must hold the operands and an output of at least one operator"
        )
    consistent = tuple(name for name in names if all(name in row.consistent for row in rows))
    made = Identification(tuple(names), recording.runs, tuple(rows), consistent, tuple(left_out))
    if not search:
        return made
    return replace(made, searches=_searches(graph, made, classes, progress))


def _is_recorded(graph: Graph, node: Node, recording: Recording) -> bool:
    operands = all(name in recording.values for name in computed_inputs(graph, node))
    return operands and any(name in recording.values for name in node.outputs)


def _row(
    graph: Graph, node: Node, recording: Recording, profiles: Sequence[NumericProfile]
) -> tuple[OperatorVerdict, list[_Class]]:
    alone = isolated(graph, node)
    groups: list[_Class] = []
    refused: dict[str, str] = {}
    for profile in profiles:
        try:
            step = lower(alone, profile).calls[0].step
        except HwsimError as error:
            refused[profile.name] = str(error)
            continue
        for position, group in enumerate(groups):
            if same_step(step, group.step):
                groups[position] = _Class((*group.members, profile), group.step)
                break
        else:
            groups.append(_Class((profile,), step))
    feed = {name: recording.values[name] for name in computed_inputs(graph, node)}
    shown = [name for name in node.outputs if name in recording.values]
    differing: dict[str, int] = {}
    for group in groups:
        made = execute(alone, group.members[0], feed)
        wrong = sum(_differing(made[name], recording.values[name]) for name in shown)
        differing |= {member.name: wrong for member in group.members}
    verdicts = tuple(
        Verdict(p.name, differing.get(p.name), refused.get(p.name, "")) for p in profiles
    )
    elements = sum(recording.values[name].size for name in shown)
    same = tuple(tuple(member.name for member in group.members) for group in groups)
    return OperatorVerdict(node.name, node.op.value, elements, verdicts, same), groups


def _differing(ours: NDArray[Any], theirs: NDArray[Any]) -> int:
    return int(np.count_nonzero(ours.reshape(-1) != theirs.reshape(-1)))


def _searches(
    graph: Graph,
    made: Identification,
    classes: Mapping[str, list[_Class]],
    progress: Callable[[str], None] | None,
) -> tuple[Search, ...]:
    """Search, smallest operator first, until every two remaining profiles are separated.

    Where no profile is consistent with all operators, each operator's own survivors are.
    """
    nodes = {node.name: node for node in graph.nodes}
    rows = sorted(made.rows, key=lambda row: (_size(graph, nodes[row.node]), row.node))
    parted: set[frozenset[str]] = set()
    searches = []
    for row in rows:
        remaining = made.consistent or row.consistent
        groups = [
            [member for member in group.members if member.name in remaining]
            for group in classes[row.node]
        ]
        groups = [group for group in groups if group]
        everyone = [member for group in groups for member in group]
        for second in range(len(groups)):
            for first in range(second):
                pairs = [
                    (a, b)
                    for a in groups[first]
                    for b in groups[second]
                    if frozenset((a.name, b.name)) not in parted
                ]
                if not pairs:
                    continue
                if progress is not None:
                    progress(f"separating on {row.node}")
                search = separate(graph, nodes[row.node], pairs[0], everyone)
                searches.append(search)
                if made.consistent and search.separation is not None:
                    parted |= _parted(search)
    return tuple(searches)


def _parted(search: Search) -> set[frozenset[str]]:
    """Return the pairs of profiles that a separating input tells apart."""
    assert search.separation is not None
    outputs = search.separation.outputs
    return {
        frozenset((one, two))
        for one in outputs
        for two in outputs
        if one != two
        and any(not np.array_equal(outputs[one][name], outputs[two][name]) for name in outputs[one])
    }


def _size(graph: Graph, node: Node) -> int:
    return sum(graph.values[name].elements for name in (*filter(None, node.inputs), *node.outputs))
