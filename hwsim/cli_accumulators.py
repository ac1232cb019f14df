"""The verb about accumulators: how wide they must be, and what narrower ones break."""

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
from hwsim.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.accumulation import AccumulatorReport


def accumulators(
    model: Model,
    data: Data = None,
    random: Annotated[int | None, typer.Option(help="Use this many random inputs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    bits: Annotated[
        str | None,
        typer.Option(help="Widths to try, as 16 or 18,16; just below what the inputs needed."),
    ] = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = None,
    profile: Annotated[str | None, typer.Option(help="Arithmetic; the model's own.")] = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Show how wide accumulators must be, were on inputs, and what narrower ones break."""
    import hwsim
    from hwsim.feeding import Preparation, read_feed

    if data is not None and random is not None:
        raise InputError("inputs must be given by --data or --random, not both")
    widths = _widths(bits)
    if widths is not None and data is None and random is None:
        raise InputError("--bits must come with inputs to count on; give --data or --random")
    graph = hwsim.load(model, profile)
    inputs: Any = None
    if data is not None:
        inputs = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit).arrays
    elif random is not None:
        inputs = hwsim.random_inputs(graph, random, seed)
    total = 0 if inputs is None else 2 * next(iter(inputs.values())).shape[0]
    with progress_bar(total, "looking into accumulators") as bar:
        report = hwsim.accumulators(
            graph,
            inputs,
            widths=widths,
            profile=profile,
            threads=threads,
            progress=lambda count: bar.advance(bar.tasks[0].id, count),
        )
    if as_json:
        print_json(_summary(report))
    else:
        _print(report)


def _widths(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--bits must be whole numbers such as 16 or 18,16, not {text!r}"
        ) from error


def _summary(report: "AccumulatorReport") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": report.graph,
        "profile": report.profile,
        "samples": report.samples,
        "datatype_bits": report.datatype_bits,
        "weight_aware_bits": report.weight_aware_bits,
        "bits": report.bits,
        "bits_without_constants": report.bits_without_constants,
        "observed_bits": report.observed_bits,
        "layers": [
            asdict(layer)
            | {"bits": layer.bound.bits, "weight_aware_bits": layer.bound.weight_aware_bits}
            | {"observed_bits": layer.observed.bits if layer.observed else None}
            for layer in report.layers
        ],
        "intermediates": [asdict(row) | {"bits": row.bits} for row in report.intermediates],
    }


def _print(report: "AccumulatorReport") -> None:
    from rich.console import Console

    console = Console()
    _print_layers(report, console)
    if any(layer.narrowed for layer in report.layers):
        _print_narrowed(report, console)
    if report.intermediates:
        _print_intermediates(report, console)
    for layer in report.layers:
        found = layer.constant
        if found is not None:
            console.print(
                f"{tail(layer.bound.node)}: {found.channels} channels have no weight but 0 and a "
                f"bias in [{found.bias_low:,}, {found.bias_high:,}], as reals in "
                f"[{found.real_low:.3g}, {found.real_high:.3g}]; folded away, "
                f"{found.bits} bits suffice instead of {layer.bound.bits}",
                markup=False,
                highlight=False,
            )
    seen = "" if report.observed_bits is None else f", observed {report.observed_bits}"
    print(
        f"bits: datatype {report.datatype_bits}, weight-aware {report.weight_aware_bits}, "
        f"order-safe {report.bits}{seen}"
    )
    if report.bits_without_constants < report.bits:
        print(f"order-safe without constant channels: {report.bits_without_constants}")


def _print_layers(report: "AccumulatorReport", console: "Console") -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"{report.graph} ({report.profile})"
    title = f"{title}, {report.samples} inputs" if report.samples else title
    table = Table(title=f"{title}: accumulator bits", box=SIMPLE)
    table.add_column("node", no_wrap=True)
    table.add_column("operator")
    for name in ["type", "sums", "safe"] + (["seen"] if report.samples else []):
        table.add_column(name, justify="right")
    for layer in report.layers:
        bound, seen = layer.bound, layer.observed
        widths = [bound.datatype_bits, bound.weight_aware_bits, bound.bits]
        widths += [seen.bits] if seen is not None else []
        table.add_row(tail(bound.node), layer.operator, *map(str, widths))
    console.print(table)
    print("type: operand types alone, K * max|x| * max|w|, no bias")
    print("sums: finished sums of these weights, enough where partial sums may wrap")
    print("safe: partial sums too, in any order, enough for every accumulator")
    if report.samples:
        print("seen: finished sums on these inputs, no guarantee")


def _print_narrowed(report: "AccumulatorReport", console: "Console") -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="narrower accumulators on these inputs, one layer at a time", box=SIMPLE)
    table.add_column("node", no_wrap=True)
    for name in ("bits", "wrapped", "codes", "saturated", "codes"):
        table.add_column(name, justify="right")
    for layer in report.layers:
        for row in layer.narrowed:
            counts = row.wrapped, row.wrapped_codes, row.saturated, row.saturated_codes
            cells = (f"{count:,}" for count in counts)
            table.add_row(tail(layer.bound.node), str(row.bits), *cells)
    console.print(table)


def _print_intermediates(report: "AccumulatorReport", console: "Console") -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="registers inside other operators", box=SIMPLE)
    table.add_column("node", no_wrap=True)
    table.add_column("holds")
    table.add_column("bits", justify="right")
    for row in report.intermediates:
        table.add_row(tail(row.node), row.register, str(row.bits))
    console.print(table)
