"""Where two runs of one graph part: element counts, never tolerances."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.graph import Graph

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ValueComparison:
    """One value of the graph in both runs.

    Args:
        value: Its name.
        operator: What made it.
        elements: Elements compared.
        differing: Elements that are not equal.
        largest: Largest absolute difference, in codes.
    """

    value: str
    operator: str
    elements: int
    differing: int
    largest: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The comparison of every value that both runs hold, in execution order.

    Args:
        against: What the graph was compared with.
        samples: Inputs run.
        rows: One per value.
        missing: Values that the other run does not show.
    """

    against: str
    samples: int
    rows: tuple[ValueComparison, ...]
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

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per value."""
        import pandas as pd

        return pd.DataFrame(
            [{name: getattr(row, name) for name in ValueComparison.__slots__} for row in self.rows]
        )


def compare(
    graph: Graph,
    ours: Mapping[str, NDArray[Any]],
    theirs: Mapping[str, NDArray[Any]],
    against: str,
    names: Sequence[str] | None = None,
) -> Validation:
    """Compare two traces of a graph.

    Args:
        graph: What was run.
        ours: Every activation by name.
        theirs: Any subset of them.
        against: Name of the other side.
        names: Values to compare; every computed one unless given.

    Raises:
        InputError: If a value has another shape in the other run, or none is shared.
    """
    computed = [name for node in graph.nodes for name in node.outputs]
    wanted = computed if names is None else list(names)
    rows, missing = [], []
    for name in wanted:
        if name not in theirs:
            missing.append(name)
            continue
        mine, other = ours[name], theirs[name]
        if mine.size != other.size:
            raise InputError(
                f"{against}: value {name!r} must have {mine.size} elements, not {other.size}"
            )
        wide = np.float64 if "f" in (mine.dtype.kind, other.dtype.kind) else np.int64
        gap = np.abs(mine.ravel().astype(wide) - other.ravel().astype(wide))
        rows.append(
            ValueComparison(
                value=name,
                operator=graph.producer[name].op.value if name in graph.producer else "input",
                elements=mine.size,
                differing=int(np.count_nonzero(gap)),
                largest=float(gap.max(initial=0)),
            )
        )
    if not rows:
        raise InputError(f"{against}: at least one value of the graph must be there to compare")
    samples = next(iter(ours.values())).shape[0] if ours else 0
    return Validation(against, samples, tuple(rows), tuple(missing))
