"""Numbers of a platform description: a value with its unit, its source and its range."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hwsim.description import Table, broken_rule

_SI = {
    "pJ/MAC": 1e-12, "pJ/bit": 1e-12, "W": 1.0, "MHz": 1e6, "GB/s": 1e9, "KiB": 1024.0,
    "us": 1e-6, "fJ/LUT/cycle": 1e-15, "MAC/cycle": 1.0, "word/cycle": 1.0, "element": 1.0,
    "cycle/element": 1.0, "cycle": 1.0, "bank": 1.0, "B": 1.0, "SM": 1.0, "LUT": 1.0, "DSP": 1.0,
    "BRAM_18K": 1.0, "1": 1.0, "cycle/MAC": 1.0, "V": 1.0, "mA": 1e-3,
}  # fmt: skip
# No digital clock is slower than a second a cycle or faster than a transistor switches.
_BOUNDS = {"MHz": (1e-6, 1e5)}
_COUNTS = frozenset({"element", "cycle", "bank", "B", "SM", "LUT", "DSP", "BRAM_18K"})


class Quantity(Table):
    """A positive number with unit, source, and the range in which sources put it.

    Args:
        value: The number, in `unit`.
        unit: The unit that its field demands.
        source: Publication, or tool with version; how it was derived, if it was.
        low: Smallest figure that a source supports.
        high: Largest figure that a source supports.
        mark: V read, R run, M recalled, D derived from other figures, A assumed (a technology or
            a modeling choice that stands in for a figure nobody published). M and A demand a
            range.
    """

    value: float
    unit: str
    source: Annotated[str, Field(min_length=1)]
    low: float | None = None
    high: float | None = None
    mark: Literal["V", "R", "M", "D", "A"] = "V"

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse what is no positive number inside its own range."""
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number > 0):
                raise broken_rule("a positive number", number, name)
            least, most = _BOUNDS.get(self.unit, (0.0, math.inf))
            if number is not None and not least <= number <= most:
                raise broken_rule(f"in [{least:g}, {most:g}] {self.unit}", number, name)
        if self.low is not None and self.low > self.value:
            raise broken_rule("at most the value", self.low, "low")
        if self.high is not None and self.high < self.value:
            raise broken_rule("at least the value", self.high, "high")
        if not self.source.strip():
            raise broken_rule("a publication, or a tool with its version", self.source, "source")
        if self.mark in ("M", "A") and (self.low is None or self.high is None):
            rule = "given with low and high for a recalled (M) or assumed (A) figure"
            raise broken_rule(rule, self.mark, "mark")
        return self

    @property
    def si(self) -> float:
        """The value in SI units: J, s, Hz, B, B/s, W, V, A; counts and ratios as they are."""
        return self.value * _SI[self.unit]

    @property
    def is_count(self) -> bool:
        """Whether its unit is one of whole things."""
        return self.unit in _COUNTS

    @property
    def count(self) -> int:
        """The value of a field that the schema knows to be whole."""
        return int(self.value)


def _in_unit(unit: str, *, whole: bool = False) -> Any:
    """Return the annotation of a quantity in one unit, a whole number if asked."""

    def check(quantity: Quantity) -> Quantity:
        if quantity.unit != unit:
            raise broken_rule(repr(unit), quantity.unit, "unit")
        if whole and quantity.value != int(quantity.value):
            raise broken_rule("a whole number", quantity.value, "value")
        return quantity

    return AfterValidator(check), Field(json_schema_extra={"x-unit": unit})


EnergyPerMac = Annotated[Quantity, *_in_unit("pJ/MAC")]
EnergyPerLutCycle = Annotated[Quantity, *_in_unit("fJ/LUT/cycle")]
EnergyPerBit = Annotated[Quantity, *_in_unit("pJ/bit")]
Power = Annotated[Quantity, *_in_unit("W")]
Frequency = Annotated[Quantity, *_in_unit("MHz")]
Bandwidth = Annotated[Quantity, *_in_unit("GB/s")]
Capacity = Annotated[Quantity, *_in_unit("KiB")]
Duration = Annotated[Quantity, *_in_unit("us")]
MacRate = Annotated[Quantity, *_in_unit("MAC/cycle")]
WordsPerCycle = Annotated[Quantity, *_in_unit("word/cycle")]
Elements = Annotated[Quantity, *_in_unit("element", whole=True)]
CyclesPerElement = Annotated[Quantity, *_in_unit("cycle/element")]
CyclesPerMac = Annotated[Quantity, *_in_unit("cycle/MAC")]
Voltage = Annotated[Quantity, *_in_unit("V")]
Current = Annotated[Quantity, *_in_unit("mA")]
Cycles = Annotated[Quantity, *_in_unit("cycle", whole=True)]
Banks = Annotated[Quantity, *_in_unit("bank", whole=True)]
Bytes = Annotated[Quantity, *_in_unit("B", whole=True)]
Processors = Annotated[Quantity, *_in_unit("SM", whole=True)]
Luts = Annotated[Quantity, *_in_unit("LUT", whole=True)]
Dsps = Annotated[Quantity, *_in_unit("DSP", whole=True)]
Brams = Annotated[Quantity, *_in_unit("BRAM_18K", whole=True)]
Ratio = Annotated[Quantity, *_in_unit("1")]
