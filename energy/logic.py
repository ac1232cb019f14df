"""What a circuit takes of an FPGA."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Logic:
    """Primitives of a circuit; fractions where they are estimated, whole where measured.

    Args:
        lut: Look-up tables.
        lc: Look-up table sites: two small tables share one where that is always legal. It ignores
            that a carry chain occupies whole slices; `sites` does not.
        ff: Flip-flops.
        carry4: Carry chains of four bits; each lies in a slice of four sites.
        dsp: Multiplier blocks.
        bram_18k: Memory blocks of 18 Kib.
    """

    lut: float = 0.0
    lc: float = 0.0
    ff: float = 0.0
    carry4: float = 0.0
    dsp: float = 0.0
    bram_18k: float = 0.0

    @property
    def sites(self) -> float:
        """Sites if every carry chain keeps its slice to itself: an upper end of `lc`."""
        return max(self.lc, 4 * self.carry4)

    def __add__(self, other: "Logic") -> "Logic":
        """Return both circuits side by side."""
        return Logic(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, count: float) -> "Logic":
        """Return so many copies."""
        return Logic(*(getattr(self, f.name) * count for f in fields(self)))
