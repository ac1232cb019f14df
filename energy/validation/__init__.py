"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import eyeriss, gpu, mac_energy, scalesim, tpu, vela
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "scalesim": scalesim.rows,
        "vela_cycles": vela.cycles,
        "vela_weights": vela.encoded,
        "eyeriss": eyeriss.rows,
        "tpu_v1": tpu.rows,
        "gpu_ratios": gpu.ratios,
        "gpu_layers": gpu.layers,
        "gpu_networks": gpu.end_to_end,
        "mac_toggles": mac_energy.toggles,
        "mac_energy": mac_energy.toggle_energies,
        "mac_square_law": mac_energy.square_law,
    }
)
TARGETS: tuple[Target, ...] = (
    *scalesim.TARGETS,
    *vela.TARGETS,
    *eyeriss.TARGETS,
    *tpu.TARGETS,
    *gpu.TARGETS,
    *mac_energy.TARGETS,
)
