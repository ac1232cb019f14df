"""Tables of the checks of arithmetic: validation, identification, attribution."""

from typing import TYPE_CHECKING

from hwsim.comparison import Validation

from .terminal import Column, fitting

if TYPE_CHECKING:
    from rich.console import RenderableType

_NAME_WIDTH = 24


def validation_table(result: Validation, title: str) -> "RenderableType":
    """Return a line per value: how many elements differ, by how much, and where that came from."""
    rows = result.rows
    columns = [
        Column("operator", [row.operator for row in rows], numeric=False),
        Column("elements", [f"{row.elements:,}" for row in rows], 1),
        Column("differing", [f"{row.differing:,}" for row in rows]),
        Column("largest", [f"{row.largest:g}" for row in rows]),
        Column("own", [_count(row.own) for row in rows]),
        Column("inherited", [_count(row.inherited) for row in rows]),
    ]
    return fitting(title, [last_part(row.value) for row in rows], columns, heading="value")


def last_part(name: str) -> str:
    """Return the end of a name: converters join the names of all that they fused."""
    last = name.rsplit(";", 1)[-1]
    return last if len(last) <= _NAME_WIDTH else f"…{last[1 - _NAME_WIDTH :]}"


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
