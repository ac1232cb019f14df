"""Verbs about bits and what they cost: cost, sensitivity, allocate, pareto, demo."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli_options import (
    AsJson,
    BitsOption,
    Calibration,
    CalibrationCount,
    Data,
    Divide,
    FirstLast,
    Key,
    Limit,
    Mean,
    Method,
    Model,
    Options,
    Percentile,
    PlatformName,
    ScoreEngine,
    ScoreMethod,
    Std,
    Threads,
    progress_bar,
)
from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.energy import Uncertainty
    from hwsim.feeding import Feed
    from hwsim.graph import Graph
    from hwsim.platform import Platform


def bits_of(text: str | None) -> Any:
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


def cost(
    model: Model,
    platform: PlatformName = "ethos_u55_128",
    bits: BitsOption = None,
    first_last: FirstLast = None,
    point: Annotated[
        str | None, typer.Option(help="Operating point of a microcontroller; its first if none.")
    ] = None,
    mac_model: Annotated[
        str | None,
        typer.Option(help="Arithmetic energy by this model (see mac-models), not the platform's."),
    ] = None,
    data: Data = None,
    key: Key = None,
    limit: Limit = 4,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .csv.")] = None,
    roofline: Annotated[
        Path | None, typer.Option(help="Draw the units under the platform's rooflines: a .png.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the costs are made of and hang on.")
    ] = False,
    batch: Annotated[
        int, typer.Option(help="Inferences priced together; the costs are of one of them.")
    ] = 1,
    unit: Annotated[
        str | None, typer.Option(help="With --explain: the end of one unit's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Price one inference: energy, latency, bytes and FPGA resources per unit, with totals.

    --mac-model toggles_… counts the bits that the model's operands flip on the inputs of --data.
    """
    import hwsim
    from hwsim.cli_explain import explain_cost, interval_lines
    from hwsim.energy import uncertainty
    from hwsim.partition import workload
    from hwsim.reports.run_folder import write_file
    from hwsim.reports.serialize import cost_csv, cost_json

    if roofline is not None and roofline.suffix != ".png":
        raise InputError(f"--roofline must end in .png, not {roofline.suffix!r}")
    if unit is not None and not explain:
        raise InputError("--unit must be given with --explain")
    if explain and mac_model is not None:
        raise InputError(
            "--explain must be asked for without --mac-model: it explains the platform's own model"
        )
    graph = hwsim.load(model)
    described = chosen = hwsim.load_platform(platform)
    if point is not None:
        from hwsim.energy.mcu import at_point

        chosen = at_point(chosen, point)
    table = hwsim.cost(
        graph, chosen, bits_of(bits), options=[], first_last=bits_of(first_last), batch=batch
    )
    if mac_model is not None:
        table = _with_mac_model(graph, table, mac_model, bits, data, key, limit)
    if out is not None:
        write_file(out, cost_csv(table).encode())
    if roofline is not None:
        _draw_roofline(f"{graph.name} on {table.platform}", chosen, table, roofline)
    units = workload(graph)
    if explain:
        explain_cost(units, described, chosen, table, unit, as_json, batch)
        return
    found = None
    lines = [f"no interval is known of energies by --mac-model {mac_model}"]
    if mac_model is None:
        found = uncertainty(units, chosen, table.selection, without_range=False, batch=batch)
    if as_json:
        print(cost_json(table, _ends(found) if found else None))
        return
    from rich.console import Console

    from hwsim.reports.terminal import cost_table

    Console().print(cost_table(table, interval_lines(found) if found else lines))


def _draw_roofline(title: str, platform: "Platform", table: Any, path: Path) -> None:
    """Write the rooflines of a platform with a table's units under them."""
    from hwsim.energy.roofline import roofs
    from hwsim.reports.plots import save
    from hwsim.reports.roof_plot import roofline_figure

    save(roofline_figure(title, roofs(platform, table)), path)


