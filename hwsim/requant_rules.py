"""Which requantization rules a bare recording of accumulators and codes is consistent with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels.arith import INT32_MAX, INT32_MIN, Scaling, requantize_row
from hwsim.kernels.scan import nearest_apart
from hwsim.profile import MULTIPLIER_BITS, RIGHT_SHIFTS, Requant

FIELDS = ("acc", "multiplier", "shift", "output")
OPTIONAL = ("right_shift", "zero_point", "qmin", "qmax", "multiplier_bits", "scale")
# Accumulators tried for a separation, and multipliers of the recording that they are tried with.
TRIED_ACC = 1 << 22
TRIED_MULTIPLIERS = 16

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Requantizations:
    """Recorded requantizations, one entry each.

    Args:
        acc: Accumulators of at most 32 bits.
        multiplier: Fixed-point multipliers, below 2**bits.
        shift: Right shifts beyond the multiplier's fraction; negative shifts left.
        real: Scale ratios, as floating-point rules take them.
        output: Codes.
        bits: Fraction bits of the multipliers.
        zero_point: Added after scaling.
        qmin: Smallest code.
        qmax: Largest code.
    """

    acc: Codes
    multiplier: Codes
    shift: Codes
    real: NDArray[np.float64]
    output: Codes
    bits: int
    zero_point: int
    qmin: int
    qmax: int

    def scaling(self, rule: Requant) -> Scaling:
        """Return the kernel's argument, one channel per entry."""
        return Scaling(
            int(rule), self.bits, self.multiplier, self.shift, self.real,
            self.zero_point, self.qmin, self.qmax,
        )  # fmt: skip

    def codes(self, rule: Requant) -> Codes:
        """Return the codes of a rule."""
        made = np.empty(self.acc.size, np.int64)
        requantize_row(self.acc, self.scaling(rule), made)
        return made


@dataclass(frozen=True, slots=True)
class AccSeparation:
    """The accumulator nearest to 0 on which two rules part, with a multiplier of the recording.

    Args:
        rules: The two.
        acc: The accumulator; None if none was found.
        multiplier: With which.
        shift: And which right shift.
        codes: The output by rule.
    """

    rules: tuple[str, str]
    acc: int | None
    multiplier: int = 0
    shift: int = 0
    codes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class RequantIdentification:
    """What bare requantizations say about the rule that made them.

    Args:
        entries: How many were recorded.
        differing: Entries that a rule does not reproduce, by rule.
        separations: One per two consistent rules.
    """

    entries: int
    differing: Mapping[str, int]
    separations: tuple[AccSeparation, ...]

    @property
    def consistent(self) -> tuple[str, ...]:
        """Rules that reproduce every entry."""
        return tuple(rule for rule, count in self.differing.items() if count == 0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the separating entries with each rule's code, for an archive."""
        found = [one for one in self.separations if one.codes is not None]
        made: dict[str, NDArray[Any]] = {
            "acc": np.array([one.acc for one in found], np.int64),
            "multiplier": np.array([one.multiplier for one in found], np.int64),
            "shift": np.array([one.shift for one in found], np.int64),
        }
        for rule in self.consistent:
            codes = [one.codes[rule] for one in found if one.codes is not None]
            made[f"output_{rule}"] = np.array(codes, np.int64)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "entries": self.entries,
            "consistent": list(self.consistent),
            "differing": dict(self.differing),
            "separations": [
                {
                    "rules": list(one.rules),
                    "acc": one.acc,
                    "multiplier": one.multiplier,
                    "shift": one.shift,
                    "codes": one.codes and dict(one.codes),
                }
                for one in self.separations
            ],
        }


