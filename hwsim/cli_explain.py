"""What the costs of a table are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hwsim.cli_options import print_json, tail
from hwsim.platform import FpgaPlatform, Platform
from hwsim.tables import CostTable
from hwsim.workload import Unit

if TYPE_CHECKING:
    from hwsim.energy.fpga import Explained
    from hwsim.energy.interval import EnergyInterval
    from hwsim.energy.movement import Movement

_SHOWN = 3  # constants


def explain_cost(
    units: Sequence[Unit], platform: Platform, table: CostTable, as_json: bool, batch: int = 1
) -> None:
    """Print the energy's interval and the constants that move it most, and what it is made of.

    For an FPGA all parts, for memories with schedules what every operand moves.
    """
    from hwsim.energy import energy_interval, fpga
    from hwsim.energy.model import movements

    interval = energy_interval(units, platform, table.selection, batch)
    moved = movements(units, platform, table.selection, batch)
    design = None
    if isinstance(platform, FpgaPlatform):
        design = fpga.explain(platform, units, table.selection)
    if as_json:
        print_json(
            {
                "energy": asdict(interval),
                "design": asdict(design) if design else None,
                "batch": batch,
                "memory": [_movement_record(unit, movement) for unit, movement in moved.items()],
            }
        )
        return
    if design is not None:
        _show_design(design)
    if moved:
        _show_movements(moved, batch)
    _show_energy(interval)


def _show_design(design: "Explained") -> None:
    """Print every part of every layer, and how full the part is."""
    print(
        f"{'layer':32} {'folding':28} {'cycles':>10}  {'part':14}"
        f"{'LUT':>8}{'CARRY4':>8}{'DSP':>6}{'BRAM18':>8}{'FINN LUT':>10}"
    )
    before = None
    for part in design.parts:
        new = part.node != before
        before = part.node
        lead = f"{tail(part.node):32} {part.folding:28} {part.cycles:10,}" if new else " " * 72
        finn = "" if part.finn_lut is None else f"{part.finn_lut:,}"
        counts = f"{part.lut:8,}{part.carry4:8,}{part.dsp:6,}{part.bram_18k:8,}{finn:>10}"
        print(f"{lead}  {part.part:14}{counts}".rstrip())
    for name, used in design.used.items():
        limit = design.budget[name]
        share = f" ({100 * used / limit:.1f} %)" if limit else ""
        print(f"{name}: {used:,} of {limit:,} usable{share}")
    print(f"lut: up to {design.sites_high:,} if every carry chain keeps its slices to itself")
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


def _show_energy(interval: "EnergyInterval") -> None:
    """Print an energy with its interval and its main constants."""
    print(
        f"energy: {interval.value_j:.3g} J, between {interval.low_j:.3g} and "
        f"{interval.high_j:.3g} J by its sources"
    )
    for path, joules in interval.drivers[:_SHOWN]:
        print(f"    {path}: {joules:.2g} J between the ends of its range")
