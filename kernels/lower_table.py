"""Lowering of functions of one code to tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import Activation, GeluAttrs, LeakyReluAttrs
from hwsim.multiplier import float32_product, float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method
from hwsim.quant import INT8

from . import rational
from .hard_swish import HardSwish
from .lower_float32 import (
    all_reals,
    lower_codes_table,
    requantized,
)
from .lower_interpolate import lower_lut_513, lower_sigmoid_16
from .lower_linear import Lowered, Step
from .scaling import (
    Site,
    half_away,
    shifted_even,
)
from .sigmoid import Sigmoid

_BEYOND_CODES = float(1 << 31)
CLAMPS = {
    Op.RELU: Activation.RELU,
    Op.RELU6: Activation.RELU6,
    Op.RELU_N1_TO_1: Activation.RELU_N1_TO_1,
}


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
        return lower_unary_reals(site)
    if site.rule.method is Method.UINT16_TABLE:
        return lower_sigmoid_16(site)
    if site.rule.method is Method.LUT_513_FLOAT32:
        return lower_lut_513(site, _function(site))
    x = site.operand(0)
    dtype = site.integer(x)
    if dtype.bits > 8:
        raise site.fail(f"{x.name!r} must hold codes of at most 8 bits, not {dtype.bits}")
    return lower_codes_table(site, _table(site))


def lower_unary_reals(site: Site) -> Lowered:
    """Lower a function of one operand between dequantized and quantized reals to a table."""
    reals = all_reals(site, site.operand(0))
    return lower_codes_table(site, requantized(site, _function_of(site)(reals)))


def _function_of(site: Site) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the operator's function of float32 arrays."""
    attrs = site.node.attrs
    if site.op is Op.QUANTIZE:
        return lambda reals: reals
    if site.op in CLAMPS:
        low, high = CLAMPS[site.op].bounds
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
