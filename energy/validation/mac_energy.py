"""Arithmetic energy against gate-level runs: counted toggles, and widths alone."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hwsim.energy.mac_cells import (
    CellMac,
    cell_macs,
    cell_toggles,
    left_out,
    libraries,
    toggle_energy,
    toggle_terms,
)

from .row import Row, Target

_FILE = "mac_energy_fj.csv"


def _against(what: str, library: str) -> str:
    return f"Gate-level {what}, {library}"


TARGETS = tuple(
    Target(
        _against("toggles", library),
        "counted flips per operation, unweighted: rank correlation at least 0.95",
        rank=0.95,
    )
    for library in libraries()
)


def _runs(data: Path) -> Iterator[tuple[CellMac, float]]:
    """Return the glitch-aware runs of multiply-accumulate units and their toggles of all nets."""
    path = data / _FILE
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["unit"] != "mac" or row["delay_model"] != "inertial":
                continue
            yield (
                CellMac(
                    row["library"], float(row["supply_volts"]), row["signedness"],
                    int(row["w_bits"]), int(row["a_bits"]), int(row["accumulator_bits"]),
                    row["w_distribution"], row["a_distribution"], float(row["energy_fj"]),
                    float(row["switching_energy_fj"]), float(row["clock_energy_fj"]),
                ),
                float(row["toggles_per_operation"]),
            )  # fmt: skip


def _case(mac: CellMac) -> str:
    w, a, acc = mac.widths
    return f"{w}x{a}+{acc} {mac.signedness} {mac.weights}/{mac.activations}"


def toggles(data: Path) -> Iterator[Row]:
    """Return flips counted on the same distributions against the toggles of every net.

    Five wires against all nets of a netlist: the ranks compare, the numbers do not. No constant is
    fitted; that the partial products are among the wires was chosen on these runs (0.96 without
    them, 0.86 by the product of the widths).
    """
    for mac, measured in _runs(data):
        counted = cell_toggles(mac.signedness, mac.widths, mac.weights, mac.activations)
        against = _against("toggles", mac.library)
        yield Row(against, _case(mac), measured, counted.total, "toggles")


def toggle_energies(data: Path) -> Iterator[Row]:
    """Return the energy by counted toggles; a shipped run is predicted by the fit of the others."""
    shipped = {
        (mac.library, *_key(mac)): value
        for library in libraries()
        for macs in [[mac for mac in cell_macs() if mac.library == library]]
        for mac, value in zip(
            macs,
            left_out(toggle_terms(macs), np.array([mac.energy_fj for mac in macs])),
            strict=True,
        )
    }
    for mac, _ in _runs(data):
        predicted = shipped.get((mac.library, *_key(mac)))
        if predicted is None:
            counted = cell_toggles(mac.signedness, mac.widths, mac.weights, mac.activations)
            predicted = 1e15 * toggle_energy(mac.library).energy_j(counted, mac.widths)
        against = _against("energy by toggles", mac.library)
        yield Row(against, _case(mac), mac.energy_fj, float(predicted), "fJ")


def square_law(data: Path) -> Iterator[Row]:
    """Return the product of the widths, anchored at each library's signed 8-bit unit."""
    anchors = {
        mac.library: mac.energy_fj
        for mac in cell_macs()
        if (mac.signedness, mac.widths, mac.weights) == ("signed", (8, 8, 32), "gaussian")
    }
    for mac, _ in _runs(data):
        if (mac.signedness, mac.weights, mac.activations) != ("signed", "gaussian", "gaussian"):
            continue
        w, a, _acc = mac.widths
        against = _against("energy by b^2 (base)", mac.library)
        yield Row(against, _case(mac), mac.energy_fj, anchors[mac.library] * w * a / 64, "fJ")


def _key(mac: CellMac) -> tuple[str, tuple[int, int, int], str, str]:
    return mac.signedness, mac.widths, mac.weights, mac.activations
