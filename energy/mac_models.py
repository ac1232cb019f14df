"""Five ways to price a multiply-accumulate by its widths, each under its own name.

They start from different circuits at different nodes, so absolute energies of two models do not
compare; what each says about fewer bits does. None is mixed with another.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from itertools import pairwise

from hwsim.errors import InputError
from hwsim.tables import CostTable, Option, UnitCost
from hwsim.workload import Unit

from .mac_cells import SIGNED, UNSIGNED, cell_energy_fj, cell_fit, toggle_energy
from .operands import LayerToggles
from .traffic import FIXED

RATIO_REFERENCE = 32
RATIO_PJ = 4.6
ANCHORS = {"horowitz_45nm": 45, "jouppi_7nm": 7}
CELLS = {
    "cells_nangate45": "nangate45_typical",
    "cells_osu018": "osu018",
    "cells_sky130": "sky130_fd_sc_hd_tt",
}
TOGGLES = {name.replace("cells", "toggles"): library for name, library in CELLS.items()}


@dataclass(frozen=True, slots=True)
class Mac:
    """A unit to be priced: its widths, and which operands have a sign (`mac_cells.SIGNEDNESS`)."""

    weight_bits: int
    activation_bits: int
    accumulator_bits: int = 32
    signedness: str = SIGNED

    @property
    def widths(self) -> tuple[int, int, int]:
        """Bits of weight, activation and accumulator."""
        return self.weight_bits, self.activation_bits, self.accumulator_bits


@dataclass(frozen=True, slots=True)
class MacModel:
    """A named model of arithmetic energy.

    Args:
        name: What a user asks for.
        says: What it is, where it fails, in a sentence.
        energy_j: Joules of one multiply-accumulate.
    """

    name: str
    says: str
    energy_j: Callable[[Mac], float]


@dataclass(frozen=True, slots=True)
class Anchors:
    """The integer operations of one node, pJ by width."""

    node_nm: int
    source: str
    multiply: tuple[tuple[int, float], ...]
    add: tuple[tuple[int, float], ...]

    def multiply_pj(self, weight_bits: int, activation_bits: int) -> float:
        """Return the energy of a multiplication.

        Up to the narrowest tabled width it goes with the product of the widths; between two
        tabled widths with the power of the product that meets both.
        """
        product = weight_bits * activation_bits
        (low, at_low), (high, at_high) = self.multiply[0], self.multiply[-1]
        power = 1.0
        if product > low * low:
            power = math.log(at_high / at_low) / math.log((high / low) ** 2)
        return float(at_low * (product / low**2) ** power)

    def add_pj(self, bits: int) -> float:
        """Return the energy of an addition: linear between tabled widths, from 0 below them."""
        points = ((0, 0.0), *self.add)
        for (low, at_low), (high, at_high) in pairwise(points):
            if bits <= high:
                return at_low + (at_high - at_low) * (bits - low) / (high - low)
        (low, at_low), (high, at_high) = points[-2:]
        return at_high + (at_high - at_low) * (bits - high) / (high - low)

    @property
    def square_error(self) -> float:
        """Relative error of the square law from the narrowest to the widest multiplication."""
        (low, at_low), (high, at_high) = self.multiply[0], self.multiply[-1]
        return float(at_low * (high / low) ** 2 / at_high - 1)


@cache
def anchors(node_nm: int) -> Anchors:
    """Return the tabled operations of a node, as `platforms/mac_anchors.csv` has them."""
    text = resources.files("hwsim.platforms").joinpath("mac_anchors.csv").read_text("utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if int(row["node_nm"]) == node_nm]
    if not rows:
        raise InputError(f"node_nm must be one of the anchor tables (45, 7), not {node_nm}")

    def tabled(operation: str) -> tuple[tuple[int, float], ...]:
        points = [r for r in rows if r["operation"] == operation]
        return tuple(sorted((int(r["width_bits"]), float(r["energy_pj"])) for r in points))

    return Anchors(node_nm, rows[0]["source"], tabled("multiply"), tabled("add"))


def spingarn_toggles(mac: Mac) -> float:
    """Return the bit flips of one operation in closed form.

    Multiplier: max(w, a)^2 / 2 + (w + a) / 2. Accumulator of B bits: B / 2 + w + a with signs,
    3 (w + a) / 2 without; then weights are split into two sums, whose second accumulator and
    subtraction are not in it. Products that are often 0 flip less: at 2 bits it is 24 % high.

    Source: Spingarn et al., arXiv 2202.02783; held against counted toggles.
    """
    both = mac.weight_bits + mac.activation_bits
    multiplier = max(mac.weight_bits, mac.activation_bits) ** 2 / 2 + both / 2
    if mac.signedness == UNSIGNED:
        return multiplier + 1.5 * both
    return multiplier + mac.accumulator_bits / 2 + both


def _ratio_j(mac: Mac) -> float:
    return 1e-12 * RATIO_PJ * mac.weight_bits * mac.activation_bits / RATIO_REFERENCE**2


def _anchor_j(node_nm: int, mac: Mac) -> float:
    table = anchors(node_nm)
    multiply = table.multiply_pj(mac.weight_bits, mac.activation_bits)
    return 1e-12 * (multiply + table.add_pj(mac.accumulator_bits))


def _cell_j(library: str, mac: Mac) -> float:
    return 1e-15 * cell_energy_fj(library, mac.signedness, mac.widths)


def _spingarn_j(mac: Mac) -> float:
    reference = Mac(8, 8)
    anchor = _cell_j("nangate45_typical", reference)
    return anchor * spingarn_toggles(mac) / spingarn_toggles(reference)


def model_names() -> tuple[str, ...]:
    """Return the models that need no data, in the order of a comparison."""
    return ("ratio", *ANCHORS, *CELLS, "spingarn")


def mac_model(name: str) -> MacModel:
    """Return a model by name.

    Raises:
        InputError: If no model has the name.
    """
    if name == "ratio":
        says = (
            "product of the widths, anchored at a 32-bit floating-point operation of 4.6 pJ: "
            "a law of multipliers that leaves out the accumulator"
        )
        return MacModel(name, says, _ratio_j)
    if name in ANCHORS:
        table = anchors(ANCHORS[name])
        says = (
            f"{table.source}, {table.node_nm} nm: integer multiply + add of the accumulator's "
            f"width, met at 8 and 32 bits (the square law alone errs by "
            f"{100 * table.square_error:+.0f} % between them), square law below 8 bits"
        )
        return MacModel(name, says, partial(_anchor_j, ANCHORS[name]))
    if name in CELLS:
        fit = cell_fit(CELLS[name])
        says = (
            f"gate-level runs of {CELLS[name]} cells, no wires; fitted off the measured points "
            f"(left out, {100 * fit.mean_error:.0f} % mean and {100 * fit.worst_error:.0f} % worst)"
        )
        return MacModel(name, says, partial(_cell_j, CELLS[name]))
    if name == "spingarn":
        says = (
            "closed-form toggles (arXiv 2202.02783) for uniform operands, anchored at the "
            "nangate45 8-bit signed unit"
        )
        return MacModel(name, says, _spingarn_j)
    raise InputError(
        f"mac model must be one of {', '.join((*model_names(), *TOGGLES))}, not {name!r}"
    )


def toggle_says(name: str, counted: Sequence[LayerToggles]) -> str:
    """Return what a toggle model is, with its calibration and sampling errors.

    Raises:
        InputError: If no model has the name.
    """
    made = toggle_energy(library_of(name))
    shares = [
        made.error_j(layer.toggles) / made.energy_j(layer.toggles, layer.widths)
        for layer in counted
    ]
    return (
        f"toggles counted on the integer engine's operands, times energies calibrated on "
        f"{made.points} gate-level runs of {made.library} (left out, {100 * made.mean_error:.0f} % "
        f"mean and {100 * made.worst_error:.0f} % worst); sampling error of a layer at most "
        f"{100 * max(shares, default=0.0):.1f} %"
    )


def library_of(name: str) -> str:
    """Return the cell library of a toggle model.

    Raises:
        InputError: If no toggle model has the name.
    """
    if name not in TOGGLES:
        raise InputError(f"toggle model must be one of {', '.join(TOGGLES)}, not {name!r}")
    return TOGGLES[name]


def unit_energy_j(model: MacModel, unit: Unit, widths: Option) -> float:
    """Return the arithmetic energy of a unit at a pair of widths, operands with signs."""
    parts = (
        layer.macs
        * model.energy_j(Mac(widths.weight_bits, widths.activation_bits, layer.accumulator_bits))
        for layer in unit.layers
        if layer.macs
    )
    return sum(parts)


def with_mac_model(table: CostTable, units: Sequence[Unit], model: MacModel) -> CostTable:
    """Return a cost table whose arithmetic energy is a model's; everything else stays.

    Raises:
        InputError: If the platform has no arithmetic energy of its own, or the model does not
            know a width.
    """
    by_name = {unit.name: unit for unit in units}

    def energy_j(row: UnitCost) -> float:
        unit = by_name.get(row.unit)
        return unit_energy_j(model, unit, row.option or FIXED) if unit else row.energy_mac_j

    return _repriced(table, energy_j, f"Arithmetic energy by model {model.name}: {model.says}.")


def with_toggles(
    table: CostTable, units: Sequence[Unit], name: str, counted: Sequence[LayerToggles]
) -> CostTable:
    """Return a cost table whose arithmetic energy follows counted toggles.

    Args:
        table: At the widths that the graph was run with.
        units: The network.
        name: A toggle model.
        counted: One entry per layer with multiply-accumulates.

    Raises:
        InputError: If a layer was not counted, or no model has the name.
    """
    energies = toggle_energies_j(units, name, counted)

    def energy_j(row: UnitCost) -> float:
        return energies.get(row.unit, row.energy_mac_j)

    says = toggle_says(name, counted)
    return _repriced(table, energy_j, f"Arithmetic energy by model {name}: {says}.")


def toggle_energies_j(
    units: Sequence[Unit], name: str, counted: Sequence[LayerToggles]
) -> dict[str, float]:
    """Return the arithmetic energy of every unit by counted toggles.

    Raises:
        InputError: If a layer was not counted, or no model has the name.
    """
    made = toggle_energy(library_of(name))
    per_mac = {layer.node: made.energy_j(layer.toggles, layer.widths) for layer in counted}
    for unit in units:
        for layer in unit.layers:
            if layer.macs and layer.node not in per_mac:
                raise InputError(
                    f"{name} must have counted every layer with multiply-accumulates, "
                    f"not all but {layer.node!r} ({layer.work.value})"
                )
    return {
        unit.name: sum(layer.macs * per_mac[layer.node] for layer in unit.layers if layer.macs)
        for unit in units
    }


def _repriced(table: CostTable, energy_j: Callable[[UnitCost], float], note: str) -> CostTable:
    if table.pipelined:
        raise InputError(
            f"{table.platform}: a mac model needs a platform with energy per MAC, not one that "
            "pays board power"
        )
    rows = tuple(replace(row, energy_mac_j=energy_j(row)) for row in table.rows)
    return replace(table, rows=rows, notes=(note, *table.notes))
