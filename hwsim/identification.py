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
from hwsim.separation import Search, separate


@dataclass(frozen=True, slots=True)
class Verdict:
    """One profile on one operator.

    Args:
        profile: Its name.
        differing: Recorded elements that the profile does not reproduce; None if it refuses the
            operator.
        refused: Why it does.
    """

    profile: str
    differing: int | None
    refused: str = ""

    @property
    def consistent(self) -> bool:
        """Whether the profile reproduces every recorded element."""
        return self.differing == 0


@dataclass(frozen=True, slots=True)
class OperatorVerdict:
    """Every profile on one operator.

    Args:
        node: The operator's name.
        operator: What it does.
        elements: Recorded output elements.
        verdicts: One per profile.
        same: Profiles whose arithmetic on this operator is provably the same, in groups.
    """

    node: str
    operator: str
    elements: int
    verdicts: tuple[Verdict, ...]
    same: tuple[tuple[str, ...], ...]

    @property
    def consistent(self) -> tuple[str, ...]:
        """Profiles that reproduce every recorded element."""
        return tuple(verdict.profile for verdict in self.verdicts if verdict.consistent)

    @property
    def telling(self) -> bool:
        """Whether profiles that take the operator could differ on it."""
        return len(self.same) > 1


@dataclass(frozen=True, slots=True)
class Identification:
    """What a recording says about the arithmetic that made it.

    Args:
        profiles: Those that were tried.
        runs: Inferences recorded.
        rows: One per operator whose operands and outputs are recorded.
        consistent: Profiles consistent with every operator.
        left_out: Operators with something not recorded.
        searches: Searches for inputs that separate the profiles that remain.
    """

    profiles: tuple[str, ...]
    runs: int
    rows: tuple[OperatorVerdict, ...]
    consistent: tuple[str, ...]
    left_out: tuple[str, ...]
    searches: tuple[Search, ...] = ()

    @property
    def elements(self) -> int:
        """Recorded output elements that were compared."""
        return sum(row.elements for row in self.rows)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the separating inputs with their expected outputs, for an archive.

        Names are NUMBER/input/VALUE and NUMBER/output/PROFILE/VALUE.
        """
        made: dict[str, NDArray[Any]] = {}
        found = [s.separation for s in self.searches if s.separation is not None]
        for number, separation in enumerate(found):
            for name, array in separation.inputs.items():
                made[f"{number}/input/{name}"] = array
            for profile, outputs in separation.outputs.items():
                for name, array in outputs.items():
                    made[f"{number}/output/{profile}/{name}"] = array
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "profiles": list(self.profiles),
            "consistent": list(self.consistent),
            "runs": self.runs,
            "elements": self.elements,
            "left_out": list(self.left_out),
            "operators": [
                {
                    "node": row.node,
                    "operator": row.operator,
                    "elements": row.elements,
                    "consistent": list(row.consistent),
                    "differing": {v.profile: v.differing for v in row.verdicts},
                    "refused": {v.profile: v.refused for v in row.verdicts if v.refused},
                    "identical": [list(group) for group in row.same],
                }
                for row in self.rows
            ],
            "separations": [_search_dict(search) for search in self.searches],
        }


def _search_dict(search: Search) -> dict[str, Any]:
    found = search.separation
    plain: dict[str, Any] = {
        "node": search.node,
        "profiles": list(search.profiles),
        "exhaustive": search.exhaustive,
        "tried": search.tried,
        "found": found is not None,
    }
    if found is not None:
        plain |= {
            "value": found.value,
            "index": list(found.index),
            "codes": dict(found.codes),
            "changed": found.changed,
        }
    return plain


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
                pairs = {frozenset((a.name, b.name)) for a in groups[first] for b in groups[second]}
                if pairs <= parted:
                    continue
                if progress is not None:
                    progress(f"separating on {row.node}")
                search = separate(
                    graph, nodes[row.node], (groups[first][0], groups[second][0]), everyone
                )
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
