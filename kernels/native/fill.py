"""Borders of zero points around images, and copies of images into such borders."""

from functools import cache
from typing import Any

from hwsim.kernels.jit import native

from .call import NativeCall, Place
from .layout import Layout
from .memory import array, int64s, pointer


def fill_call(place: Place, layout: Layout, zero: int) -> NativeCall:
    """Return the call that fills the halo around a value, whose first element is at `place`."""
    halo, size = layout.halo, layout.size
    origin = Place(place.value, place.offset - layout.first)
    before = (halo.top * layout.line_pitch) // size + halo.left * layout.shape[-1]
    after = (halo.bottom * layout.line_pitch) // size + halo.right * layout.shape[-1]
    words = (
        origin, layout.images, layout.image_pitch // size, layout.line_pitch // size,
        before, layout.lines, layout.line_elements, after, zero,
    )  # fmt: skip
    return NativeCall(_fill(f"int{8 * size}"), words)


@cache
def _fill(kind: str) -> Any:
    """Return the kernel that fills halos of elements of a kind.

    The end of a line and the start of the next are one run.
    """

    def fill(words: int) -> None:
        at = int64s(words, 9)
        images, image_pitch, pitch = at[1], at[2], at[3]
        before, lines, inner, after, zero = at[4], at[5], at[6], at[7], at[8]
        codes = array(pointer(at[0], kind), (images * image_pitch,))
        for image in range(images):
            start = image * image_pitch
            codes[start : start + before] = zero
            end = start + before + inner
            if pitch > inner:
                for _ in range(lines - 1):
                    codes[end : end + pitch - inner] = zero
                    end += pitch
            else:
                end += (lines - 1) * pitch
            codes[end : end + after] = zero

    return native(fill)


def copy_call(
    source: Place, layout: Layout, target: Place, target_layout: Layout, kind: str = ""
) -> NativeCall:
    """Return the call that copies a value's elements to memory of another layout.

    Where that has wider elements, `kind` is the type of the narrow ones.
    """
    widens = layout.size < target_layout.size
    size = 1 if widens else layout.size
    words = (
        source, layout.image_pitch, layout.line_pitch,
        target, target_layout.image_pitch, target_layout.line_pitch,
        layout.images, layout.lines, layout.line_elements * size,
    )  # fmt: skip
    return NativeCall(_copy(kind, "int16") if widens else _copy("int8", "int8"), words)


@cache
def _copy(kind: str, wide: str) -> Any:
    """Return the kernel that copies lines of elements of one kind to another."""

    def copy(words: int) -> None:
        at = int64s(words, 9)
        for image in range(at[6]):
            for line in range(at[7]):
                source = at[0] + image * at[1] + line * at[2]
                target = at[3] + image * at[4] + line * at[5]
                before = array(pointer(source, kind), (at[8],))
                after = array(pointer(target, wide), (at[8],))
                for index in range(at[8]):
                    after[index] = before[index]

    return native(copy)
