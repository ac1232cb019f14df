"""Lowering of elementwise operators, tables and conversions."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Activation, ClipAttrs, FusedAttrs, GeluAttrs, LeakyReluAttrs
from hwsim.errors import InputError
from hwsim.graph import Value
from hwsim.intermediates import ADD_BITS
from hwsim.multiplier import Multiplier, float32_product, float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method, OperatorRule
from hwsim.quant import INT8, dequantize_array, quantize_array
from hwsim.verify import centered_range

from . import rational
from .arith import Scaling
from .elementwise import (
    add_apart,
    add_once,
    add_powers,
    add_shifted,
    leaky_relu,
    multiply,
    rescale,
    square_difference,
)
from .hard_swish import HardSwish
from .lower_float32 import (
    all_reals,
    flat,
    lower_add_ratios,
    lower_binary_reals,
    lower_codes_table,
    lower_mul_ratio,
    requantized,
)
from .lower_interpolate import lower_lut_513, lower_sigmoid_16, nearly_power_of_two
from .lower_linear import Array, Lowered, Step
from .rsqrt import rsqrt_codes
from .scaling import (
    UNSCALED,
    Site,
    clamp_range,
    fixed_8_scaling,
    fixed_scaling,
    half_away,
    output_range,
    pack_scaling,
    scale_ratio,
    shiftable_multiplier,
    shifted_even,
    wide_scaling,
)
from .sigmoid import Sigmoid

_RSQRT_FRACTION_BITS = 20
_BEYOND_CODES = float(1 << 31)


def lower_add(site: Site) -> Step | Lowered:
    """Lower ADD and SUB by the profile's rule."""
    sign = 1 if site.op is Op.ADD else -1
    method = site.rule.method
    if method is Method.DEQUANTIZED:
        return lower_binary_reals(site)
    if method is Method.RATIO32:
        return lower_add_ratios(site)
    if method is Method.APART:
        return _add_apart(site, sign)
    if method is Method.SINGLE_SHIFT:
        return _add_once(site, sign)
    attrs = site.node.attrs
    if method is Method.SHIFTED_OR_POWERS and isinstance(attrs, FusedAttrs) and attrs.powers_of_two:
        values = (site.operand(0), site.operand(1), site.result())
        powers = [nearly_power_of_two(site.scale_of(value)) for value in values]
        if None not in powers:
            return _add_powers(site, sign, [power for power in powers if power is not None])
    return _add_shifted(site, sign)


def _fused(site: Site) -> Activation:
    assert isinstance(site.node.attrs, FusedAttrs)
    return site.node.attrs.activation


def _add_shifted(site: Site, sign: int) -> Lowered:
    """Lower an addition at a common scale.

    Source: tensorflow/lite/kernels/add.cc.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    rule = site.rule
    shift = rule.left_shift
    for value in (a, b):
        _check_shiftable(site, value, shift)
    common = 2.0 * max(site.scale_of(a), site.scale_of(b))
    a_scaling = wide_scaling(rule, site.scale_of(a) / common)
    b_scaling = wide_scaling(rule, site.scale_of(b) / common)
    ratio = common / ((1 << shift) * site.scale_of(out))
    qmin, qmax = output_range(site, _fused(site))
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        add_shifted(left, right, a_zero, b_zero, shift, sign, a_scaling, b_scaling, scaling, made)
        return (made.reshape(out.shape),)

    scalings = {"requantize_a": a_scaling, "requantize_b": b_scaling, "requantize": scaling}
    return Lowered(step, {"left_shift": shift, **scalings})


def _add_powers(site: Site, sign: int, powers: Sequence[int]) -> Step:
    """Lower an addition at scales that are powers of two: one operand is shifted right.

    Source: tensorflow/lite/kernels/add.cc and sub.cc, pot_scale_int16.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    for value in (a, b, out):
        if int(site.zero_of(value)) != 0:
            raise site.fail(f"zero point of {value.name!r} must be 0")
    if not a.shape == b.shape == out.shape:
        raise site.fail(
            f"operands at power-of-two scales must have one shape, not {a.shape} and {b.shape}"
        )
    shifts = [powers[2] - power for power in powers[:2]]
    if 0 not in shifts or min(shifts) < 0:
        raise site.fail(
            f"one operand must have the scale of {out.name!r} and the other a finer one, "
            f"not 2**{powers[0]} and 2**{powers[1]} for 2**{powers[2]}"
        )
    qmin, qmax = output_range(site, _fused(site))
    first_kept = shifts[0] == 0

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = arrays[0].reshape(-1), arrays[1].reshape(-1)
        if first_kept:
            add_powers(left, right, shifts[1], 1, sign, qmin, qmax, made)
        else:
            add_powers(right, left, shifts[0], sign, 1, qmin, qmax, made)
        return (made.reshape(out.shape),)

    return step


