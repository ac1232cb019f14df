"""Quantities with units: what people write on a command line, and what tables show."""

import math
import re

from hwsim.errors import InputError

_PREFIXES = {
    "": 1.0, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip
_BINARY = {"Ki": 1024.0, "Mi": 1024.0**2, "Gi": 1024.0**3}
_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ]*)\s*", re.ASCII
)


def parse_quantity(text: str, unit: str, field: str) -> float:
    """Return a positive quantity in SI, as 0.0012 for "1.2mJ" with unit "J".

    Args:
        text: A number, an optional prefix (p n u µ m k M G, and Ki Mi Gi for bytes) and the unit;
            a bare number is taken in `unit`.
        unit: "J", "s", "B" or "" for a count.
        field: The name that an error uses.

    Raises:
        InputError: If the text is no positive quantity of that unit.
    """
    match = _QUANTITY.fullmatch(text)
    wanted = f"a positive number of {unit}" if unit else "a positive number"
    if match is None:
        example = f"1.5m{unit}" if unit else "1.5k"
        raise InputError(f"{field} must be {wanted}, as {example}, not {text!r}")
    number, suffix = float(match.group(1)), match.group(2)
    prefix = suffix.removesuffix(unit) if unit and suffix.endswith(unit) else suffix
    if suffix and unit and not suffix.endswith(unit):
        raise InputError(f"{field} must be {wanted}, not {text!r}")
    factor = (_PREFIXES | (_BINARY if unit == "B" else {})).get(prefix)
    if factor is None or not (math.isfinite(number) and number > 0):
        raise InputError(f"{field} must be {wanted}, not {text!r}")
    return number * factor


def format_quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a number with an engineering prefix, as "1.20 mJ"; None is "n/a"."""
    if value is None:
        return "n/a"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    for prefix, factor in (
        ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9),
    ):  # fmt: skip
        if abs(value) >= factor * 0.9995:
            break
    else:
        prefix, factor = "p", 1e-12
    scaled = value / factor
    decimals = max(digits - 1 - max(math.floor(math.log10(abs(scaled))), 0), 0)
    return f"{scaled:.{decimals}f} {prefix}{unit}".rstrip()
