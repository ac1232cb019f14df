"""A user's profile as TOML: rows that replace those of a built-in profile, or stand alone."""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from hwsim.description import Table, first_sentence, read_toml
from hwsim.errors import GraphError, HwsimError
from hwsim.ops import Op
from hwsim.profile import (
    MULTIPLIER_BITS,
    Bounds,
    Clamp,
    Method,
    NumericProfile,
    OperatorRule,
    Overflow,
    Requant,
    ScaleProduct,
)
from hwsim.quant import Rounding

E = TypeVar("E", bound=Enum)
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Span = Annotated[list[int], Field(min_length=2, max_length=2)]

_FIXED: Mapping[tuple[bool, str], Requant] = MappingProxyType(
    {
        (True, "away"): Requant.DOUBLE_ROUNDING,
        (True, "up"): Requant.DOUBLE_HALF_UP,
        (False, "up"): Requant.HALF_UP,
        (False, "away"): Requant.HALF_AWAY,
        (False, "even"): Requant.HALF_EVEN,
        (False, "floor"): Requant.FLOOR,
        (False, "truncate"): Requant.TRUNC,
    }
)
_ONLY_TIES = MappingProxyType({"float32": "even", "float64": "away"})
_FLOATS = MappingProxyType(
    {"float32": Requant.FLOAT32_HALF_EVEN, "float64": Requant.REAL_HALF_AWAY}
)
_INPUT_ROUNDINGS = MappingProxyType(
    {"half_away": Rounding.HALF_AWAY, "half_even": Rounding.HALF_EVEN}
)

_ROUNDING = MappingProxyType(dict.fromkeys(("arithmetic", "shift", "ties", "doubling"), "rounding"))
# Fields of a row by the field of a rule that they give: as they are, or a member by its value.
_SAME = (
    "multiplier_bits", "accumulator_bits", "segments", "equal_segments", "fraction_bits",
    "guard_bits", "left_shift",
)  # fmt: skip
_NAMED: Mapping[str, tuple[str, type[Enum]]] = MappingProxyType(
    {
        "scale_product": ("product", ScaleProduct),
        "method": ("method", Method),
        "clamp": ("clamp", Clamp),
        "bounds": ("bounds", Bounds),
        "overflow": ("overflow", Overflow),
    }
)


class Row(Table):
    """Fields of one rule; what is not given comes from `based_on`, or from the defaults.

    A row that gives a rounding or a method is for every node. Any other keeps the cases that its
    base tells apart (by the bias's width, by a condition on the node) and changes each of them.
    Several rows may name an operator, as long as each gives other fields.

    Args:
        operators: Canonical names, as "conv_2d".
        widths: Activation widths that the row is for.
        arithmetic: What an accumulator is multiplied with: an integer multiplier ("fixed"), the
            scale ratio in float32 or float64, or nothing ("none").
        shift: How a fixed-point product is shifted right.
        ties: Where the middle between two codes goes; for shift = "round" alone.
        doubling: Whether a doubling high multiply rounds first, ties up.
        scale_product: How s_x * s_w / s_out is formed.
        method: How the operator is computed, where there is more than one way.
        multiplier_bits: Fraction bits of the multiplier.
        right_shifts: Smallest and largest right shift; negative shifts left.
        clamp: Codes of the output that are used.
        bounds: How a fused activation narrows them.
        accumulator_bits: Signed width of the accumulator.
        overflow: What the accumulator does beyond it.
        table: Output codes by input code, smallest first, under method = "table".
        segments: Lines of the exponential under method = "piecewise".
        equal_segments: Whether these have one width instead of one error.
        fraction_bits: Fraction bits of the exponential of a softmax, n of ShiftGELU.
        guard_bits: Fraction bits of a line's sum beyond those of the result.
        left_shift: Bits that method = "shifted" gains before a common scale.
    """

    operators: Annotated[list[Text], Field(min_length=1)]
    widths: Annotated[list[Literal[8, 16]], Field(min_length=1)] = [8]
    arithmetic: Literal["fixed", "float32", "float64", "none"] | None = None
    shift: Literal["round", "floor", "truncate"] | None = None
    ties: Literal["up", "away", "even"] | None = None
    doubling: bool | None = None
    scale_product: Text | None = None
    method: Text | None = None
    multiplier_bits: int | None = None
    right_shifts: Span | None = None
    clamp: Text | None = None
    bounds: Text | None = None
    accumulator_bits: int | None = None
    overflow: Text | None = None
    table: list[int] | None = None
    segments: int | None = None
    equal_segments: bool | None = None
    fraction_bits: int | None = None
    guard_bits: int | None = None
    left_shift: int | None = None