def is_bare(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether an archive holds requantizations rather than values of a graph."""
    return {"acc", "multiplier", "output"} <= set(arrays)


def identify_requant(
    arrays: Mapping[str, NDArray[Any]], *, place: str = "trace"
) -> RequantIdentification:
    """Return which `Requant` rules reproduce every recorded code.

    Args:
        arrays: `acc`, `multiplier`, `shift` (right, beyond the multiplier's fraction bits; negative
            shifts left) and `output`, each one number or one per entry; optionally `zero_point`
            (0), `qmin` and `qmax` (the ends of an 8- or 16-bit output's type, else those of 32
            bits), `multiplier_bits` (31), and `scale`: the real ratio that the floating-point
            rules multiply by, that of multiplier and shift unless given.
        place: What errors call the archive.

    Raises:
        InputError: If a field is missing, of a wrong type or length, or out of range.
    """
    recorded = read_requantizations(arrays, place)
    rules = [
        rule
        for rule in Requant
        if rule is not Requant.NONE
        and (recorded.bits == MULTIPLIER_BITS[1] or rule not in _WHOLE_MULTIPLIER)
    ]
    differing = {
        rule.name.lower(): int(np.count_nonzero(recorded.codes(rule) != recorded.output))
        for rule in rules
    }
    left = [rule for rule in rules if differing[rule.name.lower()] == 0]
    separations = tuple(
        _separated(recorded, (left[i], left[j]), left) for j in range(len(left)) for i in range(j)
    )
    return RequantIdentification(recorded.acc.size, differing, separations)


_WHOLE_MULTIPLIER = (Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP)


def _separated(
    recorded: Requantizations, pair: tuple[Requant, Requant], rules: Sequence[Requant]
) -> AccSeparation:
    """Return the smallest accumulator over the first multipliers of the recording."""
    names = (pair[0].name.lower(), pair[1].name.lower())
    kinds = np.stack([recorded.multiplier, recorded.shift])
    first = np.sort(np.unique(kinds, axis=1, return_index=True)[1])[:TRIED_MULTIPLIERS]
    one, two = (recorded.scaling(rule) for rule in pair)
    best: tuple[int, int] | None = None
    limit = TRIED_ACC
    for channel in first:
        acc = int(nearest_apart(one, two, int(channel), limit))
        if acc <= limit:
            best, limit = (acc, int(channel)), max(abs(acc) - 1, 0)
            if acc == 0:
                break
    if best is None:
        return AccSeparation(names, None)
    acc, channel = best
    single = Requantizations(
        np.array([acc], np.int64), recorded.multiplier[[channel]], recorded.shift[[channel]],
        recorded.real[[channel]], np.zeros(1, np.int64), recorded.bits, recorded.zero_point,
        recorded.qmin, recorded.qmax,
    )  # fmt: skip
    codes = {rule.name.lower(): int(single.codes(rule)[0]) for rule in rules}
    return AccSeparation(names, acc, int(single.multiplier[0]), int(single.shift[0]), codes)


def read_requantizations(arrays: Mapping[str, NDArray[Any]], place: str) -> Requantizations:
    """Return checked requantizations."""
    shift = "right_shift" if "right_shift" in arrays and "shift" not in arrays else "shift"
    for name in ("acc", "multiplier", shift, "output"):
        if name not in arrays:
            raise InputError(f"{place}: archive must hold {', '.join(FIELDS)}; {name!r} is missing")
    for name in arrays:
        if name not in (*FIELDS, *OPTIONAL):
            raise InputError(
                f"{place}: array must be one of {', '.join((*FIELDS, *OPTIONAL))}, not {name!r}"
            )
    count = arrays["output"].size
    columns = {
        name: _column(arrays[name], count, f"{place}: {name}")
        for name in ("acc", "multiplier", shift, "output")
    }
    bits = _number(arrays, "multiplier_bits", MULTIPLIER_BITS[1], place)
    _within(np.array([bits]), *MULTIPLIER_BITS, f"{place}: multiplier_bits")
    _within(columns["acc"], INT32_MIN, INT32_MAX, f"{place}: acc")
    _within(columns["multiplier"], 0, (1 << bits) - 1, f"{place}: multiplier")
    _within(columns[shift], *RIGHT_SHIFTS, f"{place}: {shift}")
    real = np.ldexp(columns["multiplier"].astype(np.float64), -(bits + columns[shift]))
    if "scale" in arrays:
        given = np.asarray(arrays["scale"], np.float64).reshape(-1)
        if given.size not in (1, count) or not np.isfinite(given).all():
            raise InputError(f"{place}: scale must be 1 or {count} finite numbers")
        real = np.broadcast_to(given, (count,)).copy()
    kind = arrays["output"].dtype
    ends = np.iinfo(kind) if kind.itemsize <= 2 else np.iinfo(np.int32)
    qmin, qmax = (
        _number(arrays, name, int(end), place)
        for name, end in (("qmin", ends.min), ("qmax", ends.max))
    )
    if qmin > qmax:
        raise InputError(f"{place}: qmin must be at most qmax, not {qmin} and {qmax}")
    zero_point = _number(arrays, "zero_point", 0, place)
    return Requantizations(
        columns["acc"], columns["multiplier"], columns[shift], real, columns["output"], bits,
        zero_point, qmin, qmax,
    )  # fmt: skip


def _column(array: NDArray[Any], count: int, what: str) -> Codes:
    if array.dtype.kind not in "iu":
        raise InputError(f"{what} must hold integers, not {array.dtype}")
    if count == 0 or array.size not in (1, count):
        raise InputError(f"{what} must hold 1 or {max(count, 1)} numbers, not {array.size}")
    return np.broadcast_to(array.reshape(-1).astype(np.int64), (count,)).copy()


def _number(arrays: Mapping[str, NDArray[Any]], name: str, default: int, place: str) -> int:
    if name not in arrays:
        return default
    return int(_column(arrays[name], 1, f"{place}: {name}")[0])


def _within(numbers: Codes, low: int, high: int, what: str) -> None:
    for end in (int(numbers.min()), int(numbers.max())):
        if not low <= end <= high:
            raise InputError(f"{what} must be in [{low}, {high}], not {end}")
