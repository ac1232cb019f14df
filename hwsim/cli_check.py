"""Verbs that hold one arithmetic against another: validate, identify, attribute."""

import sys
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
    strict,
    tail,
)

if TYPE_CHECKING:
    from hwsim.comparison import Validation
    from hwsim.graph import Graph
    from hwsim.requant_rules import RequantIdentification
    from hwsim.verdicts import Identification

_SIDE = (
    "a profile or its .toml, float, litert_ref, litert, tflite_micro, onnxruntime, "
    "or a trace (.npz)"
)
_SHOWN_INDICES = 10


def validate(
    model: Model,
    a: Annotated[str | None, typer.Option("--a", help=f"Side A: {_SIDE}; our own.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="Side B, as --a.")] = None,
    against: Annotated[str | None, typer.Option(help="As --b; litert_ref unless given.")] = None,
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
    """Compare every intermediate value between two sides; exit status 1 if one differs."""
    import hwsim
    from hwsim.errors import InputError
    from hwsim.feeding import Preparation, read_feed

    if b is not None and against is not None:
        raise InputError("--b and --against must not both be given: each names side B")
    graph = hwsim.load(model)
    side = b or against or "litert_ref"
    inputs: Any = None
    if data is not None:
        feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
        for note in feed.notes:
            print(f"note: {note}", file=sys.stderr)
        inputs = feed.arrays
    elif not any(name is not None and name.endswith(".npz") for name in (a, side)):
        inputs = hwsim.random_inputs(graph, random, seed)
    total = None if inputs is None else len(next(iter(inputs.values())))
    with progress_bar(total, "comparing") as bar:
        result = hwsim.validate(
            graph, inputs, side, ours=a, threads=threads,
            progress=lambda count: bar.advance(bar.tasks[0].id, count),
        )  # fmt: skip
    if as_json:
        print_json(strict({"model": graph.name, **result.to_dict()}))
    else:
        _print_validation(graph, result)
    if not result.ok:
        raise typer.Exit(1)


def _print_validation(graph: "Graph", result: "Validation") -> None:
    from rich.console import Console

    from hwsim.reports.checks import validation_table

    title = f"{graph.name}: {result.a} against {result.against}, {result.samples} inputs"
    console = Console()
    console.print(validation_table(result, title))
    if result.missing:
        console.print(f"not shown by both: {', '.join(result.missing)}", markup=False)
    print(f"{result.differing:,} of {result.elements:,} elements differ")
    first = result.first
    if first is None:
        return
    print(f"first: {first.value} ({first.operator})")
    equal = {True: "equal inputs", False: "inputs that differ", None: "inputs that are not shown"}
    if first.first is not None:
        index = ", ".join(map(str, first.first.index))
        print(f"  on {equal[first.inputs_equal]}, at [{index}]: "
              f"{first.first.a} ({result.a}), {first.first.b} ({result.against})")  # fmt: skip
    if len(result.sources) > 1:
        print(f"  {len(result.sources)} operators differ by their own arithmetic (column own)")
    for output in result.outputs:
        print(f"output {output.value}: {len(output.differing)} of {result.samples} inputs differ"
              f"{_listed(output.differing)}")  # fmt: skip
        if output.flips is not None:
            print(f"  top-1 flips: {len(output.flips)}{_listed(output.flips)}")


def _listed(indices: tuple[int, ...]) -> str:
    if not indices:
        return ""
    more = ", …" if len(indices) > _SHOWN_INDICES else ""
    return f" ({', '.join(map(str, indices[:_SHOWN_INDICES]))}{more})"


def identify(
    trace: Annotated[
        Path,
        typer.Argument(
            help="Recorded values by name (.npz); without MODEL: acc, multiplier, shift, output.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Argument(help="The .tflite or .onnx file that was run.", show_default=False),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", help="A candidate besides the built-in ones: a .toml file."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Try these profiles alone; may be repeated.")
    ] = None,
    separate: Annotated[
        Path | None,
        typer.Option(help="Write the inputs that separate the remaining profiles (.npz)."),
    ] = None,
    search: Annotated[bool, typer.Option(help="Search for such inputs.")] = True,
    as_json: AsJson = False,
) -> None:
    """Name the profiles that a recording is consistent with; exit status 1 if none is."""
    import hwsim
    from hwsim.archives import write_arrays
    from hwsim.errors import InputError
    from hwsim.profiles import PROFILES
    from hwsim.verdicts import Identification

    if profile and only:
        raise InputError("--profile and --only must not both be given: --only names all candidates")
    if separate is not None and not search:
        raise InputError("--separate must not be given with --no-search: it writes what is found")
    graph = None if model is None else hwsim.load(model)
    candidates = only or [*PROFILES, *(profile or ())]
    with progress_bar(None, "identifying") as bar:
        result = hwsim.identify(
            graph, trace, candidates, search=search,
            progress=lambda name: bar.update(bar.tasks[0].id, description=tail(name), advance=1),
        )  # fmt: skip
    if separate is not None:
        write_arrays(separate, result.arrays())
    if as_json:
        print_json({"trace": str(trace), **result.to_dict()})
    elif isinstance(result, Identification):
        assert graph is not None
        _print_identification(graph, result)
    else:
        _print_rules(result)
    if not result.consistent:
        raise typer.Exit(1)


def _print_identification(graph: "Graph", result: "Identification") -> None:
    from rich.console import Console

    from hwsim.reports.checks import identification_table

    console = Console()
    title = f"{graph.name}: what each profile reproduces"
    console.print(identification_table(result, title))
    if result.left_out:
        print(f"not recorded whole: {len(result.left_out)} of {len(graph.nodes)} operators")
    print(f"{len(result.rows)} operators, {result.elements:,} elements")
    print(f"consistent with all of them: {', '.join(result.consistent) or 'no profile'}")
    if not result.consistent:
        for row in result.rows:
            print(f"  {tail(row.node)} ({row.operator}): {', '.join(row.consistent) or 'none'}")
    for search in result.searches:
        one, two = search.profiles
        place = f"{one} | {two}, {tail(search.node)}"
        if search.separation is None:
            why = (
                "the same codes for every input"
                if search.exhaustive
                else f"no separating input among {search.tried:,} elements tried"
            )
            print(f"{place}: {why}")
            continue
        found = search.separation
        codes = ", ".join(f"{code} ({name})" for name, code in found.codes.items())
        index = ", ".join(map(str, found.index))
        print(f"{place}: {found.changed} elements off zero give [{index}] = {codes}")


def _print_rules(result: "RequantIdentification") -> None:
    for rule, count in result.differing.items():
        print(f"{rule:20} {count:,} of {result.entries:,} differ")
    print(f"consistent: {', '.join(result.consistent) or 'no rule'}")
    for one in result.separations:
        names = " | ".join(one.rules)
        if one.codes is None:
            print(f"{names}: no accumulator near 0 separates them")
            continue
        codes = ", ".join(f"{code} ({rule})" for rule, code in one.codes.items())
        print(f"{names}: acc {one.acc}, multiplier {one.multiplier}, shift {one.shift}: {codes}")


def attribute(
    model: Model,
    reference: Annotated[
        Path | None, typer.Option(help="The float .onnx or .tflite it was quantized from.")
    ] = None,
    bits: Annotated[
        str | None, typer.Option("--bits", "-b", help="Quantize a float MODEL so; 8 unless given.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Arithmetic; the model's own.")] = None,
    random: Annotated[int, typer.Option(help="Random inputs, where no --data is given.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    data: Data = None,
    key: Key = None,
    divide: Divide = 1.0,
    mean: Mean = None,
    std: Std = None,
    limit: Limit = 256,
    threads: Threads = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Split each operator's error against float into its own and what it inherits.

    A float MODEL is calibrated on the inputs and quantized first; it is its own reference.
    """
    import hwsim
    from hwsim.cli_choose import bits_of
    from hwsim.errors import InputError
    from hwsim.feeding import Preparation, read_feed

    if out is not None and out.suffix != ".csv":
        raise InputError(f"--out must end in .csv, not {out.name!r}")
    graph = hwsim.load(model)
    if data is not None:
        feed = read_feed(graph, data, key, Preparation.of(divide, mean, std), limit)
        for note in feed.notes:
            print(f"note: {note}", file=sys.stderr)
        inputs = feed.arrays
    else:
        inputs = hwsim.random_inputs(graph, random, seed)
    floats = None if reference is None else hwsim.load(reference)
    if graph.is_float:
        if floats is not None:
            raise InputError("--reference must not be given: a float MODEL is its own reference")
        floats = graph
        graph = hwsim.quantize(graph, hwsim.calibrate(graph, inputs), bits_of(bits) or 8)
    elif bits is not None:
        raise InputError("--bits must not be given: MODEL holds quantized codes already")
    with progress_bar(len(next(iter(inputs.values()))), "attributing") as bar:
        result = hwsim.attribute(
            graph, inputs, floats, profile=profile, threads=threads,
            progress=lambda count: bar.advance(bar.tasks[0].id, count),
        )  # fmt: skip
    if out is not None:
        from hwsim.reports.run_folder import write_file

        write_file(out, result.to_frame().to_csv(index=False).encode())
    if as_json:
        head = {"model": graph.name, "profile": result.profile, "reference": result.reference}
        counts = {"samples": result.samples, "missing": list(result.missing)}
        print_json(strict(head | counts | {"values": result.records()}))
        return
    from rich.console import Console

    from hwsim.reports.checks import attribution_table

    console = Console()
    title = f"{graph.name}: {result.profile} against {result.reference}, {result.samples} inputs"
    console.print(attribution_table(result, title))
    if result.missing:
        console.print(f"not in the float network: {', '.join(result.missing)}", markup=False)
    print("SQNR in dB; own and inherited errors are measured apart and need not add up to total")
