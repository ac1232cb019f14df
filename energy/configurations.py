"""Totals of many configurations of a cost table at once, equal to the exact ones.

A total is the exact sum of its rows, rounded up to a float (`tables.sum_up`). So every amount
becomes an integer multiple of one power of two, cut into limbs of 48 bits; sums of limbs in 64
bits are exact, and only the finished sum is rounded.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.choices import Integers, amount
from hwsim.errors import InputError
from hwsim.tables import RESOURCES, CostTable

from .jit import jit

_LIMB = 48
_MASK = (1 << _LIMB) - 1
_MANTISSA = 53
_MOST_ROWS = 1 << (62 - _LIMB)  # sums of so many limbs stay within 62 bits
_WHOLE = ("lut", "dsp", "bram_18k", "ff")
Ints = NDArray[np.int64]


def configuration_totals(
    table: CostTable, choices: NDArray[Any]
) -> dict[str, NDArray[np.float64] | Ints]:
    """Return the totals of configurations, each equal to `table.select(...).total`.

    Args:
        table: Units and options with their costs.
        choices: Shape (configurations, units): for each unit of `table.units`, the index of its
            option in `table.options(unit)`.

    Returns:
        By resource (those of `RESOURCES`, and "ff"), one total per configuration: float64, for
        FPGA resources int64. The latency is absent where the platform states none.

    Raises:
        InputError: If `choices` has another shape, holds no integers, or an index is out of range.
    """
    offered = [[table.row(unit, option) for option in table.options(unit)] for unit in table.units]
    picks = _checked(choices, table, [len(rows) for rows in offered])
    fixed = table.fixed_rows
    found: dict[str, NDArray[np.float64] | Ints] = {}
    for name in (*RESOURCES, "ff"):
        if name == "latency_s" and any(row.latency_s is None for row in table.rows):
            continue
        values = [[amount(row, name) for row in rows] for rows in offered]
        always = [amount(row, name) for row in fixed]
        if name in _WHOLE:
            counts = _padded([[int(value) for value in row] for row in values])
            found[name] = _sum_counts(counts, picks, sum(map(int, always)))
        elif name == "latency_s" and table.pipelined:
            found[name] = _slowest(_padded_floats(values), picks, max(always, default=0.0))
        else:
            found[name] = _sums(values, always, picks)
    return found


def _checked(choices: NDArray[Any], table: CostTable, counts: Sequence[int]) -> Ints:
    """Return the choices as int64, every index in range."""
    array = np.asarray(choices)
    if array.ndim != 2 or array.shape[1] != len(counts) or array.dtype.kind not in "iu":
        raise InputError(
            f"choices must be integers of shape (configurations, {len(counts)}), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if len(counts) + len(table.fixed_rows) > _MOST_ROWS:
        raise InputError(f"table must have at most {_MOST_ROWS} units, not {len(counts)}")
    for index, (unit, count) in enumerate(zip(table.units, counts, strict=True)):
        column = array[:, index]
        wrong = column[(column < 0) | (column >= count)]
        if wrong.size:
            raise InputError(
                f"choices of unit {unit!r} must be in [0, {count - 1}], not {int(wrong[0])}"
            )
    return np.ascontiguousarray(array, dtype=np.int64)


def _sums(
    values: Sequence[Sequence[float]], always: Sequence[float], picks: Ints
) -> NDArray[np.float64]:
    """Return exact sums, each rounded up to a float."""
    exact = Integers.of([*values, always])
    *rows, fixed = exact.rows
    top = max((max(row, default=0) for row in exact.rows), default=0)
    # One limb more holds what the sums carry.
    count = -(-max(top.bit_length(), 1) // _LIMB) + 1
    limbs = np.zeros((len(rows), max(map(len, rows), default=1), count), dtype=np.int64)
    for unit, row in enumerate(rows):
        for option, value in enumerate(row):
            limbs[unit, option] = _limbs_of(value, count)
    start = np.array([_limbs_of(value, count) for value in (*fixed, 0)], np.int64).sum(axis=0)
    return _sum_limbs(limbs, picks, start, 1 - exact.scale.bit_length())


def _limbs_of(value: int, count: int) -> list[int]:
    """Return an integer in base 2**48, the lowest limb first."""
    return [value >> (_LIMB * index) & _MASK for index in range(count)]


def _padded(rows: Sequence[Sequence[int]]) -> Ints:
    """Return rows of different lengths as one array."""
    wide = max(map(len, rows), default=1)
    return np.array([[*row, *[0] * (wide - len(row))] for row in rows], dtype=np.int64).reshape(
        len(rows), wide
    )


def _padded_floats(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return rows of different lengths as one array."""
    wide = max(map(len, rows), default=1)
    return np.array([[*row, *[0.0] * (wide - len(row))] for row in rows]).reshape(len(rows), wide)


@jit
def _sum_counts(counts: Ints, picks: Ints, always: int) -> Ints:
    """Return sums of whole numbers."""
    totals = np.empty(len(picks), dtype=np.int64)
    for line in range(len(picks)):
        total = always
        for unit in range(picks.shape[1]):
            total += counts[unit, picks[line, unit]]
        totals[line] = total
    return totals


@jit
def _slowest(values: NDArray[np.float64], picks: Ints, always: float) -> NDArray[np.float64]:
    """Return the largest of each configuration."""
    found = np.empty(len(picks), dtype=np.float64)
    for line in range(len(picks)):
        most = always
        for unit in range(picks.shape[1]):
            most = max(most, values[unit, picks[line, unit]])
        found[line] = most
    return found


@jit
def _sum_limbs(limbs: Ints, picks: Ints, start: Ints, exponent: int) -> NDArray[np.float64]:
    """Return sums of limbs as floats, rounded up; the lowest bit weighs 2**exponent."""
    count = limbs.shape[2]
    totals = np.empty(len(picks), dtype=np.float64)
    total = np.empty(count, dtype=np.int64)
    for line in range(len(picks)):
        for index in range(count):
            total[index] = start[index]
        for unit in range(picks.shape[1]):
            pick = picks[line, unit]
            for index in range(count):
                total[index] += limbs[unit, pick, index]
        for index in range(count - 1):  # the last limb is only carried into: 48 bits at most
            total[index + 1] += total[index] >> _LIMB
            total[index] &= _MASK
        top = count - 1
        while top > 0 and total[top] == 0:
            top -= 1
        # The leading 53 bits, and whether anything lies below them.
        kept = total[top]
        length = 0
        while kept >> length:
            length += 1
        place = _LIMB * top
        below = False
        for index in range(top - 1, -1, -1):
            taken = min(_MANTISSA - length, _LIMB)
            kept = kept << taken | total[index] >> (_LIMB - taken)
            below = below or total[index] & ((1 << (_LIMB - taken)) - 1) != 0
            length += taken
            place -= taken
        if below:
            kept += 1
        totals[line] = np.ldexp(float(kept), place + exponent)
    return totals
