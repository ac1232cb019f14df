"""What every kind of platform description has: a name, and the widths that it takes."""

from typing import Annotated, Literal

from pydantic import Field

from hwsim.description import Table
from hwsim.tables import Option

Width = Annotated[int, Field(ge=1, le=32)]
Widths = Annotated[list[Width], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]


class Capability(Table):
    """Weight and activation widths that a platform takes: every pair of the two lists."""

    weight_bits: Widths
    activation_bits: Widths
    source: Text


class Described(Table):
    """What every kind of platform has."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    notes: list[Text] = []

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The supported widths, in file order."""
        raise NotImplementedError

    @property
    def options(self) -> tuple[Option, ...]:
        """Every supported pair, in rising order."""
        pairs = {
            Option(weights, activations)
            for row in self.capabilities
            for weights in row.weight_bits
            for activations in row.activation_bits
        }
        return tuple(sorted(pairs))

    def supports(self, option: Option) -> bool:
        """Return whether one row holds both widths of a pair."""
        return any(
            option.weight_bits in row.weight_bits and option.activation_bits in row.activation_bits
            for row in self.capabilities
        )
