"""Bit-accurate integer simulation and energy/latency modeling of quantized neural networks."""

from hwsim.errors import HwsimError
from hwsim.quant import IntType, QuantParams, Rounding
from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "CostTable",
    "Front",
    "HwsimError",
    "IntType",
    "Option",
    "QuantParams",
    "Rounding",
    "SensitivityTable",
    "__version__",
]
