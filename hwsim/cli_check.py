"""Verbs that hold one arithmetic against another: validate, identify, attribute."""

import sys
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
)

if TYPE_CHECKING:
    from hwsim.comparison import Validation
    from hwsim.graph import Graph

_SIDE = "a profile or its .toml, float, litert_ref, litert, onnxruntime, or a trace (.npz)"
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


def identify() -> None:
    """Stub."""


def attribute() -> None:
    """Stub."""
