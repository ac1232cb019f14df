"""Ranges of a float graph's values, from real inputs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.floats import check_floats, run_floats
from hwsim.fuse import fuse
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs

METHODS = ("minmax", "percentile")
_BINS = 8192


@dataclass(frozen=True)
class Ranges:
    """The interval of each value that quantization has to represent.

    Args:
        bounds: (low, high) by value name of the fused graph.
        method: "minmax" or "percentile".
        percentile: Share of |x| kept, in percent; 100 for minmax.
        samples: Inputs seen.
    """

    bounds: Mapping[str, tuple[float, float]]
    method: str
    percentile: float
    samples: int


def calibrate(
    graph: Graph,
    batches: Arrays | Iterable[Arrays],
    *,
    method: str = "minmax",
    percentile: float = 99.9,
) -> Ranges:
    """Return ranges of every value of the fused float graph.

    Args:
        graph: A float graph.
        batches: One array (or dict of arrays) of inputs, or several.
        method: "minmax" takes the extremes; "percentile" clips at a percentile of |x|, keeping
            the sign structure: a value that is never negative stays so.
        percentile: In (50, 100].

    Raises:
        InputError: If an input does not fit the graph, holds a NaN, or an option is unknown.
    """
    if method not in METHODS:
        raise InputError(f"calibration method must be one of {', '.join(METHODS)}, not {method!r}")
    if not 50 < percentile <= 100:
        raise InputError(f"percentile must be in (50, 100], not {percentile}")
    check_floats(graph)
    fused = fuse(graph)
    data = [checked_inputs(fused, batch, None) for batch in _as_batches(batches)]
    if not data:
        raise InputError("calibration data must hold at least one batch, not none")
    bounds: dict[str, tuple[float, float]] = {}
    for batch in data:
        for name, low, high in _extremes(fused, batch):
            if not (math.isfinite(low) and math.isfinite(high)):
                raise InputError(
                    f"value {name!r} must be finite on the calibration data, not NaN or infinite"
                )
            before = bounds.get(name, (low, high))
            bounds[name] = min(low, before[0]), max(high, before[1])
    if method == "percentile":
        bounds = _clipped(fused, data, bounds, percentile)
    return Ranges(
        bounds,
        method,
        percentile if method == "percentile" else 100.0,
        sum(next(iter(batch.values())).shape[0] for batch in data),
    )


def _as_batches(batches: Arrays | Iterable[Arrays]) -> Sequence[Arrays]:
    if isinstance(batches, Mapping):
        return [batches]
    if hasattr(batches, "__array__"):  # an array of any library is one batch
        return [np.asarray(batches)]
    return list(batches)


def _extremes(graph: Graph, batch: Mapping[str, NDArray[Any]]) -> list[tuple[str, float, float]]:
    made = {**run_floats(graph, batch, keep_all=True), **batch}
    return [(name, float(array.min()), float(array.max())) for name, array in made.items()]


def _clipped(
    graph: Graph,
    data: Sequence[Mapping[str, NDArray[Any]]],
    bounds: Mapping[str, tuple[float, float]],
    percentile: float,
) -> dict[str, tuple[float, float]]:
    """Return bounds cut at the upper edge of the histogram bin that holds the percentile of |x|."""
    counts = {name: np.zeros(_BINS, np.int64) for name in bounds}
    reach = {name: max(-low, high) for name, (low, high) in bounds.items()}
    for batch in data:
        made = {**run_floats(graph, batch, keep_all=True), **batch}
        for name, array in made.items():
            if reach[name] > 0:
                magnitudes = np.abs(np.asarray(array, np.float64)).ravel()
                counts[name] += np.histogram(magnitudes, _BINS, (0.0, reach[name]))[0]
    cut = {}
    for name, (low, high) in bounds.items():
        total = counts[name].sum()
        if total == 0:
            cut[name] = (low, high)
            continue
        # Whole numbers: 999 of 1000 is not below 99.9 %, as the quotients' last bits would say.
        hundredfold = 100 * np.cumsum(counts[name])
        edge = reach[name] * (int(np.searchsorted(hundredfold, percentile * total)) + 1) / _BINS
        cut[name] = (max(low, -edge), min(high, edge))
    return cut
