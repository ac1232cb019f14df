"""Sensitivity: what quantizing one unit alone does to the network's output.

S = ||y_full - y_quantized||_2 over all outputs of the samples, with one unit's weights and the
activations it reads quantized and everything else in float. Source: sources.md, B.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.calibration import Ranges, calibrate
from hwsim.errors import InputError
from hwsim.floats import apply_node, batches_of, check_floats, constants, evaluate
from hwsim.fuse import LINEAR
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs
from hwsim.partition import Bits, Partition, as_option, partition
from hwsim.quantizer import channel_axis, fake_quantize, group_format, weight_format
from hwsim.tables import Option, SensitivityTable

METHODS = ("output_l2",)
PAIRS = tuple(Option(w, a) for w in (8, 6, 4) for a in (8, 6, 4))


def sensitivity(
    graph: Graph,
    data: Arrays,
    *,
    method: str = "output_l2",
    options: Sequence[Bits] = PAIRS,
    ranges: Ranges | None = None,
    batch: int = 64,
    progress: Callable[[], None] | None = None,
) -> SensitivityTable:
    """Return the score of every unit at every option.

    Args:
        graph: A float graph.
        data: Inputs, without labels.
        method: "output_l2".
        options: Widths or pairs to score; every pair of 8, 6 and 4 bits unless given.
        ranges: Activation ranges; minmax over `data` unless given.
        batch: Inputs evaluated together.
        progress: Called after each unit of each batch.

    Raises:
        InputError: If an input does not fit or an option is unknown.
    """
    if method not in METHODS:
        raise InputError(f"sensitivity method must be one of {', '.join(METHODS)}, not {method!r}")
    if batch < 1:
        raise InputError(f"batch must be 1 or more, not {batch}")
    if not options:
        raise InputError("options must hold at least one choice of bits, not none")
    check_floats(graph)
    parts = partition(graph)
    arrays = checked_inputs(parts.graph, data, None)
    bounds = calibrate(graph, arrays) if ranges is None else ranges
    wanted = tuple(dict.fromkeys(as_option(option) for option in options))
    squares = {(unit, option): 0.0 for unit in parts.units for option in wanted}
    fixed = constants(parts.graph)
    for batched, inputs in batches_of(parts.graph, arrays, batch):
        _add_squares(parts, batched, fixed, inputs, bounds, wanted, squares, progress)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return SensitivityTable(
        metric=method,
        values={key: float(np.sqrt(total)) for key, total in squares.items()},
        samples=next(iter(arrays.values())).shape[0],
        model_sha256=graph.origin.sha256 if graph.origin else "",
        data_sha256=digest.hexdigest(),
    )


def _add_squares(
    parts: Partition,
    batched: Graph,
    fixed: Mapping[str, Any],
    inputs: Mapping[str, NDArray[Any]],
    bounds: Ranges,
    wanted: Sequence[Option],
    squares: dict[tuple[str, Option], float],
    progress: Callable[[], None] | None,
) -> None:
    """Add one batch's squared output errors; everything before a unit is computed once."""
    import torch

    with torch.no_grad():
        feeds = {name: torch.from_numpy(array) for name, array in inputs.items()}
        full = evaluate(batched, {**fixed, **constants(batched), **feeds})
        for unit in parts.units:
            for option in wanted:
                weights, maps = _quantized_unit(parts, bounds, unit, option)
                made = _from_unit(batched, full, weights, maps)
                for name in batched.output_names:
                    error = (made.get(name, full[name]) - full[name]).double()
                    squares[unit, option] += float((error * error).sum())
            if progress is not None:
                progress()


def _quantized_unit(
    parts: Partition, bounds: Ranges, unit: str, option: Option
) -> tuple[dict[str, Any], dict[str, Callable[[Any], Any]]]:
    """Return the unit's fake-quantized weights and the maps of the activations it owns."""
    import torch

    maps: dict[str, Callable[[Any], Any]] = {}
    chosen = dict.fromkeys(parts.units, option)
    for group, owner in parts.owner.items():
        if owner == unit:
            fake = fake_quantize(*group_format(parts, bounds, chosen, group))
            maps |= dict.fromkeys(parts.members(group), fake)
    weights = {}
    for node in parts.graph.nodes:
        if node.op in LINEAR and parts.unit[node.name] == unit:
            data = parts.graph.values[node.inputs[1]].data
            assert data is not None
            reals = np.asarray(data, np.float32)
            dtype, quant = weight_format(reals, option.weight_bits, channel_axis(node))
            weights[node.inputs[1]] = fake_quantize(dtype, quant)(torch.from_numpy(reals.copy()))
    return weights, maps


def _from_unit(
    graph: Graph,
    full: Mapping[str, Any],
    weights: Mapping[str, Any],
    maps: Mapping[str, Callable[[Any], Any]],
) -> dict[str, Any]:
    """Return the values that change, evaluating only nodes that a change reaches."""
    changed: dict[str, Any] = dict(weights)
    for name in graph.input_names:
        if name in maps:
            changed[name] = maps[name](full[name])
    for node in graph.nodes:
        reached = any(name in changed for name in node.inputs)
        if not reached and not any(name in maps for name in node.outputs):
            continue
        if reached:
            operands = [changed[n] if n in changed else full.get(n) for n in node.inputs]
            made = apply_node(node, operands)
        else:
            made = {name: full[name] for name in node.outputs}
        for name, tensor in made.items():
            changed[name] = maps[name](tensor) if name in maps else tensor
    return changed
