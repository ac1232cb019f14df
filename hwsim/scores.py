"""Sensitivity: what quantization does to a network, by unit and option, on the float engine.

* output_l2: ||y_full - y_quantized||_2 over all outputs of the samples. Source: sources.md, B.
* jsd: Jensen-Shannon divergence of the classes of the first output, mean over the samples.
  Source: sources.md, A.
* top1: share of correct answers lost; without labels, share of answers that change.
* sqnr_delta: signal-to-noise ratio in dB that is lost from what a unit reads to what it makes,
  with the whole network at the option: two inferences per option. Source: sources.md, C.

All but the last quantize one unit's weights and the activations it reads, and nothing else.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.calibration import Ranges, calibrate
from hwsim.errors import InputError
from hwsim.floats import apply_node, batches_of, check_floats, constants, evaluate
from hwsim.fuse import LINEAR
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs
from hwsim.metrics import METRICS, Labels, Outputs, Power, check_classes, ends_in_softmax, lost_db
from hwsim.partition import Bits, Partition, as_option, partition, read_by
from hwsim.quantizer import channel_axis, fake_quantize, group_format, weight_format
from hwsim.tables import Option, SensitivityTable

SQNR_DELTA = "sqnr_delta"
METHODS = (*METRICS, SQNR_DELTA)
PAIRS = tuple(Option(w, a) for w in (8, 6, 4) for a in (8, 6, 4))


def sensitivity(
    graph: Graph,
    data: Arrays,
    *,
    method: str = "output_l2",
    options: Sequence[Bits] = PAIRS,
    ranges: Ranges | None = None,
    labels: Any = None,
    batch: int = 64,
    progress: Callable[[], None] | None = None,
) -> SensitivityTable:
    """Return the score of every unit at every option.

    Args:
        graph: A float graph.
        data: Inputs.
        method: "output_l2", "jsd", "top1" or "sqnr_delta".
        options: Widths or pairs to score; every pair of 8, 6 and 4 bits unless given.
        ranges: Activation ranges; minmax over `data` unless given.
        labels: int, one class per input, for top1.
        batch: Inputs evaluated together.
        progress: Called after each unit (sqnr_delta: option) of each batch.

    Raises:
        InputError: If an input does not fit or an option is unknown.
    """
    check_settings(method, batch, options)
    check_floats(graph)
    parts = partition(graph)
    arrays = checked_inputs(parts.graph, data, None)
    bounds = calibrate(graph, arrays) if ranges is None else ranges
    wanted = tuple(dict.fromkeys(as_option(option) for option in options))
    samples = next(iter(arrays.values())).shape[0]
    classes = check_classes(parts.graph, method, labels, samples)
    if method == SQNR_DELTA:
        values = _lost_by_unit(parts, arrays, batch, bounds, wanted, progress)
    else:
        sums = {(unit, option): 0.0 for unit in parts.units for option in wanted}
        fixed = constants(parts.graph)
        start = 0
        for batched, inputs in batches_of(parts.graph, arrays, batch):
            rows = next(iter(inputs.values())).shape[0]
            known = None if classes is None else classes[start : start + rows]
            _add(method, parts, batched, fixed, inputs, bounds, known, sums, progress)
            start += rows
        finish = METRICS[method].finish
        values = {key: finish(total, samples) for key, total in sums.items()}
    return SensitivityTable(
        metric=method,
        values=values,
        samples=samples,
        model_sha256=graph.origin.sha256 if graph.origin else "",
        data_sha256=data_hash(arrays),
    )


def check_settings(method: str, batch: int, options: Sequence[Bits]) -> None:
    """Refuse settings that score nothing."""
    if method not in METHODS:
        raise InputError(f"sensitivity method must be one of {', '.join(METHODS)}, not {method!r}")
    if batch < 1:
        raise InputError(f"batch must be 1 or more, not {batch}")
    if not options:
        raise InputError("options must hold at least one choice of bits, not none")


def data_hash(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of inputs."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _add(
    method: str,
    parts: Partition,
    batched: Graph,
    fixed: Mapping[str, Any],
    inputs: Mapping[str, NDArray[Any]],
    bounds: Ranges,
    labels: Labels | None,
    sums: dict[tuple[str, Option], float],
    progress: Callable[[], None] | None,
) -> None:
    """Add one batch to the scores; everything before a unit is computed once."""
    import torch

    shares = ends_in_softmax(batched)
    with torch.no_grad():
        feeds = {name: torch.from_numpy(array) for name, array in inputs.items()}
        full = evaluate(batched, {**fixed, **constants(batched), **feeds})
        reals = {name: full[name].numpy() for name in batched.output_names}
        before = Outputs(reals, shares, labels)
        options = dict.fromkeys(option for _, option in sums)
        for unit in parts.units:
            for option in options:
                weights, maps = _quantized_unit(parts, bounds, unit, option)
                made = {**full, **_from_unit(batched, full, weights, maps)}
                changed = {name: made[name].numpy() for name in batched.output_names}
                sums[unit, option] += METRICS[method].add(before, Outputs(changed, shares))
            if progress is not None:
                progress()


def _lost_by_unit(
    parts: Partition,
    arrays: Mapping[str, NDArray[Any]],
    batch: int,
    bounds: Ranges,
    options: Sequence[Option],
    progress: Callable[[], None] | None,
) -> dict[tuple[str, Option], float]:
    """Return the dB lost at each unit with the whole network at each option."""
    import torch

    fixed = constants(parts.graph)
    powers = {option: dict.fromkeys(touched(parts), Power()) for option in options}
    with torch.no_grad():
        for batched, inputs in batches_of(parts.graph, arrays, batch):
            feeds = {name: torch.from_numpy(array) for name, array in inputs.items()}
            known = {**fixed, **constants(batched), **feeds}
            full = evaluate(batched, known)
            for option in options:
                weights: dict[str, Any] = {}
                maps: dict[str, Callable[[Any], Any]] = {}
                for unit in parts.units:
                    own, mapped = _quantized_unit(parts, bounds, unit, option)
                    weights |= own
                    maps |= mapped
                made = evaluate(batched, known | weights, maps)
                for name in powers[option]:
                    powers[option][name] += Power.of(full[name].numpy(), made[name].numpy())
                if progress is not None:
                    progress()
    return lost_by_unit(parts, powers)


def touched(parts: Partition) -> tuple[str, ...]:
    """Return the activations that units read or make, in graph order."""
    reads, makes = _operands(parts)
    names = {name for found in (*reads.values(), *makes.values()) for name in found}
    return tuple(value.name for value in parts.graph.activations if value.name in names)


def lost_by_unit(
    parts: Partition, powers: Mapping[Option, Mapping[str, Power]]
) -> dict[tuple[str, Option], float]:
    """Return each unit's score from the powers of what it reads and makes."""
    reads, makes = _operands(parts)
    return {
        (unit, option): lost_db([p[n] for n in reads[unit]], [p[n] for n in makes[unit]])
        for unit in parts.units
        for option, p in powers.items()
    }


def _operands(parts: Partition) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the activations that each unit reads, and those that it makes."""
    reads: dict[str, list[str]] = {unit: [] for unit in parts.units}
    makes: dict[str, list[str]] = {unit: [] for unit in parts.units}
    for node in parts.graph.nodes:
        unit = parts.unit.get(node.name)
        if unit is not None:
            reads[unit] += _unseen(reads[unit], read_by(parts.graph, node))
            makes[unit] += node.outputs
    return reads, makes


def _unseen(known: Sequence[str], names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in known]


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
