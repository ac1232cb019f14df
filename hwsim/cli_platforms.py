"""Verbs about platform files: list, show, check, schema, validate."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli_options import AsJson, print_json


def list_platforms(as_json: AsJson = False) -> None:
    """List the shipped platforms."""
    import hwsim
    from hwsim.platforms.loader import names

    loaded = {name: hwsim.load_platform(name) for name in names()}
    if as_json:
        print_json({name: [p.kind, p.title] for name, p in loaded.items()})
        return
    for name, platform in loaded.items():
        print(f"{name:16} {platform.kind:9} {platform.title}")


def show_platform(name: str, as_json: AsJson = False) -> None:
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


def check_platforms(files: list[Path]) -> None:
    """Check platform files against the schema."""
    import hwsim

    for file in files:
        platform = hwsim.load_platform(file)
        print(f"{file}: {platform.name} is a valid {platform.kind}")


def print_schema() -> None:
    """Print the JSON Schema of a platform file."""
    from hwsim.platform import json_schema

    print_json(json_schema())


def validate_platforms(
    data: Annotated[
        Path, typer.Option(help="Folder of reference data: same file names and columns.")
    ] = Path("..", "shared", "reference", "data"),
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Run this comparison alone; repeatable.")
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Show every row, not the summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare predictions with published and recorded figures: measured, predicted, error.

    Exit status 1 where a target is missed.
    """
    from hwsim.energy.validation import COMPARISONS, TARGETS, judged
    from hwsim.errors import InputError

    for name in only or ():
        if name not in COMPARISONS:
            raise InputError(f"comparison must be one of {', '.join(COMPARISONS)}, not {name!r}")
    if not data.is_dir():
        raise InputError(f"data must be a folder, not {str(data)!r}")
    wanted = [name for name in COMPARISONS if not only or name in only]
    found = [row for name in wanted for row in COMPARISONS[name](data)]
    verdicts = judged(found, TARGETS)
    if as_json:
        print_json(
            {
                "rows": [asdict(row) | {"error": row.error} for row in found],
                "summary": [asdict(verdict) for verdict in verdicts],
            }
        )
    else:
        if rows:
            for row in found:
                held = "" if row.held_out else "  (fitted on it)"
                print(
                    f"{row.against:32.32} {row.case:40.40} {row.measured:12.6g} "
                    f"{row.predicted:12.6g} {row.unit:8} {100 * row.error:+8.2f} %{held}"
                )
        for verdict in verdicts:
            print(
                f"{verdict.against:56.56}{verdict.rows:6} rows  mean {100 * verdict.mean:6.2f} %  "
                f"worst {100 * verdict.worst:7.2f} %  "
                f"difference {verdict.mean_difference:8.3g}  rank {verdict.rank:5.2f}  "
                f"{verdict.state:8} {verdict.text}"
            )
    if any(verdict.state == "missed" for verdict in verdicts):
        raise typer.Exit(1)
