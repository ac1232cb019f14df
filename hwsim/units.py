"""Quantities with units: what people write on a command line, and what tables show."""

import math
import re
from fractions import Fraction

from hwsim.errors import InputError

_PREFIXES = {
    prefix: Fraction(10) ** power
    for prefix, power in zip(("p", "n", "u", "µ", "m", "", "k", "M", "G"),
                             (-12, -9, -6, -6, -3, 0, 3, 6, 9), strict=True)
}  # fmt: skip
_BINARY = {"Ki": Fraction(1 << 10), "Mi": Fraction(1 << 20), "Gi": Fraction(1 << 30)}
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
    if not 1e-300 < number < 1e300:
        raise InputError(f"{field} must be {wanted}, not {text!r}")
    # Rounded once: "30uJ" is the float 30e-6, so that a shown value is a budget for itself.
    return float(Fraction(match.group(1)) * factor)


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
