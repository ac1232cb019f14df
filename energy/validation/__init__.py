"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import fpga
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "finn": fpga.finn_goldens,
        "luts": fpga.synthesized,
        "dot_products": fpga.dot_products,
        "requantizers": fpga.requantizers,
    }
)
TARGETS: tuple[Target, ...] = (*fpga.TARGETS,)
