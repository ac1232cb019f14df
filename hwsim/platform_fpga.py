"""Tables of an FPGA platform file beyond the part's resources: blocks, and choices of a design."""

from typing import Annotated, Literal

from pydantic import Field

from hwsim.description import Table
from hwsim.quantity import Luts

_Text = Annotated[str, Field(min_length=1)]
_Bits = Annotated[int, Field(ge=2, le=64)]


class DspBlock(Table):
    """The signed multiplier of a DSP block.

    Args:
        wide_bits: Its wider operand.
        narrow_bits: Its narrower operand.
    """

    wide_bits: _Bits
    narrow_bits: _Bits
    source: _Text


class DataflowDesign(Table):
    """Choices of whoever builds the design, not properties of the part.

    Args:
        requantizer: Multiply and shift, or shift alone.
        multiplier_bits: Width of a dyadic requantizer's multiplier.
        softmax_exp: Exponential of a softmax unit, as `platforms softmax-matrix` names it.
        softmax_normalizer: How it divides, named there too.
        control: LUTs of a matrix unit beyond its arithmetic.
    """

    requantizer: Literal["dyadic", "power_of_two"]
    multiplier_bits: Annotated[int, Field(ge=2, le=31)]
    softmax_exp: _Text
    softmax_normalizer: _Text
    control: Luts
    source: _Text
