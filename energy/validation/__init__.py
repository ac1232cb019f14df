"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import eyeriss, scalesim, tpu
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {"scalesim": scalesim.rows, "tpu_v1": tpu.rows, "eyeriss": eyeriss.rows}
)
TARGETS: tuple[Target, ...] = (*scalesim.TARGETS, *tpu.TARGETS, *eyeriss.TARGETS)
