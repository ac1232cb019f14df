"""The door: every public function, joining core and wings."""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.accumulation import (
    AccumulatorReport,
    LayerAccumulator,
    Narrowed,
    Observed,
    constant_channels,
    widths_to_try,
)
from hwsim.allocation import allocate, uniform_allocations
from hwsim.archives import read_arrays
from hwsim.calibration import calibrate
from hwsim.comparison import Slack, Validation
from hwsim.errors import FormatError, GraphError, InputError
from hwsim.fronts import pareto
from hwsim.graph import Graph
from hwsim.inputs import Arrays, checked_inputs, index_limit
from hwsim.intermediates import intermediate_bounds
from hwsim.partition import Bits, selection_of, workload
from hwsim.percentiles import percentile_allocation
from hwsim.profile import NumericProfile
from hwsim.profiles import PROFILES, find_profile
from hwsim.quant import IntType
from hwsim.quantizer import quantize
from hwsim.scores import PAIRS
from hwsim.scores import sensitivity as float_sensitivity
from hwsim.sides import ProfileSide, SideName, session_inputs, side_of
from hwsim.tables import Allocation, CostTable, SensitivityTable
from hwsim.validation import Session, compare_sides
from hwsim.verify import accumulator_bounds

if TYPE_CHECKING:
    from hwsim.calibration import Ranges
    from hwsim.energy import Uncertainty
    from hwsim.energy.operation import Operation
    from hwsim.error_shares import Attribution
    from hwsim.kernels.sweeping import SweepWork
    from hwsim.platform import Platform
    from hwsim.requant_rules import RequantIdentification
    from hwsim.verdicts import Identification
    from hwsim.workload import Unit

MAX_FILE_BYTES = 1 << 31

__all__ = [
    "accumulators", "allocate", "attribute", "calibrate", "configuration_totals", "cost",
    "from_torch", "identify", "load", "load_platform", "operating_points", "pareto",
    "percentile_allocation", "quantize", "random_inputs", "run", "sensitivity", "sweep", "trace",
    "trace_rtl", "uncertainty", "uniform_allocations", "validate",
]  # fmt: skip


def load(path: str | Path, profile: str | None = None) -> Graph:
    """Return the graph of a `.tflite` or `.onnx` file.

    Args:
        path: The file.
        profile: For a QONNX file: "float" keeps its quantizers as operators on reals, to be run as
            QONNX defines them; any other name is the arithmetic of the integer graph that the file
            becomes, "hawq" unless given. Other formats imply their own.

    Raises:
        FormatError: If the file is missing, too large, or not what its suffix says.
        UnsupportedOperatorError: If it holds an operator without a reader.
        GraphError: If its shapes, types or parameters contradict each other.
    """
    path = Path(path)
    if path.suffix not in (".tflite", ".onnx"):
        raise FormatError(f"{path.name}: file must end in .tflite or .onnx, not {path.suffix!r}")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FormatError(f"{path.name}: file must have at most 2 GiB, not {size} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: file must be readable; {error.strerror}") from error
    if path.suffix == ".tflite":
        from hwsim.formats.tflite import read_tflite

        return read_tflite(data, path)
    from hwsim.formats.qonnx import read_onnx_or_qonnx

    return read_onnx_or_qonnx(data, path, profile)


