"""Verbs about one model and its arithmetic: info, run, trace, export."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli_options import (
    AsJson,
    Data,
    Divide,
    Key,
    Limit,
    Mean,
    Model,
    Std,
    Threads,
    print_json,
    progress_bar,
    tail,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwsim.approximations import Approximation


def info(
    model: Model,
    profile: Annotated[
        str | None, typer.Option(help="Show each non-linearity's bits and errors under it.")
    ] = None,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Show inputs, outputs, operators, units and proved accumulator widths of a model.

    With --profile also what its non-linearities are worth; a float MODEL is first calibrated on
    --data and quantized to 8 bits for it.
    """
    import hwsim
    from hwsim.inference_cost import inference_cost
    from hwsim.partition import workload
    from hwsim.verify import accumulator_bounds

    graph = hwsim.load(model)
    units = workload(graph)
    costs = inference_cost(graph)
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
        "bops": costs.bops,
        "weight_bits": costs.weight_bits,
        "units": [unit.name for unit in units if unit.has_choice],
        "nodes": rows,
    }
    forms: Sequence[Approximation] = ()
    if profile is not None:
        from hwsim.approximations import approximations
        from hwsim.feeding import Preparation, read_feed
        from hwsim.profiles import find_profile

        if graph.is_float:
            feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
            ranges = hwsim.calibrate(graph, feed.arrays)
            graph = hwsim.quantize(graph, ranges, 8, profile=profile)
        forms = approximations(graph, find_profile(profile))
        summary["approximations"] = [asdict(form) for form in forms]
    if as_json:
        print_json(summary)
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
        table.add_row(tail(node.name), node.op.value, shape, str(value.dtype), bits)
    console = Console()
    console.print(table)
    for kind in ("inputs", "outputs"):
        console.print(f"{kind}: {summary[kind]}", markup=False)
    console.print(
        f"MACs {costs.macs:,}, bit operations {costs.bops:,}, "
        f"weights {summary['weights']:,} of {costs.weight_bits:,} bits"
    )
    if forms:
        _show_forms(forms, f"non-linearities under {profile}")


def _show_forms(forms: "Sequence[Approximation]", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=title)
    table.add_column("node", no_wrap=True)
    for name in ("method", "scale", "bits", "max error", "mean error", "of"):
        table.add_column(name)
    for form in forms:
        reals = (f"{number:.3g}" for number in (form.scale, form.max_error, form.mean_error))
        scale, most, mean = reals
        bits = str(form.bits)
        table.add_row(tail(form.node), form.method, scale, bits, most, mean, form.what)
    console.print(table)
    for form in forms:
        for warning in form.warnings:
            console.print(f"{form.node}: {warning}", markup=False)


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

    graph = hwsim.load(model, profile)
    feed = read_feed(graph, inputs or data, key, Preparation.of(divide, mean, std), limit)
    for note in feed.notes:
        print(f"note: {note}", file=sys.stderr)
    total = next(iter(feed.arrays.values())).shape[0]
    with progress_bar(total, "running") as bar:
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
        print_json(summary)
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


def trace(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .npz, or the folder of --format hex.")
    ],
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 1,
    profile: Annotated[str | None, typer.Option(help="Arithmetic; the model's own.")] = None,
    random: Annotated[int | None, typer.Option(help="Use this many random inputs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    form: Annotated[
        str, typer.Option("--format", help="npz, or hex: a folder of words and testbenches.")
    ] = "npz",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier hex folder.")] = False,
) -> None:
    """Write every activation of a model: an .npz by value name, or a folder for RTL."""
    import hwsim
    from hwsim.archives import write_arrays
    from hwsim.errors import InputError
    from hwsim.feeding import Preparation, read_feed

    if form not in ("npz", "hex"):
        raise InputError(f"--format must be npz or hex, not {form!r}")
    if form == "hex" and out.is_dir() and not force:
        raise InputError(f"trace folder {str(out)!r} must not exist yet; --force replaces it")
    graph = hwsim.load(model, profile)
    if random is not None:
        arrays = hwsim.random_inputs(graph, random, seed)
    else:
        arrays = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit).arrays
    if form == "hex":
        hwsim.trace_rtl(graph, arrays, out, profile=profile, overwrite=force)
        print(f"{out}: {len(graph.nodes)} layers of {graph.name}")
        return
    made = hwsim.trace(graph, arrays, profile=profile)
    write_arrays(out, made)
    print(f"{out}: {len(made)} values of {graph.name}")


def export(
    model: Model,
    to: Annotated[Path, typer.Option("--to", "-o", help="Where the .onnx goes.")],
    style: Annotated[str, typer.Option(help="qdq, or qoperator: operators on codes.")] = "qdq",
) -> None:
    """Write an 8-bit integer model as ONNX, for ONNX Runtime (profile ort)."""
    import hwsim
    from hwsim.archives import write_bytes
    from hwsim.errors import InputError
    from hwsim.formats.onnx_export import export_onnx

    if to.suffix != ".onnx":
        raise InputError(f"output file must end in .onnx, not {to.name!r}")
    graph = hwsim.load(model)
    write_bytes(to, export_onnx(graph, style))
    print(f"{to}: {len(graph.nodes)} nodes of {graph.name} as {style}")