def _ends(found: "Uncertainty") -> dict[str, tuple[float, float]]:
    """Return the intervals of the totals by resource."""
    ends = {"energy_j": (found.energy.low, found.energy.high)}
    if found.latency is not None:
        ends["latency_s"] = (found.latency.low, found.latency.high)
    return ends


def _with_mac_model(
    graph: "Graph", table: Any, name: str, bits: str | None, data: Path | None, key: str | None,
    limit: int | None,
) -> Any:  # fmt: skip
    """Return a cost table with the arithmetic energy of a named model."""
    from hwsim.cli_macs import counted_toggles
    from hwsim.feeding import Preparation
    from hwsim.macs import price_macs
    from hwsim.partition import workload

    if not name.startswith("toggles"):
        return price_macs(table, workload(graph), name)
    if data is None or bits is not None:
        raise InputError(
            f"--mac-model {name} must have --data, and --bits left out: "
            "toggles are counted at the graph's own widths"
        )
    counted = counted_toggles(graph, data, key, Preparation(), limit)
    return price_macs(table, workload(graph), name, counted)


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


def sensitivity(
    model: Model,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 256,
    options: Options = "W8A8,W6A6,W4A4,W6A8,W4A8",
    method: ScoreMethod = "output_l2",
    engine: ScoreEngine = "float",
    threads: Threads = 2,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score how much quantizing each unit of a float model changes what it computes.

    top1 counts lost answers where --data holds labels under the name 'y', changed answers else.
    """
    import hwsim
    from hwsim.feeding import Preparation, read_feed
    from hwsim.reports.run_folder import write_file
    from hwsim.reports.serialize import sensitivity_csv, sensitivity_json

    graph = hwsim.load(model)
    feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
    table = _scores(graph, feed, _option_list(options), method, engine, threads)
    if out is not None:
        write_file(out, sensitivity_csv(table).encode())
    if as_json:
        print(sensitivity_json(table))
        return
    from rich.console import Console

    from hwsim.reports.terminal import sensitivity_table

    Console().print(sensitivity_table(table))


def _scores(
    graph: "Graph", feed: "Feed", options: list[Any], method: str, engine: str, threads: int
) -> Any:
    """Return the scores of a float model's units, with progress."""
    import hwsim

    labels = feed.labels if method == "top1" else None
    with progress_bar(None, f"{graph.name}: {method} on the {engine} engine") as bar:
        task = bar.tasks[0].id
        return hwsim.sensitivity(
            graph, feed.arrays, method=method, engine=engine, options=options, labels=labels,
            threads=threads, progress=lambda: bar.advance(task),
        )  # fmt: skip


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
    method: ScoreMethod = "output_l2",
    engine: ScoreEngine = "float",
    threads: Threads = 2,
    max_energy: Annotated[str | None, typer.Option(help="As 1.2mJ.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="As 8ms.")] = None,
    max_weights: Annotated[str | None, typer.Option(help="As 64KiB or 64kB.")] = None,
    max_lut: Annotated[str | None, typer.Option(help="FPGA look-up tables.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the allocation.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the bits of least summed sensitivity within budgets, proved optimal.

    --method and --engine are those of `sensitivity`.
    """
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
    scores = _scores(graph, feed, wanted, method, engine, threads)
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
    with progress_bar(0, f"{graph.name}: sensitivity") as bar:
        task = bar.tasks[0].id
        scores = hwsim.sensitivity(
            graph, scored, options=options_of(platforms, widths), ranges=ranges, batch=128,
            progress=lambda: bar.advance(task),
        )  # fmt: skip
        bar.update(task, description=f"{graph.name}: measuring")
        made = study(
            graph, platforms, ranges, scores, labeled, points=points, threads=threads,
            progress=lambda message: bar.update(
                task, advance=1, description=f"{graph.name}: measuring {message}"
            ),
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
    for reason in made.refused:
        console.print(f"left out: {reason}", markup=False)
    console.print(f"written: {folder}", markup=False)


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
