"""From scales to the integers a kernel multiplies by, under a numeric profile."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hwsim.attributes import Activation, FusedAttrs, MatMulAttrs
from hwsim.errors import GraphError, QuantizationError
from hwsim.graph import Graph, Node, Value
from hwsim.multiplier import (
    Multiplier,
    float32_product,
    float32_quotient,
    narrow_multiplier,
    quantize_multiplier,
)
from hwsim.ops import Op
from hwsim.profile import Bounds, Clamp, NumericProfile, OperatorRule, Requant, ScaleProduct
from hwsim.quant import IntType
from hwsim.verify import rule_of

from .arith import Scaling

UNSCALED = OperatorRule(Requant.NONE)
_CACHE_LINE = 64


@dataclass(frozen=True)
class Site:
    """A node to be lowered, with what surrounds it; the only argument of every lowering."""

    graph: Graph
    node: Node
    profile: NumericProfile

    @property
    def op(self) -> Op:
        """The operator."""
        return self.node.op

    @cached_property
    def rule(self) -> OperatorRule:
        """The profile's rule for this operator and the widths of its operands."""
        return rule_of(self.graph, self.node, self.profile)

    def operand(self, slot: int) -> Value:
        """Return an input that the shape rules have proved to be there."""
        return self.graph.values[self.node.inputs[slot]]

    def optional(self, slot: int) -> Value | None:
        """Return an input or None."""
        names = self.node.inputs
        return self.graph.value_or_none(names[slot]) if slot < len(names) else None

    def result(self, slot: int = 0) -> Value:
        """Return an output."""
        return self.graph.values[self.node.outputs[slot]]

    def fail(self, sentence: str) -> GraphError:
        """Return an error that names the node."""
        return GraphError(f"node {self.node.name!r} ({self.op.value}): {sentence}")

    def integer(self, value: Value) -> IntType:
        """Return the type of a value that must hold integer codes."""
        if not isinstance(value.dtype, IntType):
            raise self.fail(
                f"{value.name!r} must hold integer codes, not {value.dtype}; "
                "quantize the graph first"
            )
        return value.dtype

    def scale_of(self, value: Value) -> float:
        """Return the scale of a per-tensor value."""
        self.integer(value)
        if value.quant is None or not value.quant.is_per_tensor:
            raise self.fail(f"{value.name!r} must have one scale for the whole tensor")
        return value.quant.scale[0]

    def zero_of(self, value: Value) -> Any:
        """Return the zero point of a per-tensor value, as an int64 that widens what it meets."""
        self.scale_of(value)
        assert value.quant is not None
        return np.int64(value.quant.zero_point[0])

    def common_zero(self, value: Value) -> Any:
        """Return the zero point that all channels of a value share, as `zero_of` does."""
        assert value.quant is not None
        if len(set(value.quant.zero_point)) != 1:
            raise self.fail(f"{value.name!r} must have one zero point for all channels")
        return np.int64(value.quant.zero_point[0])

    @property
    def activation(self) -> Activation:
        """The activation fused into an elementwise operator."""
        assert isinstance(self.node.attrs, FusedAttrs)
        return self.node.attrs.activation

    def same_params(self, values: Sequence[Value]) -> None:
        """Refuse values whose codes do not mean the same; kernels copy them."""
        for value in values[1:]:
            if value.quant != values[0].quant or value.dtype != values[0].dtype:
                raise self.fail(
                    f"{value.name!r} must have the type and quantization parameters of "
                    f"{values[0].name!r}"
                )


def output_range(site: Site, activation: Activation) -> tuple[int, int]:
    """Return (qmin, qmax) of the node's output after its fused activation."""
    return clamp_range(site, *activation.bounds)


def clamp_range(site: Site, low: float, high: float) -> tuple[int, int]:
    """Return (qmin, qmax) of the node's output when reals are clamped to [low, high].

    A bound is zero_point + round(bound / scale) by the rule's `Bounds`.
    Source: CalculateActivationRangeQuantized, tensorflow/lite/kernels/kernel_util.cc, and
    xnn_qs8_quantize, XNNPACK src/xnnpack/quantization.h.
    """
    out = site.result()
    dtype = site.integer(out)
    qmin, qmax = dtype.min, dtype.max
    if site.rule.clamp is Clamp.SYMMETRIC and dtype.signed:
        qmin = -qmax
    if not (math.isfinite(low) or math.isfinite(high)):
        return qmin, qmax
    scale, zero_point = site.scale_of(out), int(site.zero_of(out))
    code = _BOUND_CODES[site.rule.bounds]
    if math.isfinite(low):
        qmin = max(qmin, code(float32_quotient(low, scale), zero_point))
    if math.isfinite(high):
        qmax = min(qmax, code(float32_quotient(high, scale), zero_point))
    if qmin > qmax:
        raise site.fail(
            f"{out.name!r} must have codes for the interval from {low:g} to {high:g}, not none"
        )
    return qmin, qmax


