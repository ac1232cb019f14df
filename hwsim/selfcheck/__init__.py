"""Foreign vectors and runtimes against the integer engine: one module per area, one table."""

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.selfcheck.check import Area
from hwsim.selfcheck.generated import generated, sweeps

AREAS: Mapping[str, Area] = MappingProxyType({"sweeps": sweeps, "generated": generated})
