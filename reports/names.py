"""Names and numbers as people read them in tables and plots."""

import math
from collections.abc import Iterable

from hwsim.units import format_quantity

_SUFFIXES = (("_j", "J"), ("_s", "s"), ("_bytes", "B"))


def shorten(names: Iterable[str], width: int) -> dict[str, str]:
    """Return each name cut from the left to `width` characters, "…" in front of the rest.

    A cut moves to the next "/" if one is near. Names that would become equal are all left longer,
    until they differ.
    """
    distinct = tuple(dict.fromkeys(names))
    longest = max(map(len, distinct), default=0)
    for limit in range(max(width, 2), longest):
        short = {name: _cut(name, limit) for name in distinct}
        if len(set(short.values())) == len(short):
            return short
    return {name: name for name in distinct}


def _cut(name: str, limit: int) -> str:
    """Return a name of at most `limit` characters."""
    if len(name) <= limit:
        return name
    rest = name[-(limit - 1) :]
    slash = rest.find("/", 0, limit // 3)
    return "…" + rest[max(slash, 0) :]


def unit_of(resource: str) -> str:
    """Return the unit that stands in a resource's name: "J" of energy_j, "" of a count."""
    return next((unit for suffix, unit in _SUFFIXES if resource.endswith(suffix)), "")


def show(value: float | None, unit: str) -> str:
    """Return a number with unit and prefix; None and NaN are "n/a"."""
    return format_quantity(None if value is None or math.isnan(value) else value, unit)
