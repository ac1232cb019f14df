"""Verbs about numeric profiles: list, show, check, schema."""

from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from hwsim.cli_options import AsJson, print_json


def list_profiles(as_json: AsJson = False) -> None:
    """List the built-in profiles and what each reproduces."""
    from hwsim.profiles import PROFILES

    if as_json:
        print_json({name: profile.reproduces for name, profile in PROFILES.items()})
        return
    for name, profile in PROFILES.items():
        print(f"{name:12} {profile.reproduces}")


def show_profile(name: str, as_json: AsJson = False) -> None:
    """Show every rule of a built-in profile or a .toml file."""
    from hwsim.profile import OperatorRule
    from hwsim.profiles import find_profile

    profile = find_profile(name)
    names = [field.name for field in fields(OperatorRule)]
    rows = [
        {"operator": op.value, "width": width}
        | {name: _plain(getattr(rule, name)) for name in names}
        for (op, width), rule in sorted(
            profile.rules.items(), key=lambda item: (item[0][0].value, item[0][1])
        )
    ]
    if as_json:
        rounding = profile.input_rounding.value
        summary = {"name": profile.name, "reproduces": profile.reproduces, "rules": rows}
        print_json(summary | {"input_rounding": rounding})
        return
    from rich.console import Console
    from rich.table import Table

    # A column that says the same everywhere says nothing.
    told = [name for name in ("operator", "width", *names) if len({str(r[name]) for r in rows}) > 1]
    table = Table(title=f"{profile.name}: {profile.reproduces}")
    for column in told:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in told))
    Console().print(table)


def _plain(value: object) -> Any:
    """Return a rule's field as JSON has it."""
    from hwsim.profile import Condition, OperatorRule

    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Condition):
        return str(value)
    if isinstance(value, OperatorRule):
        return " ".join(
            f"{field.name}={_plain(getattr(value, field.name))}"
            for field in fields(value)
            if getattr(value, field.name) != field.default
        )
    return list(value) if isinstance(value, tuple) else value


def check_profiles(files: list[Path]) -> None:
    """Check profile files against the schema."""
    from hwsim.profiles import find_profile

    for file in files:
        profile = find_profile(file)
        print(f"{file}: {profile.name} is valid and has {len(profile.rules)} rules")


def print_schema() -> None:
    """Print the JSON Schema of a profile file."""
    from hwsim.profiles.file import json_schema

    print_json(json_schema())
