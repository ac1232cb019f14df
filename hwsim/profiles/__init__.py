"""The built-in profiles: rows of one table, each tied to the implementation it reproduces."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from hwsim.errors import GraphError
from hwsim.profile import NumericProfile
from hwsim.profiles.cmsis import CMSIS_NN, CMSIS_SINGLE
from hwsim.profiles.dyadic import HAWQ
from hwsim.profiles.litert import TFLITE_REF
from hwsim.profiles.tflm import TFLM
from hwsim.profiles.tosa import TOSA, TOSA_SINGLE
from hwsim.profiles.transformers import IBERT, IVIT, QAOF
from hwsim.profiles.xnnpack import XNNPACK

_BUILT_IN = (
    TFLITE_REF,
    XNNPACK,
    TFLM,
    CMSIS_NN,
    CMSIS_SINGLE,
    TOSA,
    TOSA_SINGLE,
    HAWQ,
    IBERT,
    IVIT,
    QAOF,
)
PROFILES: Mapping[str, NumericProfile] = MappingProxyType(
    {profile.name: profile for profile in _BUILT_IN}
)


def find_profile(name_or_path: str | Path) -> NumericProfile:
    """Return a built-in profile by name, or the one that a `.toml` file describes.

    Raises:
        GraphError: If there is none, or the file breaks the schema or contradicts itself.
    """
    name = str(name_or_path)
    if name in PROFILES:
        return PROFILES[name]
    if Path(name).suffix != ".toml":
        raise GraphError(
            f"profile must be one of {', '.join(PROFILES)} or the path of a .toml file, "
            f"not {name!r}"
        )
    from hwsim.profiles.file import read_profile  # pydantic: not for those who name one

    return read_profile(Path(name), PROFILES)
