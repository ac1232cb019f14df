"""Unit x option tables: the only thing that an allocator sees.

A *unit* is what gets one choice of bits, an *option* a (weight bits, activation bits) pair. All
numbers are SI; a field's unit stands in its name.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING

from hwsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, order=True)
class Option:
    """A pair of widths that a unit may run at; W4A8 is 4-bit weights, 8-bit activations."""

    weight_bits: int
    activation_bits: int

    def __post_init__(self) -> None:
        """Refuse widths outside 1 to 32 bits; 32 stands for the unquantized reference."""
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if isinstance(bits, bool) or not isinstance(bits, Integral) or not 1 <= int(bits) <= 32:
                raise InputError(f"{name} must be an integer in [1, 32], not {bits!r}")
            object.__setattr__(self, name, int(bits))

    def __str__(self) -> str:
        """Return the field's short form."""
        return f"W{self.weight_bits}A{self.activation_bits}"

    @classmethod
    def parse(cls, text: str) -> "Option":
        """Return the option of "W4A8", "w4a8", "4x8" or "4" (both widths).

        Raises:
            InputError: If the text is none of these.
        """
        match = re.fullmatch(r"[wW]?(\d+)(?:[aAxX](\d+))?", text.strip())
        if match is None:
            raise InputError(f"bits must be a width or a pair such as W4A8, not {text!r}")
        return cls(int(match.group(1)), int(match.group(2) or match.group(1)))


