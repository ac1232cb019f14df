"""The verb selfcheck: foreign vectors and runtimes against the integer engine, one table."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli_options import AsJson, print_json, progress_bar

if TYPE_CHECKING:
    from hwsim.selfcheck.check import Check

Areas = Annotated[
    list[str] | None, typer.Option("--area", help="Run this area alone; may be repeated.")
]
Folder = Annotated[Path | None, typer.Option(help="Instead of its environment variable's folder.")]


def selfcheck(
    area: Areas = None,
    vectors: Folder = None,
    models: Folder = None,
    data: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compare the engine with others' integers: cases run, skipped and wrong, by area.

    Vectors, models and data are looked for in $HWSIM_VECTORS, $HWSIM_MODELS and $HWSIM_DATA, by
    default ../shared/vectors, ../shared/models and ../shared/data.
    """
    from hwsim.errors import InputError
    from hwsim.selfcheck import AREAS
    from hwsim.selfcheck.check import Places

    for name in area or ():
        if name not in AREAS:
            raise InputError(f"area must be one of {', '.join(AREAS)}, not {name!r}")
    places = Places(
        _folder(vectors, "HWSIM_VECTORS", "vectors"),
        _folder(models, "HWSIM_MODELS", "models"),
        _folder(data, "HWSIM_DATA", "data"),
    )
    checks: list[Check] = []
    wanted = [name for name in AREAS if not area or name in area]
    with progress_bar(len(wanted), "selfcheck") as bar:
        (task,) = bar.task_ids
        for name in wanted:
            bar.update(task, description=name)
            for check in AREAS[name](places, lambda text: bar.update(task, description=text)):
                checks.append(check)
            bar.advance(task)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        _print(checks)
    if any(check.wrong for check in checks):
        raise typer.Exit(1)


def _folder(given: Path | None, variable: str, name: str) -> Path:
    if given is not None:
        return given
    return Path(os.environ.get(variable) or Path("..", "shared", name))


def _print(checks: Sequence["Check"]) -> None:
    """Print one line per check under a heading, with its sums, per area and pair of sides."""
    print(f"{'':52}{'run':>8}{'skipped':>9}{'wrong':>7}{'elements':>15}")
    for sides, group in groupby(checks, _sides):
        members = list(group)
        print(f"{sides[:52]:52}{_numbers(members)}")
        for check in members:
            print(f"  {check.subject[:50]:50}{_numbers([check])}")
    print(f"{'total':52}{_numbers(checks)}")
    for check in checks:
        if check.note:
            print(f"{check.area}, {check.subject}: {check.note}")


def _sides(check: "Check") -> str:
    return f"{check.area}: {check.profile} / {check.against}"


def _numbers(checks: Sequence["Check"]) -> str:
    run = sum(check.run for check in checks)
    skipped = sum(check.skipped for check in checks)
    wrong = sum(check.wrong for check in checks)
    elements = sum(check.elements for check in checks)
    return f"{run:>8,}{skipped:>9,}{wrong:>7,}{elements:>15,}"
