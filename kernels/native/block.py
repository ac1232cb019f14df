"""Copies of blocks of elements, with a pitch for every axis of both ends."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from hwsim.kernels.jit import native

from .call import NativeCall, Place
from .memory import array, int64s, pointer

_AXES = 6


def copy_elements(
    source: Place,
    source_pitches: Sequence[int],
    target: Place,
    target_pitches: Sequence[int],
    shape: Sequence[int],
    size: int,
) -> NativeCall | None:
    """Return the call that copies a block, or None where it has too many axes.

    Args:
        source: First element.
        source_pitches: Bytes from an element to the next along every axis; 0 repeats it.
        target: Where the first one goes.
        target_pitches: The same of the copy.
        shape: Elements of every axis.
        size: Bytes of an element.
    """
    axes = [
        [count, before, after]
        for count, before, after in zip(shape, source_pitches, target_pitches, strict=True)
        if count != 1
    ]
    joined: list[list[int]] = []
    for count, before, after in axes:
        outer = joined[-1] if joined else None
        if outer and outer[1] == count * before and outer[2] == count * after:
            joined[-1] = [outer[0] * count, before, after]
        else:
            joined.append([count, before, after])
    if len(joined) > _AXES or any(pitch % size for axis in joined for pitch in axis[1:]):
        return None
    padded = [[1, 0, 0]] * (_AXES - len(joined)) + joined
    words = [number for axis in padded for number in axis]
    return NativeCall(_copy(f"int{8 * size}", size), (source, target, *words))


@cache
def _copy(kind: str, size: int) -> Any:
    """Return the kernel that copies elements of a kind."""
    words = 2 + 3 * _AXES

    def copy(fields: int) -> None:
        at = int64s(fields, words)
        count, before, after = at[17], at[18], at[19]
        for i in range(at[2]):
            for j in range(at[5]):
                for k in range(at[8]):
                    for m in range(at[11]):
                        for n in range(at[14]):
                            source = (
                                at[0] + i * at[3] + j * at[6] + k * at[9] + m * at[12] + n * at[15]
                            )
                            target = (
                                at[1] + i * at[4] + j * at[7] + k * at[10] + m * at[13] + n * at[16]
                            )
                            if before == size and after == size:
                                old = array(pointer(source, kind), (count,))
                                new = array(pointer(target, kind), (count,))
                                for index in range(count):
                                    new[index] = old[index]
                            else:
                                for index in range(count):
                                    old = array(pointer(source + index * before, kind), (1,))
                                    new = array(pointer(target + index * after, kind), (1,))
                                    new[0] = old[0]

    return native(copy)
