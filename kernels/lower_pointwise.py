"""Lowering of the other elementwise operators, and of conversions."""

import math
from collections.abc import Sequence

import numpy as np

from hwsim.attributes import Activation, ClipAttrs, LeakyReluAttrs
from hwsim.errors import InputError
from hwsim.multiplier import Multiplier, float32_product, float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method, OperatorRule
from hwsim.quant import dequantize_array, quantize_array

from .arith import Scaling
from .elementwise import (
    leaky_relu,
    multiply,
    rescale,
)
from .lower_float32 import (
    flat,
    lower_binary_reals,
    lower_mul_ratio,
)
from .lower_interpolate import lower_lut_513
from .lower_linear import Array, Lowered, Step
from .lower_table import CLAMPS, lower_unary_reals
from .rsqrt import rsqrt_codes
from .scaling import (
    Site,
    clamp_range,
    fixed_8_scaling,
    fixed_scaling,
    output_range,
    pack_scaling,
    scale_ratio,
    shiftable_multiplier,
)

_RSQRT_FRACTION_BITS = 20


def lower_extremum(site: Site) -> Step:
    """Lower MAXIMUM and MINIMUM: codes are compared as they are."""
    values = (site.operand(0), site.operand(1), site.result())
    for value in values:
        if site.integer(value) != values[0].dtype:
            raise site.fail(f"{value.name!r} must be {values[0].dtype}, not {value.dtype}")
    choose = np.maximum if site.op is Op.MAXIMUM else np.minimum
    return lambda arrays: (np.asarray(choose(arrays[0], arrays[1])),)


