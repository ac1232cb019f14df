"""Two sides of one graph compared batch by batch, each difference traced to its operator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwsim.comparison import OutputTally, Slack, Tally, Validation, tallies
from hwsim.errors import InputError
from hwsim.graph import Graph, Node
from hwsim.isolation import computed_inputs
from hwsim.recorded import by_run, runs_of, shape_of

Arrays = dict[str, NDArray[Any]]

# Elements of all values together that a side holds at a time, unless one inference has more.
HELD_ELEMENTS = 1 << 24


class Side(Protocol):
    """Somebody's arithmetic, or what it left behind."""

    @property
    def label(self) -> str:
        """What results and errors call the side."""
        ...

    def values(self, inputs: Mapping[str, NDArray[Any]], start: int, runs: int) -> Arrays:
        """Return the computed values of `runs` inferences from `start` on, those it shows."""
        ...

    def apply(self, node: Node, operands: Mapping[str, NDArray[Any]]) -> Arrays | None:
        """Return one operator's outputs, or None where the side cannot run one alone."""
        ...


@dataclass(frozen=True)
class Session:
    """What both sides are run on.

    Args:
        graph: The graph.
        inputs: Arrays by graph input, first axes `runs` times the graph's own.
        runs: Inferences.
        samples: The inputs' first axis.
        all_values: Compare every computed value, not the outputs alone.
        slack: How far apart numbers count as equal.
        whole: Hold everything at once: the slack of floats is a share of the largest of all.
    """

    graph: Graph
    inputs: Mapping[str, NDArray[Any]]
    runs: int
    samples: int
    all_values: bool = True
    slack: Slack = Slack()
    whole: bool = False

    @property
    def batch(self) -> int:
        """Inferences compared at a time."""
        if self.whole:
            return self.runs
        elements = sum(value.elements for value in self.graph.activations)
        return max(1, min(self.runs, HELD_ELEMENTS // max(elements, 1)))


def compare_sides(
    session: Session, a: Side, b: Side, progress: Callable[[int], None] | None = None
) -> Validation:
    """Compare every value that both sides show.

    Memory is bounded: a side holds at most `HELD_ELEMENTS` elements at a time, or one inference.
    The result does not depend on how inferences are batched.

    Args:
        session: Graph and inputs.
        a: Side A.
        b: Side B.
        progress: Called with the number of inputs finished.

    Raises:
        InputError: If a value has another size on one side, or none is shown by both.
    """
    graph = session.graph
    wanted = [name for node in graph.nodes for name in node.outputs]
    if not session.all_values:
        wanted = [name for name in wanted if name in graph.output_names]
    counts: dict[str, Tally] = {}
    outputs: dict[str, OutputTally] = {}
    missing: tuple[str, ...] = ()
    for start in range(0, session.runs, session.batch):
        runs = min(session.batch, session.runs - start)
        inputs = runs_of(graph, session.inputs, session.runs, slice(start, start + runs))
        left, right = (_shaped(graph, side, inputs, start, runs) for side in (a, b))
        shared = {name: None for name in wanted if name in left and name in right}
        if not counts:
            missing = tuple(name for name in wanted if name not in shared)
            counts = tallies(graph, shared)
            outputs = {
                name: OutputTally(graph.values[name])
                for name in graph.output_names
                if name in shared
            }
        _compare_batch(_Batch(session, a, b, inputs, left, right, start, runs), counts, outputs)
        if progress is not None:
            progress(runs * session.samples // session.runs)
    if not counts:
        raise InputError(f"{b.label}: at least one value of the graph must be there to compare")
    return Validation(
        a.label,
        b.label,
        session.samples,
        tuple(tally.done() for tally in counts.values()),
        tuple(tally.done() for tally in outputs.values()),
        missing,
    )


def _shaped(graph: Graph, side: Side, inputs: Arrays, start: int, runs: int) -> Arrays:
    made = side.values(inputs, start, runs)
    shaped = {}
    for name, array in made.items():
        value = graph.values[name]
        if array.size != runs * value.elements:
            raise InputError(
                f"{side.label}: value {name!r} must have {runs * value.elements} elements, "
                f"not {array.size}"
            )
        shaped[name] = array.reshape(shape_of(value, runs))
    return shaped


@dataclass(frozen=True)
class _Batch:
    session: Session
    a: Side
    b: Side
    inputs: Arrays
    left: Arrays
    right: Arrays
    start: int
    runs: int


def _compare_batch(
    batch: _Batch, counts: Mapping[str, Tally], outputs: Mapping[str, OutputTally]
) -> None:
    differs: dict[str, NDArray[np.bool_]] = {
        name: np.zeros((batch.runs, 1), np.bool_) for name in batch.inputs
    }
    for node in batch.session.graph.nodes:
        shown = [name for name in node.outputs if name in counts]
        for name in shown:
            left, right = batch.left[name], batch.right[name]
            differs[name] = counts[name].add(
                left, right, batch.start, batch.runs, batch.session.slack
            )
            if name in outputs:
                outputs[name].add(left, right, batch.start, differs[name])
        _attribute(batch, node, [counts[name] for name in shown], differs)


def _attribute(
    batch: _Batch, node: Node, made: list[Tally], differs: Mapping[str, NDArray[np.bool_]]
) -> None:
    """Split the differences of a node's outputs into its own and those of its inputs.

    Where the inputs are equal, every difference is the operator's own. Elsewhere one side's
    operator is run alone on the other side's inputs.
    """
    names = computed_inputs(batch.session.graph, node)
    if any(name not in differs for name in names):
        for tally in made:
            tally.shown = tally.attributed = False
        return
    moved = np.zeros(batch.runs, np.bool_)
    for name in names:
        moved |= differs[name].any(axis=1)
    for tally in made:
        tally.own += int(np.count_nonzero(differs[tally.value.name][~moved]))
        tally.equal = tally.equal and not moved.any()
    if not moved.any() or not made:
        return
    chosen = np.flatnonzero(moved).tolist()
    graph, runs = batch.session.graph, batch.runs
    for side, given, against in (
        (batch.b, batch.left, batch.right), (batch.a, batch.right, batch.left)
    ):  # fmt: skip
        operands = {name: (batch.inputs | given)[name] for name in names}
        alone = side.apply(node, runs_of(graph, operands, runs, chosen))
        if alone is None:
            continue
        for tally in made:
            name = tally.value.name
            made_alone = by_run(alone[name], len(chosen))
            slack = batch.session.slack
            own = slack.differs(by_run(given[name], runs)[chosen], made_alone)
            inherited = slack.differs(by_run(against[name], runs)[chosen], made_alone)
            tally.own += int(np.count_nonzero(own))
            tally.inherited += int(np.count_nonzero(inherited))
        return
    for tally in made:
        tally.attributed = False
