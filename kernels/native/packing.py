"""Constants of a matrix kernel: weights in panels, biases and factors padded to them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.arith import Scaling
from hwsim.kernels.scaling import aligned
from hwsim.profile import Requant
from hwsim.quant import IntType

from .emit import DOUBLES, SINGLES
from .target import Tier
from .tile import Codes, Shape

_PADDING = 64  # entries a vector may read beyond the last column
_INT32 = (-(1 << 31), (1 << 31) - 1)
_EXACT_FLOAT = 1 << 21  # codes that float32 rounding by addition holds


@dataclass(frozen=True)
class Factors:
    """A scaling as arrays of a kernel: int32 multiplier, left, right, and real; padded.

    `near` is that of `emit.Factors`.
    """

    rule: Requant
    multiplier: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    real: NDArray[Any]
    zero: int
    low: int
    high: int
    near: bool = False


def pack_factors(
    scaling: Scaling, channels: int, out_bits: int, sum_bits: int = 32
) -> Factors | None:
    """Return a scaling as a kernel reads it, or None if machine code has no form for it.

    Args:
        scaling: One factor for all channels, or one each.
        channels: How many.
        out_bits: Width of the result; 32 bits are the accumulator itself.
        sum_bits: Width that holds every accumulator.
    """
    rule = Requant(scaling.rule)
    zero = scaling.zero_point
    low, high = scaling.qmin - zero, scaling.qmax - zero
    in_float32 = rule in (Requant.FLOAT32_HALF_EVEN, Requant.FLOAT32_SHIFTED)
    limit = (-_EXACT_FLOAT, _EXACT_FLOAT) if in_float32 else _INT32
    if not (limit[0] <= low <= high <= limit[1]) or (out_bits > 16 and rule is not Requant.NONE):
        return None
    shift, multiplier = scaling.right_shift, scaling.multiplier
    left, right, near = np.zeros_like(shift), shift, False
    if rule in DOUBLES:
        if scaling.fraction != 31 or shift.min() < -30 or shift.max() > 31:
            return None
        left, right = np.maximum(-shift, 0), np.maximum(shift, 0)
        near = 0 < sum_bits < 32 and bool(shift.min() >= 1)
        if near:
            left = np.int64(1) << (right - 1)
    elif rule in SINGLES:
        right = shift + scaling.fraction
        if right.min() < 1 or right.max() > 62:
            return None
        largest = np.abs(multiplier).astype(object) << (sum_bits or 32) - 1
        near = bool((largest >> right.astype(object) < 1 << 30).all())
    if rule.is_fixed and not (_INT32[0] < multiplier.min() <= multiplier.max() <= _INT32[1]):
        return None
    real = np.float64 if rule is Requant.REAL_HALF_AWAY else np.float32
    return Factors(
        rule,
        padded(multiplier, channels, np.int32),
        padded(left, channels, np.int32),
        padded(right, channels, np.int32),
        padded(scaling.real, channels, real),
        zero, low, high, near,
    )  # fmt: skip


def whole_range(factors: Factors, dtype: IntType) -> str:
    """Return the name of a result's storage if its codes end where that ends, else ""."""
    storage = np.dtype(dtype.storage)
    limits = np.iinfo(storage)
    own = (factors.low + factors.zero, factors.high + factors.zero)
    return storage.name if factors.near and own == (limits.min, limits.max) else ""


def padded(array: NDArray[Any], channels: int, dtype: Any) -> NDArray[Any]:
    """Return one entry per channel, the last repeated to what vectors may read beyond."""
    made = aligned((channels + _PADDING,), dtype)
    made[:channels] = array
    made[channels:] = made[channels - 1]
    return made


def read_as(dtype: IntType, weights: NDArray[np.integer], tier: Tier) -> Codes | None:
    """Return how products of activations and centered weights are read, or None if they are not."""
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    size = np.dtype(dtype.storage).itemsize
    narrow = size == 1 and -128 <= low and high <= 127
    if size > 2 or low < -(1 << 15) or high >= 1 << 15:
        return None
    quads = tier.quads and narrow
    signed = size == 2 or (quads and tier.signed)
    return Codes(size, dtype.signed != signed, quads)


def read_wide(dtype: IntType, weights: NDArray[np.integer], tier: Tier) -> Codes | None:
    """Return how a matrix kernel reads activations: where they meet in pairs, as 16 bits.

    Whoever calls it copies narrower codes to 16 bits first: a code is read once per panel and tap,
    and no instruction repeats two bytes over a vector as two words.
    """
    codes = read_as(dtype, weights, tier)
    if codes is None or codes.quads or codes.size == 2:
        return codes
    return Codes(2, False, False)


def turned_zero(zero: int, dtype: IntType, codes: Codes) -> int:
    """Return the zero point of activations as the kernel reads them."""
    if not codes.flip:
        return zero
    half = 1 << (8 * codes.size - 1)
    return zero + half if dtype.signed else zero - half


def pack_weights(
    weights: NDArray[np.integer], codes: Codes, shape: Shape, lanes: int
) -> NDArray[np.integer]:
    """Return centered weights (segments, K, N) as [panel][segment][group][column][code]."""
    segments, depth, columns = weights.shape
    width = shape.vectors * lanes
    groups, panels = -(-depth // codes.group), -(-columns // width)
    full = np.zeros((segments, groups * codes.group, panels * width), np.int32)
    full[:, :depth, :columns] = weights
    split = full.reshape(segments, groups, codes.group, panels, width)
    packed = aligned(
        (panels, segments, groups, width, codes.group), np.int8 if codes.quads else np.int16
    )
    packed[...] = split.transpose(3, 0, 1, 4, 2)
    return packed


def folded_bias(
    bias: NDArray[np.int64], weights: NDArray[np.integer], zero: int
) -> NDArray[np.int32]:
    """Return bias - zero * sum of a column's weights (segments, K, N), modulo 2**32, padded."""
    sums = weights.sum(axis=(0, 1), dtype=np.int64)
    exact = bias - zero * sums
    wrapped = (exact & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return padded(wrapped, wrapped.size, np.int32)
