"""Tables as CSV and JSON text, and an allocation back from it.

CSV has the columns of `to_frame()`, whose names carry the units; JSON has a `schema_version`.
Every float is written so that it reads back equal.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hwsim.errors import FormatError
from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable, UnitCost

from .strict_json import SCHEMA_VERSION, dump, parse

if TYPE_CHECKING:
    import pandas as pd

_BITS = ("weight_bits", "activation_bits")
_PLACE = "allocation"
_FIELDS = {
    "schema_version", "kind", "bits", "score", "resources", "budgets", "method", "lower_bound",
    "shadow_price", "next_upgrade",
}  # fmt: skip


def cost_csv(table: CostTable, *, all_options: bool = False) -> str:
    """Return one line per unit of the selection, or per unit and option."""
    return _csv(table.to_frame(all_options=all_options))


def sensitivity_csv(table: SensitivityTable) -> str:
    """Return one line per unit and option."""
    return _csv(table.to_frame())


def front_csv(front: Front) -> str:
    """Return one line per point, with one column of bits per unit."""
    return _csv(front.to_frame())


def cost_json(table: CostTable, intervals: Mapping[str, tuple[float, float]] | None = None) -> str:
    """Return every row of a cost table, its selection and its totals.

    Args:
        table: The table.
        intervals: Lowest and highest total by resource, where they are known.
    """
    total = table.total
    selected = {(row.unit, row.option) for row in table.selected_rows}
    return dump(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "cost_table",
            "platform": table.platform,
            "pipelined": table.pipelined,
            "notes": table.notes,
            "rows": [
                {**_cost_row(row), "selected": (row.unit, row.option) in selected}
                for row in table.rows
            ],
            "total": {
                "energy_j": total.energy_j,
                "energy_mac_j": total.energy_mac_j,
                "energy_memory_j": total.energy_memory_j,
                "energy_static_j": total.energy_static_j,
                "latency_s": total.latency_s,
                "macs": total.macs,
                "weight_bytes": total.weight_bytes,
                "activation_bytes": total.activation_bytes,
                "lut": total.lut,
                "dsp": total.dsp,
                "bram_18k": total.bram_18k,
                "ff": total.ff,
            },
            "intervals": intervals,
        }
    )


def sensitivity_json(table: SensitivityTable) -> str:
    """Return the scores of every unit and option, and what they were measured on."""
    return dump(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "sensitivity_table",
            "metric": table.metric,
            "samples": table.samples,
            "model_sha256": table.model_sha256,
            "data_sha256": table.data_sha256,
            "scores": [
                {"unit": unit, "option": option, "score": score}
                for (unit, option), score in table.values.items()
            ],
        }
    )


def front_json(front: Front) -> str:
    """Return the points of a front, each as an allocation."""
    return dump(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "front",
            "objectives": front.objectives,
            "exact": front.exact,
            "points": [_allocation(point) for point in front.points],
        }
    )


def allocation_json(allocation: Allocation) -> str:
    """Return an allocation, its units in order."""
    return dump({"schema_version": SCHEMA_VERSION, "kind": "allocation", **_allocation(allocation)})


def allocation_from_json(text: str) -> Allocation:
    """Return the allocation that `allocation_json` wrote; null numbers come back as NaN.

    Raises:
        FormatError: If the text is no such JSON: a field is missing, unknown, or of another form.
    """
    data = _object(parse(text, _PLACE), "the text")
    if data.get("schema_version") != SCHEMA_VERSION or data["schema_version"] is True:
        raise _broken("schema_version", str(SCHEMA_VERSION), data.get("schema_version"))
    if data.get("kind") != "allocation":
        raise _broken("kind", "'allocation'", data.get("kind"))
    _exactly(data, _FIELDS, "")
    bits: dict[str, Option] = {}
    for index, item in enumerate(_list(data["bits"], "bits")):
        unit, option = _choice(item, f"bits[{index}]")
        if unit in bits:
            raise FormatError(f"{_PLACE}: bits must name every unit once, not {unit!r} twice")
        bits[unit] = option
    bound, upgrade = data["lower_bound"], data["next_upgrade"]
    return Allocation(
        bits=bits,
        score=_number(data["score"], "score"),
        resources=_numbers(data["resources"], "resources"),
        budgets=_numbers(data["budgets"], "budgets"),
        method=_text(data["method"], "method"),
        lower_bound=None if bound is None else _number(bound, "lower_bound"),
        shadow_price=_numbers(data["shadow_price"], "shadow_price"),
        next_upgrade=None if upgrade is None else _choice(upgrade, "next_upgrade"),
    )


def _csv(frame: "pd.DataFrame") -> str:
    """Return a frame as CSV; widths stay whole numbers where some rows have none."""
    whole = {name: "Int64" for name in _BITS if name in frame.columns}
    text: str = frame.astype(whole).to_csv(index=False, lineterminator="\n")
    return text


def _cost_row(row: UnitCost) -> dict[str, object]:
    """Return a cost row as JSON data."""
    return {
        "unit": row.unit,
        "option": row.option,
        "macs": row.macs,
        "energy_j": row.energy_j,
        "energy_mac_j": row.energy_mac_j,
        "energy_memory_j": row.energy_memory_j,
        "energy_static_j": row.energy_static_j,
        "latency_s": row.latency_s,
        "bound_by": row.bound_by,
        "weight_bytes": row.weight_bytes,
        "activation_bytes": row.activation_bytes,
        "memory_bytes": row.memory_bytes,
        "lut": row.lut,
        "dsp": row.dsp,
        "bram_18k": row.bram_18k,
        "ff": row.ff,
    }


def _allocation(allocation: Allocation) -> dict[str, object]:
    """Return an allocation as JSON data."""
    upgrade = allocation.next_upgrade
    return {
        "bits": [{"unit": unit, "option": option} for unit, option in allocation.bits.items()],
        "score": allocation.score,
        "resources": allocation.resources,
        "budgets": allocation.budgets,
        "method": allocation.method,
        "lower_bound": allocation.lower_bound,
        "shadow_price": allocation.shadow_price,
        "next_upgrade": upgrade and {"unit": upgrade[0], "option": upgrade[1]},
    }


def _broken(field: str, rule: str, value: object) -> FormatError:
    """Return the error of one field."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return FormatError(f"{_PLACE}: {field} must be {rule}, not {shown}")


