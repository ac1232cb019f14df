"""Shipped descriptions, for comparisons with the chips that they describe."""

import tomllib
from importlib import resources

from hwsim.errors import PlatformError
from hwsim.platform import GpuPlatform, NpuPlatform, parse_platform


def text_of(name: str) -> str:
    """Return the text of a file that ships with the platforms."""
    return resources.files("hwsim.platforms").joinpath(name).read_text("utf-8")


def shipped_npu(name: str) -> NpuPlatform:
    """Return a shipped NPU.

    Raises:
        PlatformError: If the file describes another kind.
    """
    platform = parse_platform(tomllib.loads(text_of(f"{name}.toml")), f"{name}.toml")
    if not isinstance(platform, NpuPlatform):
        raise PlatformError(f"{name}: kind must be npu, not {platform.kind}")
    return platform


def shipped_gpu(name: str) -> GpuPlatform:
    """Return a shipped GPU.

    Raises:
        PlatformError: If the file describes another kind.
    """
    platform = parse_platform(tomllib.loads(text_of(f"{name}.toml")), f"{name}.toml")
    if not isinstance(platform, GpuPlatform):
        raise PlatformError(f"{name}: kind must be gpu, not {platform.kind}")
    return platform
