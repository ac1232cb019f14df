"""Pooling and means over space as machine code."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import MeanAttrs, PoolAttrs
from hwsim.kernels.arith import Scaling
from hwsim.kernels.lower_float32 import mean_ratio_scaling
from hwsim.kernels.scaling import Site, aligned, output_range
from hwsim.ops import Op
from hwsim.profile import Method, Requant
from hwsim.verify import centered_range

from .call import Native, NativeCall, Place, Word, Work
from .elementwise import Constants, storage_of
from .layout import Layout
from .loops import KINDS
from .packing import Factors, pack_factors
from .pool_kernel import Field, PoolForm, Pooling, pool_kernel
from .target import Tier

_INT32_MAX = (1 << 31) - 1
_ANY_BITS = 16


def pool(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return AVERAGE_POOL_2D and MAX_POOL_2D as machine code."""
    attrs, x, out = site.node.attrs, site.operand(0), site.result()
    assert isinstance(attrs, PoolAttrs)
    if site.rule.method is Method.DEQUANTIZED:
        # A window as large as the image is a mean; others add floats.
        if attrs.kernel != x.shape[1:3] or any(attrs.padding):
            return None
        return _mean(tier, site, mean_ratio_scaling(site, (1, 2)), (1, 2))
    scaling = constants.get("requantize")
    if isinstance(scaling, Scaling):
        pooling, zero = Pooling.SCALED, int(site.zero_of(x))
        factors = pack_factors(scaling, scaling.real.size, _ANY_BITS)
    else:
        pooling = Pooling.LARGEST if site.op is Op.MAX_POOL_2D else Pooling.MEAN
        zero, factors = 0, _clamps(*output_range(site, attrs.activation))
    rows, columns = (
        _reach(x.shape[1 + a], out.shape[1 + a], attrs.kernel[a], attrs.stride[a], attrs.padding[a])
        for a in (0, 1)
    )
    divisor = math.prod(attrs.kernel) if attrs.count_padding else 0
    return _windows(tier, site, pooling, factors, zero, rows, columns, divisor)


def mean(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return MEAN as machine code."""
    attrs = site.node.attrs
    assert isinstance(attrs, MeanAttrs)
    scaling = constants.get("requantize")
    if site.rule.method is Method.DEQUANTIZED:
        scaling = mean_ratio_scaling(site, attrs.axes)
    return _mean(tier, site, scaling, attrs.axes) if isinstance(scaling, Scaling) else None


def _mean(tier: Tier, site: Site, scaling: Scaling, axes: Sequence[int]) -> Native | None:
    """Return a mean over axes that follow each other."""
    x = site.operand(0)
    shape = x.shape
    reduced = [axis for axis in sorted(axis % len(shape) for axis in axes) if shape[axis] > 1]
    first, last = (reduced[0], reduced[-1]) if reduced else (0, -1)
    if reduced != list(range(first, last + 1)):
        return None
    count = math.prod(shape[first : last + 1])
    packed = pack_factors(scaling, 1, _ANY_BITS)
    if packed is None:
        return None
    zero = int(site.zero_of(x))
    every = np.array([[0, 1]], np.int64)
    if len(shape) == 4 and (first, last) in ((1, 2), (1, 1), (2, 2), (0, -1)):
        rows, columns = (
            np.array([[0, n]] if axis in reduced else [[i, 1] for i in range(n)], np.int64)
            for axis, n in ((1, shape[1]), (2, shape[2]))
        )
        return _windows(tier, site, Pooling.SCALED, packed, zero, rows, columns, _ONLY)
    inner = math.prod(shape[last + 1 :])
    flat = (math.prod(shape[:first]), 1, count, inner)
    columns = np.array([[0, count]], np.int64)
    return _windows(tier, site, Pooling.SCALED, packed, zero, every, columns, _ONLY, flat)


_ONLY = -1
"""The divisor of factors that have one entry, whatever the count."""


def _clamps(qmin: int, qmax: int) -> Factors:
    """Return limits of codes that are not scaled."""
    nothing = aligned((64,), np.int32)
    return Factors(Requant.NONE, nothing, nothing, nothing, nothing, 0, qmin, qmax)


def _reach(size: int, out: int, taps: int, stride: int, origin: int) -> NDArray[np.int64]:
    """Return first and count of the positions that the windows along an axis see."""
    starts = np.arange(out) * stride - origin
    first = np.maximum(starts, 0)
    return np.stack([first, np.minimum(starts + taps, size) - first], axis=1).astype(np.int64)


def _windows(
    tier: Tier,
    site: Site,
    pooling: Pooling,
    factors: Factors | None,
    zero: int,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    divisor: int,
    flat: tuple[int, int, int, int] | None = None,
) -> Native | None:
    """Return the kernel over windows, or None if there is no form for it.

    Args:
        tier: Instructions.
        site: The node.
        pooling: What becomes of a window.
        factors: Of the result.
        zero: Subtracted from codes.
        rows: First and count of the rows that a row of the result reads.
        columns: The same of columns.
        divisor: See `pool_kernel.Field`.
        flat: The input as images, if it is not such.
    """
    x, out = site.operand(0), site.result()
    kinds = storage_of(x), storage_of(out)
    if factors is None or 0 in (*x.shape, *out.shape) or not set(kinds) <= set(KINDS):
        return None
    dtype = site.integer(x)
    largest = max(map(abs, centered_range(x))) if zero else max(-dtype.min, dtype.max)
    taken = int(rows[:, 1].max() * columns[:, 1].max())
    if pooling is not Pooling.LARGEST and (largest + 1) * taken > _INT32_MAX:
        return None
    if pooling is Pooling.LARGEST and kinds[0].endswith("32"):
        return None
    kernel = pool_kernel(PoolForm(tier, pooling, *kinds, factors.rule))

    def work(layouts: Mapping[str, Layout]) -> Work:
        source, target = layouts[x.name], layouts[out.name]
        if flat is not None:
            source = Layout(flat, source.size)
        if flat is not None or len(out.shape) != 4:
            target = Layout(
                (source.shape[0], len(rows), len(columns), source.shape[3]), target.size
            )
        words: dict[Field, Word] = {
            Field.X: Place(x.name),
            Field.X_IMAGE: source.image_pitch,
            Field.X_LINE: source.line_pitch,
            Field.X_PIXEL: source.pixel,
            Field.OUT: Place(out.name),
            Field.OUT_IMAGE: target.image_pitch,
            Field.OUT_LINE: target.line_pitch,
            Field.OUT_PIXEL: target.pixel,
            Field.IMAGES: source.images,
            Field.CHANNELS: source.shape[3],
            Field.ROWS: rows,
            Field.ROW_COUNT: len(rows),
            Field.COLUMNS: columns,
            Field.COLUMN_COUNT: len(columns),
            Field.DIVISOR: divisor,
            Field.X_ZERO: zero,
            Field.MULTIPLIER: factors.multiplier,
            Field.LEFT: factors.left,
            Field.RIGHT: factors.right,
            Field.REAL: factors.real,
            Field.ZERO: factors.zero,
            Field.LOW: factors.low,
            Field.HIGH: factors.high,
        }
        return Work((NativeCall(kernel, tuple(words[field] for field in Field)),))

    return Native(work, flat=(x.name, out.name) if flat is not None else ())
