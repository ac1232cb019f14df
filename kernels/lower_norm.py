"""Lowering of LAYER_NORM and RMS_NORM."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import NormAttrs
from hwsim.norm import FRACTION_BITS, RECIPROCAL_BITS, epsilon_code, overflow_shift
from hwsim.ops import Op
from hwsim.profile import Method

from .arith import Scaling
from .lower_linear import Array, Lowered, Step
from .norm import layer_norm_by_reciprocal, layer_norm_rows
from .scaling import Site, exact_scaling, fixed_scaling

# The integer square root takes 62 bits; 4096 channels of 16-bit codes spread over 56.
_EPSILON_BITS = 61
_MAX_CHANNELS = 4096
_WIDE_BITS = 61


def lower_norm(site: Site) -> Step | Lowered:
    """Lower LAYER_NORM and RMS_NORM with constant integer gamma and beta."""
    x = site.operand(0)
    channels = x.shape[-1]
    for slot in range(1, len(site.node.inputs)):
        value = site.optional(slot)
        if value is not None and value.data is None:
            raise site.fail("gamma and beta must be constants")
    if channels > _MAX_CHANNELS:
        raise site.fail(f"channels must be at most {_MAX_CHANNELS}, not {channels}")
    if site.integer(x).bits > 16:
        raise site.fail(f"input must hold codes of at most 16 bits, not {site.integer(x).bits}")
    if site.rule.method is Method.INTEGER_SQRT:
        return _by_division(site, channels)
    return _by_reciprocal(site, channels)


def _beta(site: Site, channels: int) -> Any:
    beta = site.optional(2)
    if beta is None or beta.data is None:
        return np.zeros(channels, np.int64)
    return beta.data.astype(np.int64)


def _by_division(site: Site, channels: int) -> Lowered:
    """Lower a norm whose gamma has one scale, beta that of gamma's product."""
    attrs = site.node.attrs
    assert isinstance(attrs, NormAttrs)
    x, gamma, out = site.operand(0), site.operand(1), site.result()
    assert gamma.data is not None
    code = epsilon_code(attrs.epsilon, site.scale_of(x), channels)
    if code >= 1 << _EPSILON_BITS:
        raise site.fail(
            f"epsilon must be below 2**{_EPSILON_BITS} units of the codes' variance; "
            f"the input's scale {site.scale_of(x):g} is too small for it"
        )
    epsilon: Any = np.int64(code)
    shift = _beta(site, channels)
    factor = gamma.data.astype(np.int64)
    dtype = site.integer(out)
    ratio = site.scale_of(gamma) * 2.0**-FRACTION_BITS / site.scale_of(out)
    scaling = fixed_scaling(site.rule, [ratio], int(site.zero_of(out)), dtype.min, dtype.max)
    x_zero = site.zero_of(x)
    centered = site.op is Op.LAYER_NORM

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, channels)
        made = np.empty(rows.shape, dtype.storage)
        layer_norm_rows(
            rows, x_zero, centered, factor, shift, epsilon, FRACTION_BITS, scaling, made
        )
        return (made.reshape(out.shape),)

    constants = {"gamma": factor, "beta": shift, "epsilon": code, "fraction_bits": FRACTION_BITS}
    return Lowered(step, {**constants, "requantize": scaling})


class ReciprocalNorm(NamedTuple):
    """The integers of a LayerNorm by IBERT or IVIT; arrays have one entry per channel.

    Args:
        sign: Of gamma.
        beta: Added to the normalized code.
        ten_steps: Whether the root is that of ten steps.
        numerator: Of the reciprocal.
        shift: Right shift of deviations ahead of their squares.
        scaling: Wide requantization.
    """

    sign: NDArray[np.int64]
    beta: NDArray[np.int64]
    ten_steps: bool
    numerator: int
    shift: int
    scaling: Scaling


def reciprocal_norm(site: Site) -> ReciprocalNorm:
    """Return I-BERT's or I-ViT's LayerNorm: gamma is a sign with a scale per channel."""
    x, gamma, out = site.operand(0), site.operand(1), site.result()
    channels = x.shape[-1]
    assert gamma.data is not None
    if gamma.quant is None or np.any(np.abs(gamma.data.astype(np.int64)) != 1):
        raise site.fail(
            f"gamma {gamma.name!r} must hold -1 and 1, with a scale per channel, by method "
            f"{site.rule.method.value}; quantize for this profile"
        )
    beta = _beta(site, channels)
    if int(np.abs(beta).max(initial=0)) >= 1 << _WIDE_BITS:
        raise site.fail(f"beta / gamma must fit {_WIDE_BITS} bits in the accumulator")
    scales = gamma.quant.scale
    unit = math.sqrt(channels) * 2.0**-RECIPROCAL_BITS
    ratios = [scale * unit / site.scale_of(out) for scale in scales] * (channels // len(scales))
    dtype, source = site.integer(out), site.integer(x)
    scaling = exact_scaling(ratios, int(site.zero_of(out)), dtype.min, dtype.max)
    sign = gamma.data.astype(np.int64)
    ten_steps = site.rule.method is Method.IVIT
    shift = 0 if ten_steps else overflow_shift(channels, source.max - source.min)
    numerator = (1 << 31) - 1 if ten_steps else 1 << 31
    return ReciprocalNorm(sign, beta, ten_steps, numerator, shift, scaling)


def _by_reciprocal(site: Site, channels: int) -> Step:
    out = site.result()
    dtype = site.integer(out)
    norm = reciprocal_norm(site)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, channels)
        made = np.empty(rows.shape, dtype.storage)
        layer_norm_by_reciprocal(rows, *norm, made)
        return (made.reshape(out.shape),)

    return step
