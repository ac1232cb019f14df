"""Tiles and loop order of a layer in memories of limited size: an exact search.

A layer is cut into tiles of pixels, filters and channels; three loops run over the tiles. Tiles of
all operands are in the memory while one is computed, a tile is fetched whenever the loops change
it, and partial sums that are not finished when they leave come back. With T_m tiles of pixels, T_n
of filters and T_k of channels, the innermost loop decides what stays:

    outputs stay (channels innermost)   inputs T_n times, weights T_m times, sums once
    weights stay (pixels innermost)     inputs T_n times, weights once, sums 2 T_k - 1 times
    inputs stay (filters innermost)     inputs once, weights T_m times, sums 2 T_k - 1 times

The order of the two outer loops changes nothing, nor do loops over images, rows and columns at
different depths: to move one of them outward or inward to the others never costs more. Of each
axis only the smallest tile for every number of tiles matters, and one of the three sizes follows
from the room that is left; so the search is small, and its optimum is that of all integer tiles
and all orders (`tests/oracle/tiling.py` enumerates them). Windows are never cut.

Source of the counts: the classic loop-order counts of a tiled product, here with partial sums at
the accumulator's width and the halo of convolutions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import sqrt

import numpy as np

from .loop_nest import Ints, LoopNest, PixelTiles, pixel_tiles, tile_sizes

_NEVER = np.int64(1) << 62


class Stationary(Enum):
    """What stays in the memory while the innermost loop over tiles runs."""

    OUTPUT = "os"
    WEIGHT = "ws"
    INPUT = "is"


@dataclass(frozen=True, slots=True)
class Room:
    """One memory and whose tiles lie in it.

    Args:
        bits: What is free for tiles.
        ifmap: Whether input tiles lie in it.
        weights: Whether weight tiles do.
        sums: Whether output tiles do, at the accumulator's width.
    """

    bits: int
    ifmap: bool = True
    weights: bool = True
    sums: bool = True


@dataclass(frozen=True, slots=True)
class Border:
    """What crosses from an outer memory to the memories inside of it.

    Args:
        ifmap_bits: Width of the inputs.
        weight_bits: Width of the weights.
        sum_bits: Width of the accumulator.
        rooms: The memories inside.
        fetch_ifmap: Whether inputs come from outside; else they are inside already, and their
            room is no longer in `rooms`.
        fetch_weights: Whether weights do.
        spill_sums: Whether the outer memory takes partial sums.
    """

    ifmap_bits: int
    weight_bits: int
    sum_bits: int
    rooms: tuple[Room, ...]
    fetch_ifmap: bool = True
    fetch_weights: bool = True
    spill_sums: bool = True

    @property
    def holds_weights(self) -> bool:
        """Whether a weight tile can stay: it has a room, or is inside already."""
        return not self.fetch_weights or any(room.weights for room in self.rooms)


@dataclass(frozen=True, slots=True)
class Tile:
    """Sizes of the largest tile: images, output rows and columns, filters, channels."""

    images: int
    rows: int
    columns: int
    filters: int
    channels: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule of least traffic, and what it moves, all groups together.

    Args:
        stationary: What stays.
        tile: Its tiles.
        trips: Tiles of pixels, filters and channels.
        ifmap_bits: Inputs read from outside.
        weight_bits: Weights read from outside.
        sum_bits: Partial sums written outside, and as many read back; finished outputs are
            not in it.
    """

    stationary: Stationary
    tile: Tile
    trips: tuple[int, int, int]
    ifmap_bits: int
    weight_bits: int
    sum_bits: int

    @property
    def bits(self) -> int:
        """Everything that crosses the border but finished outputs."""
        return self.ifmap_bits + self.weight_bits + 2 * self.sum_bits

    @property
    def order(self) -> str:
        """The loops over tiles from the outside in."""
        loops = {
            Stationary.OUTPUT: ("pixels", "filters", "channels"),
            Stationary.WEIGHT: ("filters", "channels", "pixels"),
            Stationary.INPUT: ("channels", "pixels", "filters"),
        }[self.stationary]
        return " > ".join(loops)


def smallest_bits(nest: LoopNest, border: Border, room: Room) -> int:
    """Return what the smallest tiles of a nest take of a room."""
    tiles = pixel_tiles(nest)
    inputs = int(tiles.inputs[int(np.argmin(tiles.pixels))])
    return (
        inputs * border.ifmap_bits * room.ifmap
        + nest.taps * border.weight_bits * room.weights
        + border.sum_bits * room.sums
    )


