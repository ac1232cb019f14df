"""Where two runs of one graph part: element counts, never tolerances."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph, Node, Value
from hwsim.recorded import by_run

if TYPE_CHECKING:
    import pandas as pd

Number = int | float


@dataclass(frozen=True, slots=True)
class Difference:
    """One element that differs.

    Args:
        index: Its place; the first axis counts the inputs.
        a: The number on side A.
        b: The number on side B.
    """

    index: tuple[int, ...]
    a: Number
    b: Number


@dataclass(frozen=True, slots=True)
class ValueComparison:
    """One value of the graph in both runs.

    Args:
        value: Its name.
        node: The node that made it.
        operator: What the node does.
        elements: Elements compared.
        differing: Elements that are not equal.
        largest: Largest absolute difference, in codes.
        runs: Inferences in which an element differs.
        own: Elements in which the operator alone differs, given the same inputs on both sides;
            None where no side can run an operator alone, or an operand is not shown.
        inherited: Elements that differ because the operator's inputs do, its arithmetic kept; None
            as for `own`. An element may count in both, and two differences may cancel.
        inputs_equal: Whether the operator had the same inputs on both sides; None if not shown.
        first: The first element that differs.
    """

    value: str
    node: str
    operator: str
    elements: int
    differing: int
    largest: float
    runs: int
    own: int | None
    inherited: int | None
    inputs_equal: bool | None
    first: Difference | None


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """A graph output as its reader sees it.

    Args:
        value: Its name.
        differing: Rows of the first axis (inputs) with an element that differs.
        flips: Inputs whose largest element is another one; None where the output is no vector
            of classes. Ties go to the lower class.
    """

    value: str
    differing: tuple[int, ...]
    flips: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Validation:
    """The comparison of every value that both sides show, in execution order.

    Args:
        a: Side A: our side.
        against: Side B: what the graph was compared with.
        samples: Inputs run.
        rows: One per value.
        outputs: One per graph output that both sides show.
        missing: Values that a side does not show.
    """

    a: str
    against: str
    samples: int
    rows: tuple[ValueComparison, ...]
    outputs: tuple[OutputComparison, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def differing(self) -> int:
        """Elements that differ, over all values."""
        return sum(row.differing for row in self.rows)

    @property
    def elements(self) -> int:
        """Elements compared, over all values."""
        return sum(row.elements for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.elements > 0 and self.differing == 0

    @property
    def first(self) -> ValueComparison | None:
        """The first value that differs."""
        return next((row for row in self.rows if row.differing), None)

    @property
    def sources(self) -> tuple[ValueComparison, ...]:
        """The values in which a difference is born: the operator differs on equal inputs."""
        return tuple(row for row in self.rows if row.own)

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per value."""
        import pandas as pd

        names = [field.name for field in fields(ValueComparison) if field.name != "first"]
        return pd.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        first = self.first
        return {
            "a": self.a,
            "against": self.against,
            "samples": self.samples,
            "elements": self.elements,
            "differing": self.differing,
            "first": None if first is None else asdict(first),
            "sources": [row.value for row in self.sources],
            "outputs": [asdict(output) for output in self.outputs],
            "missing": list(self.missing),
            "values": [asdict(row) for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Slack:
    """How far floats may lie apart and count as equal: a share of the value's largest number.

    Floats have no exact order of sums; codes have no slack.
    """

    share: float = 0.0

    def differs(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where two arrays of one shape differ; NaN equals NaN."""
        if not self.share:
            if "f" not in (a.dtype.kind, b.dtype.kind):
                return np.asarray(a != b)
            return np.asarray((a != b) & ~(np.isnan(a) & np.isnan(b)))
        allowed = self.share * float(np.abs(b).max(initial=0))
        return np.asarray(~(np.abs(a - b) <= allowed))


class Tally:
    """Counts of one value, added up over batches of inferences."""

    def __init__(self, value: Value, node: Node) -> None:
        """Count nothing yet."""
        self.value, self.node = value, node
        self.elements = self.differing = self.runs = self.own = self.inherited = 0
        self.largest = 0.0
        self.attributed, self.shown, self.equal = True, True, True
        self.first: Difference | None = None

    def add(
        self, a: NDArray[Any], b: NDArray[Any], start: int, runs: int, slack: Slack
    ) -> NDArray[np.bool_]:
        """Compare the value over inferences `start` to `start + runs`.

        Returns:
            Where they differ, shape (runs, elements of one).
        """
        left, right = by_run(a, runs), by_run(b, runs)
        differs = slack.differs(left, right)
        self.elements += differs.size
        if differs.any():
            self.differing += int(np.count_nonzero(differs))
            self.runs += int(np.count_nonzero(differs.any(axis=1)))
            wide = np.float64 if "f" in (a.dtype.kind, b.dtype.kind) else np.int64
            gap = np.abs(left[differs].astype(wide) - right[differs].astype(wide))
            self.largest = max(self.largest, float(gap.max()))
            if self.first is None:
                self.first = self._difference(left, right, differs, start)
        return differs

    def _difference(
        self, a: NDArray[Any], b: NDArray[Any], differs: NDArray[np.bool_], start: int
    ) -> Difference:
        run, element = (int(i) for i in np.argwhere(differs)[0])
        shape = self.value.shape
        inside = [int(i) for i in np.unravel_index(element, shape)] if shape else []
        if inside:
            inside[0] += (start + run) * shape[0]
        return Difference(tuple(inside), a[run, element].item(), b[run, element].item())

    def done(self) -> ValueComparison:
        """Return the sums."""
        return ValueComparison(
            value=self.value.name,
            node=self.node.name,
            operator=self.node.op.value,
            elements=self.elements,
            differing=self.differing,
            largest=self.largest,
            runs=self.runs,
            own=self.own if self.attributed else None,
            inherited=self.inherited if self.attributed else None,
            inputs_equal=self.equal if self.shown else None,
            first=self.first,
        )


class OutputTally:
    """Inputs whose outputs differ, added up over batches of inferences."""

    def __init__(self, value: Value) -> None:
        """Count nothing yet."""
        self.value = value
        self.differing: list[int] = []
        self.flips: list[int] = []
        shape = value.shape
        self._classes = (
            shape[-1] if len(shape) >= 2 and value.elements == shape[0] * shape[-1] else 0
        )

    def add(self, a: NDArray[Any], b: NDArray[Any], start: int, differs: NDArray[np.bool_]) -> None:
        """Compare the output over the inferences from `start` on."""
        own = self.value.shape[0] if self.value.shape else 1
        rows = np.flatnonzero(differs.reshape(len(differs) * own, -1).any(axis=1))
        self.differing += [start * own + int(row) for row in rows]
        if self._classes > 1 and rows.size:
            left, right = (array.reshape(-1, self._classes)[rows] for array in (a, b))
            moved = rows[left.argmax(axis=1) != right.argmax(axis=1)]
            self.flips += [start * own + int(row) for row in moved]

    def done(self) -> OutputComparison:
        """Return the lists."""
        flips = tuple(self.flips) if self._classes > 1 else None
        return OutputComparison(self.value.name, tuple(self.differing), flips)


def tallies(graph: Graph, names: Mapping[str, Any]) -> dict[str, Tally]:
    """Return an empty tally of every computed value among `names`, in execution order."""
    return {
        name: Tally(graph.values[name], node)
        for node in graph.nodes
        for name in node.outputs
        if name in names
    }
