"""Convolutions and fully connected layers as matrix products over rows of codes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import ConvAttrs
from hwsim.graph import Value
from hwsim.kernels.arith import Scaling
from hwsim.kernels.scaling import Site, aligned
from hwsim.quant import IntType

from .call import SCRATCH, Native, NativeCall, Place, Word, Work
from .fill import copy_call, fill_call
from .layout import NO_HALO, Halo, Layout
from .matrix_kernel import matrix_kernel
from .packing import (
    Factors,
    folded_bias,
    pack_factors,
    pack_weights,
    read_wide,
    turned_zero,
    whole_range,
)
from .target import Tier
from .tile import Codes, Field, Shape, Variant

Constants = Mapping[str, NDArray[Any] | Scaling | int]
_MOST_GROUPS = 16


@dataclass(frozen=True)
class Product:
    """A packed matrix, ready to meet rows of codes.

    Args:
        kernel: Machine code.
        shape: Its tile.
        codes: How activations are read.
        segments: Runs of codes a row reads.
        groups: Groups of codes in a run; groups of taps of a depthwise convolution.
        weights: Packed.
        bias: int32, zero points folded in.
        factors: Requantization.
        columns: How many.
    """

    kernel: Any
    shape: Shape
    codes: Codes
    segments: int
    groups: int
    weights: NDArray[np.integer]
    bias: NDArray[np.int32]
    factors: Factors
    columns: int

    def call(
        self,
        x: Place,
        rows: NDArray[np.int64],
        segments: NDArray[np.int64],
        out: Place,
        targets: NDArray[np.int64],
        images: int = 1,
        pitches: tuple[int, int] = (0, 0),
    ) -> NativeCall:
        """Return the call for rows at byte offsets `rows` from x that end at `targets` from out.

        Args:
            x: Codes.
            rows: Where each row's segments start.
            segments: Where each segment starts in a row.
            out: Result.
            targets: Where each row's result goes.
            images: Times that all is repeated.
            pitches: Bytes from image to image, of x and of the result.
        """
        factors = self.factors
        count = -(-rows.size // self.shape.rows) * self.shape.rows
        words: dict[Field, Word] = {
            Field.X: x,
            Field.X_IMAGE: pitches[0],
            Field.ROW_OFFSETS: _table(rows, count),
            Field.SEGMENTS: self.segments,
            Field.SEGMENT_OFFSETS: _table(segments, segments.size + -segments.size % 4),
            Field.GROUPS: self.groups,
            Field.WEIGHTS: self.weights,
            Field.BIAS: self.bias,
            Field.MULTIPLIER: factors.multiplier,
            Field.LEFT: factors.left,
            Field.RIGHT: factors.right,
            Field.REAL: factors.real,
            Field.OUT: out,
            Field.OUT_IMAGE: pitches[1],
            Field.OUT_OFFSETS: _table(targets, count),
            Field.IMAGES: images,
            Field.ROWS: count,
            Field.COLUMNS: self.columns,
            Field.ZERO: factors.zero,
            Field.LOW: factors.low,
            Field.HIGH: factors.high,
            Field.WEIGHTS_IMAGE: 0,
            Field.BIAS_IMAGE: 0,
            Field.SIGNS: _signs(self.codes.signs),
        }
        return NativeCall(self.kernel, tuple(words[field] for field in Field))


def _table(offsets: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return offsets as int32, the last repeated: a tile may do a row twice, to the same end."""
    made = aligned((count,), np.int32)
    made[: offsets.size] = offsets
    made[offsets.size :] = offsets[-1]
    return made


@cache
def _signs(word: int) -> NDArray[np.uint32]:
    """Return the widest vector of a word."""
    made: NDArray[np.uint32] = aligned((16,), np.uint32)
    made[:] = word
    return made


