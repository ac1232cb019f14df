"""Lowering of the non-linearities of 16-bit codes to interpolated tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import SoftmaxAttrs
from hwsim.ops import Op
from hwsim.profile import Method

from .arith import Scaling, round_half_away
from .interpolate import (
    interpolate_513,
    logistic_16,
    lut_513,
    sigmoid_table,
    softmax_rows_16,
    tanh_16,
)
from .lower_linear import Array, Step
from .scaling import Site, wide_scaling

_REALS: Mapping[Method, type[Any]] = MappingProxyType(
    {Method.LUT_513_FLOAT64: np.float64, Method.LUT_513_FLOAT32: np.float32}
)
_CODES_PER_UNIT = 3 * 4096  # of the argument that the sigmoid table is read with
_EXP_RANGE = 10.0  # exp(-10) is less than one code
_MAX_CLASSES = 1 << 16  # their exponentials add to less than 2**31


def nearly_power_of_two(scale: float) -> int | None:
    """Return the exponent of a scale within 0.07 % of a power of two, else None.

    Source: CheckedLog2, tensorflow/lite/kernels/internal/quantization_util.cc, in float32.
    """
    inverse = np.float32(1) / np.float32(math.log(2.0))
    exponent = np.float32(math.log(scale)) * inverse
    power = round_half_away(float(exponent))
    if abs(exponent - np.float32(power)) >= np.float32(1e-3):
        return None
    return int(power)


def _check_q15(site: Site) -> None:
    """Refuse anything but 16-bit codes with zero point 0, the result in units of 2**-15."""
    x, out = site.operand(0), site.result()
    for value in (x, out):
        dtype = site.integer(value)
        zero_point = int(site.zero_of(value))
        if dtype.bits != 16 or not dtype.signed or zero_point != 0:
            raise site.fail(
                f"{value.name!r} must be int16 with zero point 0, "
                f"not {dtype} with zero point {zero_point}"
            )
    if nearly_power_of_two(site.scale_of(out)) != -15:
        raise site.fail(f"{out.name!r} must have scale 2**-15, not {site.scale_of(out):g}")


def lower_sigmoid_16(site: Site) -> Step:
    """Lower LOGISTIC or TANH of 16-bit codes; both read one table of the sigmoid.

    Source: tensorflow/lite/kernels/activations.cc, TanhPrepare and SigmoidPrepare.
    """
    _check_q15(site)
    x, out = site.operand(0), site.result()
    multiplier, right_shift = _to_table(site.scale_of(x), tanh=site.op is Op.TANH)
    if multiplier >> 16:
        raise site.fail(f"scale of {x.name!r} must be below 16/3, not {site.scale_of(x):g}")
    kernel = tanh_16 if site.op is Op.TANH else logistic_16
    table = sigmoid_table()

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, out.dtype.storage)
        kernel(arrays[0].reshape(-1), multiplier, right_shift, table, made)
        return (made.reshape(out.shape),)

    return step


def _to_table(scale: float, *, tanh: bool) -> tuple[int, int]:
    """Return the multiplier and right shift from an input's scale to the table's argument."""
    power = nearly_power_of_two(scale)
    if power == -12 or (tanh and power == -11):
        return 3 << (12 + power), 0
    ratio, right_shift = scale * _CODES_PER_UNIT, 0
    while ratio <= 32767.0 / 2.0 and right_shift <= 30:
        ratio *= 2.0
        right_shift += 1
    return int(ratio), right_shift


@cache
def softmax_tables(method: Method) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return exp on [-10, 0] and 1 / (1 + x) on [0, 1], in Q0.15."""
    real = _REALS[method]
    one = real(1)
    return (
        lut_513(math.exp, real(-_EXP_RANGE), real(0), real(32768)),
        lut_513(lambda x: float(one / (one + real(x))), real(0), one, real(32768)),
    )


def softmax_16_scaling(site: Site) -> Scaling:
    """Return what brings a difference of 16-bit codes to the table of exponentials."""
    _check_q15(site)
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    x = site.operand(0)
    classes = x.shape[-1]
    if classes > _MAX_CLASSES:
        raise site.fail(f"classes must be at most {_MAX_CLASSES}, not {classes}")
    ratio = site.scale_of(x) * attrs.beta / (_EXP_RANGE / 65535.0)
    if not ratio < 1 << 14:
        # A difference of 16 bits is shifted left in 32.
        raise site.fail(f"beta * scale of {x.name!r} must be below 2.5, not {ratio * 10 / 65535:g}")
    return wide_scaling(site.rule, ratio)


def lower_softmax_16(site: Site) -> Step:
    """Lower SOFTMAX of 16-bit codes. Source: tensorflow/lite/kernels/activations.cc."""
    scaling = softmax_16_scaling(site)
    out = site.result()
    classes = site.operand(0).shape[-1]
    exponentials, reciprocals = softmax_tables(site.rule.method)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty((out.elements // classes, classes), np.int16)
        softmax_rows_16(arrays[0].reshape(made.shape), scaling, exponentials, reciprocals, made)
        return (made.reshape(out.shape),)

    return step


def lower_lut_513(site: Site, function: Callable[[float], float]) -> Step:
    """Lower a function of 16-bit codes to 513 entries; see `lut_513`.

    Source: LUTPopulate, tensorflow/lite/kernels/internal/common.h.
    """
    x, out = site.operand(0), site.result()
    for value in (x, out):
        dtype = site.integer(value)
        if dtype.bits != 16 or not dtype.signed:
            raise site.fail(f"{value.name!r} must be int16, not {dtype}")
    real = _REALS[site.rule.method]
    in_scale, out_scale = real(site.scale_of(x)), real(site.scale_of(out))
    zero_in, zero_out = int(site.zero_of(x)), int(site.zero_of(out))
    first, last = (real(in_scale * real(code - zero_in)) for code in (-(1 << 15), (1 << 15) - 1))
    low, high = (real(out_scale * real(code - zero_out)) for code in (-(1 << 15), (1 << 15) - 1))
    table = lut_513(function, first, last, real(real(1 << 16) / real(high - low)))

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        made = np.empty(out.elements, np.int16)
        interpolate_513(arrays[0].reshape(-1), table, made)
        return (made.reshape(out.shape),)

    return step
