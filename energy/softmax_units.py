"""Softmax units on Xilinx 7 series: what every combination of parts costs, and how wrong it is.

How many LUTs one softmax saves over another depends on the baseline, the normalizer, the width
of the exponential and on whether its constants are baked in: there is no single factor. So the
whole matrix is the answer, and each entry stands beside the error of its exponential.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from hwsim.errors import InputError

from .logic import Logic
from .luts import shipped_rows

TABLE = "softmax_xc7.csv"
DIVIDE, RECIPROCAL, SHIFT = (
    "divide_unrolled",
    "reciprocal_sequential_multiply",
    "shift_power_of_two",
)
NORMALIZERS = (DIVIDE, RECIPROCAL, SHIFT)


@dataclass(frozen=True, slots=True)
class SoftmaxUnit:
    """A whole unit for 8-bit codes: maximum, exponential, sum, normalizer.

    Args:
        exp: Short name of the exponential.
        method: How it works.
        parameters: "constant" if its numbers are baked in, "runtime" if they are inputs.
        exp_bits: Width of the exponential's value.
        normalizer: How the sum divides.
        dsp_allowed: Whether multiplications may use DSP blocks.
        logic: Its primitives; `lc` counts four sites per loadable memory block.
        max_error: Largest |e(d)/e(0) - exp(-0.053 d)| over the 256 codes; None if not measured.
        mean_error: Its mean.
        check: How the exponential was checked against a Python model.
    """

    exp: str
    method: str
    parameters: str
    exp_bits: int
    normalizer: str
    dsp_allowed: bool
    logic: Logic
    max_error: float | None
    mean_error: float | None
    check: str


@cache
def softmax_units() -> tuple[SoftmaxUnit, ...]:
    """Return every measured unit. Source: as of the table of `luts`, with -nobram."""
    return tuple(
        SoftmaxUnit(
            exp=row["exp"],
            method=row["method"],
            parameters=row["parameters"],
            exp_bits=int(row["exp_bits"]),
            normalizer=row["normalizer"],
            dsp_allowed=row["dsp_allowed"] == "1",
            logic=Logic(*(float(row[name]) for name in ("lut", "lc", "ff", "carry4", "dsp"))),
            max_error=float(row["max_error"]) if row["max_error"] else None,
            mean_error=float(row["mean_error"]) if row["mean_error"] else None,
            check=row["error_check"] or "none",
        )
        for row in shipped_rows(TABLE)
    )


def softmax_unit(exp: str, normalizer: str, *, dsp_allowed: bool = False) -> SoftmaxUnit:
    """Return one measured unit.

    Raises:
        InputError: If it was not measured.
    """
    for unit in softmax_units():
        if (unit.exp, unit.normalizer, unit.dsp_allowed) == (exp, normalizer, dsp_allowed):
            return unit
    names = ", ".join(dict.fromkeys(unit.exp for unit in softmax_units()))
    raise InputError(
        f"softmax must be a measured pair of an exponential ({names}) and a normalizer "
        f"({', '.join(NORMALIZERS)}), not {exp!r} with {normalizer!r}"
        + (" and DSP blocks" if dsp_allowed else "")
    )


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times more sites one softmax unit takes than another with the same normalizer."""

    numerator: SoftmaxUnit
    denominator: SoftmaxUnit

    @property
    def lc(self) -> float:
        """The ratio of look-up table sites."""
        return self.numerator.logic.lc / self.denominator.logic.lc


def ratio_matrix(numerators: Sequence[str], denominators: Sequence[str]) -> tuple[Ratio, ...]:
    """Return every pairing at every normalizer, without DSP blocks, numerators outermost.

    Raises:
        InputError: If a unit was not measured.
    """
    return tuple(
        Ratio(softmax_unit(top, normalizer), softmax_unit(bottom, normalizer))
        for top in numerators
        for bottom in denominators
        for normalizer in NORMALIZERS
    )