def half_away(exact: float) -> int:
    """Return the nearest integer, ties away from zero.

    Raises:
        QuantizationError: If there is none: scales too far apart leave no finite number.
    """
    if not math.isfinite(exact):
        raise QuantizationError(f"rescaled code must be a finite number, not {exact}")
    whole = math.trunc(exact)
    if abs(exact - whole) >= 0.5:
        whole += 1 if exact > 0 else -1
    return whole


def shifted_even(exact: float, zero_point: int) -> int:
    """Return exact + zero_point, added in float32 and rounded, ties to even.

    Raises:
        QuantizationError: If it is not finite.
    """
    with np.errstate(over="ignore"):
        shifted = float(np.float32(exact) + np.float32(zero_point))
    if not math.isfinite(shifted):
        raise QuantizationError(f"rescaled code must be a finite number, not {shifted}")
    return round(shifted)


_BOUND_CODES: Mapping[Bounds, Callable[[float, int], int]] = MappingProxyType(
    {
        Bounds.HALF_AWAY: lambda exact, zero_point: half_away(exact) + zero_point,
        Bounds.SHIFTED_EVEN: shifted_even,
    }
)


def fixed_scaling(
    rule: OperatorRule, ratios: Sequence[float], zero_point: int, qmin: int, qmax: int
) -> Scaling:
    """Return the integers of a list of real ratios; ties and shifts follow the rule.

    Raises:
        QuantizationError: If a ratio is out of the multiplier's range.
    """
    multipliers = [shiftable_multiplier(rule, ratio) for ratio in ratios]
    return pack_scaling(rule, multipliers, ratios, zero_point, qmin, qmax)


def shiftable_multiplier(rule: OperatorRule, ratio: float) -> Multiplier:
    """Return the multiplier of a ratio, its right shift inside the rule's range.

    Shifts below -30 are undefined in the reference's C.
    """
    if not rule.requant.is_fixed:
        half_away(ratio)  # finite
        return Multiplier(0, 0)
    multiplier = narrow_multiplier(quantize_multiplier(ratio), rule.multiplier_bits)
    low, high = rule.right_shifts
    if not low <= multiplier.right_shift <= high:
        raise QuantizationError(
            f"right shift of scale ratio {ratio:g} must be in [{low}, {high}], "
            f"not {multiplier.right_shift}"
        )
    return multiplier


def pack_scaling(
    rule: OperatorRule,
    multipliers: Sequence[Multiplier],
    ratios: Sequence[float],
    zero_point: int,
    qmin: int,
    qmax: int,
) -> Scaling:
    """Return ready multipliers as kernel arguments; `ratios` serve the floating-point rules."""
    return Scaling(
        int(rule.requant),
        rule.multiplier_bits,
        np.array([m.multiplier for m in multipliers], np.int64),
        np.array([m.right_shift for m in multipliers], np.int64),
        np.array(ratios, np.float64),
        int(zero_point),
        int(qmin),
        int(qmax),
    )


_EIGHT = 8


def fixed_8_scaling(ratios: Sequence[float], zero_point: int, qmin: int, qmax: int) -> Scaling:
    """Return round(256 * ratio), ties to even, as multipliers of 8 fraction bits; ties up.

    Source: XNNPACK src/microparams-init.c, xnn_init_qs8_cvt_scalar_params and its kin.
    """
    multipliers = [Multiplier(round(math.ldexp(ratio, _EIGHT)), 0) for ratio in ratios]
    rule = OperatorRule(Requant.HALF_UP, multiplier_bits=_EIGHT)
    return pack_scaling(rule, multipliers, ratios, zero_point, qmin, qmax)


def wide_scaling(rule: OperatorRule, ratio: float) -> Scaling:
    """Return the scaling of an intermediate: no zero point, clamped to int32 alone."""
    return fixed_scaling(rule, [ratio], 0, -(1 << 31), (1 << 31) - 1)


_WIDEST_SHIFT = 62


