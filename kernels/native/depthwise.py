"""Depthwise convolutions: vectors over channels, taps in groups."""

from collections.abc import Mapping

import numpy as np

from hwsim.attributes import ConvAttrs
from hwsim.kernels.arith import Scaling
from hwsim.kernels.scaling import Site, aligned

from .call import Native, Place, Work
from .layout import Layout
from .matrix import Constants, Product, bordered, convolution, needed_halo, repeated, windows
from .matrix_kernel import depthwise_kernel
from .packing import folded_bias, pack_factors, read_as, turned_zero, whole_range
from .target import Tier
from .tile import Codes, Shape, Variant

_PIXELS = 4


def depthwise_conv_2d(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return DEPTHWISE_CONV_2D as machine code.

    Channels with several filters each are a convolution in groups.
    """
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, ConvAttrs)
    weights, bias, scaling = (constants[name] for name in ("weights", "bias", "requantize"))
    assert isinstance(weights, np.ndarray) and isinstance(bias, np.ndarray)
    assert isinstance(scaling, Scaling)
    taps_h, taps_w, channels = weights.shape
    if channels != x.shape[3]:
        by_group = weights.reshape(taps_h, taps_w, x.shape[3], -1).transpose(2, 3, 0, 1)
        return convolution(tier, site, by_group[..., None], constants, bits)
    if bits > 32 or 0 in (*x.shape, *out.shape, taps_h, taps_w):
        return None
    dtype, zero = site.integer(x), int(site.zero_of(x))
    pixels = 1
    if attrs.stride[1] == 1:  # pixels side by side share a vector where channels are few
        fitting = range(1, max(tier.lanes // channels, 1) + 1)
        pixels = max(count for count in fitting if out.shape[2] % count == 0)
    codes = read_as(dtype, weights, tier)
    factors = pack_factors(
        repeated(scaling, pixels), channels * pixels, site.integer(out).bits, bits
    )
    if codes is None or factors is None:
        return None
    taps = np.tile(weights.reshape(1, taps_h * taps_w, channels), pixels)
    size, whole = np.dtype(out.dtype.storage).itemsize, whole_range(factors, site.integer(out))
    shape = Shape(_PIXELS, 1, size, factors.near, whole)
    made = Product(
        depthwise_kernel(Variant(tier, codes, shape, factors.rule, depthwise=True)),
        shape,
        codes,
        1,
        -(-taps.shape[1] // codes.group),
        _pack_taps(taps[0], codes, tier.lanes),
        folded_bias(np.tile(bias, pixels), taps, turned_zero(zero, dtype, codes)),
        factors,
        channels * pixels,
    )
    need = needed_halo(attrs, x.shape, out.shape, (taps_h, taps_w))
    steps = [(i * attrs.dilation[0], j * attrs.dilation[1])
             for i in range(taps_h) for j in range(taps_w)]  # fmt: skip

    def work(layouts: Mapping[str, Layout]) -> Work:
        place, source, calls, scratch = bordered(x, layouts[x.name], need, codes.size)
        target = layouts[out.name]
        starts = np.array([i * source.line_pitch + j * source.pixel for i, j in steps], np.int64)
        grid = windows(attrs, source, target, pixels)
        call = made.call(
            place, grid.rows, starts, Place(out.name), grid.targets, grid.images,
            (source.image_pitch, target.image_pitch),
        )  # fmt: skip
        return Work((*calls, call), scratch)

    return Native(work, halos={x.name: need})


def _pack_taps(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.signedinteger]], codes: Codes, lanes: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.signedinteger]]:
    """Return (taps, channels) as [block of channels][group of taps][channel][tap of the group]."""
    taps, channels = weights.shape
    groups, blocks = -(-taps // codes.group), -(-channels // lanes)
    full = np.zeros((groups * codes.group, blocks * lanes), np.int32)
    full[:taps, :channels] = weights
    packed = aligned((blocks, groups, lanes, codes.group), np.int8 if codes.quads else np.int16)
    packed[...] = full.reshape(groups, codes.group, blocks, lanes).transpose(2, 0, 3, 1)
    return packed
