"""Where the codes of a value lie: plain, or with a border of zero points around each image."""

import math
from dataclasses import dataclass
from typing import NamedTuple


class Halo(NamedTuple):
    """Pixels of zero point around an image, so that a convolution needs no bounds."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def around(self, other: "Halo") -> "Halo":
        """Return the halo that holds both."""
        return Halo(*map(max, self, other))

    def holds(self, other: "Halo") -> bool:
        """Return whether no side is narrower than another halo's."""
        return all(own >= needed for own, needed in zip(self, other, strict=True))


NO_HALO = Halo()


@dataclass(frozen=True)
class Layout:
    """The memory of a value.

    Args:
        shape: Its shape; NHWC where it has a halo.
        size: Bytes of an element.
        halo: Pixels around each image.
    """

    shape: tuple[int, ...]
    size: int
    halo: Halo = NO_HALO

    @property
    def is_flat(self) -> bool:
        """Whether elements follow each other without gaps."""
        return self.halo == NO_HALO

    @property
    def lines(self) -> int:
        """Rows of an image, over all that is not flat: 1 for a value without images."""
        return 1 if len(self.shape) != 4 else self.shape[1]

    @property
    def images(self) -> int:
        """Images: 1 for a value without them."""
        return 1 if len(self.shape) != 4 else self.shape[0]

    @property
    def line_elements(self) -> int:
        """Elements of a line, one after the other."""
        return math.prod(self.shape) if len(self.shape) != 4 else self.shape[2] * self.shape[3]

    @property
    def pixel(self) -> int:
        """Bytes of a pixel."""
        return self.shape[-1] * self.size

    @property
    def line_pitch(self) -> int:
        """Bytes from a line to the next."""
        if len(self.shape) != 4:
            return self.line_elements * self.size
        return (self.shape[2] + self.halo.left + self.halo.right) * self.pixel

    @property
    def image_pitch(self) -> int:
        """Bytes from an image to the next."""
        return (self.lines + self.halo.top + self.halo.bottom) * self.line_pitch

    @property
    def first(self) -> int:
        """Byte of the first element, counted from the start of the memory."""
        if self.is_flat:
            return 0
        return self.halo.top * self.line_pitch + self.halo.left * self.pixel

    @property
    def bytes(self) -> int:
        """Bytes of all."""
        return self.images * self.image_pitch
