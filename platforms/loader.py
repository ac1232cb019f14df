"""Read a platform description: a shipped name, or the path of a user's TOML file."""

import tomllib
from pathlib import Path

from hwsim.errors import PlatformError
from hwsim.platform import Platform, parse_platform

_HERE = Path(__file__).resolve().parent
_LARGEST_BYTES = 1_000_000


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
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise PlatformError(f"{path.name} must be a readable file, not {reason!r}") from error
    if len(content) > _LARGEST_BYTES:
        raise PlatformError(
            f"{path.name} must be at most {_LARGEST_BYTES} bytes, not more than that"
        )
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise PlatformError(f"{path.name} must be TOML of few levels, not nested deeply") from error
    except ValueError as error:  # syntax, encoding, an integer of thousands of digits
        raise PlatformError(f"{path.name} must be TOML in UTF-8: {error}") from error
    return parse_platform(table, path.name)