def best_shape(tier: Tier, rows: int, columns: int, out: IntType, factors: Factors) -> Shape:
    """Return the tile that wastes least: vectors that cover the columns, or one row at a time."""
    shapes = TILES[tier.name]
    waste = [-(-columns // (vectors * tier.lanes)) * vectors for _, vectors in shapes]
    rows_of, vectors = (1, 4) if rows == 1 else shapes[waste.index(min(waste))]
    size = np.dtype(out.storage).itemsize
    return Shape(rows_of, vectors, size, factors.near, whole_range(factors, out))


# Rows x vectors that keep their accumulators in registers, widest first.
TILES = {
    "vnni512": ((4, 4), (8, 2), (16, 1)),
    "avxvnni": ((6, 2), (8, 1)),
    "avx2": ((6, 2), (8, 1)),
    "neon_dot": ((4, 4), (8, 2), (16, 1)),
    "generic": ((6, 1),),  # SSE2 has 16 registers of half a vector
}


def product(
    tier: Tier,
    codes: Codes,
    zero: int,
    weights: NDArray[np.integer],
    bias: NDArray[np.int64],
    scaling: Scaling,
    rows: int,
    out: IntType,
    bits: int,
) -> Product | None:
    """Return a packed matrix, or None if machine code has no form for it.

    Args:
        tier: Instructions.
        codes: How activations are read.
        zero: Their zero point as it is read.
        weights: Centered, (segments, K, N).
        bias: Per column.
        scaling: Requantization.
        rows: Rows that will be computed at a time.
        out: Type of the result.
        bits: Width that holds every accumulator.
    """
    columns = weights.shape[2]
    factors = pack_factors(scaling, columns, out.bits, bits)
    if factors is None or 0 in weights.shape:
        return None
    shape = best_shape(tier, rows, columns, out, factors)
    return Product(
        matrix_kernel(Variant(tier, codes, shape, factors.rule)),
        shape,
        codes,
        weights.shape[0],
        -(-weights.shape[1] // codes.group),
        pack_weights(weights, codes, shape, tier.lanes),
        folded_bias(bias, weights, zero),
        factors,
        columns,
    )


def fully_connected(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return FULLY_CONNECTED as machine code."""
    x, out = site.operand(0), site.result()
    weights, bias, scaling = (constants[name] for name in ("weights", "bias", "requantize"))
    assert isinstance(weights, np.ndarray) and isinstance(bias, np.ndarray)
    assert isinstance(scaling, Scaling)
    channels, depth = weights.shape
    rows = math.prod(x.shape) // depth if depth else 0
    dtype = site.integer(x)
    codes = read_wide(dtype, weights, tier)
    if bits > 32 or not rows or codes is None:
        return None
    zero = turned_zero(int(site.zero_of(x)), dtype, codes)
    made = product(tier, codes, zero, weights.T[None], bias, scaling, rows, site.integer(out), bits)
    if made is None:
        return None

    def work(layouts: Mapping[str, Layout]) -> Work:
        size = codes.size
        place, _, calls, scratch = bordered(x, layouts[x.name], NO_HALO, size)
        lines = np.arange(rows)
        call = made.call(
            place, lines * depth * size, np.zeros(1, np.int64),
            Place(out.name), lines * channels * made.shape.out_size,
        )  # fmt: skip
        return Work((*calls, call), scratch)

    return Native(work, flat=(x.name, out.name))


def conv_2d(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return CONV_2D as machine code."""
    weights = constants["weights"]
    assert isinstance(weights, np.ndarray)
    return convolution(tier, site, weights, constants, bits)


def convolution(
    tier: Tier, site: Site, weights: NDArray[np.integer], constants: Constants, bits: int
) -> Native | None:
    """Return a convolution by weights (groups, outputs of a group, kh, kw, inputs of a group)."""
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, ConvAttrs)
    bias, scaling = constants["bias"], constants["requantize"]
    assert isinstance(bias, np.ndarray) and isinstance(scaling, Scaling)
    groups, per_group, taps_h, taps_w, depth = weights.shape
    if bits > 32 or groups > _MOST_GROUPS or 0 in (*x.shape, *out.shape, taps_h, taps_w):
        return None
    joined = groups == 1 and attrs.dilation[1] == 1
    segments = (taps_h, taps_w * depth) if joined else (taps_h * taps_w, depth)
    pixels = 1
    if joined:
        depths = (segments[1], attrs.stride[1] * depth)
        pixels = folded_pixels(tier, segments[0], depths, per_group, out.shape[2])
    # One reading for all groups, whatever the range of a group's own weights.
    dtype = site.integer(x)
    codes = read_wide(dtype, weights, tier)
    if codes is None:
        return None
    zero = turned_zero(int(site.zero_of(x)), dtype, codes)
    made = []
    for group in range(groups):
        own = slice(group * per_group, (group + 1) * per_group)
        matrix = weights[group].reshape(per_group, *segments).transpose(1, 2, 0)
        part = product(
            tier, codes, zero,
            _folded(matrix, pixels, attrs.stride[1] * depth), np.tile(bias[own], pixels),
            repeated(_channels(scaling, own), pixels), out.shape[1] * out.shape[2],
            site.integer(out), bits,
        )  # fmt: skip
        if part is None:
            return None
        made.append(part)
    need = needed_halo(attrs, x.shape, out.shape, (taps_h, taps_w))
    steps = [(i * attrs.dilation[0], j * attrs.dilation[1])
             for i in range(taps_h) for j in range(1 if joined else taps_w)]  # fmt: skip

    def work(layouts: Mapping[str, Layout]) -> Work:
        place, source, calls, scratch = bordered(x, layouts[x.name], need, codes.size)
        target = layouts[out.name]
        starts = np.array([i * source.line_pitch + j * source.pixel for i, j in steps], np.int64)
        grid = windows(attrs, source, target, pixels)
        for group, part in enumerate(made):
            calls.append(
                part.call(
                    place._replace(offset=place.offset + group * depth * source.size),
                    grid.rows,
                    starts,
                    Place(out.name, group * per_group * target.size),
                    grid.targets,
                    grid.images,
                    (source.image_pitch, target.image_pitch),
                )
            )
        return Work(tuple(calls), scratch)

    return Native(work, halos={x.name: need})


@dataclass(frozen=True)
class Windows:
    """Every window of a convolution: byte offsets of its first tap and of its result."""

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    images: int


_FEW_ROWS = 16
# What requantizing and storing a vector costs, in steps of products: an estimate from its 14 to 16
# instructions, which decides speed alone.
_STORE_STEPS = 12


def folded_pixels(
    tier: Tier, segments: int, depths: tuple[int, int], columns: int, width: int
) -> int:
    """Return how many pixels side by side to compute as columns of one product.

    A few columns leave lanes of a vector idle. Pixels side by side read overlapping codes and
    write adjacent ones, so they can share a vector, each with weights of its own and zeros.

    Args:
        tier: Its lanes.
        segments: Runs of codes that a pixel reads.
        depths: Codes of a run, and from one pixel's run to the next one's.
        columns: Of one pixel.
        width: Pixels of a line.
    """
    depth, stride = depths
    best, least = 1, 1.0 * (segments * -(-depth // 4) + _STORE_STEPS)
    for pixels in range(2, tier.lanes // columns + 1):
        steps = segments * -(-(depth + (pixels - 1) * stride) // 4) + _STORE_STEPS
        if width % pixels == 0 and steps / pixels < least:
            best, least = pixels, steps / pixels
    return best


def _folded(matrix: NDArray[np.integer], pixels: int, stride: int) -> NDArray[np.integer]:
    """Return weights (segments, K, N) of several pixels, each `stride` codes after the last."""
    if pixels == 1:
        return matrix
    segments, depth, columns = matrix.shape
    wide = np.zeros((segments, depth + (pixels - 1) * stride, pixels * columns), matrix.dtype)
    for pixel in range(pixels):
        first = pixel * stride
        wide[:, first : first + depth, pixel * columns : (pixel + 1) * columns] = matrix
    return wide


def repeated(scaling: Scaling, times: int) -> Scaling:
    """Return the factors of several pixels' channels."""
    if scaling.multiplier.size == 1:
        return scaling
    return scaling._replace(
        multiplier=np.tile(scaling.multiplier, times),
        right_shift=np.tile(scaling.right_shift, times),
        real=np.tile(scaling.real, times),
    )


def windows(attrs: ConvAttrs, source: Layout, target: Layout, pixels: int) -> Windows:
    """Return the windows of one image, or of all where one has few: that fills a tile better.

    Only the first of `pixels` side by side is listed: they are one row of a product.
    """
    batch, height, width = target.shape[:3]
    line, pixel = np.arange(height)[:, None], np.arange(0, width, pixels)
    rows = line * (attrs.stride[0] * source.line_pitch) + pixel * (attrs.stride[1] * source.pixel)
    corner = attrs.padding[0] * source.line_pitch + attrs.padding[1] * source.pixel
    ends = line * target.line_pitch + pixel * target.pixel
    image = np.arange(batch if height * width < _FEW_ROWS else 1)[:, None, None]
    return Windows(
        (image * source.image_pitch + rows - corner).ravel(),
        (image * target.image_pitch + ends).ravel(),
        batch // image.size,
    )


def _channels(scaling: Scaling, own: slice) -> Scaling:
    """Return the factors of some channels."""
    if scaling.multiplier.size == 1:
        return scaling
    return scaling._replace(
        multiplier=scaling.multiplier[own],
        right_shift=scaling.right_shift[own],
        real=scaling.real[own],
    )


def needed_halo(
    attrs: ConvAttrs, x: tuple[int, ...], out: tuple[int, ...], taps: tuple[int, int]
) -> Halo:
    """Return the border that a window needs so that it never leaves memory."""
    ends = [
        max((out[1 + a] - 1) * attrs.stride[a] + (taps[a] - 1) * attrs.dilation[a] + 1
            - x[1 + a] - attrs.padding[a], 0)
        for a in (0, 1)
    ]  # fmt: skip
    return Halo(attrs.padding[0], attrs.padding[1], ends[0], ends[1])


def bordered(
    value: Value, layout: Layout, need: Halo, size: int, base: int = 0
) -> tuple[Place, Layout, list[NativeCall], int]:
    """Return where a value lies as a product needs it: its own place, or a copy in scratch.

    Args:
        value: What is read.
        layout: Its own.
        need: Border of zero points.
        size: Bytes of an element.
        base: Where in scratch a copy starts.

    Returns:
        Place, layout, the calls that make the copy, bytes of scratch up to its end.
    """
    if layout.halo.holds(need) and layout.size == size:
        return Place(value.name), layout, [], base
    copy = Layout(layout.shape, size, need)
    place = Place(SCRATCH, base + copy.first)
    zero = int(value.quant.zero_point[0]) if value.quant else 0
    kind = np.dtype(value.dtype.storage).name
    calls = [copy_call(Place(value.name), layout, place, copy, kind)]
    if not copy.is_flat:
        calls.insert(0, fill_call(place, copy, zero))
    return place, copy, calls, base + copy.bytes
