"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import mlperf_tiny, vela
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "vela_cycles": vela.cycles,
        "vela_weights": vela.encoded,
        "second_voltage": mlperf_tiny.second_voltage,
        "supply_voltage": mlperf_tiny.supply_voltage,
        "mlperf_tiny_rate_given": mlperf_tiny.rate_given,
        "mlperf_tiny_constant_power": mlperf_tiny.constant_power,
        "mlperf_tiny_workload": mlperf_tiny.workload_alone,
        "mlperf_tiny_by_macs": mlperf_tiny.by_macs,
    }
)
TARGETS: tuple[Target, ...] = (*vela.TARGETS, *mlperf_tiny.TARGETS)
