"""Bit-accurate integer simulation and energy/latency modeling of quantized neural networks."""

from typing import TYPE_CHECKING, Any

from hwsim.errors import HwsimError
from hwsim.quant import IntType, QuantParams, Rounding
from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable

if TYPE_CHECKING:
    from hwsim.api import (
        accumulators,
        allocate,
        attribute,
        calibrate,
        configuration_totals,
        cost,
        from_torch,
        identify,
        load,
        load_platform,
        operating_points,
        pareto,
        percentile_allocation,
        quantize,
        random_inputs,
        run,
        sensitivity,
        sweep,
        trace,
        uncertainty,
        uniform_allocations,
        validate,
    )

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
    "accumulators",
    "allocate",
    "attribute",
    "calibrate",
    "configuration_totals",
    "cost",
    "from_torch",
    "identify",
    "load",
    "load_platform",
    "operating_points",
    "pareto",
    "percentile_allocation",
    "quantize",
    "random_inputs",
    "run",
    "sensitivity",
    "sweep",
    "trace",
    "trace_rtl",
    "uncertainty",
    "uniform_allocations",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Load the door on first use: importing hwsim itself stays light."""
    if name in __all__:
        from hwsim import api

        return getattr(api, name)
    raise AttributeError(f"module 'hwsim' has no attribute {name!r}")
