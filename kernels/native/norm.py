"""LAYER_NORM and RMS_NORM as machine code."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.arith import Scaling
from hwsim.kernels.lower_norm import reciprocal_norm
from hwsim.kernels.scaling import Site
from hwsim.norm import FRACTION_BITS
from hwsim.ops import Op
from hwsim.profile import Method

from .call import Native, NativeCall, Word, Work
from .layout import Layout
from .matrix import Constants
from .norm_kernel import (
    NORMALIZED_LIMIT,
    SPREAD_BITS,
    Field,
    norm_kernel,
    reciprocal_norm_kernel,
)
from .packing import pack_factors, padded, whole_range
from .rows import kind_of, row_words
from .target import Tier


def norm(tier: Tier, site: Site, constants: Constants, bits: int) -> Native | None:
    """Return LAYER_NORM or RMS_NORM as machine code."""
    if site.integer(site.result()).bits > 16 or 0 in site.operand(0).shape:
        return None
    if site.rule.method is Method.INTEGER_SQRT:
        return _by_division(tier, site, constants)
    return _by_reciprocal(tier, site)


def _by_division(tier: Tier, site: Site, constants: Constants) -> Native | None:
    x, out = site.operand(0), site.result()
    gamma, beta, scaling = (constants[name] for name in ("gamma", "beta", "requantize"))
    epsilon = constants["epsilon"]
    assert isinstance(gamma, np.ndarray) and isinstance(beta, np.ndarray)
    assert isinstance(scaling, Scaling) and isinstance(epsilon, int)
    channels, dtype = x.shape[-1], site.integer(out)
    bits = _accumulator_bits(gamma, beta, channels)
    source = site.integer(x)
    largest = (channels * (source.max - source.min)) ** 2 + epsilon  # below the root
    factors = pack_factors(scaling, channels, dtype.bits, bits)
    if factors is None or bits > 32 or largest >= 1 << (2 * SPREAD_BITS):
        return None
    out_size = dtype.storage.itemsize
    ends, near = whole_range(factors, dtype), int(factors.near)
    kernel = norm_kernel(tier, kind_of(source), out_size, factors.rule, near, ends)
    moved = (beta - NORMALIZED_LIMIT * gamma) & 0xFFFFFFFF
    words: dict[Field, Word] = {
        Field.X_ZERO: int(site.zero_of(x)),
        Field.CENTERED: int(site.op is Op.LAYER_NORM),
        Field.EPSILON: epsilon,
        Field.GAMMA: padded(gamma, channels, np.int32),
        Field.BETA: padded(moved.astype(np.uint32).view(np.int32), channels, np.int32),
        Field.MULTIPLIER: factors.multiplier,
        Field.LEFT: factors.left,
        Field.RIGHT: factors.right,
        Field.REAL: factors.real,
        Field.ZERO: factors.zero,
        Field.LOW: factors.low,
        Field.HIGH: factors.high,
    }
    return _rows(site, kernel, words)


def _accumulator_bits(gamma: NDArray[np.int64], beta: NDArray[np.int64], channels: int) -> int:
    """Return a width that holds every accumulator.

    With V the sum below the root, a deviation is at most sqrt(channels * V), and floor(sqrt(V)) is
    more than sqrt(V) / 2.
    """
    normalized = math.isqrt(channels * (2 << FRACTION_BITS) ** 2) + 1
    pairs = zip(gamma.tolist(), beta.tolist(), strict=True)
    largest: int = max(abs(factor) * normalized + abs(shift) for factor, shift in pairs)
    return largest.bit_length() + 1


def _by_reciprocal(tier: Tier, site: Site) -> Native:
    x, out = site.operand(0), site.result()
    made, channels = reciprocal_norm(site), x.shape[-1]
    scaling = made.scaling
    kernel = reciprocal_norm_kernel(
        tier,
        kind_of(site.integer(x)),
        site.integer(out).storage.itemsize,
        int(scaling.right_shift.min() >= 1),
    )
    words: dict[Field, Word] = {
        Field.GAMMA: padded(made.sign >> 1, channels, np.int64),
        Field.BETA: padded(made.beta, channels, np.int64),
        Field.MULTIPLIER: padded(scaling.multiplier, channels, np.int64),
        Field.RIGHT: padded(scaling.right_shift, channels, np.int64),
        Field.ZERO: scaling.zero_point,
        Field.LOW: scaling.qmin - scaling.zero_point,
        Field.HIGH: scaling.qmax - scaling.zero_point,
        Field.TEN_STEPS: int(made.ten_steps),
        Field.NUMERATOR: made.numerator,
        Field.SHIFT: made.shift,
    }
    return _rows(site, kernel, words)


def _rows(site: Site, kernel: object, words: Mapping[Field, Word]) -> Native:
    x, out = site.operand(0), site.result()

    def work(layouts: Mapping[str, Layout]) -> Work:
        rest = (words.get(field, 0) for field in Field)
        return Work((NativeCall(kernel, (*row_words(x, out, layouts), *rest)),))

    return Native(work)
