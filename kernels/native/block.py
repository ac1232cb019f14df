"""Copies of blocks of elements, with a pitch for every axis of both ends."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from hwsim.kernels.jit import native

from .call import NativeCall, Place, Word
from .layout import Layout
from .memory import array, int64s, pointer

AXES = 6
"""Axes that a block may have."""
_WORDS = 2 + 3 * AXES
_WIDEST = 8  # bytes of an element


def pitches_of(layout: Layout) -> tuple[int, ...]:
    """Return the bytes from an element to the next along every axis."""
    if len(layout.shape) == 4:
        return layout.image_pitch, layout.line_pitch, layout.pixel, layout.size
    counts = layout.shape
    return tuple(layout.size * math.prod(counts[axis + 1 :]) for axis in range(len(counts)))


def copy_block(
    source: Word,
    source_pitches: Sequence[int],
    target: Place,
    target_pitches: Sequence[int],
    shape: Sequence[int],
    size: int,
) -> NativeCall:
    """Return the call that copies a block.

    Args:
        source: First element.
        source_pitches: Bytes from an element to the next along every axis; 0 repeats it.
        target: Where the first one goes.
        target_pitches: The same of the copy.
        shape: Elements of every axis; at most `AXES` of them.
        size: Bytes of an element.
    """
    axes: list[tuple[int, int, int]] = []
    for count, before, after in zip(shape, source_pitches, target_pitches, strict=True):
        if count == 1:
            continue
        outer = axes[-1] if axes else None
        if outer and outer[1:] == (count * before, count * after):
            axes[-1] = (outer[0] * count, before, after)
        else:
            axes.append((count, before, after))
    if axes and axes[-1][1:] == (size, size):
        # Runs are copied by larger elements where they are made of such.
        run = axes.pop()[0] * size
        size = math.gcd(run, _WIDEST)
        if run > size:
            axes.append((run // size, size, size))
    else:
        axes.sort(key=lambda axis: axis[0])  # the longest loop inside
    padded = [(1, 0, 0)] * (AXES - len(axes)) + axes
    words = [number for axis in padded for number in axis]
    return NativeCall(_copy(f"int{8 * size}", size), (source, target, *words))


@cache
def _copy(kind: str, size: int) -> Any:
    """Return the kernel that copies elements of a kind."""

    def copy(fields: int) -> None:
        at = int64s(fields, _WORDS)
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
                            old = array(pointer(source, kind), (count,))
                            new = array(pointer(target, kind), (count,))
                            if before == size and after == size:
                                for index in range(count):
                                    new[index] = old[index]
                            elif before == 0 and after == size:
                                one = old[0]
                                for index in range(count):
                                    new[index] = one
                            else:
                                for index in range(count):
                                    from_one = array(pointer(source + index * before, kind), (1,))
                                    to_one = array(pointer(target + index * after, kind), (1,))
                                    to_one[0] = from_one[0]

    return native(copy)
