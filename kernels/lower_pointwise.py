"""Lowering of elementwise operators, tables and conversions."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Activation, FusedAttrs, GeluAttrs, LeakyReluAttrs
from hwsim.graph import Value
from hwsim.multiplier import float32_product, float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method
from hwsim.quant import dequantize_array, quantize_array

from .elementwise import add_apart, add_shifted, leaky_relu, look_up, multiply, rescale
from .hard_swish import HardSwish
from .lower_linear import Array, Lowered, Step
from .scaling import (
    UNSCALED,
    Site,
    fixed_scaling,
    half_away,
    output_range,
    scale_ratio,
    wide_scaling,
)

_LEFT_SHIFT = 20


def _flat(array: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1)


def lower_add(site: Site) -> Lowered:
    """Lower ADD and SUB by the profile's rule."""
    lower = {Method.SHIFTED: _add_shifted, Method.APART: _add_apart}[site.rule.method]
    return lower(site, 1 if site.op is Op.ADD else -1)


def _fused(site: Site) -> Activation:
    assert isinstance(site.node.attrs, FusedAttrs)
    return site.node.attrs.activation


def _add_shifted(site: Site, sign: int) -> Lowered:
    """Lower an addition at a common scale.

    Source: tensorflow/lite/kernels/add.cc, left shift 20 for 8-bit codes.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    rule = site.rule
    common = 2.0 * max(site.scale_of(a), site.scale_of(b))
    a_scaling = wide_scaling(rule, site.scale_of(a) / common)
    b_scaling = wide_scaling(rule, site.scale_of(b) / common)
    ratio = common / ((1 << _LEFT_SHIFT) * site.scale_of(out))
    qmin, qmax = output_range(site, _fused(site))
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)
    for value in (a, b, out):
        if site.integer(value).bits > 8:
            raise site.fail(f"{value.name!r} must hold codes of at most 8 bits")

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = _flat(arrays[0], out.shape), _flat(arrays[1], out.shape)
        add_shifted(
            left, right, a_zero, b_zero, _LEFT_SHIFT, sign, a_scaling, b_scaling, scaling, made
        )
        return (made.reshape(out.shape),)

    scalings = {"requantize_a": a_scaling, "requantize_b": b_scaling, "requantize": scaling}
    return Lowered(step, {"left_shift": _LEFT_SHIFT, **scalings})


def _add_apart(site: Site, sign: int) -> Lowered:
    """Lower an addition whose operands are rounded one by one; an accumulator may be one."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    rule = site.rule
    out_scale = site.scale_of(out)
    channels = out.shape[-1] if out.shape else 1
    scalings = []
    for value in (a, b):
        site.integer(value)
        quant = value.quant
        if quant is None or quant.axis not in (None, len(value.shape) - 1):
            raise site.fail(
                f"{value.name!r} must have one scale, or one per index of its last axis"
            )
        ratios = [scale / out_scale for scale in quant.scale]
        scalings.append(fixed_scaling(rule, ratios, 0, -(1 << 31), (1 << 31) - 1))
    qmin, qmax = output_range(site, _fused(site))
    scaling = fixed_scaling(UNSCALED, [1.0], int(site.zero_of(out)), qmin, qmax)
    zeros = [_common_zero(site, value) for value in (a, b)]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty((out.elements // channels, channels), out.dtype.storage)
        left, right = (_flat(array, out.shape).reshape(made.shape) for array in arrays)
        add_apart(left, right, zeros[0], zeros[1], sign, scalings[0], scalings[1], scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize_a": scalings[0], "requantize_b": scalings[1]})


def _common_zero(site: Site, value: Value) -> Any:
    assert value.quant is not None
    if len(set(value.quant.zero_point)) != 1:
        raise site.fail(f"{value.name!r} must have one zero point for all channels")
    return np.int64(value.quant.zero_point[0])


def lower_mul(site: Site) -> Lowered:
    """Lower MUL of two codes. Source: tensorflow/lite/kernels/mul.cc."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    qmin, qmax = output_range(site, _fused(site))
    rule = site.rule
    ratio = scale_ratio(site, site.scale_of(a), site.scale_of(b), site.scale_of(out))
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = _flat(arrays[0], out.shape), _flat(arrays[1], out.shape)
        multiply(left, right, a_zero, b_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


_CLAMPS = {
    Op.RELU: Activation.RELU,
    Op.RELU6: Activation.RELU6,
    Op.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
}


def lower_rescale(site: Site) -> Step | Lowered:
    """Lower integer QUANTIZE and stand-alone clamps: one ratio, one rounding, one clamp."""
    x, out = site.operand(0), site.result()
    if x.is_float:
        return _lower_quantize_reals(site)
    qmin, qmax = output_range(site, _CLAMPS.get(site.op, Activation.NONE))
    if x.quant is None or x.quant.axis not in (None, len(x.shape) - 1):
        raise site.fail(f"{x.name!r} must have one scale, or one per index of its last axis")
    rule = site.rule
    ratios = [scale_ratio(site, scale, 1.0, site.scale_of(out)) for scale in x.quant.scale]
    scaling = fixed_scaling(rule, ratios, int(site.zero_of(out)), qmin, qmax)
    x_zero = _common_zero(site, x)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty((out.elements // len(ratios), len(ratios)), out.dtype.storage)
        rescale(arrays[0].reshape(made.shape), x_zero, scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


def _lower_quantize_reals(site: Site) -> Step:
    out = site.result()
    dtype = site.integer(out)
    if out.quant is None:
        raise site.fail(f"{out.name!r} must have quantization parameters")
    params, rounding = out.quant, site.profile.input_rounding

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (quantize_array(arrays[0].astype(np.float32), dtype, params, rounding),)

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
    x_scale, out_scale = site.scale_of(x), site.scale_of(out)
    rule = site.rule
    qmin, qmax = output_range(site, Activation.NONE)
    zero_point = int(site.zero_of(out))
    ratio = scale_ratio(site, x_scale, 1.0, out_scale)
    above = fixed_scaling(rule, [ratio], zero_point, qmin, qmax)
    slope = scale_ratio(site, x_scale, attrs.alpha, out_scale)
    below = fixed_scaling(rule, [slope], zero_point, qmin, qmax)
    x_zero = site.zero_of(x)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        leaky_relu(arrays[0].reshape(-1), x_zero, above, below, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize_above": above, "requantize_below": below})


def _logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x)), each step rounded to float32."""
    exponential = np.float32(math.exp(min(-x, 80.0)))
    return float(np.float32(1) / (np.float32(1) + exponential))


def _gelu(x: float) -> float:
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _hard_swish(x: float) -> float:
    return x * min(max(x + 3.0, 0.0), 6.0) / 6.0


_FUNCTIONS: Mapping[Op, Callable[[float], float]] = MappingProxyType(
    {Op.LOGISTIC: _logistic, Op.TANH: math.tanh, Op.HARD_SWISH: _hard_swish, Op.GELU: _gelu}
)


def lower_table(site: Site) -> Lowered:
    """Lower a function of one code of at most 8 bits to a table.

    Entry v is clamp(round(f(s_in * (v - z_in)) * (1 / s_out)) + z_out), ties away from zero, the
    argument, the function's value and the product in float32.
    Source: LUTPopulate, tensorflow/lite/kernels/internal/common.h.
    """
    x, out = site.operand(0), site.result()
    dtype = site.integer(x)
    if dtype.bits > 8:
        raise site.fail(f"{x.name!r} must hold codes of at most 8 bits, not {dtype.bits}")
    table = _table(site)
    first: Any = np.int64(dtype.min)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        look_up(arrays[0].reshape(-1), table, first, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"table": table})


def _table(site: Site) -> NDArray[np.integer]:
    x, out = site.operand(0), site.result()
    dtype, out_dtype = site.integer(x), site.integer(out)
    zero_in, zero_out = int(site.zero_of(x)), int(site.zero_of(out))
    if site.rule.table is not None:
        return _given_table(site, site.rule.table)
    scaled = _scaled_function(site)
    entries = [
        min(max(scaled(code - zero_in) + zero_out, out_dtype.min), out_dtype.max)
        for code in range(dtype.min, dtype.max + 1)
    ]
    return np.array(entries, out_dtype.storage)


def _given_table(site: Site, table: Sequence[int]) -> NDArray[np.integer]:
    """Return the profile's own table, one code of the output per code of the input."""
    dtype, out_dtype = site.integer(site.operand(0)), site.integer(site.result())
    if len(table) != 1 << dtype.bits:
        raise site.fail(
            f"table of profile {site.profile.name} must hold {1 << dtype.bits} codes, one per "
            f"code of {dtype}, not {len(table)}"
        )
    for index, code in enumerate(table):
        if not out_dtype.min <= code <= out_dtype.max:
            raise site.fail(
                f"table[{index}] of profile {site.profile.name} must be a code of {out_dtype}, "
                f"not {code}"
            )
    return np.array(table, out_dtype.storage)


def _scaled_function(site: Site) -> Callable[[int], int]:
    """Return the map from code - zero_point to output code - zero_point."""
    in_scale, out_scale = site.scale_of(site.operand(0)), site.scale_of(site.result())
    if site.rule.method is Method.FIXED_16:
        return HardSwish.of(in_scale, out_scale).scaled
    attrs = site.node.attrs
    function = _FUNCTIONS[site.op]
    if isinstance(attrs, GeluAttrs) and attrs.tanh:
        function = _gelu_tanh
    inverse = float32_quotient(1, out_scale)

    def scaled(centered: int) -> int:
        real = function(float32_product(in_scale, centered))
        return half_away(float32_product(real, inverse))

    return scaled
