"""JSON that every reader accepts: no NaN, no infinity, sorted keys, floats that come back equal."""

import json
import math
from collections.abc import Mapping
from pathlib import PurePath

from hwsim.errors import FormatError, InputError
from hwsim.tables import Option

SCHEMA_VERSION = 1


def dump(value: object) -> str:
    """Return JSON text of plain data, options ("W4A8"), paths and NumPy scalars.

    NaN and infinity become null. The order of a mapping is lost; what is ordered is a list.

    Raises:
        InputError: If something else is met, or a key is no text.
    """
    return json.dumps(_plain(value, ""), indent=1, sort_keys=True, allow_nan=False) + "\n"


def parse(text: str, place: str) -> object:
    """Return the data of strict JSON text.

    Raises:
        FormatError: If the text is no JSON, says NaN or infinity, or says a key twice.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise FormatError(f"{place}: every field must stand once, not twice as {twice!r}")
        return seen

    def constant(name: str) -> object:
        raise FormatError(f"{place}: a number must be finite, not {name}")

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise FormatError(f"{place}: a number must be finite, not {digits}")
        return value

    try:
        data: object = json.loads(
            text, object_pairs_hook=unique, parse_constant=constant, parse_float=number
        )
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{place}: the text must be JSON, and is not at line {error.lineno}, "
            f"column {error.colno}"
        ) from error
    except (RecursionError, ValueError) as error:  # too deep, or an integer of too many digits
        raise FormatError(f"{place}: the text must be JSON of a sensible size") from error
    return data


def _plain(value: object, place: str) -> object:
    """Return what `json` writes, with null for what JSON cannot say."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Option):
        return str(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{place or 'JSON'}: a key must be text, not {key!r}")
        return {str(key): _plain(item, _below(place, key)) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    scalar = getattr(value, "item", None)  # a NumPy scalar; an array of them is refused below
    if callable(scalar) and getattr(value, "shape", None) == ():
        return _plain(scalar(), place)
    raise InputError(f"{place or 'JSON'}: a value must be JSON data, not {type(value).__name__}")


def _below(place: str, key: object) -> str:
    """Return the path of a field."""
    return f"{place}.{key}" if place else str(key)
