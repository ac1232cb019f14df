"""Every tile and every loop order of a small layer, walked step by step.

The slow, obvious version of `hwsim.energy.schedule`: five loops over tiles (images, rows, columns,
filters, channels) in all 120 orders, all integer tile sizes; one tile of each operand is in the
memory, and what changes is fetched.
"""

from dataclasses import dataclass
from itertools import permutations, product


@dataclass(frozen=True)
class Layer:
    """A convolution without padding: the input is as large as its windows need."""

    images: int
    rows: int
    columns: int
    filters: int
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Memories:
    """Bits of every memory and the operands ("i", "w", "o") whose tiles lie in it."""

    bits: tuple[int, ...]
    holds: tuple[str, ...]
    widths: tuple[int, int, int]
    spill_sums: bool = True
    ifmap_outside: bool = True


def tile_bits(layer: Layer, widths: tuple[int, int, int], tile: tuple[int, ...]) -> dict[str, int]:
    """Return the bits of a full tile of each operand."""
    images, rows, columns, filters, channels = tile
    high, wide = spans(layer, 0, rows), spans(layer, 1, columns)
    return {
        "i": images * high * wide * channels * widths[0],
        "w": layer.kernel[0] * layer.kernel[1] * filters * channels * widths[1],
        "o": images * rows * columns * filters * widths[2],
    }


def spans(layer: Layer, axis: int, outputs: int) -> int:
    """Return the input rows (or columns) under so many windows, gaps between them included."""
    return (outputs - 1) * layer.stride[axis] + max(layer.kernel[axis], layer.stride[axis])


def least_bits(layer: Layer, memories: Memories) -> int | None:
    """Return the fewest bits from and to the outer memory, finished outputs left out."""
    sizes = (layer.images, layer.rows, layer.columns, layer.filters, layer.channels)
    least = None
    for tile in product(*(range(1, size + 1) for size in sizes)):
        bits = tile_bits(layer, memories.widths, tile)
        if any(
            sum(bits[operand] for operand in held) > room
            for room, held in zip(memories.bits, memories.holds, strict=True)
        ):
            continue
        # A loop of one tile has no place in an order.
        loops = [axis for axis in range(5) if tile[axis] < sizes[axis]]
        rest = [axis for axis in range(5) if tile[axis] == sizes[axis]]
        for order in permutations(loops):
            moved = walk(layer, memories, tile, (*order, *rest))
            if moved is not None and (least is None or moved < least):
                least = moved
    return least


def walk(
    layer: Layer, memories: Memories, tile: tuple[int, ...], order: tuple[int, ...]
) -> int | None:
    """Return the bits that one schedule moves, None if it cannot be done."""
    sizes = (layer.images, layer.rows, layer.columns, layer.filters, layer.channels)
    counts = [-(-size // part) for size, part in zip(sizes, tile, strict=True)]
    here: dict[str, tuple[int, ...] | None] = {"i": None, "w": None, "o": None}
    begun: set[tuple[int, ...]] = set()
    moved = 0
    steps = list(product(*(range(counts[axis]) for axis in order)))
    visits: dict[tuple[int, ...], int] = {}
    for step in steps:
        at = dict(zip(order, step, strict=True))
        key = (at[0], at[1], at[2], at[3])
        visits[key] = visits.get(key, 0) + 1
    seen: dict[tuple[int, ...], int] = {}
    held_weights = any("w" in held for held in memories.holds)
    for step in steps:
        at = dict(zip(order, step, strict=True))
        part = {axis: min(tile[axis], sizes[axis] - at[axis] * tile[axis]) for axis in range(5)}
        now = {
            "i": (at[0], at[1], at[2], at[4]),
            "w": (at[3], at[4]),
            "o": (at[0], at[1], at[2], at[3]),
        }
        bits = tile_bits(layer, memories.widths, tuple(part[axis] for axis in range(5)))
        if now["i"] != here["i"] and memories.ifmap_outside:
            moved += bits["i"]
        # Weights without a memory pass through: they come for every tile of pixels.
        if now["w"] != here["w"] or (not held_weights and now["o"][:3] != (here["o"] or ())[:3]):
            moved += bits["w"]
        if now["o"] != here["o"]:
            if now["o"] in begun:
                moved += bits["o"]  # partial sums come back
            begun.add(now["o"])
            left = here["o"]
            if left is not None and seen[left] < visits[left]:
                if not memories.spill_sums:
                    return None
                moved += left_bits(layer, memories, tile, left)
        seen[now["o"]] = seen.get(now["o"], 0) + 1
        here = dict(now)
    return moved


def left_bits(layer: Layer, memories: Memories, tile: tuple[int, ...], at: tuple[int, ...]) -> int:
    """Return the bits of an output tile that is written out unfinished."""
    sizes = (layer.images, layer.rows, layer.columns, layer.filters)
    count = memories.widths[2]
    for axis, size in enumerate(sizes):
        count *= min(tile[axis], size - at[axis] * tile[axis])
    return count
