"""When two lowered operators are provably the same function."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from types import FunctionType
from typing import Any

import numpy as np

from .arith import Scaling
from .lower_linear import Step
from .scaling import Scratch


def same_step(a: Step, b: Step) -> bool:
    """Whether two steps run the same code on equal constants: a proof, never a guess.

    False says nothing: different code may compute the same function.
    """
    return _same(a, b)


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, FunctionType):
        return _same_functions(a, b)
    if isinstance(a, np.ndarray | np.generic):
        return bool(a.dtype == b.dtype and np.array_equal(a, b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, Scratch):
        return bool(a.kind == b.kind)
    if is_dataclass(a):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if a is None or isinstance(a, bool | int | float | str | slice | Enum):
        return bool(a == b)
    return False


def _same_functions(a: Callable[..., Any], b: Callable[..., Any]) -> bool:
    if a.__code__ is not b.__code__ or not _same(a.__defaults__, b.__defaults__):
        return False
    cells = zip(a.__closure__ or (), b.__closure__ or (), strict=True)
    return all(_same(one.cell_contents, two.cell_contents) for one, two in cells)


def apart_only_in_scaling(a: Step, b: Step) -> tuple[Scaling, Scaling] | None:
    """Return the scalings of two steps that are one function but for how they requantize.

    None where they differ in something else, or in more than one scaling.
    """
    if not (isinstance(a, FunctionType) and isinstance(b, FunctionType)):
        return None
    if a.__code__ is not b.__code__:
        return None
    found: list[tuple[Scaling, Scaling]] = []
    for one, two in zip(a.__closure__ or (), b.__closure__ or (), strict=True):
        left, right = one.cell_contents, two.cell_contents
        if _same(left, right):
            continue
        if not (isinstance(left, Scaling) and isinstance(right, Scaling)):
            return None
        found.append((left, right))
    return found[0] if len(found) == 1 else None