def lower_extremum(site: Site) -> Step:
    """Lower MAXIMUM and MINIMUM: codes are compared as they are."""
    values = (site.operand(0), site.operand(1), site.result())
    for value in values:
        if site.integer(value) != values[0].dtype:
            raise site.fail(f"{value.name!r} must be {values[0].dtype}, not {value.dtype}")
    choose = np.maximum if site.op is Op.MAXIMUM else np.minimum
    return lambda arrays: (np.asarray(choose(arrays[0], arrays[1])),)


def lower_squared_difference(site: Site) -> Step:
    """Lower SQUARED_DIFFERENCE at a common scale."""
    a, b, out = site.operand(0), site.operand(1), site.result()
    rule = site.rule
    shift = rule.left_shift
    for value in (a, b):
        _check_shiftable(site, value, shift)
    common = 2.0 * max(site.scale_of(a), site.scale_of(b))
    a_scaling = wide_scaling(rule, site.scale_of(a) / common)
    b_scaling = wide_scaling(rule, site.scale_of(b) / common)
    ratio = common * common / ((1 << 2 * shift) * site.scale_of(out))
    qmin, qmax = output_range(site, Activation.NONE)
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        square_difference(left, right, a_zero, b_zero, shift, a_scaling, b_scaling, scaling, made)
        return (made.reshape(out.shape),)

    return step


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


def _check_shiftable(site: Site, value: Value, shift: int) -> None:
    """Refuse codes that a left shift would push out of 32 bits."""
    site.zero_of(value)
    low, high = centered_range(value)
    if max(high, -low - 1).bit_length() + shift > 31:
        raise site.fail(
            f"{value.name!r} must hold codes less zero point within 2**{31 - shift}, "
            f"not [{low}, {high}]"
        )


def _add_once(site: Site, sign: int) -> Step:
    """Lower an addition of one shift: the larger multiplier has 21 bits.

    Source: XNNPACK src/microparams-init.c, xnn_init_qs8_add_minmax_scalar_params.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    ratios = [float32_quotient(site.scale_of(x), site.scale_of(out)) for x in (a, b)]
    right_shift = ADD_BITS + 1 - math.frexp(max(ratios))[1]
    multipliers: list[Any] = [np.int64(round(math.ldexp(r, right_shift))) for r in ratios]
    left, right = multipliers
    qmin, qmax = output_range(site, _fused(site))
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)
    zero_point = int(site.zero_of(out))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        add_once(
            flat(arrays[0], out.shape), flat(arrays[1], out.shape), a_zero, b_zero,
            left, sign * right, right_shift, zero_point, qmin, qmax, made,
        )  # fmt: skip
        return (made.reshape(out.shape),)

    return step


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
        left, right = (flat(array, out.shape).reshape(made.shape) for array in arrays)
        add_apart(left, right, zeros[0], zeros[1], sign, scalings[0], scalings[1], scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize_a": scalings[0], "requantize_b": scalings[1]})


def _common_zero(site: Site, value: Value) -> Any:
    assert value.quant is not None
    if len(set(value.quant.zero_point)) != 1:
        raise site.fail(f"{value.name!r} must have one zero point for all channels")
    return np.int64(value.quant.zero_point[0])


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
    qmin, qmax = output_range(site, _fused(site))
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
    if site.rule.method is Method.DEQUANTIZED:
        return _lower_unary_reals(site)
    attrs = site.node.attrs
    if isinstance(attrs, ClipAttrs):
        qmin, qmax = clamp_range(site, attrs.low, attrs.high)
    else:
        qmin, qmax = output_range(site, _CLAMPS.get(site.op, Activation.NONE))
    if x.quant is None or x.quant.axis not in (None, len(x.shape) - 1):
        raise site.fail(f"{x.name!r} must have one scale, or one per index of its last axis")
    rule = site.rule
    ratios = [scale_ratio(site, scale, 1.0, site.scale_of(out)) for scale in x.quant.scale]
    scaling = _code_scaling(rule, ratios, int(site.zero_of(out)), qmin, qmax)
    x_zero = _common_zero(site, x)

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
        return _lower_unary_reals(site)
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


def _logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x)), each step rounded to float32."""
    exponential = np.float32(math.exp(min(-x, 80.0)))
    return float(np.float32(1) / (np.float32(1) + exponential))


