"""Read a platform description: a shipped name, or the path of a user's TOML file."""

from pathlib import Path

from hwsim.description import read_toml
from hwsim.errors import PlatformError
from hwsim.platform import Platform, parse_platform

_HERE = Path(__file__).resolve().parent


def names() -> tuple[str, ...]:
    """Return the names of the shipped platforms, sorted."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.toml")))


def load_platform(name_or_path: str | Path) -> Platform:
    """Return a shipped platform by name, or the one that a TOML file describes.

    Args:
        name_or_path: A name from `names()`, or a path that ends in .toml.

    Raises:
        PlatformError: If there is no such platform or file, or it breaks the schema.
    """
    if str(name_or_path) in names():
        return _read(_HERE / f"{name_or_path}.toml")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise PlatformError(
            f"platform must be one of {', '.join(names())} or the path of a .toml file, "
            f"not {str(name_or_path)!r}"
        )
    return _read(path)


def _read(path: Path) -> Platform:
    """Return the platform of one file."""
    return parse_platform(read_toml(path, PlatformError), path.name)
