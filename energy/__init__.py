"""From a workload and a platform to joules, seconds, bytes and look-up tables."""

from .analytic import uniform_ratio
from .configurations import configuration_totals
from .interval import Constant, Interval, Uncertainty, uncertainty
from .model import cost

__all__ = [
    "Constant",
    "Interval",
    "Uncertainty",
    "configuration_totals",
    "cost",
    "uncertainty",
    "uniform_ratio",
]
