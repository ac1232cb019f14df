"""From a workload and a platform to joules, seconds, bytes and look-up tables."""

from .analytic import uniform_ratio
from .model import cost

__all__ = ["cost", "uniform_ratio"]
