import re

import pytest

from hwsim.errors import InputError
from hwsim.units import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1.2mJ", "J", 1.2e-3), ("3 µs", "s", 3e-6), ("3us", "s", 3e-6), ("64KiB", "B", 65536.0),
        ("2.5e-6", "J", 2.5e-6), ("1.5k", "", 1500.0), ("12 uJ", "J", 12e-6), (".5s", "s", 0.5),
    ],
)  # fmt: skip
def test_a_quantity_is_read_in_si(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit, "budget") == value


@pytest.mark.parametrize("text", ["-1mJ", "0", "1mW", "nan", "1XJ"])
def test_no_quantity(text: str) -> None:
    with pytest.raises(InputError, match=f"^budget must be a positive number of J, .*{text!r}$"):
        parse_quantity(text, "J", "budget")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0012, "J", "1.20 mJ"), (0.0, "J", "0 J"), (None, "s", "n/a"), (1.5e-13, "J", "0.15 pJ"),
        (640, "", "640"), (1.234e9, "", "1.23 G"), (12.34e-6, "s", "12.3 µs"),
        (999.6, "B", "1.00 kB"),
    ],
)  # fmt: skip
def test_a_quantity_is_shown_with_a_prefix(value: float | None, unit: str, text: str) -> None:
    assert re.fullmatch(re.escape(text), format_quantity(value, unit))