def exact_scaling(ratios: Sequence[float], zero_point: int, qmin: int, qmax: int) -> Scaling:
    """Return the scaling of accumulators of up to 62 bits, for `requantize_wide`: ties to even.

    Its shifts reach 62, as ratios of such accumulators to codes are small; one that is smaller
    still leaves nothing of any accumulator.

    Raises:
        QuantizationError: If a ratio is not below 1.
    """
    multipliers = []
    for ratio in ratios:
        if not abs(ratio) < 1:
            raise QuantizationError(
                f"scale ratio of a wide accumulator must be below 1, not {ratio:g}"
            )
        fraction, exponent = math.frexp(ratio)
        multiplier = math.floor(math.ldexp(abs(fraction), 31) + 0.5)
        if multiplier == 1 << 31:
            multiplier, exponent = 1 << 30, exponent + 1
        if -exponent > _WIDEST_SHIFT:
            multiplier, exponent = 0, 0
        multipliers.append(Multiplier(multiplier if ratio > 0 else -multiplier, -exponent))
    rule = OperatorRule(Requant.HALF_EVEN)
    return pack_scaling(rule, multipliers, ratios, zero_point, qmin, qmax)


def raw_scaling(channels: int) -> Scaling:
    """Return the scaling that leaves accumulators as they are."""
    return pack_scaling(
        UNSCALED, [Multiplier(0, 0)] * channels, [1.0] * channels, 0, -(1 << 31), (1 << 31) - 1
    )


def scale_ratio(site: Site, a: float, b: float, out: float, gain: float = 1.0) -> float:
    """Return a * b * gain / out in the precision of the site's rule."""
    product = site.rule.product
    if product is ScaleProduct.FLOAT32_IF_UNSIGNED:
        unsigned = not site.integer(site.operand(0)).signed
        product = ScaleProduct.FLOAT32 if unsigned else ScaleProduct.FLOAT64
    if product is ScaleProduct.FLOAT64:
        return a * b * gain / out
    exact = float32_product(a, b) * gain
    return exact / out if product is ScaleProduct.FLOAT32 else float32_quotient(exact, out)


def product_scaling(site: Site, activation: Activation, channels: int) -> Scaling:
    """Return the scaling of sum(x * w) for a node whose inputs 0 and 1 are x and w.

    The ratio is s_x * s_w[c] / s_out. `ScaleProduct` says in which precision the product is taken.
    An output of 32 bits is the accumulator itself.
    """
    x, weights, out = site.operand(0), site.operand(1), site.result()
    if site.integer(out).bits == 32:
        return raw_scaling(channels)
    if weights.quant is None:
        raise site.fail(f"{weights.name!r} must have quantization parameters")
    x_scale, out_scale = site.scale_of(x), site.scale_of(out)
    _check_channels(site, weights, channels)
    attrs, rule = site.node.attrs, site.rule
    gain = attrs.scale if isinstance(attrs, MatMulAttrs) else 1.0
    ratios = [scale_ratio(site, x_scale, scale, out_scale, gain) for scale in weights.quant.scale]
    if len(ratios) == 1:
        ratios *= channels
    qmin, qmax = output_range(site, activation)
    return fixed_scaling(rule, ratios, int(site.zero_of(out)), qmin, qmax)


def _check_channels(site: Site, weights: Value, channels: int) -> None:
    """Refuse scales that are not one per output channel: kernels index them by it."""
    assert weights.quant is not None
    axis = len(weights.shape) - 1 if site.op is Op.DEPTHWISE_CONV_2D else 0
    if weights.quant.axis not in (None, axis):
        raise site.fail(
            f"{weights.name!r} must have one scale, or one per index of axis {axis}, "
            f"not of axis {weights.quant.axis}"
        )
    assert len(weights.quant.scale) in (1, channels)


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros that start at a cache line; NumPy promises 16 bytes only.

    Vectors that lie across two lines made a convolution a third slower.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -raw.__array_interface__["data"][0] % _CACHE_LINE
    return raw[start : start + size].view(dtype).reshape(shape)


class Scratch:
    """Accumulators of one output pixel, kept between calls; calls at one time get one each.

    Args:
        channels: How many.
        bits: The profile's accumulator width.
    """

    def __init__(self, channels: int, bits: int) -> None:
        """Make none yet."""
        self._shape = (channels,)
        self._dtype: type[np.signedinteger] = np.int32 if bits <= 32 else np.int64
        self._free: list[NDArray[np.signedinteger]] = []

    @property
    def kind(self) -> tuple[tuple[int, ...], type[np.signedinteger]]:
        """Shape and type of the accumulators."""
        return self._shape, self._dtype

    def take(self) -> NDArray[np.signedinteger]:
        """Return accumulators that nobody else holds; what they hold is undefined."""
        try:
            return self._free.pop()
        except IndexError:
            return aligned(self._shape, self._dtype)

    def give(self, acc: NDArray[np.signedinteger]) -> None:
        """Hand accumulators back."""
        self._free.append(acc)