@dataclass(frozen=True, slots=True)
class UnitCost:
    """What one unit costs at one option.

    Args:
        unit: The unit's name.
        option: The widths, or None for work whose width is not a choice (pooling, softmax).
        macs: Multiply-accumulates per inference.
        energy_mac_j: Arithmetic energy.
        energy_memory_j: Energy by memory level, in the order of the platform file.
        energy_static_j: Leakage and constant power over the unit's time.
        latency_s: Time of the unit, or None where the platform states no time.
        bound_by: What sets the latency: "compute", a memory level, "overhead"; "" without a time.
        weight_bytes: Stored weights and biases.
        activation_bytes: Activation bytes written and read.
        memory_bytes: Bytes that cross each memory level, by level.
        lut: FPGA look-up table sites; two small tables may share one.
        dsp: FPGA multiplier blocks.
        bram_18k: FPGA 18 Kib memory blocks.
        ff: FPGA flip-flops of the synthesized circuits, a lower end: registers of weight streams
            and control were not measured.
    """

    unit: str
    option: Option | None
    macs: int
    energy_mac_j: float
    energy_memory_j: Mapping[str, float]
    energy_static_j: float
    latency_s: float | None
    bound_by: str
    weight_bytes: float
    activation_bytes: float
    memory_bytes: Mapping[str, float]
    lut: int = 0
    dsp: int = 0
    bram_18k: int = 0
    ff: int = 0

    @property
    def energy_j(self) -> float:
        """The sum of the parts, added in the order of the fields."""
        return self.energy_mac_j + sum(self.energy_memory_j.values()) + self.energy_static_j


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of a selection; `latency_s` is None where the platform states no time."""

    energy_j: float
    energy_mac_j: float
    energy_memory_j: Mapping[str, float]
    energy_static_j: float
    latency_s: float | None
    macs: int
    weight_bytes: float
    activation_bytes: float
    lut: int
    dsp: int
    bram_18k: int
    ff: int


def sum_up(values: Iterable[float]) -> float:
    """Return the exact sum of floats, rounded up to the next float.

    So a sum within a budget is never shown above it, and a shown sum is always enough of a budget.
    """
    parts = tuple(values)
    total = math.fsum(parts)
    return math.nextafter(total, math.inf) if math.fsum((*parts, -total)) > 0 else total


RESOURCES = ("energy_j", "latency_s", "weight_bytes", "activation_bytes", "lut", "dsp", "bram_18k")


@dataclass(frozen=True, slots=True)
class CostTable:
    """Costs of every unit at every option of a platform, additive over units.

    Args:
        platform: Name of the platform file.
        rows: One row per (unit, option); rows without an option are paid by every configuration.
        selection: The option of each unit that `total` and `to_frame` speak of.
        pipelined: Whether all units work at once on successive inputs (an FPGA dataflow design):
            `total.latency_s` is then the interval between results, the slowest unit's time.
        notes: What a reader must know before believing the numbers.
    """

    platform: str
    rows: tuple[UnitCost, ...]
    selection: Mapping[str, Option]
    pipelined: bool = False
    notes: tuple[str, ...] = ()
    _index: Mapping[tuple[str, Option | None], UnitCost] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Index the rows and refuse a selection that the table cannot price."""
        index = {(row.unit, row.option): row for row in self.rows}
        if len(index) != len(self.rows):
            raise InputError(f"{self.platform}: cost rows must be unique per unit and option")
        object.__setattr__(self, "_index", MappingProxyType(index))
        for unit, option in self.selection.items():
            self.row(unit, option)
        for unit in self.units:
            if unit not in self.selection:
                raise InputError(f"{self.platform}: unit {unit!r} must have a selected option")

    @property
    def units(self) -> tuple[str, ...]:
        """The units that have a choice, in graph order."""
        return tuple(dict.fromkeys(row.unit for row in self.rows if row.option is not None))

    @property
    def fixed_rows(self) -> tuple[UnitCost, ...]:
        """The rows that every configuration pays."""
        return tuple(row for row in self.rows if row.option is None)

    def options(self, unit: str) -> tuple[Option, ...]:
        """Return the options of a unit, in table order."""
        return tuple(r.option for r in self.rows if r.unit == unit and r.option is not None)

    def row(self, unit: str, option: Option | None) -> UnitCost:
        """Return one row.

        Raises:
            InputError: If the table has no such unit or option.
        """
        if (unit, option) in self._index:
            return self._index[unit, option]
        offered = ", ".join(map(str, self.options(unit)))
        if not offered:
            known = ", ".join(self.units)
            raise InputError(f"{self.platform}: unit must be one of {known}, not {unit!r}")
        raise InputError(
            f"{self.platform}: unit {unit!r} must run at one of {offered}, not {option}"
        )

    def select(self, selection: Mapping[str, Option]) -> "CostTable":
        """Return the same table with another selection."""
        return replace(self, selection=dict(selection))

    @property
    def selected_rows(self) -> tuple[UnitCost, ...]:
        """The rows of the selection and the fixed rows, in table order."""
        return tuple(
            row for row in self.rows if row.option is None or self.selection[row.unit] == row.option
        )

    @property
    def total(self) -> Total:
        """The selection's totals: exact sums of the selected rows' fields, rounded up."""
        rows = self.selected_rows
        levels = dict.fromkeys(level for row in rows for level in row.energy_memory_j)
        times = [row.latency_s for row in rows if row.latency_s is not None]
        timed = len(times) == len(rows)
        return Total(
            energy_j=sum_up(row.energy_j for row in rows),
            energy_mac_j=sum_up(row.energy_mac_j for row in rows),
            energy_memory_j={
                level: sum_up(row.energy_memory_j.get(level, 0.0) for row in rows)
                for level in levels
            },
            energy_static_j=sum_up(row.energy_static_j for row in rows),
            latency_s=(max(times, default=0.0) if self.pipelined else sum_up(times))
            if timed
            else None,
            macs=sum(row.macs for row in rows),
            weight_bytes=sum_up(row.weight_bytes for row in rows),
            activation_bytes=sum_up(row.activation_bytes for row in rows),
            lut=sum(row.lut for row in rows),
            dsp=sum(row.dsp for row in rows),
            bram_18k=sum(row.bram_18k for row in rows),
            ff=sum(row.ff for row in rows),
        )

    def to_frame(self, *, all_options: bool = False) -> "pd.DataFrame":
        """Return one line per unit of the selection, or per unit and option."""
        import pandas as pd

        rows = self.rows if all_options else self.selected_rows
        return pd.DataFrame([_flat(row) for row in rows])