@lru_cache(maxsize=1 << 16)
def best_schedule(nest: LoopNest, border: Border) -> Schedule | None:
    """Return the schedule that moves the fewest bits across a border.

    Of equal ones, that of the fewest tiles, then the first of `Stationary`. None if not even the
    smallest tiles fit.
    """
    tiles = pixel_tiles(nest)
    found = [case for case in _cases(nest, border, tiles) if case is not None]
    if not found:
        return None
    chosen = min(found, key=lambda case: (case.bits, np.prod(case.trips)))
    assert chosen.bits >= _floor_bits(nest, border)
    return chosen


def _cases(nest: LoopNest, border: Border, tiles: PixelTiles) -> Iterator[Schedule | None]:
    """Yield the best schedule of each residence."""
    one = np.ones_like(tiles.pixels)
    # Outputs stay: channels do not matter, so a tile has one, and as many filters as fit.
    filters = _most(
        border, nest.filters,
        lambda r: tiles.inputs * border.ifmap_bits * r.ifmap,
        lambda r: nest.taps * border.weight_bits * r.weights
        + tiles.pixels * border.sum_bits * r.sums,
        one,
    )  # fmt: skip
    yield _least(nest, border, tiles, Stationary.OUTPUT, filters, one)
    # Inputs stay: filters do not matter.
    channels = _most(
        border, nest.channels,
        lambda r: tiles.pixels * border.sum_bits * r.sums,
        lambda r: tiles.inputs * border.ifmap_bits * r.ifmap
        + nest.taps * border.weight_bits * r.weights,
        one,
    )  # fmt: skip
    yield _least(nest, border, tiles, Stationary.INPUT, one, channels)
    if not border.holds_weights:
        return
    if nest.sequential:  # all weights or none: every row needs them all
        sizes = np.array([nest.filters], np.int64)
    else:
        sizes = tile_sizes(nest.filters)
    if nest.halo == (0, 0):  # pixels do not matter
        chosen = np.zeros(1, np.int64)
    else:
        chosen = np.arange(tiles.pixels.size)
    at, filters = (axis.ravel() for axis in np.meshgrid(chosen, sizes, indexing="ij"))
    cut = _take(tiles, at)
    channels = _most(
        border, nest.channels,
        lambda r: cut.pixels * filters * border.sum_bits * r.sums,
        lambda r: cut.inputs * border.ifmap_bits * r.ifmap
        + nest.taps * filters * border.weight_bits * r.weights,
        np.ones_like(filters),
    )  # fmt: skip
    if nest.sequential:
        channels = np.where(channels < nest.channels, 0, channels)
    yield _least(nest, border, cut, Stationary.WEIGHT, filters, channels)


def _take(tiles: PixelTiles, at: Ints) -> PixelTiles:
    """Return some of the cuts."""
    return PixelTiles(
        images=tiles.images[at],
        rows=tiles.rows[at],
        columns=tiles.columns[at],
        count=tiles.count[at],
        pixels=tiles.pixels[at],
        inputs=tiles.inputs[at],
        fetched=tiles.fetched[at],
    )


