"""Description files of platforms, and their loader."""

from .loader import load_platform, names

__all__ = ["load_platform", "names"]
