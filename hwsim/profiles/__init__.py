"""The built-in profiles: rows of one table, each tied to the implementation it reproduces."""

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.errors import GraphError
from hwsim.profile import NumericProfile
from hwsim.profiles.dyadic import HAWQ
from hwsim.profiles.litert import TFLITE_REF

_BUILT_IN = (
    TFLITE_REF,
    HAWQ,
)
PROFILES: Mapping[str, NumericProfile] = MappingProxyType(
    {profile.name: profile for profile in _BUILT_IN}
)


def find_profile(name: str) -> NumericProfile:
    """Return a built-in profile.

    Raises:
        GraphError: If there is none of that name.
    """
    if name not in PROFILES:
        raise GraphError(f"profile must be one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]
