"""Values that somebody recorded while a graph ran: checked, shaped and cut by input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.graph import Graph, Value


@dataclass(frozen=True)
class Recording:
    """Values by name, one entry of the first axis after the other.

    Args:
        values: Arrays whose first axis is `runs` times the value's own.
        runs: Inferences recorded, each of the graph's own batch.
        unknown: Names that are no activations of the graph.
    """

    values: Mapping[str, NDArray[Any]]
    runs: int
    unknown: tuple[str, ...]


def as_recorded(graph: Graph, arrays: Mapping[str, NDArray[Any]], place: str) -> Recording:
    """Return the activations among arrays, in the types and shapes that the graph gives them.

    An array may have any shape of as many elements, so that a recorder may drop axes of 1.

    Raises:
        InputError: If no array is an activation, one has a wrong number of elements, holds
            something else than codes of its type, or two disagree on the number of inferences.
    """
    known = {value.name: value for value in graph.activations}
    found = {name: array for name, array in arrays.items() if name in known}
    if not found:
        raise InputError(
            f"{place}: archive must hold at least one value of the graph by name, not only "
            f"{', '.join(sorted(arrays)) or 'nothing'}"
        )
    counts = {}
    for name, array in found.items():
        elements = known[name].elements
        if array.size == 0 or array.size % elements:
            raise InputError(
                f"{place}: value {name!r} must have a multiple of {elements} elements, "
                f"not {array.size}"
            )
        counts[name] = array.size // elements
    runs = next(iter(counts.values()))
    for name, count in counts.items():
        if count != runs:
            raise InputError(
                f"{place}: value {name!r} must be recorded for {runs} inferences like "
                f"{next(iter(counts))!r}, not {count}"
            )
    values = {name: _typed(known[name], array, runs, place) for name, array in found.items()}
    return Recording(values, runs, tuple(name for name in arrays if name not in known))


def shape_of(value: Value, runs: int) -> tuple[int, ...]:
    """Return the shape of a value over several inferences."""
    return (runs * value.shape[0], *value.shape[1:]) if value.shape else ()


def by_run(array: NDArray[Any], runs: int) -> NDArray[Any]:
    """Return an array as (runs, elements of one run)."""
    return array.reshape(runs, -1)


def runs_of(
    graph: Graph, arrays: Mapping[str, NDArray[Any]], runs: int, chosen: slice | Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Return some of the inferences of arrays that hold `runs` of them."""
    cut = {}
    for name, array in arrays.items():
        part = by_run(array, runs)[chosen]
        cut[name] = np.ascontiguousarray(part.reshape(shape_of(graph.values[name], len(part))))
    return cut


def _typed(value: Value, array: NDArray[Any], runs: int, place: str) -> NDArray[Any]:
    shaped = array.reshape(shape_of(value, runs))
    if shaped.dtype == value.dtype.storage and 8 * shaped.itemsize == value.dtype.bits:
        return shaped
    if value.is_float and shaped.dtype.kind in "fiu":
        return shaped.astype(value.dtype.storage)
    if value.is_float or shaped.dtype.kind not in "iu":
        raise InputError(
            f"{place}: value {value.name!r} must hold {value.dtype} numbers, not {array.dtype}"
        )
    low, high = int(shaped.min()), int(shaped.max())
    if low < value.dtype.min or high > value.dtype.max:  # type: ignore[union-attr]
        raise InputError(
            f"{place}: value {value.name!r} must hold codes of {value.dtype}, not [{low}, {high}]"
        )
    return shaped.astype(value.dtype.storage)
