"""What the costs of a table are made of."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hwsim.cli_options import print_json, tail
from hwsim.platform import FpgaPlatform, Platform
from hwsim.tables import CostTable
from hwsim.workload import Unit

if TYPE_CHECKING:
    from hwsim.energy.fpga import Explained
    from hwsim.energy.interval import EnergyInterval

_SHOWN = 3  # constants


def explain_cost(
    units: Sequence[Unit], platform: Platform, table: CostTable, as_json: bool
) -> None:
    """Print the energy's interval and the constants that move it most; for an FPGA all parts."""
    from hwsim.energy import energy_interval, fpga

    interval = energy_interval(units, platform, table.selection)
    design = None
    if isinstance(platform, FpgaPlatform):
        design = fpga.explain(platform, units, table.selection)
    if as_json:
        print_json({"energy": asdict(interval), "design": asdict(design) if design else None})
        return
    if design is not None:
        _show_design(design)
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


def _show_energy(interval: "EnergyInterval") -> None:
    """Print an energy with its interval and its main constants."""
    print(
        f"energy: {interval.value_j:.3g} J, between {interval.low_j:.3g} and "
        f"{interval.high_j:.3g} J by its sources"
    )
    for path, joules in interval.drivers[:_SHOWN]:
        print(f"    {path}: {joules:.2g} J between the ends of its range")
