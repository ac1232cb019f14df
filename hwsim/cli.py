"""The command line: one verb, one artifact. Heavy imports wait until a verb needs them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.errors import HwsimError, InputError

if TYPE_CHECKING:
    from hwsim.comparison import Validation
    from hwsim.graph import Graph

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run quantized networks bit-exactly, price them on platforms, choose their bits.",
)
platforms_app = typer.Typer(no_args_is_help=True, help="Platform description files.")
app.add_typer(platforms_app, name="platforms")

Model = Annotated[Path, typer.Argument(help="A .tflite or .onnx file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", "--input", "-d", help="An .npz or .npy with inputs (and labels 'y')."),
]
Key = Annotated[str | None, typer.Option(help="Array of the archive to feed; found by shape.")]
Divide = Annotated[float, typer.Option(help="Divide inputs by this first.")]
Mean = Annotated[str | None, typer.Option(help="Then subtract, per channel: 0.5 or 0.4,0.5,0.6.")]
Std = Annotated[str | None, typer.Option(help="Then divide, per channel.")]
Limit = Annotated[int | None, typer.Option(help="Use only the first inputs.")]
Threads = Annotated[int, typer.Option(help="Parts of the batch computed at a time.")]
PlatformName = Annotated[
    str, typer.Option("--platform", "-p", help="A shipped name or a .toml file.")
]
BitsOption = Annotated[
    str | None, typer.Option("--bits", "-b", help="8, W4A8, or a JSON file of an allocation.")
]
FirstLast = Annotated[str | None, typer.Option(help="Bits of the first and last layers.")]
Calibration = Annotated[
    Path | None, typer.Option(help="Calibration inputs; the first of --data unless given.")
]
CalibrationCount = Annotated[int, typer.Option(help="Calibration inputs used.")]
Method = Annotated[str, typer.Option(help="Range of an activation: minmax or percentile.")]
Percentile = Annotated[float, typer.Option(help="Share of |x| kept by percentile, in percent.")]
Options = Annotated[
    str, typer.Option(help="Options to score: widths (8,6,4) or pairs (W8A8,W4A8).")
]


def main() -> None:
    """Run the command line; bad input is one sentence and exit status 2."""
    try:
        app()
    except HwsimError as error:
        print(f"hwsim: {error}", file=sys.stderr)
        sys.exit(2)


def _version(shown: bool) -> None:
    if shown:
        from hwsim import __version__

        print(f"hwsim {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options that every verb shares."""


def _tail(name: str) -> str:
    """Return the end of a long name: converters join the names of all that they fused."""
    last = name.rsplit(";", 1)[-1]
    return last if len(last) <= 32 else f"…{last[-31:]}"


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, sort_keys=True, allow_nan=False))


