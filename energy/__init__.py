"""From a workload and a platform to joules, seconds, bytes and look-up tables."""

from .analytic import uniform_ratio
from .interval import EnergyInterval, energy_interval
from .model import cost

__all__ = [
    "EnergyInterval",
    "cost",
    "energy_interval",
    "uniform_ratio",
]
