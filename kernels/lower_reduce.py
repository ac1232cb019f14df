"""Lowering of pooling, means, softmax and LayerNorm."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.attributes import MeanAttrs, NormAttrs, PoolAttrs, SoftmaxAttrs
from hwsim.multiplier import quantize_multiplier
from hwsim.norm import FRACTION_BITS, epsilon_code
from hwsim.ops import Op
from hwsim.profile import Method

from .lower_linear import Array, Lowered, Step
from .norm import layer_norm_rows
from .pool import average_pool_codes, average_pool_scaled, max_pool_2d, mean_rows
from .scaling import (
    Site,
    fixed_scaling,
    output_range,
    pack_scaling,
    shiftable_multiplier,
)
from .softmax import softmax_rows

_INPUT_INTEGER_BITS = 5
# Each exponential adds at most 2**19 to the sum; 2**12 of them reach 2**31.
_SUM_HEADROOM = 12
# The integer square root takes 62 bits; 4096 channels of 16-bit codes spread over 56.
_EPSILON_BITS = 61


def lower_pool(site: Site) -> Step | Lowered:
    """Lower AVERAGE_POOL_2D and MAX_POOL_2D."""
    attrs = site.node.attrs
    assert isinstance(attrs, PoolAttrs)
    x, out = site.operand(0), site.result()
    qmin, qmax = output_range(site, attrs.activation)
    origin = attrs.padding[:2]
    if site.op is Op.MAX_POOL_2D or site.rule.method is Method.CODES:
        if x.dtype != out.dtype:
            raise site.fail(f"output must be {x.dtype} like the input, not {out.dtype}")
        if attrs.count_padding:
            raise site.fail(f"average under {site.profile.name} must not count padding")
        kernel = max_pool_2d if site.op is Op.MAX_POOL_2D else average_pool_codes

        def copy(arrays: Sequence[Array]) -> tuple[Array, ...]:
            made = np.empty(out.shape, out.dtype.storage)
            kernel(arrays[0], attrs.kernel, attrs.stride, origin, qmin, qmax, made)
            return (made,)

        return copy
    ratio = site.scale_of(x) / site.scale_of(out)
    # Entry n divides by n; entry 0 is never read, a pool's window always meets its input.
    ratios = [ratio / max(n, 1) for n in range(attrs.kernel[0] * attrs.kernel[1] + 1)]
    rule = site.rule
    by_count = fixed_scaling(rule, ratios, int(site.zero_of(out)), qmin, qmax)
    x_zero = site.zero_of(x)

    def scaled(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.shape, out.dtype.storage)
        average_pool_scaled(
            arrays[0], attrs.kernel, attrs.stride, origin, attrs.count_padding, x_zero,
            by_count, made,
        )  # fmt: skip
        return (made,)

    return Lowered(scaled, {"requantize": by_count})


def lower_mean(site: Site) -> Lowered:
    """Lower MEAN over any axes.

    Folded, the division by n is folded into the multiplier: k spare bits of it are
    used before dividing. Source: numerics.md, section 3.3.
    """
    attrs = site.node.attrs
    assert isinstance(attrs, MeanAttrs)
    x, out = site.operand(0), site.result()
    count = math.prod(x.shape[axis] for axis in attrs.axes)
    ratio = site.scale_of(x) / site.scale_of(out)
    rule = site.rule
    dtype = site.integer(out)
    zero_point = int(site.zero_of(out))
    if rule.method is Method.FOLDED:
        whole = shiftable_multiplier(rule, ratio)
        spare = min(count.bit_length() - 1, 32, 31 - whole.right_shift)
        divided = type(whole)((whole.multiplier << spare) // count, whole.right_shift + spare)
        scaling = pack_scaling(rule, [divided], [ratio / count], zero_point, dtype.min, dtype.max)
    else:
        scaling = fixed_scaling(rule, [ratio / count], zero_point, dtype.min, dtype.max)
    x_zero = site.zero_of(x)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in attrs.axes)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0].transpose(*kept, *attrs.axes)).reshape(-1, count)
        made = np.empty(rows.shape[0], out.dtype.storage)
        mean_rows(rows, x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


def lower_softmax(site: Site) -> Lowered:
    """Lower SOFTMAX; the output's scale must be 2**-bits, its zero point the smallest code."""
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    x, out = site.operand(0), site.result()
    dtype = site.integer(out)
    classes = x.shape[-1]
    if dtype.bits > 16:
        raise site.fail(f"output must hold codes of at most 16 bits, not {dtype.bits}")
    if site.scale_of(out) != 2.0**-dtype.bits or int(site.zero_of(out)) != dtype.min:
        raise site.fail(
            f"output must have scale 2**-{dtype.bits} and zero point {dtype.min}, "
            f"not {site.scale_of(out):g} and {int(site.zero_of(out))}"
        )
    if classes >= 1 << _SUM_HEADROOM:
        raise site.fail(f"classes must be below {1 << _SUM_HEADROOM}, not {classes}")
    fraction = 31 - _INPUT_INTEGER_BITS
    ratio = min(attrs.beta * site.scale_of(x) * (1 << fraction), (1 << 31) - 1.0)
    scaled = quantize_multiplier(ratio)
    left_shift = -scaled.right_shift
    if left_shift < 0:
        raise site.fail(f"input scale must be at least 2**-26 / beta, not {site.scale_of(x):g}")
    smallest = -(((1 << _INPUT_INTEGER_BITS) - 1) * (1 << fraction) >> left_shift)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = arrays[0].reshape(-1, classes)
        made = np.empty(rows.shape, dtype.storage)
        softmax_rows(
            rows, scaled.multiplier, left_shift, smallest, dtype.bits, dtype.min, dtype.max, made
        )
        return (made.reshape(out.shape),)

    return Lowered(
        step,
        {
            "multiplier": scaled.multiplier,
            "left_shift": left_shift,
            "smallest_difference": smallest,
        },
    )


def lower_layer_norm(site: Site) -> Lowered:
    """Lower LAYER_NORM with integer gamma (per tensor) and beta in the accumulator's scale."""
    attrs = site.node.attrs
    assert isinstance(attrs, NormAttrs)
    x, gamma, beta, out = site.operand(0), site.operand(1), site.optional(2), site.result()
    channels = x.shape[-1]
    if gamma.data is None or (beta is not None and beta.data is None):
        raise site.fail("gamma and beta must be constants")
    if channels > 4096:
        raise site.fail(f"channels must be at most 4096, not {channels}")
    code = epsilon_code(attrs.epsilon, site.scale_of(x), channels)
    if code >= 1 << _EPSILON_BITS:
        raise site.fail(
            f"epsilon must be below 2**{_EPSILON_BITS} units of the codes' variance; "
            f"the input's scale {site.scale_of(x):g} is too small for it"
        )
    epsilon: Any = np.int64(code)
    shift = np.zeros(channels, np.int64)
    if beta is not None and beta.data is not None:
        shift = beta.data.astype(np.int64)
    factor = gamma.data.astype(np.int64)
    dtype = site.integer(out)
    ratio = site.scale_of(gamma) * 2.0**-FRACTION_BITS / site.scale_of(out)
    rule = site.rule
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), dtype.min, dtype.max)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = arrays[0].reshape(-1, channels)
        made = np.empty(rows.shape, dtype.storage)
        layer_norm_rows(rows, factor, shift, epsilon, FRACTION_BITS, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(
        step,
        {
            "gamma": factor,
            "beta": shift,
            "epsilon": code,
            "fraction_bits": FRACTION_BITS,
            "requantize": scaling,
        },
    )
