"""Verbs about platform files: list, show, check, schema."""

from pathlib import Path

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