def _most(
    border: Border,
    size: int,
    fixed: Callable[[Room], Ints],
    each: Callable[[Room], Ints | int],
    like: Ints,
) -> Ints:
    """Return how many filters (or channels) fit: the axis takes `each` of them beside `fixed`."""
    most = like * size
    for room in border.rooms:
        left = room.bits - fixed(room)
        share = like * each(room)
        fits = np.where(share > 0, left // np.maximum(share, 1), size)
        most = np.minimum(most, np.where(left < 0, 0, fits))
    return most


def _least(
    nest: LoopNest,
    border: Border,
    tiles: PixelTiles,
    stationary: Stationary,
    filters: Ints,
    channels: Ints,
) -> Schedule | None:
    """Return the best of the given tiles, grown along the axis that costs nothing."""
    fits = (filters > 0) & (channels > 0)
    by_filters = -(-nest.filters // np.maximum(filters, 1))
    by_channels = -(-nest.channels // np.maximum(channels, 1))
    keeps_sums = stationary is Stationary.OUTPUT
    if not (border.spill_sums or keeps_sums):
        fits &= by_channels == 1
    if not fits.any():
        return None
    ifmap = tiles.fetched * nest.channels * border.ifmap_bits * border.fetch_ifmap
    ifmap = ifmap * (1 if stationary is Stationary.INPUT else by_filters)
    weights = np.full_like(ifmap, nest.weight_elements * border.weight_bits * border.fetch_weights)
    weights = weights * (1 if stationary is Stationary.WEIGHT else tiles.count)
    sums = nest.ofmap_elements * border.sum_bits * (0 if keeps_sums else by_channels - 1)
    total = np.where(fits, ifmap + weights + 2 * sums, _NEVER)
    best = int(np.lexsort((tiles.count * by_filters * by_channels, total))[0])
    sums = np.broadcast_to(sums, total.shape)
    free = _grown(nest, border, stationary, tiles, best, int(filters[best]), int(channels[best]))
    return Schedule(
        stationary=stationary,
        tile=free,
        trips=(
            -(-nest.images // free.images)
            * -(-nest.rows // free.rows)
            * -(-nest.columns // free.columns)
            if nest.halo != (0, 0)
            else -(-nest.pixels // free.columns),
            -(-nest.filters // free.filters),
            -(-nest.channels // free.channels),
        ),
        ifmap_bits=nest.groups * int(ifmap[best]),
        weight_bits=nest.groups * int(weights[best]),
        sum_bits=nest.groups * int(sums[best]),
    )


def _grown(
    nest: LoopNest,
    border: Border,
    stationary: Stationary,
    tiles: PixelTiles,
    best: int,
    filters: int,
    channels: int,
) -> Tile:
    """Return a tile as large as it may be along the axis that its traffic does not depend on."""
    cut = _take(tiles, np.array([best]))
    one = np.ones(1, np.int64)
    if stationary is Stationary.OUTPUT:
        filters = -(-nest.filters // -(-nest.filters // filters))
        channels = int(
            _most(
                border, nest.channels,
                lambda r: cut.pixels * filters * border.sum_bits * r.sums,
                lambda r: cut.inputs * border.ifmap_bits * r.ifmap
                + nest.taps * filters * border.weight_bits * r.weights,
                one,
            )[0]
        )  # fmt: skip
    elif stationary is Stationary.INPUT:
        channels = -(-nest.channels // -(-nest.channels // channels))
        filters = int(
            _most(
                border, nest.filters,
                lambda r: cut.inputs * channels * border.ifmap_bits * r.ifmap,
                lambda r: nest.taps * channels * border.weight_bits * r.weights
                + cut.pixels * border.sum_bits * r.sums,
                one,
            )[0]
        )  # fmt: skip
    elif nest.halo == (0, 0) and not nest.sequential:
        every = pixel_tiles(nest)
        fits = np.ones(every.pixels.shape, bool)
        for room in border.rooms:
            used = (
                every.inputs * channels * border.ifmap_bits * room.ifmap
                + nest.taps * filters * channels * border.weight_bits * room.weights
                + every.pixels * filters * border.sum_bits * room.sums
            )
            fits &= used <= room.bits
        cut = _take(every, np.array([int(np.flatnonzero(fits)[-1])]))
    return Tile(
        images=int(cut.images[0]),
        rows=int(cut.rows[0]),
        columns=int(cut.columns[0]),
        filters=-(-nest.filters // -(-nest.filters // filters)),
        channels=-(-nest.channels // -(-nest.channels // channels)),
    )


def io_floor_words(nest: LoopNest, words: float) -> float:
    """Return the words that a group must at least move across the border of `words` words.

    Inputs and weights read, partial sums both ways, finished outputs written: at least
    2 MACs / sqrt(S) - 2 S for a matrix product, because 2 S transfers bring no more than 3 S
    operands together, and those make at most S^1.5 products (Loomis and Whitney). An input of a
    convolution stands in up to r = ceil(kernel / stride) windows along each axis, so that S grows
    to r_h r_w S under the root; and as its sums start without being read, so many words less.

    Source: Hong and Kung, STOC 1981; Smith et al., arXiv:1702.02017, for the constant 2.
    """
    high, wide = (
        -(-(halo + step) // step) for halo, step in zip(nest.halo, nest.step, strict=True)
    )
    floor = 2 * nest.macs / nest.groups / sqrt(high * wide * words) - 2 * words
    return max(floor - nest.ofmap_elements * (high * wide > 1), 0.0)


def _floor_bits(nest: LoopNest, border: Border) -> float:
    """Return what no schedule can go below, finished outputs left out."""
    ifmap = nest.ifmap_elements * border.ifmap_bits * border.fetch_ifmap
    compulsory = ifmap + nest.weight_elements * border.weight_bits * border.fetch_weights
    if not (border.fetch_ifmap and border.fetch_weights):
        return float(nest.groups * compulsory)
    narrowest = min(border.ifmap_bits, border.weight_bits, border.sum_bits)
    # An operand without a room of its own passes through, an element of a window at a time.
    words = sum(room.bits for room in border.rooms) / narrowest + 2 * nest.taps
    moved = io_floor_words(nest, words) - nest.ofmap_elements
    return float(nest.groups * max(compulsory, moved * narrowest))
