"""Lowering of pooling and means."""

import math
from collections.abc import Sequence

import numpy as np

from hwsim.attributes import MeanAttrs, PoolAttrs
from hwsim.multiplier import float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method, ScaleProduct

from .arith import Scaling
from .lower_float32 import lower_average_pool_reals, lower_mean_ratio
from .lower_linear import Array, Lowered, Step
from .pool import average_pool_codes, average_pool_scaled, max_pool_2d, mean_rows
from .scaling import (
    Site,
    fixed_scaling,
    output_range,
    pack_scaling,
    shiftable_multiplier,
)


def lower_pool(site: Site) -> Step | Lowered:
    """Lower AVERAGE_POOL_2D and MAX_POOL_2D."""
    attrs = site.node.attrs
    assert isinstance(attrs, PoolAttrs)
    if site.rule.method is Method.DEQUANTIZED:
        return lower_average_pool_reals(site)
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
    by_count = count_scaling(site)
    x_zero = site.zero_of(x)

    def scaled(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.shape, out.dtype.storage)
        average_pool_scaled(
            arrays[0], attrs.kernel, attrs.stride, origin, attrs.count_padding, x_zero,
            by_count, made,
        )  # fmt: skip
        return (made,)

    return Lowered(scaled, {"requantize": by_count})


def count_scaling(site: Site) -> Scaling:
    """Return the scaling of an average pool whose entry n divides by n."""
    attrs = site.node.attrs
    assert isinstance(attrs, PoolAttrs)
    x, out = site.operand(0), site.result()
    qmin, qmax = output_range(site, attrs.activation)
    ratio = site.scale_of(x) / site.scale_of(out)
    # Entry 0 is never read, a pool's window always meets its input.
    ratios = [ratio / max(n, 1) for n in range(attrs.kernel[0] * attrs.kernel[1] + 1)]
    return fixed_scaling(site.rule, ratios, int(site.zero_of(out)), qmin, qmax)


def mean_scaling(site: Site) -> Scaling:
    """Return the scaling of a MEAN's sums.

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
        return pack_scaling(rule, [divided], [ratio / count], zero_point, dtype.min, dtype.max)
    divided_ratio = ratio / count
    if rule.product is ScaleProduct.FLOAT32_RATIO:
        ratio = float32_quotient(site.scale_of(x), site.scale_of(out))
        divided_ratio = float32_quotient(ratio, count)
    return fixed_scaling(rule, [divided_ratio], zero_point, dtype.min, dtype.max)


def lower_mean(site: Site) -> Step | Lowered:
    """Lower MEAN over any axes."""
    attrs = site.node.attrs
    assert isinstance(attrs, MeanAttrs)
    if site.rule.method is Method.DEQUANTIZED:
        return lower_mean_ratio(site, attrs.axes)
    x, out = site.operand(0), site.result()
    count = math.prod(x.shape[axis] for axis in attrs.axes)
    scaling = mean_scaling(site)
    x_zero = site.zero_of(x)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in attrs.axes)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0].transpose(*kept, *attrs.axes)).reshape(-1, count)
        made = np.empty(rows.shape[0], out.dtype.storage)
        mean_rows(rows, x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})
