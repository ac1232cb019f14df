"""The allocator's problem: two tables joined, checked, and turned into exact integers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from numbers import Integral, Real
from types import MappingProxyType

from hwsim.errors import InputError
from hwsim.tables import (
    RESOURCES,
    Allocation,
    CostTable,
    Option,
    SensitivityTable,
    UnitCost,
    sum_up,
)

UNIT_NAMES = {
    "energy_j": "J",
    "latency_s": "s",
    "weight_bytes": "bytes",
    "activation_bytes": "bytes",
    "lut": "LUT",
    "dsp": "DSP",
    "bram_18k": "BRAM",
}
FPGA = ("lut", "dsp", "bram_18k")


@dataclass(frozen=True, slots=True)
class Integers:
    """A unit x option table as integers: value = integer / scale, exactly.

    Args:
        rows: By unit and option.
        scale: A power of two.
    """

    rows: tuple[tuple[int, ...], ...]
    scale: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]], extra: Iterable[float] = ()) -> "Integers":
        """Convert floats without rounding; `extra` must be whole in the same scale too."""
        scale = max(
            (value.as_integer_ratio()[1] for row in (*rows, tuple(extra)) for value in row),
            default=1,
        )
        return cls(tuple(tuple(whole(value, scale) for value in row) for row in rows), scale)


def whole(value: float, scale: int) -> int:
    """Return ``floor(value * scale)``, exact where the scale divides the value."""
    numerator, denominator = value.as_integer_ratio()
    return numerator * scale // denominator


@dataclass(frozen=True, slots=True)
class Choices:
    """Units, the options that both tables know, and the numbers of both.

    Args:
        costs: The cost table.
        units: In the cost table's order.
        options: By unit, in the cost table's order.
        scores: By unit and option.
    """

    costs: CostTable
    units: tuple[str, ...]
    options: tuple[tuple[Option, ...], ...]
    scores: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, sensitivity: SensitivityTable, costs: CostTable) -> "Choices":
        """Join the tables.

        Raises:
            InputError: If a unit is in one table only, or has no option in both, or a number is
                not finite.
        """
        scored, priced = set(sensitivity.units), set(costs.units)
        for unit in costs.units:
            if unit not in scored:
                raise InputError(f"{sensitivity.metric}: unit {unit!r} must have scores, not none")
        for unit in sensitivity.units:
            if unit not in priced:
                raise InputError(f"{costs.platform}: unit {unit!r} must have costs, not none")
        offered: dict[str, list[Option]] = {unit: [] for unit in costs.units}
        for row in costs.rows:
            if row.option is not None:
                offered[row.unit].append(row.option)
        options = []
        for unit in costs.units:
            both = tuple(o for o in offered[unit] if (unit, o) in sensitivity.values)
            if not both:
                raise InputError(
                    f"unit {unit!r} must have an option that is scored and priced; scored are "
                    f"{', '.join(map(str, sensitivity.options(unit)))}, "
                    f"priced are {', '.join(map(str, offered[unit]))}"
                )
            options.append(both)
        for (unit, option), value in sensitivity.values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"{sensitivity.metric}: the score of unit {unit!r} at {option} "
                    f"must be a finite number, not {value!r}"
                )
        scores = tuple(
            tuple(sensitivity.values[unit, option] for option in both)
            for unit, both in zip(costs.units, options, strict=True)
        )
        return cls(costs, costs.units, tuple(options), scores)

    @property
    def stated(self) -> tuple[str, ...]:
        """The resources that the platform states, in the order of `RESOURCES`."""
        rows = self.costs.rows
        fpga = any(getattr(row, name) for row in rows for name in FPGA)
        timed = all(row.latency_s is not None for row in rows)
        return tuple(
            name
            for name in RESOURCES
            if (timed or name != "latency_s") and (fpga or name not in FPGA)
        )

    def table(self, resource: str) -> tuple[tuple[float, ...], ...]:
        """Return one resource by unit and option; the platform must state it."""
        return tuple(
            tuple(amount(self.costs.row(unit, option), resource) for option in options)
            for unit, options in zip(self.units, self.options, strict=True)
        )

    def fixed(self, resource: str) -> tuple[float, ...]:
        """Return what every configuration pays, row by row."""
        return tuple(amount(row, resource) for row in self.costs.fixed_rows)

    def is_slowest_unit(self, resource: str) -> bool:
        """Return whether the resource is a maximum over the rows, not their sum."""
        return self.costs.pipelined and resource == "latency_s"

    def only(self, resource: str, limit: float) -> "Choices":
        """Return the choices whose own amount is at most `limit`; some unit may have none."""
        kept = [
            [k for k, value in enumerate(row) if value <= limit] for row in self.table(resource)
        ]
        return Choices(
            self.costs,
            self.units,
            tuple(tuple(o[k] for k in ks) for o, ks in zip(self.options, kept, strict=True)),
            tuple(tuple(s[k] for k in ks) for s, ks in zip(self.scores, kept, strict=True)),
        )

    def named(self, choice: Sequence[int]) -> dict[str, Option]:
        """Return option indices as a selection."""
        return {
            unit: options[k]
            for unit, options, k in zip(self.units, self.options, choice, strict=True)
        }


def amount(row: UnitCost, resource: str) -> float:
    """Return one resource of a row.

    Raises:
        InputError: If it is not a finite number >= 0.
    """
    value: float | None = getattr(row, resource)
    if value is None or not 0 <= value < math.inf:
        raise InputError(
            f"{resource} of unit {row.unit!r} at {row.option} "
            f"must be a finite number >= 0, not {value!r}"
        )
    return value


def resources(
    rows: Sequence[UnitCost], stated: Sequence[str], *, pipelined: bool
) -> dict[str, float]:
    """Return what a configuration costs, by resource."""
    found: dict[str, float] = {}
    for name in stated:
        values = [amount(row, name) for row in rows]
        slowest = pipelined and name == "latency_s"
        if name in FPGA:
            found[name] = sum(map(int, values))
        else:
            found[name] = max(values, default=0.0) if slowest else sum_up(values)
    return found


def reachable(value: Fraction, resource: str) -> str:
    """Return an amount with its unit, rounded up to 6 digits, so that it is enough of a budget."""
    if value.denominator == 1:
        return f"{value.numerator} {UNIT_NAMES[resource]}"
    near = float(f"{float(value):.6g}")
    if near >= value:  # Python compares a float with a fraction exactly
        return f"{near:.6g} {UNIT_NAMES[resource]}"
    exact = Context(prec=60).divide(Decimal(value.numerator), Decimal(value.denominator))
    text = f"{float(Context(prec=6, rounding=ROUND_CEILING).plus(exact)):.6g}"
    return f"{text} {UNIT_NAMES[resource]}"


def stated(limit: float, resource: str) -> str:
    """Return a budget as the caller wrote it, with its unit."""
    return f"{limit!r} {UNIT_NAMES[resource]}"


def check_budgets(choices: Choices, limits: Mapping[str, float | None]) -> dict[str, float]:
    """Return the budgets that were asked for.

    Raises:
        InputError: If one is not a positive finite number, or the platform does not state it.
    """
    asked: dict[str, float] = {}
    for name in RESOURCES:
        limit = limits.get(name)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, Real):
            raise InputError(f"budget max_{name} must be a number, not {limit!r}")
        if not 0 < limit < math.inf:
            raise InputError(f"budget max_{name} must be a positive finite number, not {limit!r}")
        require(choices, name, f"budget max_{name}")
        asked[name] = int(limit) if isinstance(limit, Integral) else float(limit)
    return asked


def require(choices: Choices, resource: str, place: str) -> None:
    """Refuse a resource that the platform does not state."""
    if resource not in choices.stated:
        raise InputError(
            f"{place} must be one that {choices.costs.platform} states "
            f"({', '.join(choices.stated)}), not {resource}"
        )


def proved(
    choices: Choices,
    choice: Sequence[int],
    budgets: Mapping[str, float] = MappingProxyType({}),
    shadow: Mapping[str, float] = MappingProxyType({}),
    upgrade: tuple[str, Option] | None = None,
) -> Allocation:
    """Return a proved choice as an allocation, its certificate checked in the tables' floats."""
    bits = choices.named(choice)
    costs = choices.costs
    rows = costs.select(bits).selected_rows
    found = resources(rows, choices.stated, pipelined=costs.pipelined)
    for resource, limit in budgets.items():
        assert Fraction(found[resource]) <= Fraction(limit), "an answer must meet its budgets"
    score = math.fsum(row[k] for row, k in zip(choices.scores, choice, strict=True))
    return Allocation(
        bits=bits,
        score=score,
        resources=found,
        budgets=dict(budgets),
        method="exact",
        lower_bound=score,
        shadow_price=dict(shadow),
        next_upgrade=upgrade,
    )