def _progress(total: int, what: str) -> Any:
    """Return a progress bar on the error stream; it hides where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    bar.add_task(what, total=total)
    return bar


@app.command()
def info(model: Model, as_json: AsJson = False) -> None:
    """Show inputs, outputs, operators, units and proved accumulator widths of a model."""
    import hwsim
    from hwsim.partition import workload
    from hwsim.verify import accumulator_bounds

    graph = hwsim.load(model)
    units = workload(graph)
    bounds = {bound.node: bound.bits for bound in accumulator_bounds(graph)}
    rows = [
        {
            "node": node.name,
            "operator": node.op.value,
            "shape": list(graph.values[node.outputs[0]].shape),
            "type": str(graph.values[node.outputs[0]].dtype),
            "accumulator_bits": bounds.get(node.name),
        }
        for node in graph.nodes
    ]
    summary = {
        "name": graph.name,
        "profile": graph.profile or "float",
        "inputs": {v.name: [str(v.dtype), list(v.shape)] for v in graph.inputs},
        "outputs": {v.name: [str(v.dtype), list(v.shape)] for v in graph.outputs},
        "macs": sum(unit.macs for unit in units),
        "weights": sum(unit.weight_elements for unit in units),
        "units": [unit.name for unit in units if unit.has_choice],
        "nodes": rows,
    }
    if as_json:
        _print_json(summary)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{graph.name} ({summary['profile']})")
    table.add_column("node", no_wrap=True)
    for name in ("operator", "shape", "type", "acc bits"):
        table.add_column(name, min_width=len(name))
    for node in graph.nodes:
        value = graph.values[node.outputs[0]]
        shape = "x".join(map(str, value.shape))
        bits = str(bounds.get(node.name, ""))
        table.add_row(_tail(node.name), node.op.value, shape, str(value.dtype), bits)
    console = Console()
    console.print(table)
    for kind in ("inputs", "outputs"):
        console.print(f"{kind}: {summary[kind]}", markup=False)
    console.print(f"MACs {summary['macs']:,}, weights {summary['weights']:,}")


@app.command()
def run(
    model: Model,
    inputs: Annotated[Path | None, typer.Argument(help="As --data.", show_default=False)] = None,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = None,
    profile: Annotated[str | None, typer.Option(help="Arithmetic; the model's own.")] = None,
    threads: Threads = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write outputs (.npz).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on inputs; with labels, count correct answers."""
    import hwsim
    from hwsim.feeding import Preparation, read_feed
    from hwsim.study import accuracy_of

    graph = hwsim.load(model)
    feed = read_feed(graph, inputs or data, key, Preparation.of(divide, mean, std), limit)
    for note in feed.notes:
        print(f"note: {note}", file=sys.stderr)
    total = next(iter(feed.arrays.values())).shape[0]
    with _progress(total, "running") as bar:
        made = hwsim.run(
            graph,
            feed.arrays,
            profile=profile,
            threads=threads,
            progress=lambda count: bar.advance(bar.tasks[0].id, count),
        )
    if out is not None:
        from hwsim.archives import write_arrays

        write_arrays(out, made)
    summary: dict[str, Any] = {
        "model": graph.name,
        "profile": profile or graph.profile,
        "inputs": total,
        "outputs": {
            name: {"shape": list(a.shape), "dtype": str(a.dtype), "sha256": _sha256(a)}
            for name, a in made.items()
        },
    }
    if feed.labels is not None:
        accuracy = accuracy_of(made, graph, feed.labels)
        summary["correct"], summary["total"] = accuracy.correct, accuracy.total
        summary["interval_95"] = list(accuracy.interval)
    if as_json:
        _print_json(summary)
        return
    for name, output in summary["outputs"].items():
        print(f"{name}: {output['dtype']} {tuple(output['shape'])} sha256 {output['sha256'][:16]}")
    if "correct" in summary:
        low, high = summary["interval_95"]
        print(
            f"top-1: {summary['correct']}/{summary['total']} = "
            f"{summary['correct'] / summary['total']:.1%} (95 % interval {low:.1%} to {high:.1%})"
        )


def _sha256(array: Any) -> str:
    import hashlib

    return hashlib.sha256(array.tobytes()).hexdigest()


