"""Foreign vectors and runtimes against the integer engine: one module per area, one table."""

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.selfcheck.check import Area
from hwsim.selfcheck.cmsis import cmsis_nn
from hwsim.selfcheck.divergence import divergence
from hwsim.selfcheck.generated import generated, sweeps
from hwsim.selfcheck.networks import networks
from hwsim.selfcheck.seanet import seanet

AREAS: Mapping[str, Area] = MappingProxyType(
    {
        "cmsis_nn": cmsis_nn,
        "seanet": seanet,
        "sweeps": sweeps,
        "generated": generated,
        "networks": networks,
        "divergence": divergence,
    }
)