def _gelu(x: float) -> float:
    """Return x / 2 * erfc(-x / sqrt(2)), each step rounded to float32.

    Source: GeluTransform, tensorflow/lite/kernels/internal/reference/gelu.h.
    """
    real = np.float32(x)
    tail = np.float32(math.erfc(float(real * np.float32(-math.sqrt(0.5)))))
    return float(np.float32(0.5) * real * tail)


def _gelu_tanh(x: float) -> float:
    """Return the tanh form, each step rounded to float32."""
    real, one = np.float32(x), np.float32(1)
    cube = np.float32(0.044715) * real * real * real
    argument = np.float32(math.sqrt(2.0 / math.pi)) * (real + cube)
    return float(np.float32(0.5) * real * (one + np.float32(math.tanh(float(argument)))))


def _silu(x: float) -> float:
    return float32_product(x, _logistic(x))


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))


def _hard_swish(x: float) -> float:
    return x * min(max(x + 3.0, 0.0), 6.0) / 6.0


_FUNCTIONS: Mapping[Op, Callable[[float], float]] = MappingProxyType(
    {
        Op.LOGISTIC: _logistic,
        Op.TANH: math.tanh,
        Op.HARD_SWISH: _hard_swish,
        Op.GELU: _gelu,
        Op.SILU: _silu,
        Op.EXP: _exp,
    }
)


def lower_table(site: Site) -> Step | Lowered:
    """Lower a function of one code to a table, of all codes where they have at most 8 bits.

    Entry v is clamp(round(f(s_in * (v - z_in)) * (1 / s_out)) + z_out), ties away from zero, the
    argument, the function's value and the product in float32.
    Source: LUTPopulate, tensorflow/lite/kernels/internal/common.h.
    """
    if site.rule.method is Method.DEQUANTIZED:
        return _lower_unary_reals(site)
    if site.rule.method is Method.UINT16_TABLE:
        return lower_sigmoid_16(site)
    if site.rule.method is Method.LUT_513_FLOAT32:
        return lower_lut_513(site, _function(site))
    x = site.operand(0)
    dtype = site.integer(x)
    if dtype.bits > 8:
        raise site.fail(f"{x.name!r} must hold codes of at most 8 bits, not {dtype.bits}")
    return lower_codes_table(site, _table(site))


def _lower_unary_reals(site: Site) -> Lowered:
    """Lower a function of one operand between dequantized and quantized reals to a table."""
    reals = all_reals(site, site.operand(0))
    return lower_codes_table(site, requantized(site, _function_of(site)(reals)))


def _function_of(site: Site) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the operator's function of float32 arrays."""
    attrs = site.node.attrs
    if site.op is Op.QUANTIZE:
        return lambda reals: reals
    if site.op in _CLAMPS:
        low, high = _CLAMPS[site.op].bounds
        return lambda reals: np.clip(reals, np.float32(low), np.float32(high))
    if isinstance(attrs, LeakyReluAttrs):
        alpha = np.float32(attrs.alpha)
        return lambda reals: np.where(reals >= 0, reals, alpha * reals)
    if site.op is Op.HARD_SWISH:
        return _hard_swish_float32
    if site.op is Op.GELU:
        assert isinstance(attrs, GeluAttrs)
        return _gelu_tanh_float32 if attrs.tanh else _gelu_float32
    return {Op.LOGISTIC: rational.logistic, Op.TANH: rational.tanh}[site.op]


