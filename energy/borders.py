"""The borders of a memory hierarchy: which level feeds which, for either kind of operand."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.platform import MemoryLevel


@dataclass(frozen=True, slots=True)
class Stage:
    """A border: where activations and weights come from, and where to; None where not at all."""

    ifmap_in: MemoryLevel | None
    ifmap_out: MemoryLevel | None
    weights_in: MemoryLevel | None
    weights_out: MemoryLevel | None


def stages(
    ifmap: Sequence[MemoryLevel], weights: Sequence[MemoryLevel], *, kept: bool
) -> list[Stage]:
    """Return the borders from the inside out."""
    if ifmap[-1].on_chip:
        ifmap_in, ifmap_out = list(ifmap), [*ifmap[1:], None]
    else:
        ifmap_in, ifmap_out = list(ifmap[:-1]), list(ifmap[1:])
    outside = not (weights[-1].on_chip or kept)
    weights_in = list(weights[:-1]) if outside else list(weights)
    weights_out = list(weights[1:]) if outside else [*weights[1:], None]
    count = max(len(ifmap_in), len(weights_in), 1)
    found = []
    for depth in range(count):  # from the outside in
        inner = ifmap_in[-1 - depth] if depth < len(ifmap_in) else None
        outer = ifmap_out[-1 - depth] if depth < len(ifmap_out) else None
        if inner is None and depth == len(ifmap_in):
            outer = ifmap[0]  # nothing inside: streams past
        within = weights_in[-1 - depth] if depth < len(weights_in) else None
        source = weights_out[-1 - depth] if depth < len(weights_out) else None
        if within is None and depth == len(weights_in):
            source = weights[0]
        found.append(Stage(inner, outer, within, source))
    return found[::-1]
