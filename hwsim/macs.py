"""Arithmetic energy of a network by every model, and the toggles of its real operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.graph import Graph
from hwsim.partition import workload
from hwsim.tables import CostTable, Option
from hwsim.workload import Unit

if TYPE_CHECKING:
    from hwsim.energy.operands import Array, LayerToggles


@dataclass(frozen=True, slots=True)
class ModelEnergy:
    """What one model says of a network.

    Args:
        model: Its name.
        energy_j: Arithmetic energy of one inference, None where the model knows no such widths.
        energy_8bit_j: The same with every choice at 8 bits and operands with signs; of a toggle
            model, what its library's cells take then on Gaussian operands.
        says: What the model is; or why it has no figure.
    """

    model: str
    energy_j: float | None
    energy_8bit_j: float | None
    says: str

    @property
    def ratio(self) -> float | None:
        """The energy over that at 8 bits."""
        if self.energy_j is None or not self.energy_8bit_j:
            return None
        return self.energy_j / self.energy_8bit_j


def count_toggles(
    graph: Graph,
    inputs: Mapping[str, NDArray[Any]],
    array: "Array | None" = None,
    *,
    operations: int = 1 << 18,
) -> tuple["LayerToggles", ...]:
    """Run an integer graph and count the flips of every layer's operands, in graph order.

    Args:
        graph: An integer graph; its convolutions, fully connected layers and matmuls are counted.
        inputs: As for `hwsim.run`.
        array: Dataflow and size; output-stationary 16x16 unless given.
        operations: Multiply-accumulates drawn per layer, about.

    Raises:
        InputError: If the graph is float.
        HwsimError: As `hwsim.run` does.
    """
    from hwsim.api import trace
    from hwsim.energy.operands import COUNTED, Array, layer_toggles

    if graph.is_float:
        raise InputError(f"graph {graph.name!r} must be quantized to count toggles, not float")
    values: dict[str, NDArray[np.generic]] = trace(graph, dict(inputs))
    bits = {layer.node: layer.accumulator_bits for unit in workload(graph) for layer in unit.layers}
    return tuple(
        layer_toggles(
            graph, node, values, array or Array(),
            accumulator_bits=bits[node.name], operations=operations,
        )
        for node in graph.nodes
        if node.op in COUNTED
    )  # fmt: skip


def compare_mac_models(
    units: Sequence[Unit], widths: Option | None, counted: Sequence["LayerToggles"] = ()
) -> tuple[ModelEnergy, ...]:
    """Return the arithmetic energy of a network by every model.

    Args:
        units: The network.
        widths: Of every unit with a choice; its own widths, else 8 bits, if None.
        counted: Toggles at the network's own widths; without them those models are left out.

    Raises:
        InputError: If a layer with multiply-accumulates was not counted.
    """
    from hwsim.energy.mac_models import (
        TOGGLES,
        mac_model,
        model_names,
        toggle_energies_j,
        toggle_says,
        unit_energy_j,
    )

    eight = Option(8, 8)
    found = []
    for name in model_names():
        model = mac_model(name)
        try:
            energy = sum(
                unit_energy_j(model, unit, (widths or unit.native or eight))
                if unit.has_choice
                else unit_energy_j(model, unit, eight)
                for unit in units
            )
            at_eight = sum(unit_energy_j(model, unit, eight) for unit in units)
            found.append(ModelEnergy(name, energy, at_eight, model.says))
        except InputError as error:
            found.append(ModelEnergy(name, None, None, str(error)))
    if counted:
        for name in TOGGLES:
            counted_j = sum(toggle_energies_j(units, name, counted).values())
            cells = mac_model(name.replace("toggles", "cells"))
            at_eight = sum(unit_energy_j(cells, unit, eight) for unit in units)
            found.append(ModelEnergy(name, counted_j, at_eight, toggle_says(name, counted)))
    return tuple(found)


def price_macs(
    table: CostTable, units: Sequence[Unit], name: str, counted: Sequence["LayerToggles"] = ()
) -> CostTable:
    """Return a cost table whose arithmetic energy is a named model's; its first note says so.

    Raises:
        InputError: If no model has the name, it needs toggles that were not counted, it does not
            know a width, or the platform pays no energy per multiply-accumulate.
    """
    from hwsim.energy.mac_models import TOGGLES, mac_model, with_mac_model, with_toggles

    if name in TOGGLES:
        return with_toggles(table, units, name, counted)
    return with_mac_model(table, units, mac_model(name))