@app.command()
def trace(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the .npz goes.")],
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 1,
    profile: Annotated[str | None, typer.Option(help="Arithmetic; the model's own.")] = None,
    random: Annotated[int | None, typer.Option(help="Use this many random inputs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
) -> None:
    """Write every activation of a model as an .npz, by value name."""
    import hwsim
    from hwsim.archives import write_arrays
    from hwsim.feeding import Preparation, read_feed

    graph = hwsim.load(model)
    if random is not None:
        arrays = hwsim.random_inputs(graph, random, seed)
    else:
        arrays = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit).arrays
    made = hwsim.trace(graph, arrays, profile=profile)
    write_arrays(out, made)
    print(f"{out}: {len(made)} values of {graph.name}")


@app.command()
def validate(
    model: Model,
    against: Annotated[
        str, typer.Option(help="litert_ref, litert, onnxruntime, or a saved trace (.npz).")
    ] = "litert_ref",
    random: Annotated[int, typer.Option(help="Random inputs, where no --data is given.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Compare every intermediate value with a foreign runtime; exit status 1 if one differs."""
    import hwsim
    from hwsim.archives import read_arrays
    from hwsim.feeding import Preparation, read_feed

    graph = hwsim.load(model)
    if data is not None:
        arrays = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit).arrays
    elif against.endswith(".npz"):
        saved = read_arrays(Path(against))
        arrays = {name: saved[name] for name in graph.input_names if name in saved}
    else:
        arrays = hwsim.random_inputs(graph, random, seed)
    result = hwsim.validate(graph, arrays, against, threads=threads)
    if as_json:
        _print_json(
            {
                "model": graph.name,
                "against": result.against,
                "samples": result.samples,
                "elements": result.elements,
                "differing": result.differing,
                "missing": list(result.missing),
                "values": json.loads(result.to_frame().to_json(orient="records")),
            }
        )
    else:
        _print_validation(graph, result)
    if not result.ok:
        raise typer.Exit(1)


def _print_validation(graph: "Graph", result: "Validation") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{graph.name} against {result.against}, {result.samples} inputs")
    table.add_column("value", no_wrap=True)
    for name in ("operator", "elements", "differing", "largest"):
        table.add_column(name, justify="right")
    for row in result.rows:
        counts = f"{row.elements:,}", f"{row.differing:,}", f"{row.largest:g}"
        table.add_row(_tail(row.value), row.operator, *counts)
    console = Console()
    console.print(table)
    if result.missing:
        console.print(f"not shown by {result.against}: {', '.join(result.missing)}", markup=False)
    print(f"{result.differing} of {result.elements:,} elements differ")
    if result.first is not None:
        print(f"first: {result.first.value} ({result.first.operator})")


def _bits_of(text: str | None) -> Any:
    """Return the bits of an option's text: a pair, or an allocation file."""
    if text is None:
        return None
    if text.endswith(".json"):
        from hwsim.reports.serialize import allocation_from_json

        try:
            return allocation_from_json(Path(text).read_text("utf-8"))
        except OSError as error:
            raise InputError(f"{text}: file must be readable; {error.strerror}") from error
    from hwsim.tables import Option

    return Option.parse(text)


def _option_list(text: str) -> list[Any]:
    from hwsim.tables import Option

    return [Option.parse(part) for part in text.split(",")]


@app.command()
def cost(
    model: Model,
    platform: PlatformName = "ethos_u55_128",
    bits: BitsOption = None,
    first_last: FirstLast = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price one inference: energy, latency, bytes and FPGA resources per unit, with totals."""
    import hwsim
    from hwsim.reports.run_folder import write_file
    from hwsim.reports.serialize import cost_csv, cost_json

    graph = hwsim.load(model)
    table = hwsim.cost(graph, platform, _bits_of(bits), options=[], first_last=_bits_of(first_last))
    if out is not None:
        write_file(out, cost_csv(table).encode())
    if as_json:
        print(cost_json(table))
        return
    from rich.console import Console

    from hwsim.reports.terminal import cost_table

    Console().print(cost_table(table))


def _float_setup(
    graph: "Graph", data: Path | None, key: str | None, preparation: Any, limit: int | None,
    calibration: Path | None, count: int, method: str, percentile: float,
) -> Any:  # fmt: skip
    """Return (feed, calibration arrays, ranges) of a float model."""
    import hwsim
    from hwsim.feeding import read_feed

    feed = read_feed(graph, data, key, preparation, limit)
    source = read_feed(graph, calibration or data, key, preparation, count)
    ranges = hwsim.calibrate(graph, source.arrays, method=method, percentile=percentile)
    return feed, source.arrays, ranges


@app.command()
def sensitivity(
    model: Model,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 256,
    options: Options = "8,6,4",
    method: Annotated[str, typer.Option(help="output_l2.")] = "output_l2",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score how much quantizing each unit alone changes a float model's output."""
    import hwsim
    from hwsim.feeding import Preparation, read_feed
    from hwsim.reports.run_folder import write_file
    from hwsim.reports.serialize import sensitivity_csv, sensitivity_json

    graph = hwsim.load(model)
    feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
    table = hwsim.sensitivity(graph, feed.arrays, method=method, options=_option_list(options))
    if out is not None:
        write_file(out, sensitivity_csv(table).encode())
    if as_json:
        print(sensitivity_json(table))
        return
    from rich.console import Console

    from hwsim.reports.terminal import sensitivity_table

    Console().print(sensitivity_table(table))


@app.command()
def allocate(
    model: Model,
    platform: PlatformName = "ethos_u55_128",
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 256,
    options: Options = "W8A8,W6A8,W5A8,W4A8,W3A8,W2A8",
    max_energy: Annotated[str | None, typer.Option(help="As 1.2mJ.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="As 8ms.")] = None,
    max_weights: Annotated[str | None, typer.Option(help="As 64KiB or 64kB.")] = None,
    max_lut: Annotated[str | None, typer.Option(help="FPGA look-up tables.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the allocation.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the bits of least summed sensitivity within budgets, proved optimal."""
    import hwsim
    from hwsim.feeding import Preparation, read_feed
    from hwsim.reports.run_folder import write_file
    from hwsim.reports.serialize import allocation_json
    from hwsim.units import format_quantity, parse_quantity

    def budget(text: str | None, unit: str, field: str) -> float | None:
        return None if text is None else parse_quantity(text, unit, field)

    graph = hwsim.load(model)
    budgets = {
        "max_energy_j": budget(max_energy, "J", "--max-energy"),
        "max_latency_s": budget(max_latency, "s", "--max-latency"),
        "max_weight_bytes": budget(max_weights, "B", "--max-weights"),
        "max_lut": budget(max_lut, "", "--max-lut"),
    }
    feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
    wanted = _option_list(options)
    scores = hwsim.sensitivity(graph, feed.arrays, options=wanted)
    table = hwsim.cost(graph, platform, max(wanted), options=wanted)
    found = hwsim.allocate(
        scores,
        table,
        max_energy_j=budgets["max_energy_j"],
        max_latency_s=budgets["max_latency_s"],
        max_weight_bytes=budgets["max_weight_bytes"],
        max_lut=budgets["max_lut"],
    )
    if out is not None:
        write_file(out, allocation_json(found).encode())
    if as_json:
        print(allocation_json(found))
        return
    for unit, option in found.bits.items():
        print(f"{option}  {unit}")
    print(f"score {found.score:.6g} ({found.method}, gap {found.gap:g})")
    shown = (("energy_j", "J"), ("latency_s", "s"), ("weight_bytes", "B"), ("lut", "LUT"))
    for name, unit in shown:
        if name in found.resources:
            print(f"{name}: {format_quantity(found.resources[name], unit)}")
    for name, price in found.shadow_price.items():
        print(f"one more unit of {name} lowers the score by {price:.4g}")
    if found.next_upgrade is not None:
        print(f"next upgrade: {found.next_upgrade[0]} to {found.next_upgrade[1]}")


@app.command()
def pareto(
    model: Model,
    platform: Annotated[
        list[str] | None, typer.Option("--platform", "-p", help="A name or .toml; repeatable.")
    ] = None,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = None,
    calibration: Calibration = None,
    calibration_count: CalibrationCount = 256,
    method: Method = "percentile",
    percentile: Percentile = 99.99,
    widths: Annotated[str, typer.Option(help="Weight and activation widths.")] = "8,6,5,4,3,2",
    points: Annotated[int, typer.Option(help="Front points measured per platform.")] = 8,
    threads: Threads = 2,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = Path("runs/pareto"),
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier run folder.")] = False,
) -> None:
    """Draw exact fronts of a float model and measure their points on the integer engine."""
    import hwsim
    from hwsim.feeding import Preparation
    from hwsim.study import Labeled

    graph = hwsim.load(model)
    names = platform or ["ethos_u55_128", "pynq_z2", "nvidia_t4"]
    loaded = [hwsim.load_platform(name) for name in names]
    preparation = Preparation.of(divide, mean, std)
    feed, calibrated, ranges = _float_setup(
        graph, data, key, preparation, limit, calibration, calibration_count, method, percentile
    )
    if feed.labels is None:
        raise InputError("--data must hold labels under the name 'y' to measure accuracy")
    _study(
        graph, loaded, ranges, calibrated, Labeled(feed.arrays, feed.labels),
        _widths(widths), points, threads, out, overwrite,
        {"method": method, "percentile": percentile, "calibration": calibration_count},
    )  # fmt: skip


def _widths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--widths must be numbers such as 8,6,4, not {text!r}") from error


def _study(
    graph: "Graph", platforms: Any, ranges: Any, calibrated: Any, labeled: Any, widths: list[int],
    points: int, threads: int, out: Path, overwrite: bool, settings: dict[str, object],
) -> None:  # fmt: skip
    """Run one study with progress and write its folder."""
    from rich.console import Console

    import hwsim
    from hwsim.reports.run_folder import write_run
    from hwsim.study import options_of, study
    from hwsim.study_report import study_files, study_manifest, study_table

    if out.exists() and not overwrite:
        raise InputError(f"run folder {str(out)!r} must not exist yet; --overwrite replaces it")
    scored = {name: array[:128] for name, array in calibrated.items()}
    with _progress(0, f"{graph.name}: sensitivity") as bar:
        task = bar.tasks[0].id
        scores = hwsim.sensitivity(
            graph, scored, options=options_of(platforms, widths), ranges=ranges, batch=128,
            progress=lambda: bar.advance(task),
        )  # fmt: skip
        bar.update(task, description=f"{graph.name}: measuring")
        made = study(
            graph, platforms, ranges, scores, labeled, points=points, threads=threads,
            progress=lambda message: bar.advance(task),
        )  # fmt: skip
    shown = {**settings, "widths": widths, "points": points}
    manifest = study_manifest(made, sys.argv, scores.data_sha256, shown)
    folder = write_run(out, manifest, study_files(made), overwrite=overwrite)
    console = Console()
    console.print(study_table(made))
    for part in made.platforms:
        front = f"{len(part.front.points)} points over {part.front.objectives[0]}"
        console.print(f"{part.platform}: exact front of {front}", markup=False)
        for reason in part.skipped:
            console.print(f"  not priced: {reason}", markup=False)
    console.print(f"written: {folder}", markup=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs.")] = Path("runs"),
    threads: Threads = 2,
) -> None:
    """Take two shipped networks from float to measured Pareto fronts on three platforms."""
    import hwsim
    from hwsim import networks
    from hwsim.study import Labeled

    digits = networks.digits_split()
    platforms = [hwsim.load_platform(n) for n in ("ethos_u55_128", "pynq_z2", "nvidia_t4")]
    for name in networks.NAMES:
        graph = hwsim.load(networks.path(name))
        calibrated = {graph.input_names[0]: digits.x_train[:256]}
        ranges = hwsim.calibrate(graph, calibrated, method="percentile", percentile=99.99)
        labeled = Labeled({graph.input_names[0]: digits.x_test}, digits.y_test)
        settings: dict[str, object] = {"calibration": 256, "percentile": 99.99}
        _study(
            graph, platforms, ranges, calibrated, labeled, [8, 6, 5, 4, 3, 2], 8, threads,
            out / name, True, settings,
        )  # fmt: skip


@platforms_app.command("list")
def platforms_list(as_json: AsJson = False) -> None:
    """List the shipped platforms."""
    import hwsim
    from hwsim.platforms.loader import names

    loaded = {name: hwsim.load_platform(name) for name in names()}
    if as_json:
        _print_json({name: [p.kind, p.title] for name, p in loaded.items()})
        return
    for name, platform in loaded.items():
        print(f"{name:16} {platform.kind:9} {platform.title}")


@platforms_app.command("show")
def platforms_show(name: str, as_json: AsJson = False) -> None:
    """Show every number of a platform with its unit, range and source."""
    import hwsim
    from hwsim.platform import quantities

    platform = hwsim.load_platform(name)
    if as_json:
        print(platform.model_dump_json(indent=2))
        return
    print(f"{platform.name} ({platform.kind}): {platform.title}")
    for field, quantity in quantities(platform).items():
        span = "" if quantity.low is None else f" [{quantity.low:g} to {quantity.high:g}]"
        print(f"{field}: {quantity.value:g} {quantity.unit}{span} ({quantity.mark})")
        print(f"    {quantity.source}")
    for note in platform.notes:
        print(f"note: {note}")


@platforms_app.command("check")
def platforms_check(files: list[Path]) -> None:
    """Check platform files against the schema."""
    import hwsim

    for file in files:
        platform = hwsim.load_platform(file)
        print(f"{file}: {platform.name} is a valid {platform.kind}")


@platforms_app.command("schema")
def platforms_schema() -> None:
    """Print the JSON Schema of a platform file."""
    from hwsim.platform import json_schema

    _print_json(json_schema())