def from_torch(module: Any, example_inputs: Any) -> Graph:
    """Return the float graph of a torch module, through torch's ONNX exporter.

    Args:
        module: A `torch.nn.Module`; it is exported in evaluation mode and left as it was.
        example_inputs: A tensor or a tuple of tensors; the first axis becomes the batch.

    Raises:
        FormatError: If torch cannot export the module.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module must be a torch.nn.Module, not {type(module).__name__}")
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    for example in inputs:
        if not isinstance(example, torch.Tensor) or example.ndim == 0 or example.shape[0] == 0:
            raise InputError("example inputs must be tensors with a batch of 1 or more first")
    names = ["input"] if len(inputs) == 1 else [f"input_{i}" for i in range(len(inputs))]
    buffer: Any = io.BytesIO()  # the exporter writes to streams; its annotation forgot them
    was_training = module.training
    exporter: Any = torch.onnx  # what it registers operators with has no annotations
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter announces its own future
            exporter.register_custom_op_symbolic(_RMS_NORM, _export_rms_norm, _TORCH_OPSET)
            torch.onnx.export(
                _positional(module.eval()), inputs, buffer, input_names=names,
                opset_version=_TORCH_OPSET,
                dynamo=False, do_constant_folding=False,
                dynamic_axes={name: {0: "batch"} for name in names},
            )  # fmt: skip
    except Exception as error:  # the exporter raises whatever the module's code meets
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(f"module must be exportable to ONNX; {reason}") from error
    finally:
        exporter.unregister_custom_op_symbolic(_RMS_NORM, _TORCH_OPSET)
        module.train(was_training)
    from hwsim.formats.onnx import read_onnx

    graph = read_onnx(buffer.getvalue(), Path(f"{type(module).__name__}.onnx"))
    return replace(graph, origin=None)


_TORCH_OPSET = 17
_RMS_NORM = "aten::rms_norm"


def _export_rms_norm(g: Any, x: Any, shape: Any, weight: Any, epsilon: Any) -> Any:
    """Write torch.nn.RMSNorm over the last axis, which opset 17 has no operator for."""
    import torch
    from torch.onnx.symbolic_helper import _is_none, _maybe_get_const

    if len(_maybe_get_const(shape, "is")) != 1:
        raise InputError("RMSNorm must be over the last axis alone")
    given = None if _is_none(epsilon) else _maybe_get_const(epsilon, "f")
    number = torch.finfo(torch.float32).eps if given is None else given
    mean = g.op("ReduceMean", g.op("Mul", x, x), axes_i=[-1], keepdims_i=1)
    total = g.op("Add", mean, g.op("Constant", value_t=torch.tensor(number, dtype=torch.float32)))
    y = g.op("Div", x, g.op("Sqrt", total))
    return y if _is_none(weight) else g.op("Mul", y, weight)


def _positional(module: Any) -> Any:
    """Return the module behind a signature of tensors alone.

    The exporter would trace the defaults of other parameters (`is_causal=False`) as inputs.
    """
    import torch

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.module(*inputs)

    return Positional().eval()


def load_platform(name_or_path: str | Path) -> "Platform":
    """Return a shipped platform by name, or the one that a `.toml` file describes.

    Raises:
        PlatformError: If there is none, or the file breaks the schema.
    """
    from hwsim.platforms.loader import load_platform as load_from_wing

    return load_from_wing(name_or_path)


Profile = str | Path | NumericProfile


def _profile_of(graph: Graph, profile: Profile | None) -> NumericProfile:
    if graph.is_float:
        raise GraphError(
            f"graph {graph.name!r} must hold quantized codes, not floats; quantize it, or ask "
            "for profile 'float'"
        )
    if isinstance(profile, NumericProfile):
        return profile
    return find_profile(profile or graph.profile)


def run(
    graph: Graph,
    inputs: Arrays,
    *,
    profile: Profile | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return a graph's outputs by name.

    Args:
        graph: An integer graph, or a float graph with profile "float".
        inputs: Arrays by input name, or one array; codes in the input's own type, or floats,
            which are quantized with the input's own parameters. The batch may be any multiple of
            the graph's; results are joined along their first axis.
        profile: The arithmetic: a name, the path of a `.toml` file, or an object; the graph's own
            unless given.
        threads: Parts of the batch computed at a time; the result does not depend on it.
        progress: Called with the number of inputs finished.

    Raises:
        InputError: If an input's name, shape or type does not fit.
        GraphError: If the graph is not of the profile's kind, or an accumulator could overflow.
    """
    return _execute(graph, inputs, profile, threads, progress, keep_all=False)


@dataclass(frozen=True)
class SweepResult:
    """The outputs of many configurations.

    Args:
        outputs: Arrays by configuration and output name, as `run` returns them.
        work: What was computed and kept.
    """

    outputs: Mapping[str, Mapping[str, NDArray[Any]]] = field(repr=False)
    work: "SweepWork"