def lower_rsqrt(site: Site) -> Step:
    """Lower RSQRT by the profile's method; codes below the zero point are refused as they come.

    Source: tensorflow/lite/kernels/elementwise.cc; the ratio is formed in float32.
    """
    x, out = site.operand(0), site.result()
    x_zero = site.zero_of(x)

    def checked(step: Step) -> Step:
        def run(arrays: Sequence[Array]) -> tuple[Array, ...]:
            smallest = int(arrays[0].min())
            if smallest < x_zero:
                raise InputError(
                    f"codes of {x.name!r} must be at or above its zero point {x_zero} for the "
                    f"rsqrt {site.node.name!r}, not {smallest}"
                )
            return step(arrays)

        return run

    if site.rule.method is Method.LUT_513_FLOAT32:
        largest = site.scale_of(out) * (site.integer(out).max - int(site.zero_of(out)))
        return checked(lower_lut_513(site, lambda x: 1 / math.sqrt(x) if x > 0 else largest))
    root = float(np.sqrt(np.float32(site.scale_of(x))))
    ratio = float32_quotient(1.0, float32_product(root, site.scale_of(out)))
    multiplier = shiftable_multiplier(site.rule, ratio)
    shifted = Multiplier(multiplier.multiplier, multiplier.right_shift + _RSQRT_FRACTION_BITS)
    qmin, qmax = output_range(site, Activation.NONE)
    scaling = pack_scaling(site.rule, [shifted], [ratio], int(site.zero_of(out)), qmin, qmax)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        rsqrt_codes(arrays[0].reshape(-1), x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return checked(step)


def lower_mul(site: Site) -> Step | Lowered:
    """Lower MUL of two codes. Source: tensorflow/lite/kernels/mul.cc."""
    if site.rule.method is Method.DEQUANTIZED:
        return lower_binary_reals(site)
    if site.rule.method is Method.RATIO32:
        return lower_mul_ratio(site)
    a, b, out = site.operand(0), site.operand(1), site.result()
    for value in (a, b):
        if site.integer(value).bits > 16:
            raise site.fail(f"{value.name!r} must hold codes of at most 16 bits")
    qmin, qmax = output_range(site, site.activation)
    rule = site.rule
    ratio = scale_ratio(site, site.scale_of(a), site.scale_of(b), site.scale_of(out))
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        multiply(left, right, a_zero, b_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


def lower_rescale(site: Site) -> Step | Lowered:
    """Lower integer QUANTIZE and stand-alone clamps: one ratio, one rounding, one clamp."""
    x, out = site.operand(0), site.result()
    if x.is_float:
        return _lower_quantize_reals(site)
    if site.rule.method is Method.DEQUANTIZED:
        return lower_unary_reals(site)
    attrs = site.node.attrs
    if isinstance(attrs, ClipAttrs):
        qmin, qmax = clamp_range(site, attrs.low, attrs.high)
    else:
        qmin, qmax = output_range(site, CLAMPS.get(site.op, Activation.NONE))
    if x.quant is None or x.quant.axis not in (None, len(x.shape) - 1):
        raise site.fail(f"{x.name!r} must have one scale, or one per index of its last axis")
    rule = site.rule
    ratios = [scale_ratio(site, scale, 1.0, site.scale_of(out)) for scale in x.quant.scale]
    scaling = _code_scaling(rule, ratios, int(site.zero_of(out)), qmin, qmax)
    x_zero = site.common_zero(x)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty((out.elements // len(ratios), len(ratios)), out.dtype.storage)
        rescale(arrays[0].reshape(made.shape), x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


def _code_scaling(
    rule: OperatorRule, ratios: Sequence[float], zero_point: int, qmin: int, qmax: int
) -> Scaling:
    """Return the scaling of codes by a rule that may have multipliers of 8 fraction bits."""
    if rule.method is Method.FIXED_8:
        return fixed_8_scaling(ratios, zero_point, qmin, qmax)
    return fixed_scaling(rule, ratios, zero_point, qmin, qmax)


def _lower_quantize_reals(site: Site) -> Step:
    out = site.result()
    dtype = site.integer(out)
    if out.quant is None:
        raise site.fail(f"{out.name!r} must have quantization parameters")
    params, rounding = out.quant, site.profile.input_rounding
    if site.rule.method is Method.FIXED_8:
        return _lower_reciprocal(site)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (quantize_array(arrays[0].astype(np.float32), dtype, params, rounding),)

    return step


def _lower_reciprocal(site: Site) -> Step:
    """Lower QUANTIZE of reals by the reciprocal of the scale, ties to even.

    Source: XNNPACK src/f32-qs8-vcvt.
    """
    out = site.result()
    dtype, zero_point = site.integer(out), int(site.zero_of(out))
    inverse = np.float32(float32_quotient(1, site.scale_of(out)))
    low, high = dtype.min - zero_point, dtype.max - zero_point

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        if not np.isfinite(arrays[0]).all():
            raise site.fail("values to quantize must be finite, not NaN or infinite")
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.clip(arrays[0].astype(np.float32) * inverse, low, high)
        return ((np.rint(scaled).astype(np.int64) + zero_point).astype(dtype.storage),)

    return step


def lower_dequantize(site: Site) -> Step:
    """Lower DEQUANTIZE to float32."""
    x = site.operand(0)
    site.integer(x)
    if x.quant is None or not site.result().is_float:
        raise site.fail("input must be quantized and output float32")
    params = x.quant

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (dequantize_array(np.asarray(arrays[0], np.int64), params),)

    return step


def lower_leaky_relu(site: Site) -> Lowered:
    """Lower LEAKY_RELU. Source: numerics.md, section 2.1."""
    attrs = site.node.attrs
    assert isinstance(attrs, LeakyReluAttrs)
    x, out = site.operand(0), site.result()
    rule = site.rule
    if rule.method is Method.DEQUANTIZED:
        return lower_unary_reals(site)
    x_scale, out_scale = site.scale_of(x), site.scale_of(out)
    qmin, qmax = output_range(site, Activation.NONE)
    zero_point = int(site.zero_of(out))
    ratio = scale_ratio(site, x_scale, 1.0, out_scale)
    above = _code_scaling(rule, [ratio], zero_point, qmin, qmax)
    slope = scale_ratio(site, x_scale, attrs.alpha, out_scale)
    if rule.method is Method.FIXED_8:
        slope = float32_product(ratio, attrs.alpha)
    below = _code_scaling(rule, [slope], zero_point, qmin, qmax)
    x_zero = site.zero_of(x)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        leaky_relu(arrays[0].reshape(-1), x_zero, above, below, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize_above": above, "requantize_below": below})
