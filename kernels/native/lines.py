"""How values are walked: lines of elements that follow each other, and the pitches between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .call import Place, Word
from .layout import Layout

_LINE = 512


@dataclass(frozen=True)
class Spot:
    """A value in memory, or a constant: where its first element is, and how it lies."""

    place: Place | NDArray[Any]
    layout: Layout


@dataclass(frozen=True)
class Lines:
    """A walk over values of one shape.

    Args:
        images: Outer steps.
        lines: Inner steps.
        count: Elements of a line.
        pitches: Bytes of an outer and of an inner step, for every value.
    """

    images: int
    lines: int
    count: int
    pitches: tuple[tuple[int, int], ...]

    def words(self, spots: Sequence[Spot]) -> tuple[Word, ...]:
        """Return the arguments: images, lines, count, then place and pitches of every value."""
        made: list[Word] = [self.images, self.lines, self.count]
        for spot, (image, line) in zip(spots, self.pitches, strict=True):
            made += [spot.place, image, line]
        return tuple(made)


def lines_of(spots: Sequence[Spot], channels: int = 0) -> Lines:
    """Return the walk of values of one shape with the longest lines.

    Args:
        spots: Where they lie.
        channels: If given, a line is whole pixels of so many elements, and every line has as many.
    """
    layouts = [spot.layout for spot in spots]
    first = layouts[0]
    if not all(layout.is_flat for layout in layouts):
        pitches = tuple((layout.image_pitch, layout.line_pitch) for layout in layouts)
        return Lines(first.images, first.lines, first.line_elements, pitches)
    elements = first.images * first.lines * first.line_elements
    if not channels:
        return Lines(1, 1, elements, tuple((0, 0) for _ in layouts))
    pixels = elements // channels
    together = max(n for n in range(1, _LINE // channels + 2) if pixels % n == 0)
    count = together * channels
    return Lines(1, elements // count, count, tuple((0, count * layout.size) for layout in layouts))
