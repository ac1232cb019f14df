"""Predictions against published and recorded figures: one module per source of figures."""

from collections.abc import Mapping
from types import MappingProxyType

from . import eyeriss, fpga, scalesim, tpu, vela
from .row import Comparison, Row, Target, Verdict, judged

__all__ = ["COMPARISONS", "TARGETS", "Comparison", "Row", "Target", "Verdict", "judged"]

COMPARISONS: Mapping[str, Comparison] = MappingProxyType(
    {
        "scalesim": scalesim.rows,
        "vela_cycles": vela.cycles,
        "vela_weights": vela.encoded,
        "eyeriss": eyeriss.rows,
        "tpu_v1": tpu.rows,
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
    *fpga.TARGETS,
)
