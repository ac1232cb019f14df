"""Lowering of sums and differences of two operands."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.attributes import Activation, FusedAttrs
from hwsim.graph import Value
from hwsim.intermediates import ADD_BITS
from hwsim.multiplier import float32_quotient
from hwsim.ops import Op
from hwsim.profile import Method
from hwsim.verify import centered_range

from .elementwise import (
    add_apart,
    add_once,
    add_powers,
    add_shifted,
    square_difference,
)
from .lower_float32 import (
    flat,
    lower_add_ratios,
    lower_binary_reals,
)
from .lower_interpolate import nearly_power_of_two
from .lower_linear import Array, Lowered, Step
from .scaling import (
    UNSCALED,
    Site,
    fixed_scaling,
    output_range,
    wide_scaling,
)


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
    qmin, qmax = output_range(site, site.activation)
    scaling = fixed_scaling(rule, [ratio], int(site.zero_of(out)), qmin, qmax)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = flat(arrays[0], out.shape), flat(arrays[1], out.shape)
        add_shifted(left, right, a_zero, b_zero, shift, sign, a_scaling, b_scaling, scaling, made)
        return (made.reshape(out.shape),)

    scalings = {"requantize_a": a_scaling, "requantize_b": b_scaling, "requantize": scaling}
    return Lowered(step, {"left_shift": shift, **scalings})


def _add_powers(site: Site, sign: int, powers: Sequence[int]) -> Lowered:
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
    qmin, qmax = output_range(site, site.activation)
    first_kept = shifts[0] == 0

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        left, right = arrays[0].reshape(-1), arrays[1].reshape(-1)
        if first_kept:
            add_powers(left, right, shifts[1], 1, sign, qmin, qmax, made)
        else:
            add_powers(right, left, shifts[0], sign, 1, qmin, qmax, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"right_shift_a": shifts[0], "right_shift_b": shifts[1]})


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


def _check_shiftable(site: Site, value: Value, shift: int) -> None:
    """Refuse codes that a left shift would push out of 32 bits."""
    site.zero_of(value)
    low, high = centered_range(value)
    if max(high, -low - 1).bit_length() + shift > 31:
        raise site.fail(
            f"{value.name!r} must hold codes less zero point within 2**{31 - shift}, "
            f"not [{low}, {high}]"
        )


def _add_once(site: Site, sign: int) -> Lowered:
    """Lower an addition of one shift: the larger multiplier has 21 bits.

    Source: XNNPACK src/microparams-init.c, xnn_init_qs8_add_minmax_scalar_params.
    """
    a, b, out = site.operand(0), site.operand(1), site.result()
    ratios = [float32_quotient(site.scale_of(x), site.scale_of(out)) for x in (a, b)]
    right_shift = ADD_BITS + 1 - math.frexp(max(ratios))[1]
    multipliers: list[Any] = [np.int64(round(math.ldexp(r, right_shift))) for r in ratios]
    left, right = multipliers
    qmin, qmax = output_range(site, site.activation)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)
    zero_point = int(site.zero_of(out))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        add_once(
            flat(arrays[0], out.shape), flat(arrays[1], out.shape), a_zero, b_zero,
            left, sign * right, right_shift, zero_point, qmin, qmax, made,
        )  # fmt: skip
        return (made.reshape(out.shape),)

    numbers = {"multiplier_a": int(left), "multiplier_b": int(sign * right)}
    return Lowered(step, {**numbers, "right_shift": right_shift})


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
    qmin, qmax = output_range(site, site.activation)
    scaling = fixed_scaling(UNSCALED, [1.0], int(site.zero_of(out)), qmin, qmax)
    zeros = [site.common_zero(value) for value in (a, b)]

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty((out.elements // channels, channels), out.dtype.storage)
        left, right = (flat(array, out.shape).reshape(made.shape) for array in arrays)
        add_apart(left, right, zeros[0], zeros[1], sign, scalings[0], scalings[1], scaling, made)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize_a": scalings[0], "requantize_b": scalings[1]})
