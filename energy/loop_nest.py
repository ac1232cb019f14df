"""A layer as a loop nest: its sizes, and how its output pixels can be cut into tiles."""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from hwsim.workload import Layer, Work

Ints = NDArray[np.int64]

MULTIPLIES = (Work.CONV, Work.DEPTHWISE, Work.FULLY_CONNECTED, Work.MATMUL, Work.RECURRENT)


@dataclass(frozen=True, slots=True)
class LoopNest:
    """One of the equal, independent parts ("groups") of a layer that multiplies.

    Args:
        groups: Parts.
        images: Inputs of a batch; 1 for a matrix, whose rows hold the batch.
        rows: Output rows; 1 for a matrix.
        columns: Output columns; rows of a matrix.
        filters: Output channels.
        channels: Input channels; the reduction of a matrix.
        taps: Elements of the window, all taken by one tile.
        plane: Input (height, width) as stored, without padding.
        step: Input rows and columns that the next output is away.
        halo: Input rows and columns that neighboring tiles share.
        sequential: Whether a row can only be computed when the row before it is whole.
    """

    groups: int
    images: int
    rows: int
    columns: int
    filters: int
    channels: int
    taps: int = 1
    plane: tuple[int, int] = (1, 1)
    step: tuple[int, int] = (1, 1)
    halo: tuple[int, int] = (0, 0)
    sequential: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.pixels * self.filters * self.channels * self.taps

    @property
    def pixels(self) -> int:
        """Output pixels of the batch."""
        return self.images * self.rows * self.columns

    @property
    def ifmap_elements(self) -> int:
        """Stored inputs of one group."""
        return self.images * self.plane[0] * self.plane[1] * self.channels

    @property
    def weight_elements(self) -> int:
        """Weights (or the second operand) of one group."""
        return self.filters * self.channels * self.taps

    @property
    def ofmap_elements(self) -> int:
        """Outputs of one group."""
        return self.pixels * self.filters


def matrix(
    rows: int, filters: int, depth: int, groups: int = 1, *, sequential: bool = False
) -> LoopNest:
    """Return the nest of a product (rows x depth) * (depth x filters)."""
    return LoopNest(groups, 1, 1, rows, filters, depth, plane=(1, rows), sequential=sequential)


def loop_nest(layer: Layer) -> LoopNest:
    """Return the nest of a layer that multiplies.

    A convolution whose shapes the layer does not state in full is taken as the matrix product
    that it is lowered to, without padding: an upper bound of its inputs.
    """
    sequential = layer.work is Work.RECURRENT
    as_matrix = matrix(layer.m, layer.n, layer.k, layer.groups, sequential=sequential)
    if layer.work not in (Work.CONV, Work.DEPTHWISE) or len(layer.out_shape) != 4:
        return as_matrix
    images, rows, columns, outputs = layer.out_shape
    taps = layer.kernel[0] * layer.kernel[1]
    # A transposed convolution has its filters times taps in n, and no window.
    lowered = images * rows * columns == layer.m and outputs == layer.n * layer.groups
    if not lowered or layer.k % taps:
        return as_matrix
    span = tuple(
        (size - 1) * spread + 1 for size, spread in zip(layer.kernel, layer.dilation, strict=True)
    )
    window = tuple(
        (size - 1) * step + reach
        for size, step, reach in zip((rows, columns), layer.stride, span, strict=True)
    )
    stated = layer.in_shape[1:3] if len(layer.in_shape) == 4 else window
    return LoopNest(
        groups=layer.groups,
        images=images,
        rows=rows,
        columns=columns,
        filters=layer.n,
        channels=layer.k // taps,
        taps=taps,
        plane=(stated[0], stated[1]),
        step=layer.stride,
        halo=(max(span[0] - layer.stride[0], 0), max(span[1] - layer.stride[1], 0)),
    )


def tile_sizes(size: int) -> Ints:
    """Return the smallest tile for every number of tiles that an axis can be cut into."""
    root = isqrt(size)
    few = {-(-size // count) for count in range(1, root + 1)}
    many = {-(-size // -(-size // tile)) for tile in range(1, root + 2) if tile <= size}
    return np.array(sorted(few | many), dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PixelTiles:
    """Every useful cut of a nest's output pixels, one entry of each array per cut.

    Args:
        images: Images of a tile.
        rows: Output rows of a tile.
        columns: Output columns of a tile.
        count: Tiles.
        pixels: Output pixels of a tile.
        inputs: Input elements of a tile and a channel, halo included.
        fetched: Input elements of all tiles and a channel, shared ones as often as they are read.
    """

    images: Ints
    rows: Ints
    columns: Ints
    count: Ints
    pixels: Ints
    inputs: Ints
    fetched: Ints


@lru_cache(maxsize=4096)
def pixel_tiles(nest: LoopNest) -> PixelTiles:
    """Return the cuts of a nest.

    Where windows do not overlap, a tile is any run of pixels; where they do, a box of images,
    rows and columns. Padding is never fetched.
    """
    height, width = nest.plane
    if nest.sequential or nest.halo == (0, 0):
        runs = np.ones(1, np.int64) if nest.sequential else tile_sizes(nest.pixels)
        stored = nest.images * height * width
        inputs = np.minimum(runs * nest.step[0] * nest.step[1], stored)
        one = np.ones_like(runs)
        fetched = np.full_like(runs, stored)
        return PixelTiles(one, one, runs, -(-nest.pixels // runs), runs, inputs, fetched)
    images, rows, columns = (
        axis.ravel()
        for axis in np.meshgrid(
            tile_sizes(nest.images), tile_sizes(nest.rows), tile_sizes(nest.columns), indexing="ij"
        )
    )
    down, across = -(-nest.rows // rows), -(-nest.columns // columns)
    high = np.minimum(rows * nest.step[0] + nest.halo[0], height)
    wide = np.minimum(columns * nest.step[1] + nest.halo[1], width)
    return PixelTiles(
        images=images,
        rows=rows,
        columns=columns,
        count=-(-nest.images // images) * down * across,
        pixels=images * rows * columns,
        inputs=images * high * wide,
        fetched=nest.images
        * np.minimum(height + (down - 1) * nest.halo[0], down * height)
        * np.minimum(width + (across - 1) * nest.halo[1], across * width),
    )
