"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import eyeriss, fpga, gpu, mac_energy, mlperf_tiny, scalesim, tpu, vela
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "scalesim": scalesim.rows,
        "vela_cycles": vela.cycles,
        "vela_units": vela.additive_cycles,
        "vela_weights": vela.encoded,
        "eyeriss": eyeriss.rows,
        "tpu_v1": tpu.rows,
        "second_voltage": mlperf_tiny.second_voltage,
        "supply_voltage": mlperf_tiny.supply_voltage,
        "mlperf_tiny_rate_given": mlperf_tiny.rate_given,
        "mlperf_tiny_constant_power": mlperf_tiny.constant_power,
        "mlperf_tiny_workload": mlperf_tiny.workload_alone,
        "mlperf_tiny_by_macs": mlperf_tiny.by_macs,
        "gpu_ratios": gpu.ratios,
        "gpu_layers": gpu.layers,
        "gpu_networks": gpu.end_to_end,
        "mac_toggles": mac_energy.toggles,
        "mac_energy": mac_energy.toggle_energies,
        "mac_square_law": mac_energy.square_law,
        "finn": fpga.finn_goldens,
        "luts": fpga.synthesized,
        "dot_products": fpga.dot_products,
        "requantizers": fpga.requantizers,
    }
)
TARGETS: tuple[Target, ...] = (
    *scalesim.TARGETS,
    *vela.TARGETS,
    *eyeriss.TARGETS,
    *tpu.TARGETS,
    *mlperf_tiny.TARGETS,
    *gpu.TARGETS,
    *mac_energy.TARGETS,
    *fpga.TARGETS,
)
