"""Description files: TOML of few levels, checked against a schema, refused in one sentence."""

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from hwsim.errors import HwsimError

_LARGEST_BYTES = 1_000_000


class Table(BaseModel):
    """A frozen table of a description file that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def broken_rule(rule: str, value: object, field: str = "") -> PydanticCustomError:
    """Return the error of one broken rule; `field` is relative to the validated table."""
    return PydanticCustomError("rule", "rule", {"rule": rule, "value": value, "field": field})


def read_toml(path: Path, refusal: type[HwsimError]) -> dict[str, Any]:
    """Return the content of a description file.

    Raises:
        HwsimError: Of the given class, if the file is unreadable, too large or no TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(f"{path.name} must be a readable file, not {reason!r}") from error
    if len(content) > _LARGEST_BYTES:
        raise refusal(f"{path.name} must be at most {_LARGEST_BYTES} bytes, not more than that")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise refusal(f"{path.name} must be TOML of few levels, not nested deeply") from error
    except ValueError as error:  # syntax, encoding, an integer of thousands of digits
        raise refusal(f"{path.name} must be TOML in UTF-8: {error}") from error


def first_sentence(
    error: ValidationError, kinds: Collection[str] = (), tags: Collection[str] = ()
) -> str:
    """Return the first broken rule as "<field.path> must be <rule>, not <value>".

    Args:
        error: What the schema found.
        kinds: Tags of a union; pydantic puts them into the path of a field.
        tags: Tags of inner unions, which the file does not spell.
    """
    return _sentence(error.errors()[0], kinds, tags)


def _sentence(error: ErrorDetails, kinds: Collection[str], tags: Collection[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    steps = [step for step in error["loc"] if step not in kinds and step not in tags]
    value: object = error["input"]
    if kind == "rule":
        steps += [context["field"]] if context["field"] else []
        value = context["value"]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    path = path.removeprefix(".") or "the file"
    if kind == "union_tag_not_found":
        return f"kind must be one of {', '.join(kinds)}, not missing"
    if kind == "union_tag_invalid":
        return f"kind must be one of {', '.join(kinds)}, not {context['tag']!r}"
    if kind == "missing":
        return f"{path} must be given, not missing"
    if kind == "extra_forbidden":
        return f"{path} must be a key that the schema knows, not {steps[-1]!r}"
    rules = {
        "rule": context.get("rule", ""),
        "literal_error": context.get("expected", ""),
        "string_type": "text",
        "string_too_short": "a non-empty text",
        "string_pattern_mismatch": "lower-case letters, digits and underscores",
        "bool_type": "true or false",
        "int_type": "an integer",
        "float_type": "a number",
        "list_type": "a list",
        "too_short": "a non-empty list",
        "model_type": "a table of value, unit and source"
        if context.get("class_name") == "Quantity"
        else "a table",
        "greater_than_equal": f"at least {context.get('ge')}",
        "less_than_equal": f"at most {context.get('le')}",
    }
    rule = rules.get(kind, error["msg"])
    shown = value if kind == "rule" and value in ("missing", "none") else _shown(value)
    return f"{path} must be {rule}, not {shown}"


def _shown(value: object) -> str:
    """Return a value as an error shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
