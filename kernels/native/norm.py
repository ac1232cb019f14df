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
from .norm_kernel import Field, norm_kernel, reciprocal_norm_kernel
from .packing import pack_factors, padded
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
    factors = pack_factors(scaling, channels, dtype.bits)
    if factors is None or not _fits(gamma, beta, channels):
        return None
    out_size = dtype.storage.itemsize
    kernel = norm_kernel(tier, kind_of(site.integer(x)), out_size, factors.rule)
    words: dict[Field, Word] = {
        Field.X_ZERO: int(site.zero_of(x)),
        Field.CENTERED: int(site.op is Op.LAYER_NORM),
        Field.EPSILON: epsilon,
        Field.GAMMA: padded(gamma, channels, np.int32),
        Field.BETA: padded(beta, channels, np.int32),
        Field.MULTIPLIER: factors.multiplier,
        Field.LEFT: factors.left,
        Field.RIGHT: factors.right,
        Field.REAL: factors.real,
        Field.ZERO: factors.zero,
        Field.LOW: factors.low,
        Field.HIGH: factors.high,
    }
    return _rows(site, kernel, words)


def _fits(gamma: NDArray[np.int64], beta: NDArray[np.int64], channels: int) -> bool:
    """Return whether every accumulator fits 32 bits.

    With V the sum below the root, a deviation is at most sqrt(channels * V), and floor(sqrt(V)) is
    more than sqrt(V) / 2.
    """
    normalized = math.isqrt(channels * (2 << FRACTION_BITS) ** 2) + 1
    return all(
        abs(factor) * normalized + abs(shift) < 1 << 31
        for factor, shift in zip(gamma.tolist(), beta.tolist(), strict=True)
    )


def _by_reciprocal(tier: Tier, site: Site) -> Native:
    x, out = site.operand(0), site.result()
    made, channels = reciprocal_norm(site), x.shape[-1]
    scaling = made.scaling
    kernel = reciprocal_norm_kernel(
        tier, kind_of(site.integer(x)), site.integer(out).storage.itemsize
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
