"""What a native operator is made of: calls of machine code on places that a program will fix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .layout import Halo, Layout

SCRATCH = ""
"""The name of a node's own scratch memory in a `Place`."""


class Place(NamedTuple):
    """The address of a value's first element, moved by `offset` bytes."""

    value: str
    offset: int = 0


Word = int | Place | NDArray[Any]
"""An argument: a number, a value's place, or the address of a constant array (C-contiguous)."""


@dataclass(frozen=True)
class NativeCall:
    """A call of a kernel (see `kernels.jit.native`) with its arguments, int64 words."""

    kernel: Any
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Work:
    """The calls of a node in order, and the bytes of scratch that they share."""

    calls: tuple[NativeCall, ...]
    scratch: int = 0


@dataclass(frozen=True)
class Native:
    """A node as machine code.

    Args:
        work: Its calls, once the layout of every value is known by name.
        halos: Halos it would like around its inputs; it must work without.
        flat: Inputs and outputs that must have no halo.
    """

    work: Callable[[Mapping[str, Layout]], Work]
    halos: Mapping[str, Halo] = field(default_factory=lambda: MappingProxyType({}))
    flat: tuple[str, ...] = ()
