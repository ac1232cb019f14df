"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import mlperf_tiny
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "second_voltage": mlperf_tiny.second_voltage,
        "supply_voltage": mlperf_tiny.supply_voltage,
        "mlperf_tiny_rate_given": mlperf_tiny.rate_given,
        "mlperf_tiny_workload": mlperf_tiny.workload_alone,
        "mlperf_tiny_by_macs": mlperf_tiny.by_macs,
    }
)
_TINY = "each task within 25 % on 5 chips or more, order right on 4"
_UNSEEN = "only ad is fully connected: its cost cannot be seen from the other tasks"
TARGETS: tuple[Target, ...] = (
    Target(mlperf_tiny.SECOND_VOLTAGE, "each within 2.5 %, task left out", worst=0.025),
    Target(mlperf_tiny.RATE_GIVEN, _TINY, worst=0.25, groups=5, ranked=4),
    Target(mlperf_tiny.WORKLOAD_ALONE, f"{_TINY} ({_UNSEEN})", worst=0.25, groups=5, ranked=4),
)
