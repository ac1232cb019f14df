"""Sensitivity on the integer engine: what a unit's bits do to the network that will be shipped.

Every number comes from exact integer runs. Metrics of one unit at a time compare with the network
in which all units have the base option; sqnr_delta compares with the float network.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.batch import entries
from hwsim.calibration import Ranges, calibrate
from hwsim.errors import InputError
from hwsim.floats import batches_of, check_floats, run_floats
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs
from hwsim.kernels.plan import execute
from hwsim.kernels.sweeping import DEFAULT_LIMIT, plan_sweep
from hwsim.metrics import METRICS, Outputs, Power, Reals, check_classes, ends_in_softmax
from hwsim.partition import Bits, Partition, as_option, partition
from hwsim.profiles.dyadic import HAWQ
from hwsim.quantizer import quantize_all
from hwsim.scores import (
    PAIRS,
    SQNR_DELTA,
    check_settings,
    data_hash,
    lost_by_unit,
    touched,
)
from hwsim.tables import Option, SensitivityTable

BASE = Option(8, 8)


def integer_sensitivity(
    graph: Graph,
    data: Arrays,
    *,
    method: str = "output_l2",
    options: Sequence[Bits] = PAIRS,
    base: Bits = BASE,
    ranges: Ranges | None = None,
    labels: Any = None,
    batch: int = 64,
    threads: int = 1,
    limit_bytes: int = DEFAULT_LIMIT,
    progress: Callable[[], None] | None = None,
) -> SensitivityTable:
    """Return the score of every unit at every option, measured under the `hawq` profile.

    Args:
        graph: A float graph.
        data: Inputs.
        method: "output_l2", "jsd", "top1" or "sqnr_delta".
        options: Widths or pairs to score, of 2 to 8 bits.
        base: The option of all units but the scored one; a unit at the base scores 0. Without a
            meaning for sqnr_delta, whose whole network has one option.
        ranges: Activation ranges; minmax over `data` unless given.
        labels: int, one class per input, for top1.
        batch: Inputs computed together.
        threads: As for `run`.
        limit_bytes: As for `sweep`.
        progress: Called after each configuration of each batch.

    Raises:
        InputError: If an input does not fit or an option is unknown.
        QuantizationError: If an option or an operator has no integer form.
    """
    check_settings(method, batch, options)
    if threads < 1:
        raise InputError(f"threads must be 1 or more, not {threads}")
    check_floats(graph)
    parts = partition(graph)
    arrays = checked_inputs(parts.graph, data, None)
    bounds = calibrate(graph, arrays) if ranges is None else ranges
    wanted = tuple(dict.fromkeys(as_option(option) for option in options))
    samples = next(iter(arrays.values())).shape[0]
    classes = check_classes(parts.graph, method, labels, samples)
    if method == SQNR_DELTA:
        values = _lost_by_unit(parts, graph, arrays, bounds, wanted, batch, threads, progress)
    else:
        integers = _one_at_a_time(graph, parts, bounds, wanted, as_option(base))
        sums = dict.fromkeys(integers, 0.0)
        unchanged = integers.pop(_UNCHANGED)
        planned = plan_sweep(
            {str(number): one for number, one in enumerate(integers.values())}, HAWQ, arrays,
            threads=threads, batch=batch, limit_bytes=limit_bytes,
        )  # fmt: skip
        keys = list(integers)
        shares = ends_in_softmax(parts.graph)
        start, before = -1, Outputs({}, False)
        for part in planned.run():
            if part.start != start:
                start = part.start
                block = entries(graph, arrays, start, part.stop)
                codes = checked_inputs(unchanged, block, HAWQ.input_rounding)
                known = None if classes is None else classes[start : part.stop]
                made = execute(unchanged, HAWQ, codes, threads=threads)
                before = Outputs(_reals(unchanged, made), shares, known)
            key = keys[int(part.name)]
            changed = Outputs(_reals(integers[key], part.outputs), shares)
            sums[key] += METRICS[method].add(before, changed)
            if progress is not None:
                progress()
        values = {key: METRICS[method].finish(sums[key], samples) for key in keys}
    return SensitivityTable(
        metric=f"{method}, integer engine",
        values=values,
        samples=samples,
        model_sha256=graph.origin.sha256 if graph.origin else "",
        data_sha256=data_hash(arrays),
    )


_UNCHANGED = ("", BASE)


def _one_at_a_time(
    graph: Graph, parts: Partition, ranges: Ranges, options: Sequence[Option], base: Option
) -> dict[tuple[str, Option], Graph]:
    """Return the integer graph of every unit at every option, and of all units at the base."""
    uniform = dict.fromkeys(parts.units, base)
    bits = {(unit, option): {**uniform, unit: option} for unit in parts.units for option in options}
    bits[_UNCHANGED] = uniform
    named: dict[str, Mapping[str, Option]] = {
        str(i): chosen for i, chosen in enumerate(bits.values())
    }
    made = quantize_all(graph, ranges, named)
    return dict(zip(bits, made.values(), strict=True))


def _reals(graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Reals]:
    """Return the reals that codes stand for, in float64: no two codes become one."""
    found: dict[str, Reals] = {}
    for name, array in arrays.items():
        quant = graph.values[name].quant
        if quant is None:
            found[name] = array.astype(np.float64)
        else:
            scale, zero_point = quant.broadcast(array.ndim)
            found[name] = (array.astype(np.int64) - zero_point) * scale
    return found


def _lost_by_unit(
    parts: Partition,
    graph: Graph,
    arrays: Mapping[str, NDArray[Any]],
    ranges: Ranges,
    options: Sequence[Option],
    batch: int,
    threads: int,
    progress: Callable[[], None] | None,
) -> dict[tuple[str, Option], float]:
    """Return the dB lost at each unit with the whole network at each option."""
    made = quantize_all(graph, ranges, {str(option): option for option in options})
    names = touched(parts)
    powers = {option: dict.fromkeys(names, Power()) for option in options}
    for _, inputs in batches_of(parts.graph, arrays, batch):
        full = {**run_floats(parts.graph, inputs, batch=batch, keep_all=True), **inputs}
        for option in options:
            one = made[str(option)]
            codes = checked_inputs(one, inputs, HAWQ.input_rounding)
            traced = execute(one, HAWQ, codes, threads=threads, keep_all=True)
            reals = _reals(one, {name: traced[name] for name in names})
            for name in names:
                powers[option][name] += Power.of(full[name], reals[name])
            if progress is not None:
                progress()
    return lost_by_unit(parts, powers)
