"""Checks of the arrays that a user hands to a graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import GatherAttrs
from hwsim.errors import GraphError, InputError
from hwsim.graph import Graph, Value
from hwsim.ops import Op
from hwsim.quant import Rounding, quantize_array

# The slot of GATHER that takes indices.
_INDICES = 1
Arrays = Mapping[str, NDArray[Any]] | NDArray[Any]


def named_inputs(graph: Graph, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Return arrays by input name; one array serves a graph with one input.

    Raises:
        InputError: If a name is missing or unknown.
    """
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            names = ", ".join(graph.input_names)
            raise InputError(f"inputs must be a dict with {names}, not one array")
        return {graph.input_names[0]: _array(graph.input_names[0], inputs)}
    for name in inputs:
        if name not in graph.input_names:
            raise InputError(f"input must be one of {', '.join(graph.input_names)}, not {name!r}")
    for name in graph.input_names:
        if name not in inputs:
            raise InputError(f"input {name!r} must be given; it is missing")
    return {name: _array(name, array) for name, array in inputs.items()}


def _array(name: str, given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InputError(f"input {name!r} must be an array, not a ragged sequence") from error


def checked_inputs(
    graph: Graph, inputs: Arrays, rounding: Rounding | None
) -> dict[str, NDArray[Any]]:
    """Return arrays that the graph can run: named, shaped, typed, C-contiguous.

    Args:
        graph: The graph to feed.
        inputs: One array per input; the first axis may be any multiple of the graph's batch.
        rounding: How float arrays become the codes of an integer input; None for a float graph.

    Raises:
        InputError: If a name, shape or dtype does not fit, or a float is not finite.
    """
    arrays = named_inputs(graph, inputs)
    batches = set()
    ready = {}
    for value in graph.inputs:
        array = arrays[value.name]
        _check_shape(value, array)
        if value.shape:
            batches.add(array.shape[0] // value.shape[0])
        ready[value.name] = np.asarray(_typed(value, array, rounding), order="C")
    if len(batches) > 1:
        raise InputError(
            f"inputs must agree on the batch, not be {sorted(batches)} times the graph's"
        )
    return ready


def _check_shape(value: Value, array: NDArray[Any]) -> None:
    fits = array.ndim == len(value.shape) and array.shape[1:] == value.shape[1:]
    if fits and value.shape:
        fits = array.shape[0] > 0 and array.shape[0] % value.shape[0] == 0
    if not fits:
        tail = ", ".join(map(str, value.shape[1:]))
        batch = f"a multiple of {value.shape[0]}" if value.shape and value.shape[0] > 1 else "batch"
        raise InputError(
            f"input {value.name!r} must have shape ({batch}{', ' + tail if tail else ''}), "
            f"not {array.shape}"
        )


def _typed(value: Value, array: NDArray[Any], rounding: Rounding | None) -> NDArray[Any]:
    wanted = value.dtype.storage
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"input {value.name!r} must be finite, not NaN or infinite")
    if array.dtype == wanted:
        _check_codes(value, array)
        return array
    if array.dtype.kind == "f" and value.is_float:
        return _in_range(value, array, wanted)
    if array.dtype.kind == "f" and value.quant is not None and rounding is not None:
        assert not value.is_float
        reals = _in_range(value, array, np.dtype(np.float32))
        return quantize_array(reals, value.dtype, value.quant, rounding)  # type: ignore[arg-type]
    allowed = f"{wanted}" if value.is_float or value.quant is None else f"{wanted} codes or floats"
    raise InputError(f"input {value.name!r} must be {allowed}, not {array.dtype}")


def _in_range(value: Value, array: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[Any]:
    """Return floats of another width, refusing those that it does not reach."""
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    if not np.isfinite(cast).all():
        raise InputError(f"input {value.name!r} must fit {wanted}, not be beyond its range")
    return cast


def _check_codes(value: Value, array: NDArray[Any]) -> None:
    """Refuse codes outside a width narrower than its storage."""
    dtype = value.dtype
    if value.is_float or dtype.bits == 8 * array.dtype.itemsize:
        return
    low, high = int(array.min()), int(array.max())
    if low < dtype.min or high > dtype.max:  # type: ignore[union-attr]
        raise InputError(f"input {value.name!r} must hold codes of {dtype}, not [{low}, {high}]")


def check_indices(graph: Graph) -> None:
    """Refuse an integer that is no quantized real anywhere but as the index of a GATHER.

    Raises:
        GraphError: If there is one.
    """
    for value in graph.activations:
        if value.is_float or value.quant is not None:
            continue
        for node in graph.consumers[value.name]:
            if node.op is not Op.GATHER or value.name in node.inputs[:_INDICES]:
                raise GraphError(
                    f"node {node.name!r} ({node.op.value}): {value.name!r} must hold floats, "
                    f"not {value.dtype}"
                )


def index_limit(graph: Graph, name: str) -> int | None:
    """Return the number of rows that an input of indices may name, or None for other inputs."""
    sizes = [
        graph.values[node.inputs[0]].shape[node.attrs.axis]
        for node in graph.consumers[name]
        if isinstance(node.attrs, GatherAttrs) and name in node.inputs[_INDICES:]
    ]
    return min(sizes, default=None)
