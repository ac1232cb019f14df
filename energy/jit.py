"""The decorator that compiles a simulator's loops."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def jit(function: F) -> F:
    """Compile a loop: no GIL, no fast math, in memory only."""
    return cast(F, numba.njit(nogil=True)(function))