class ProfileFile(Table):
    """A profile file.

    Args:
        name: What result files call the profile.
        reproduces: What it describes: a design, its revision.
        based_on: A built-in profile whose rows are kept where no rule replaces them.
        input_rounding: How real inputs become codes; that of `based_on`, or half_even.
        rule: The rows.
    """

    name: Name
    reproduces: Text
    based_on: Text | None = None
    input_rounding: Literal["half_away", "half_even"] | None = None
    rule: Annotated[list[Row], Field(min_length=1)]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile file."""
    return ProfileFile.model_json_schema()


def read_profile(path: Path, built_in: Mapping[str, NumericProfile]) -> NumericProfile:
    """Return the profile that a TOML file describes.

    Args:
        path: The file.
        built_in: Profiles that it may be based on.

    Raises:
        GraphError: If the file breaks the schema or contradicts itself.
    """
    table = read_toml(path, GraphError)
    try:
        content = ProfileFile.model_validate(table)
    except ValidationError as error:
        raise GraphError(f"{path.name}: {first_sentence(error)}") from error
    if content.name in built_in:
        raise GraphError(
            f"{path.name}: name must not be that of a built-in profile, not {content.name!r}"
        )
    base = None
    if content.based_on is not None:
        if content.based_on not in built_in:
            raise GraphError(
                f"{path.name}: based_on must be one of {', '.join(built_in)}, "
                f"not {content.based_on!r}"
            )
        base = built_in[content.based_on]
    rules = dict(base.rules) if base else {}
    said: dict[tuple[Op, int, str], int] = {}
    for index, row in enumerate(content.rule):
        for name in row.operators:
            place = f"{path.name}: rule[{index}], operator {name}"
            try:
                op = _member(Op, name, "operator")
                for width in row.widths:
                    _once(row, op, width, index, said)
                    rules[op, width] = _rule(row, rules.get((op, width)))
            except HwsimError as error:
                raise GraphError(f"{place}: {error}") from error
    rounding = base.input_rounding if base else Rounding.HALF_EVEN
    if content.input_rounding is not None:
        rounding = _INPUT_ROUNDINGS[content.input_rounding]
    return NumericProfile(content.name, content.reproduces, rules, rounding, path.name)


def _once(row: Row, op: Op, width: int, index: int, said: dict[tuple[Op, int, str], int]) -> None:
    """Refuse a field that an earlier row gave; those of one rounding are one field."""
    for field in sorted(row.model_fields_set - {"operators", "widths"}):
        earlier = said.setdefault((op, width, _ROUNDING.get(field, field)), index)
        if earlier != index:
            raise GraphError(
                f"{field} must be given by one rule at {width} bits, not by rule[{earlier}] too"
            )


def _member(kind: type[E], text: str, field: str) -> E:
    try:
        return kind(text)
    except ValueError as error:
        known = ", ".join(member.value for member in kind)
        raise GraphError(f"{field} must be one of {known}, not {text!r}") from error


def _rule(row: Row, base: OperatorRule | None) -> OperatorRule:
    """Return the base's rule with the row's fields in their place."""
    requant = _requant(row)
    if base is None:
        if requant is None:
            raise GraphError("arithmetic must be given where no built-in rule is replaced")
        base = OperatorRule(requant)
    changed = replace(base, **_changes(row, requant, base))
    # What says how to compute is for every node; anything less leaves the base's cases apart.
    whole = requant is not None or row.method is not None
    if whole or row.multiplier_bits is not None:
        changed = replace(changed, narrow_bias=None)
    elif base.narrow_bias is not None:
        changed = replace(changed, narrow_bias=_rule(row, base.narrow_bias))
    if whole:
        return replace(changed, condition=None, otherwise=None)
    if base.otherwise is not None:
        return replace(changed, otherwise=_rule(row, base.otherwise))
    return changed


def _changes(row: Row, requant: Requant | None, base: OperatorRule) -> dict[str, Any]:
    """Return the fields of a rule that a row gives, by name."""
    given: dict[str, Any] = {
        name: getattr(row, name) for name in _SAME if getattr(row, name) is not None
    }
    for field, (name, kind) in _NAMED.items():
        if (text := getattr(row, field)) is not None:
            given[name] = _member(kind, text, field)
    if row.right_shifts is not None:
        given["right_shifts"] = tuple(row.right_shifts)
    if row.table is not None:
        given["table"] = tuple(row.table)
    elif row.method is not None:
        given["table"] = None
    if requant is not None:
        given["requant"] = requant
        if not requant.is_fixed:
            given.setdefault("multiplier_bits", MULTIPLIER_BITS[1])
    return given


def _requant(row: Row) -> Requant | None:
    """Return the rounding that a row describes, or None where it says nothing of it.

    Raises:
        GraphError: If its fields contradict each other.
    """
    if (row.arithmetic, row.shift, row.ties, row.doubling) == (None,) * 4:
        return None
    arithmetic = row.arithmetic or "fixed"
    if arithmetic != "fixed":
        for field, given in (("shift", row.shift), ("doubling", row.doubling)):
            if given is not None:
                raise GraphError(f"{field} must be absent under arithmetic {arithmetic!r}")
        only = _ONLY_TIES.get(arithmetic)
        if row.ties not in (None, only):
            wanted = "absent" if only is None else f"{only!r} or absent"
            raise GraphError(
                f"ties must be {wanted} under arithmetic {arithmetic!r}, not {row.ties!r}"
            )
        return _FLOATS.get(arithmetic, Requant.NONE)
    shift, doubling = row.shift or "round", bool(row.doubling)
    if shift != "round":
        if row.ties is not None:
            raise GraphError(f"ties must be absent under shift {shift!r}, not {row.ties!r}")
        if doubling:
            raise GraphError(f"doubling must be false under shift {shift!r}, not true")
        return _FIXED[False, shift]
    if row.ties is None:
        raise GraphError("ties must be one of up, away, even under shift 'round', not missing")
    if (doubling, row.ties) not in _FIXED:
        raise GraphError(f"ties must be up or away where doubling is true, not {row.ties!r}")
    return _FIXED[doubling, row.ties]
