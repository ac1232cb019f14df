"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import vela
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "vela_cycles": vela.cycles,
        "vela_units": vela.additive_cycles,
        "vela_weights": vela.encoded,
    }
)
TARGETS: tuple[Target, ...] = (*vela.TARGETS,)