def _gelu_float32(reals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the exact function, rounded: ONNX Runtime's erf is as good as that on 8-bit codes."""
    return np.array([_gelu(float(real)) for real in reals], np.float32)


def _gelu_tanh_float32(reals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x / 2 * (1 + tanh(x * (c * x * x + b))), each step in float32.

    Source: onnxruntime/core/providers/cpu/tensor/gelu.cc.
    """
    b, c = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715 * math.sqrt(2 / math.pi))
    inner = reals * (c * reals * reals + b)
    return np.asarray(np.float32(0.5) * reals * (rational.tanh(inner) + np.float32(1)), np.float32)


def _hard_swish_float32(reals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x * max(0, min(1, x / 6 + 1/2)), each step in float32, as ONNX defines it."""
    sixth, half = np.float32(1 / 6), np.float32(0.5)
    gate = np.clip(reals * sixth + half, np.float32(0), np.float32(1))
    return np.asarray(reals * gate, np.float32)


def _table(site: Site) -> NDArray[np.integer]:
    x, out = site.operand(0), site.result()
    dtype, out_dtype = site.integer(x), site.integer(out)
    zero_in, zero_out = int(site.zero_of(x)), int(site.zero_of(out))
    if site.rule.table is not None:
        return _given_table(site, site.rule.table)
    if site.rule.method is Method.FLOAT32:
        return _float32_table(site)
    scaled = _scaled_function(site)
    entries = [
        min(max(scaled(code - zero_in) + zero_out, out_dtype.min), out_dtype.max)
        for code in range(dtype.min, dtype.max + 1)
    ]
    return np.array(entries, out_dtype.storage)


_EXACT: Mapping[Op, Callable[[float], float]] = MappingProxyType(
    {Op.LOGISTIC: lambda x: 1.0 / (1.0 + math.exp(min(-x, 700.0))), Op.TANH: math.tanh}
)


def _float32_table(site: Site) -> NDArray[np.integer]:
    """Return the table of a function in float64 of a float32 argument, scaled in float32.

    Source: XNNPACK src/reference/unary-elementwise.cc.
    """
    x, out = site.operand(0), site.result()
    dtype, out_dtype = site.integer(x), site.integer(out)
    in_scale, zero_in = site.scale_of(x), int(site.zero_of(x))
    inverse, zero_out = float32_quotient(1, site.scale_of(out)), int(site.zero_of(out))
    function = _EXACT[site.op]
    entries = []
    for code in range(dtype.min, dtype.max + 1):
        real = float(np.float32(function(float32_product(in_scale, code - zero_in))))
        made = shifted_even(float32_product(real, inverse), zero_out)
        entries.append(min(max(made, out_dtype.min), out_dtype.max))
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


_SIGMOID_OUTPUTS = {Op.LOGISTIC: (2.0**-8, -128), Op.TANH: (2.0**-7, 0)}


def _fixed_sigmoid(site: Site) -> Callable[[int], int]:
    """Return LOGISTIC or TANH in fixed point, whose output parameters are its own."""
    out = site.result()
    scale, zero_point = _SIGMOID_OUTPUTS[site.op]
    if site.integer(out) != INT8 or (site.scale_of(out), site.zero_of(out)) != (scale, zero_point):
        raise site.fail(f"output must be int8 with scale {scale:g} and zero point {zero_point}")
    return Sigmoid.of(site.op, site.scale_of(site.operand(0))).scaled


def _function(site: Site) -> Callable[[float], float]:
    """Return the real function that a table is made of."""
    attrs = site.node.attrs
    return _gelu_tanh if isinstance(attrs, GeluAttrs) and attrs.tanh else _FUNCTIONS[site.op]


def _scaled_function(site: Site) -> Callable[[int], int]:
    """Return the map from code - zero_point to output code - zero_point."""
    in_scale, out_scale = site.scale_of(site.operand(0)), site.scale_of(site.result())
    if site.rule.method is Method.FIXED_16:
        return HardSwish.of(in_scale, out_scale).scaled
    if site.rule.method is Method.GEMMLOWP:
        return _fixed_sigmoid(site)
    function = _function(site)
    inverse = float32_quotient(1, out_scale)

    def scaled(centered: int) -> int:
        real = function(float32_product(in_scale, centered))
        # A table saturates; what float32 cannot hold lies beyond every code.
        return half_away(min(float32_product(real, inverse), _BEYOND_CODES))

    return scaled
