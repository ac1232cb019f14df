"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import gpu, mac_energy
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "gpu_ratios": gpu.ratios,
        "gpu_layers": gpu.layers,
        "gpu_networks": gpu.end_to_end,
        "mac_toggles": mac_energy.toggles,
        "mac_energy": mac_energy.toggle_energies,
        "mac_square_law": mac_energy.square_law,
    }
)
TARGETS: tuple[Target, ...] = (*gpu.TARGETS, *mac_energy.TARGETS)
