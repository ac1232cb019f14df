"""Tables of the checks of arithmetic: validation, identification, attribution."""

import math
from typing import TYPE_CHECKING

from hwsim.comparison import Validation

from .terminal import Column, fitting

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.attribution import Attribution
    from hwsim.identification import Identification

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


def identification_table(result: "Identification", title: str) -> "RenderableType":
    """Return a line per operator: recorded elements that each profile does not reproduce.

    "–" is a refusal; the last column counts arithmetics that are not provably the same.
    """
    rows = result.rows
    columns = [
        Column("operator", [row.operator for row in rows], 1, numeric=False),
        Column("elements", [f"{row.elements:,}" for row in rows], 2),
    ]
    for profile in result.profiles:
        verdicts = [next(v for v in row.verdicts if v.profile == profile) for row in rows]
        columns.append(Column(profile, [_count(verdict.differing) for verdict in verdicts]))
    columns.append(Column("arithmetics", [str(len(row.same)) for row in rows], 3))
    return fitting(title, [last_part(row.node) for row in rows], columns, heading="node")


def attribution_table(result: "Attribution", title: str) -> "RenderableType":
    """Return a line per value: SQNR in dB of its total, own and inherited error."""
    rows = result.rows
    columns = [
        Column("operator", [row.operator for row in rows], 1, numeric=False),
        Column("total", [_decibel(row.total.sqnr_db) for row in rows]),
        Column("own", [_decibel(row.own.sqnr_db) for row in rows]),
        Column("inherited", [_decibel(row.inherited.sqnr_db) for row in rows]),
        Column("cosine", [_short(row.total.cosine) for row in rows], 2),
        Column("max error", [_short(row.total.largest) for row in rows], 2),
    ]
    return fitting(title, [last_part(row.value) for row in rows], columns, heading="value")


def _decibel(number: float) -> str:
    if math.isnan(number):
        return "n/a"
    return "exact" if math.isinf(number) else f"{number:.1f}"


def _short(number: float) -> str:
    return "n/a" if math.isnan(number) else f"{number:.5g}"


def last_part(name: str) -> str:
    """Return the end of a name: converters join the names of all that they fused."""
    last = name.rsplit(";", 1)[-1]
    return last if len(last) <= _NAME_WIDTH else f"…{last[1 - _NAME_WIDTH :]}"


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"