def _flat(row: UnitCost) -> dict[str, object]:
    """Return a row as columns, one per memory level."""
    return {
        "unit": row.unit,
        "weight_bits": row.option.weight_bits if row.option else None,
        "activation_bits": row.option.activation_bits if row.option else None,
        "macs": row.macs,
        "energy_j": row.energy_j,
        "energy_mac_j": row.energy_mac_j,
        **{f"energy_{level}_j": energy for level, energy in row.energy_memory_j.items()},
        "energy_static_j": row.energy_static_j,
        "latency_s": row.latency_s,
        "bound_by": row.bound_by,
        "weight_bytes": row.weight_bytes,
        "activation_bytes": row.activation_bytes,
        **{f"{level}_bytes": size for level, size in row.memory_bytes.items()},
        "lut": row.lut,
        "dsp": row.dsp,
        "bram_18k": row.bram_18k,
        "ff": row.ff,
    }


@dataclass(frozen=True, slots=True)
class SensitivityTable:
    """How much each unit's quantization hurts, by option; smaller is better.

    Args:
        metric: The name of the score.
        values: (unit, option) -> score.
        samples: Inputs that the scores were measured on.
        model_sha256: Hash of the model file, or "" for a graph that came from no file.
        data_sha256: Hash of the inputs.
    """

    metric: str
    values: Mapping[tuple[str, Option], float]
    samples: int = 0
    model_sha256: str = ""
    data_sha256: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """The units, in table order."""
        return tuple(dict.fromkeys(unit for unit, _ in self.values))

    def options(self, unit: str) -> tuple[Option, ...]:
        """Return the options that were scored for a unit."""
        return tuple(option for name, option in self.values if name == unit)

    def score(self, selection: Mapping[str, Option]) -> float:
        """Return the summed score of a configuration, rounded once.

        Raises:
            InputError: If the table does not hold one of the pairs.
        """
        for unit in self.units:
            if unit not in selection or (unit, selection[unit]) not in self.values:
                raise InputError(
                    f"{self.metric}: unit {unit!r} must be scored at {selection.get(unit)}; "
                    f"scored are {', '.join(map(str, self.options(unit)))}"
                )
        return math.fsum(self.values[unit, selection[unit]] for unit in self.units)

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per unit and option."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "unit": unit,
                    "weight_bits": option.weight_bits,
                    "activation_bits": option.activation_bits,
                    "score": value,
                }
                for (unit, option), value in self.values.items()
            ]
        )


@dataclass(frozen=True, slots=True)
class Allocation:
    """One option per unit, and how it was found.

    Args:
        bits: The chosen option of every unit.
        score: Summed sensitivity.
        resources: What the configuration costs, every field of `RESOURCES` the platform states.
        budgets: The limits that were asked for, by resource.
        method: "exact" (proved optimal), "percentile" (a rule), "uniform".
        lower_bound: No configuration within the budgets scores less than this; None for a rule.
        shadow_price: Score bought by one more unit of a budget, by resource.
        next_upgrade: The (unit, option) that a slightly larger budget would buy first.
    """

    bits: Mapping[str, Option]
    score: float
    resources: Mapping[str, float]
    budgets: Mapping[str, float] = field(default_factory=dict)
    method: str = "exact"
    lower_bound: float | None = None
    shadow_price: Mapping[str, float] = field(default_factory=dict)
    next_upgrade: tuple[str, Option] | None = None

    @property
    def gap(self) -> float | None:
        """Score minus its lower bound; 0 is a proof of optimality."""
        return None if self.lower_bound is None else self.score - self.lower_bound


@dataclass(frozen=True, slots=True)
class Front:
    """Configurations of which none is better in one objective and no worse in the other.

    Args:
        objectives: (resource, "score").
        points: In rising order of the resource.
        exact: Whether every nondominated point is here, proved.
    """

    objectives: tuple[str, str]
    points: tuple[Allocation, ...]
    exact: bool

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per point: resources, score, and one column of bits per unit."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    **point.resources,
                    "score": point.score,
                    "method": point.method,
                    **{f"bits:{unit}": str(option) for unit, option in point.bits.items()},
                }
                for point in self.points
            ]
        )