def _object(value: object, field: str) -> Mapping[str, object]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise _broken(field, "an object", value)
    return value


def _exactly(data: Mapping[str, object], names: set[str], field: str) -> None:
    """Refuse missing and unknown fields."""
    where = f"{field}." if field else ""
    for name in sorted(names - data.keys()):
        raise FormatError(f"{_PLACE}: {where}{name} must be given")
    for name in sorted(data.keys() - names):
        known = ", ".join(sorted(names))
        raise FormatError(f"{_PLACE}: a field must be one of {known}, not '{where}{name}'")


def _list(value: object, field: str) -> list[object]:
    """Return a JSON list."""
    if not isinstance(value, list):
        raise _broken(field, "a list", value)
    return value


def _text(value: object, field: str) -> str:
    """Return a JSON string."""
    if not isinstance(value, str):
        raise _broken(field, "text", value)
    return value


def _number(value: object, field: str) -> float:
    """Return a JSON number, or NaN for null."""
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken(field, "a number or null", value)
    return value


def _numbers(value: object, field: str) -> dict[str, float]:
    """Return a JSON object of numbers."""
    return {name: _number(item, f"{field}.{name}") for name, item in _object(value, field).items()}


def _choice(value: object, field: str) -> tuple[str, Option]:
    """Return a unit and its option."""
    data = _object(value, field)
    _exactly(data, {"unit", "option"}, field)
    option = _text(data["option"], f"{field}.option")
    match = re.fullmatch(r"W([1-9]\d?)A([1-9]\d?)", option, re.ASCII)
    widths = [int(group) for group in match.groups()] if match else []
    if not widths or max(widths) > 32:
        raise _broken(f"{field}.option", "a pair of widths in [1, 32], as 'W4A8'", option)
    return _text(data["unit"], f"{field}.unit"), Option(*widths)