def sweep(
    configurations: Mapping[str, Graph],
    inputs: Arrays,
    *,
    profile: Profile | None = None,
    threads: int = 1,
    limit_bytes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SweepResult:
    """Return the outputs of many configurations of one network over the same inputs.

    What configurations share is computed once: values that the same operators make of the same
    inputs, lowered operators, packed weights. The outputs are those of `run`, bit for bit.

    Args:
        configurations: Integer graphs by name, with inputs of the same names and shapes.
        inputs: As for `run`; floats are quantized with each configuration's own parameters.
        profile: As for `run`; configurations must imply the same one unless it is given.
        threads: As for `run`.
        limit_bytes: Most that is kept for later configurations, 1 GiB unless given. What does not
            fit is computed again. The values of one running configuration come on top, for each
            thread; `work` of the result says how much of both there was.
        progress: Called with the number of inputs that one configuration finished.

    Raises:
        InputError: If an input or an option does not fit, or the configurations' inputs differ.
        GraphError: If a configuration may not run under the profile.
    """
    from hwsim.batch import joined
    from hwsim.kernels.plan import CHUNK
    from hwsim.kernels.sweeping import DEFAULT_LIMIT, plan_sweep

    if not configurations:
        raise InputError("configurations must hold at least one graph, not none")
    implied = {graph.profile for graph in configurations.values()}
    if profile is None and len(implied) > 1:
        raise InputError(
            f"configurations must be of one profile, not of {', '.join(sorted(implied))}; "
            "name the one to run them all under"
        )
    if floats := [graph for graph in configurations.values() if graph.is_float]:
        _profile_of(floats[0], profile)  # says what is wrong
    chosen = _profile_of(next(iter(configurations.values())), profile)
    limit = DEFAULT_LIMIT if limit_bytes is None else limit_bytes
    try:
        planned = plan_sweep(
            configurations, chosen, inputs, threads=threads, batch=CHUNK, limit_bytes=limit
        )
        parts: dict[str, list[Mapping[str, NDArray[Any]]]] = {name: [] for name in configurations}
        for part in planned.run(progress):
            parts[part.name].append(part.outputs)
    except MemoryError as error:
        raise GraphError(
            "configurations must have activations that fit the memory, not larger ones"
        ) from error
    return SweepResult({name: joined(found) for name, found in parts.items()}, planned.work)


def sensitivity(
    graph: Graph,
    data: Arrays,
    *,
    method: str = "output_l2",
    engine: str = "float",
    options: Sequence[Bits] = PAIRS,
    ranges: "Ranges | None" = None,
    labels: Any = None,
    batch: int = 64,
    threads: int = 1,
    progress: Callable[[], None] | None = None,
) -> SensitivityTable:
    """Return the score of every unit at every option; smaller is better.

    * output_l2: the outputs' error, its L2 norm over all inputs.
    * jsd: Jensen-Shannon divergence of the first output's classes, mean over the inputs.
    * top1: share of correct answers lost; without labels, share of answers that change.
    * sqnr_delta: dB of signal-to-noise ratio lost from what a unit reads to what it makes, with
      the whole network at the option; two inferences per option.

    The first three change one unit at a time. On the float engine all else stays in float, and
    the float network is what outputs are compared with. On the integer engine all else has 8 bits
    under `hawq`, and so has the network that is compared with; unchanged values are computed once.

    Args:
        graph: A float graph.
        data: Inputs.
        method: One of the above.
        engine: "float" (fake quantization) or "integer" (2 to 8 bits, bit-exact).
        options: Widths or pairs to score; every pair of 8, 6 and 4 bits unless given.
        ranges: Activation ranges; minmax over `data` unless given.
        labels: int, one class per input, for top1.
        batch: Inputs computed together; an integer score does not depend on it, beyond the last
            bits of its sum.
        threads: Threads of the integer engine.
        progress: Called again and again as the work goes on.

    Raises:
        InputError: If an input does not fit or an option is unknown.
    """
    if engine not in ("float", "integer"):
        raise InputError(f"sensitivity engine must be one of float, integer, not {engine!r}")
    if engine == "float":
        return float_sensitivity(
            graph, data, method=method, options=options, ranges=ranges, labels=labels,
            batch=batch, progress=progress,
        )  # fmt: skip
    from hwsim.integer_scores import integer_sensitivity

    return integer_sensitivity(
        graph, data, method=method, options=options, ranges=ranges, labels=labels, batch=batch,
        threads=threads, progress=progress,
    )  # fmt: skip


def trace(
    graph: Graph, inputs: Arrays, *, profile: Profile | None = None, threads: int = 1
) -> dict[str, NDArray[Any]]:
    """Return every activation of a graph by name, inputs first; arguments as for `run`."""
    return _execute(graph, inputs, profile, threads, None, keep_all=True)


def trace_rtl(
    graph: Graph,
    inputs: Arrays,
    folder: str | Path,
    *,
    profile: Profile | None = None,
    overwrite: bool = False,
) -> Path:
    """Write every word of a run for RTL, and testbenches that check a design against them.

    Per layer: `$readmemh` files of activations, weights, biases, zero points, multipliers, shifts,
    tables and accumulators, one per port; `index.json` says what they are. Every accumulator is
    requantized again and must give the run's own codes before its layer is written.

    Args:
        graph: An integer graph.
        inputs: As for `run`.
        folder: The folder to make, at once or not at all; it must be empty or not exist.
        profile: As for `run`.
        overwrite: Whether to replace an earlier trace.

    Returns:
        The folder's real path.

    Raises:
        InputError: If an input does not fit, or the folder may not be written.
        GraphError: As for `run`.
    """
    from hwsim.rtl.folder import TRACE_FILE, trace_files

    chosen = _profile_of(graph, profile)
    arrays = trace(graph, inputs, profile=chosen)
    from hwsim.kernels.record import record
    from hwsim.reports.run_folder import FolderKind, write_folder
    from hwsim.reports.strict_json import dump

    target = Path(folder)
    empty = target.is_dir() and not any(target.iterdir())
    files = trace_files(graph, chosen, record(graph, chosen, arrays), dump)
    kind = FolderKind("trace", TRACE_FILE)
    try:
        return write_folder(target, files, kind, overwrite=overwrite or empty)
    except OSError as error:
        raise InputError(f"{target}: output must be writable; {error.strerror}") from error


def _execute(
    graph: Graph,
    inputs: Arrays,
    profile: Profile | None,
    threads: int,
    progress: Callable[[int], None] | None,
    *,
    keep_all: bool,
) -> dict[str, NDArray[Any]]:
    if threads < 1:
        raise InputError(f"threads must be 1 or more, not {threads}")
    try:
        return _computed(graph, inputs, profile, threads, progress, keep_all=keep_all)
    except MemoryError as error:
        raise GraphError(
            f"graph {graph.name!r} must have activations that fit the memory, not larger ones"
        ) from error


def _computed(
    graph: Graph,
    inputs: Arrays,
    profile: Profile | None,
    threads: int,
    progress: Callable[[int], None] | None,
    *,
    keep_all: bool,
) -> dict[str, NDArray[Any]]:
    if profile == "float":
        from hwsim.floats import run_floats

        arrays = checked_inputs(graph, inputs, None)
        made = run_floats(graph, arrays, keep_all=keep_all)
        return {**arrays, **made} if keep_all else dict(made)
    chosen = _profile_of(graph, profile)
    arrays = checked_inputs(graph, inputs, chosen.input_rounding)
    from hwsim.kernels.plan import execute

    return execute(graph, chosen, arrays, threads=threads, keep_all=keep_all, progress=progress)


def accumulators(
    graph: Graph,
    inputs: Arrays | None = None,
    *,
    widths: Sequence[int] | None = None,
    profile: Profile | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> AccumulatorReport:
    """Return how wide every accumulator of an integer graph must be, and was on given inputs.

    Args:
        graph: An integer graph.
        inputs: As for `run`; without them there are bounds alone.
        widths: Accumulator widths in bits to count the damage of; unless given, the ones just
            below what the inputs needed. Each layer is judged by itself, on the exact inputs that
            the profile gives it.
        profile: As for `run`.
        threads: As for `run`; no number depends on it.
        progress: Called with the number of inputs finished; each is computed twice.

    Raises:
        InputError: If an input does not fit, or a width is out of range.
        GraphError: If the graph is not of the profile's kind, or may not run under it.
    """
    if threads < 1:
        raise InputError(f"threads must be 1 or more, not {threads}")
    chosen = _profile_of(graph, profile)
    bounds = accumulator_bounds(graph)
    seen: Mapping[str, Observed] = {}
    narrowed: Mapping[str, tuple[Narrowed, ...]] = {}
    samples = 0
    from hwsim.kernels.observe import constant_outputs, count_narrowed, observe

    if inputs is not None:
        arrays = checked_inputs(graph, inputs, chosen.input_rounding)
        samples = next((array.shape[0] for array in arrays.values() if array.ndim), 1)
        names = frozenset(bound.node for bound in bounds)
        seen = observe(graph, chosen, names, arrays, threads, progress)
        tried = {name: widths_to_try(found, widths) for name, found in seen.items()}
        if any(tried.values()):
            narrowed = count_narrowed(graph, chosen, tried, arrays, threads, progress)
    nodes = {node.name: node for node in graph.nodes}
    dead = constant_outputs(graph, chosen)
    layers = tuple(
        LayerAccumulator(
            bound,
            nodes[bound.node].op.value,
            seen.get(bound.node),
            narrowed.get(bound.node, ()),
            constant_channels(graph, nodes[bound.node], bound, dead[bound.node])
            if bound.node in dead
            else None,
        )
        for bound in bounds
    )
    return AccumulatorReport(
        graph.name, chosen.name, samples, layers, intermediate_bounds(graph, chosen)
    )


def cost(
    graph: Graph,
    platform: "Platform | str | Path",
    bits: Bits | Mapping[str, Bits] | Allocation | None = None,
    *,
    options: Sequence[Bits] | None = None,
    first_last: Bits | None = None,
    encoded_weights: bool = False,
    batch: int = 1,
) -> CostTable:
    """Return what one inference costs, per unit and option, with `bits` selected.

    Args:
        graph: Any graph; a float graph is fused first.
        platform: A platform, its name, or a path.
        bits: One width (or pair) for all units, one per unit, or an allocation; the graph's own
            widths unless given, and 8 for a float graph.
        options: Options to price besides the selected ones; all of the platform's unless given.
        first_last: Widths of the layers at the network's border, where they differ.
        encoded_weights: Whether weights count as an NPU's compression stores them, estimated from
            the codes of an integer graph, not at their packed width.
        batch: Inferences that a GPU or an array with a dataflow takes through each layer
            together; the costs are of one of them. Other platforms take one after the other.

    Raises:
        PlatformError: If the platform does not support a selected option, or a memory cannot
            hold the smallest tiles of a layer.
        InputError: If encoded weights are asked for of a float graph or a platform that is no NPU,
            or `bits` misses a unit or names an unknown one.
        BudgetError: If the selection does not fit the platform at all.
    """
    from hwsim.energy.model import cost as price
    from hwsim.partition import as_option

    if isinstance(platform, str | Path):
        platform = load_platform(platform)
    units = workload(graph)
    if encoded_weights:
        units = _encoded(units, graph, platform)
    free = [unit for unit in units if unit.has_choice]
    border = frozenset(unit.name for unit in free if unit.at_border)
    chosen: Bits | Mapping[str, Bits]
    if isinstance(bits, Allocation):
        chosen = bits.bits
    elif bits is None:
        chosen = {unit.name: unit.native or 8 for unit in free}
    else:
        chosen = bits
    selection = selection_of([unit.name for unit in free], border, chosen, first_last)
    wanted = None if options is None else [as_option(option) for option in options]
    return price(units, platform, selection, wanted, batch)


def configuration_totals(
    table: CostTable, choices: NDArray[Any]
) -> "dict[str, NDArray[np.float64] | NDArray[np.int64]]":
    """Return the totals of many configurations of a cost table at once, by resource.

    Args:
        table: What `cost` returned.
        choices: Shape (configurations, units): for each unit of `table.units`, the index of its
            option in `table.options(unit)`.

    Raises:
        InputError: If `choices` has another shape, holds no integers, or an index is out of range.
    """
    from hwsim.energy.configurations import configuration_totals as totals

    return totals(table, choices)


def uncertainty(
    graph: Graph,
    platform: "Platform | str | Path",
    bits: Bits | Mapping[str, Bits] | Allocation | None = None,
    *,
    unit: str | None = None,
    batch: int = 1,
) -> "Uncertainty":
    """Return the intervals of energy and latency, and the constants that matter most to them.

    Args:
        graph: Any graph; a float graph is fused first.
        platform: A platform, its name, or a path.
        bits: As in `cost`.
        unit: The unit that is asked about; the whole network unless given.
        batch: As in `cost`.

    Raises:
        HwsimError: As `cost` does, or if no unit has this name.
    """
    from hwsim.energy.interval import uncertainty as found

    if isinstance(platform, str | Path):
        platform = load_platform(platform)
    table = cost(graph, platform, bits, options=[], batch=batch)
    return found(workload(graph), platform, table.selection, unit=unit, batch=batch)


def operating_points(
    graph: Graph,
    platform: "Platform | str | Path",
    bits: Bits | Mapping[str, Bits] | Allocation | None = None,
    *,
    max_latency: float | None = None,
    per_layer: bool = False,
    switch_time: float | None = None,
) -> "Operation":
    """Return energy and time at every published voltage and frequency, and the best choice.

    Args:
        graph: Any graph; a float graph is fused first.
        platform: A microcontroller, its name, or a path.
        bits: As in `cost`.
        max_latency: Deadline of an inference in s.
        per_layer: Whether every unit may run at its own point; switching is charged.
        switch_time: Time of one change of point in s; the platform's unless given.

    Raises:
        PlatformError: If the platform has no operating points, or states no switching time.
        BudgetError: If nothing keeps the deadline.
    """
    from hwsim.energy.operation import operation

    if isinstance(platform, str | Path):
        platform = load_platform(platform)
    table = cost(graph, platform, bits, options=[])
    return operation(
        workload(graph), platform, table.selection, max_latency, per_layer, switch_time
    )


def _encoded(units: "tuple[Unit, ...]", graph: Graph, platform: "Platform") -> "tuple[Unit, ...]":
    """Return units whose layers state the estimated size of their encoded weights."""
    from hwsim.energy.encoded_weights import weight_codes, with_encoded_weights
    from hwsim.platform import NpuPlatform

    if not isinstance(platform, NpuPlatform):
        raise InputError(f"encoded_weights must be asked for of an npu, not {platform.kind!r}")
    if graph.is_float:
        raise InputError(
            f"graph {graph.name!r} must hold quantized codes for encoded_weights, not floats"
        )
    return with_encoded_weights(units, platform, weight_codes(graph))


def random_inputs(graph: Graph, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return `count` uniform random inputs: all codes of an integer input, [-1, 1) of a float.

    An input of indices gets those that its tables have.
    """
    if count < 1:
        raise InputError(f"number of random inputs must be 1 or more, not {count}")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for value in graph.inputs:
        shape = (count * value.shape[0], *value.shape[1:]) if value.shape else ()
        rows = index_limit(graph, value.name)
        if rows is not None:
            arrays[value.name] = generator.integers(0, rows, shape, value.dtype.storage)
        elif isinstance(value.dtype, IntType):
            arrays[value.name] = generator.integers(
                value.dtype.min, value.dtype.max, shape, value.dtype.storage, endpoint=True
            )
        else:
            arrays[value.name] = generator.uniform(-1, 1, shape).astype(np.float32)
    return arrays


# Floats have no exact order of sums: outputs within this share of the largest count as equal.
FLOAT_TOLERANCE = 1e-4


def validate(
    graph: Graph,
    inputs: Arrays | None = None,
    against: SideName = "litert_ref",
    *,
    ours: SideName | None = None,
    profile: Profile | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Validation:
    """Compare a graph's values, element for element, between any two sides.

    A side is a profile (an object, its name, a `.toml` file), "float" (the float engine on
    dequantized weights, each value rounded to its own codes), "litert_ref" (LiteRT's reference
    kernels), "litert" (its default kernels), "tflite_micro", "onnxruntime",
    "onnxruntime_unoptimized" (without its graph optimizations), or the path of an `.npz` with
    values by name.

    Args:
        graph: An integer graph; or a float graph, whose outputs alone are compared between
            "float", "onnxruntime" and a saved trace, and count as equal within 1e-4 of the
            largest output (floats have no exact order of sums).
        inputs: As for `run`; those that a saved trace holds unless given.
        against: Side B.
        ours: Side A; our engine under `profile` unless given.
        profile: The arithmetic of our side; the graph's own unless given.
        threads: As for `run`.
        progress: Called with the number of inputs finished.

    Raises:
        OracleError: If the runtime is missing, refuses the model, or dies.
        InputError: If a side is unknown, or an input or trace does not fit.
    """
    if ours is not None and profile is not None:
        raise InputError("ours and profile must not both be given: each names our side")
    if threads < 1:
        raise InputError(f"threads must be 1 or more, not {threads}")
    default: SideName = "float" if graph.is_float else _profile_of(graph, profile)
    mine = default if ours is None else ours
    a, b = side_of(graph, mine, threads), side_of(graph, against, threads)
    rounding = None if graph.is_float else _profile_of(graph, profile).input_rounding
    for side in (a, b):
        if isinstance(side, ProfileSide):
            rounding = side.profile.input_rounding
            break
    arrays, runs, samples = session_inputs(graph, inputs, rounding, (a, b))
    slack = Slack(FLOAT_TOLERANCE) if graph.is_float else Slack()
    session = Session(graph, arrays, runs, samples, not graph.is_float, slack, whole=graph.is_float)
    return compare_sides(session, a, b, progress)


def identify(
    graph: Graph | None,
    trace: Mapping[str, NDArray[Any]] | str | Path,
    profiles: Sequence[Profile] | None = None,
    *,
    search: bool = True,
    progress: Callable[[str], None] | None = None,
) -> "Identification | RequantIdentification":
    """Return which arithmetic a recording is consistent with, operator by operator.

    Args:
        graph: What was run; None for bare requantizations: `acc`, `multiplier`, `shift` and
            `output`, as `hwsim.requant_rules.identify_requant` takes them.
        trace: Values by name, or an `.npz` of them; any subset. Operators whose operands and an
            output are there run alone on the recorded operands.
        profiles: Candidates, as for `run`; the built-in ones unless given.
        search: Look for the smallest inputs that separate the profiles that remain.
        progress: Called with the name of each finished operator.

    Raises:
        InputError: If the trace does not fit the graph, or holds no operator whole.
        GraphError: If the graph holds floats, or a profile is unknown.
    """
    from hwsim.identification import identify as identified
    from hwsim.requant_rules import identify_requant

    place = "trace" if isinstance(trace, Mapping) else Path(trace).name
    arrays = trace if isinstance(trace, Mapping) else read_arrays(Path(trace))
    if graph is None:
        return identify_requant(arrays, place=place)
    chosen = [_profile_of(graph, profile) for profile in profiles or tuple(PROFILES.values())]
    return identified(graph, arrays, chosen, place=place, search=search, progress=progress)


def attribute(
    graph: Graph,
    inputs: Arrays,
    reference: Graph | None = None,
    *,
    profile: Profile | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> "Attribution":
    """Return the error of every operator against the float engine: total, own and inherited.

    Args:
        graph: An integer graph.
        inputs: As for `run`.
        reference: The float graph that it was quantized from; its own dequantized weights unless
            given (`hwsim.float_twin`).
        profile: The arithmetic; the graph's own unless given.
        threads: As for `run`.
        progress: Called with the number of inputs finished.

    Raises:
        InputError: If an input does not fit, or the float graph shares no operator.
        GraphError: If `graph` holds floats, or `reference` codes.
    """
    from hwsim.attribution import attribute as attributed

    chosen = _profile_of(graph, profile)
    return attributed(graph, inputs, chosen, reference, threads=threads, progress=progress)
