"""What the costs of a table are made of, and what they hang on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwsim.cli_options import print_json, strict, tail
from hwsim.errors import InputError
from hwsim.platform import FpgaPlatform, Platform, quantities
from hwsim.tables import CostTable
from hwsim.units import format_quantity
from hwsim.workload import Unit

if TYPE_CHECKING:
    from hwsim.energy import Constant, Interval, Uncertainty
    from hwsim.energy.fpga import Explained
    from hwsim.energy.movement import Movement

_SHOWN = 3  # constants


def explain_cost(
    units: Sequence[Unit],
    described: Platform,
    platform: Platform,
    table: CostTable,
    unit: str | None,
    as_json: bool,
    batch: int = 1,
) -> None:
    """Print intervals of energy and latency and what moves them most, and what costs are made of.

    For an FPGA that is all parts, for memories with schedules what every operand moves.

    Args:
        units: The network.
        described: The platform as its file has it; its fields are named.
        platform: The platform as it runs, perhaps at another point.
        table: The costs.
        unit: The end of one unit's name; the whole network unless given.
        as_json: Whether to print JSON.
        batch: Inferences priced together.
    """
    from hwsim.energy import fpga, uncertainty
    from hwsim.energy.model import movements

    named = None if unit is None else _unit_named(table, unit)
    found = uncertainty(units, platform, table.selection, unit=named, batch=batch)
    moved = movements(units, platform, table.selection, batch)
    if named is not None:
        moved = {name: movement for name, movement in moved.items() if name == named}
    fields = {id(quantity): path for path, quantity in quantities(described).items()}
    design = None
    if isinstance(platform, FpgaPlatform):
        design = fpga.explain(platform, units, table.selection)
    if as_json:
        shown = {
            "unit": named,
            "energy": _interval_json(found.energy, "J", fields),
            "latency": found.latency and _interval_json(found.latency, "s", fields),
            "refused": found.refused,
            "design": asdict(design) if design else None,
            "batch": batch,
            "memory": [_movement_record(name, movement) for name, movement in moved.items()],
        }
        print_json(strict(shown))
        return
    if design is not None:
        _show_design(design, named)
    if moved:
        _show_movements(moved, batch)
    if named is not None:
        print(f"unit {named}")
    _show("energy", found.energy, "J", fields)
    if found.latency is not None:
        _show("latency", found.latency, "s", fields)
    for sentence in found.refused:
        print(f"left out, since the network cannot run there: {sentence}")


def interval_lines(found: "Uncertainty") -> list[str]:
    """Return one line per total with its interval."""
    totals = (("energy", found.energy, "J"), ("latency", found.latency, "s"))
    return [_line(name, total, unit) for name, total, unit in totals if total is not None]


def _unit_named(table: CostTable, end: str) -> str:
    """Return the unit of a name, or of the only name with this end."""
    names = [row.unit for row in table.selected_rows]
    found = [name for name in names if name == end] or [n for n in names if n.endswith(end)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(tail(name) for name in found or names)
    raise InputError(f"--unit must be the end of one unit's name ({shown}), not {end!r}")


def _interval_json(total: "Interval", unit: str, fields: Mapping[int, str]) -> dict[str, Any]:
    return {
        "unit": unit,
        "low": total.low,
        "value": total.value,
        "high": total.high,
        "constants": [
            {
                "field": fields[id(constant.quantity)],
                **constant.quantity.model_dump(),
                "span": constant.span,
                "doubled": constant.doubled,
                "halved": constant.halved,
            }
            for constant in total.constants
        ],
    }


def _show_design(design: "Explained", unit: str | None) -> None:
    """Print every part of every layer (of one unit), and how full the part is."""
    print(
        f"{'layer':32} {'folding':28} {'cycles':>10}  {'part':14}"
        f"{'LUT':>8}{'FF':>8}{'CARRY4':>8}{'DSP':>6}{'BRAM18':>8}{'FINN LUT':>10}"
    )
    before = None
    for part in design.parts:
        if unit is not None and part.unit != unit:
            continue
        new = part.node != before
        before = part.node
        lead = f"{tail(part.node):32} {part.folding:28} {part.cycles:10,}" if new else " " * 72
        finn = "" if part.finn_lut is None else f"{part.finn_lut:,}"
        ff = "–" if part.ff is None else f"{part.ff:,}"
        counts = f"{part.lut:8,}{ff:>8}{part.carry4:8,}{part.dsp:6,}{part.bram_18k:8,}{finn:>10}"
        print(f"{lead}  {part.part:14}{counts}".rstrip())
    for name, used in design.used.items():
        limit = design.budget[name]
        share = f" ({100 * used / limit:.1f} %)" if limit else ""
        print(f"{name}: {used:,} of {limit:,} usable{share}")
    print(f"lut: up to {design.sites_high:,} if every carry chain keeps its slices to itself")
    print(
        f"ff: {design.ff:,} of synthesized circuits; parts with – have registers too, not modeled"
    )
    print(f"interval between results: {1e6 * design.interval_s:.4g} us, ", end="")
    rate = f"{1 / design.interval_s:.4g} results/s, " if design.interval_s else ""
    print(f"{rate}first result after about {1e6 * design.first_result_s:.4g} us")
    print("LUT: sites of synthesized circuits; FINN LUT: FINN's estimate, multipliers in LUTs")
    if design.unpriced:
        print(f"without a measured circuit: {', '.join(tail(node) for node in design.unpriced)}")


def _movement_record(unit: str, movement: "Movement") -> dict[str, object]:
    """Return what a unit moves, for machines: bytes of the whole batch."""
    return {
        "unit": unit,
        "accesses": [
            {
                "operand": access.operand,
                "level": access.level,
                "read_bytes": access.read_bits / 8,
                "write_bytes": access.write_bits / 8,
            }
            for access in movement.accesses
        ],
        "schedules": [asdict(layer) for layer in movement.streamed],
    }


def _show_movements(moved: "Mapping[str, Movement]", batch: int) -> None:
    """Print what every operand of a unit reads and writes at every level, and the schedules."""
    print(f"{'unit':32} {'operand':14}{'level':16}{'read B':>14}{'written B':>14}")
    for unit, movement in moved.items():
        lead = tail(unit)
        for access in movement.accesses:
            read, written = access.read_bits / 8, access.write_bits / 8
            print(f"{lead:32} {access.operand:14}{access.level:16}{read:14,.0f}{written:14,.0f}")
            lead = ""
        for layer in movement.streamed:
            tile = " ".join(f"{axis} {size}" for axis, size in layer.tile.items())
            source = "inputs are inside" if layer.resident else "inputs stream"
            where = f" in {layer.level}" if layer.level else ""
            print(f"{'':32} {tail(layer.node)}: {source}; tile{where}: {tile}; {layer.order}")
    whole = f"all {batch} inferences of a batch" if batch > 1 else "one inference"
    print(
        f"bytes of {whole}; a unit pays for the tensors it reads: for their write, and every read"
    )


def _line(name: str, total: "Interval", unit: str) -> str:
    """Return a total with its interval."""
    value, low, high = (
        format_quantity(number, unit) for number in (total.value, total.low, total.high)
    )
    if total.low == total.high:
        return f"{name} {value}; no source gives a range to a constant that moves it"
    return (
        f"{name} {value}, between {low} and {high} where every constant is at an end of its range"
    )


def _show(name: str, total: "Interval", unit: str, fields: Mapping[int, str]) -> None:
    """Print a total with its interval and its main constants."""
    print(_line(name, total, unit))
    for constant in total.constants[:_SHOWN]:
        quantity = constant.quantity
        effect = _effect(constant, unit)
        print(f"    {fields[id(quantity)]} = {quantity.value:g} {quantity.unit}{effect}")
        print(f"        {quantity.source}")


def _effect(constant: "Constant", unit: str) -> str:
    """Return what a constant does to a total."""
    quantity = constant.quantity
    if constant.span > 0:
        low = quantity.value if quantity.low is None else quantity.low
        high = quantity.value if quantity.high is None else quantity.high
        return f", {low:g} to {high:g}: moves it by {format_quantity(constant.span, unit)}"
    twice, half = (
        "the network cannot run" if ratio is None else f"{ratio:.3g} times"
        for ratio in (constant.doubled, constant.halved)
    )
    return f", no range: doubled {twice}, halved {half}"
