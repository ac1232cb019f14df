"""Lowering of SOFTMAX by each of its methods."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import SoftmaxAttrs
from hwsim.exponentials import softmax_exponential
from hwsim.multiplier import float32_product, quantize_multiplier
from hwsim.profile import Method

from .lower_float32 import lower_softmax_table
from .lower_interpolate import lower_softmax_16
from .lower_linear import Array, Lowered, Step
from .scaling import Site
from .softmax import softmax_by_division, softmax_by_reciprocal, softmax_rows, softmax_rows_by_table

_INPUT_INTEGER_BITS = 5
# Each exponential adds at most 2**19 to the sum; 2**12 of them reach 2**31.
_SUM_HEADROOM = 12
_SUM_BITS = 62
_INT32_MAX = (1 << 31) - 1

# From rows of codes to rows of codes: (x, first_visible, queries, out).
_Rows = Callable[[Array, int, int, Array], None]


def lower_softmax(site: Site) -> Step | Lowered:
    """Lower SOFTMAX.

    The output's scale must be 2**-bits and its zero point the smallest code; by IVIT it must be a
    signed type of scale 2**-(bits - 1) and zero point 0.
    """
    if site.rule.method is Method.LIFTED_EXP:
        return lower_softmax_table(site)
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    if site.rule.method in (Method.LUT_513_FLOAT64, Method.LUT_513_FLOAT32):
        if attrs.causal:
            raise site.fail("softmax by an interpolated table must not be causal")
        return lower_softmax_16(site)
    x, out = site.operand(0), site.result()
    dtype = site.integer(out)
    keys = x.shape[-1]
    if dtype.bits > 16:
        raise site.fail(f"output must hold codes of at most 16 bits, not {dtype.bits}")
    _check_output(site)
    if keys >= 1 << _SUM_HEADROOM:
        raise site.fail(f"classes must be below {1 << _SUM_HEADROOM}, not {keys}")
    apply = {Method.GEMMLOWP: _gemmlowp, Method.FLOAT_TABLE: _float_table}.get(
        site.rule.method, _by_differences
    )(site)
    queries = x.shape[-2] if attrs.causal else 1
    first_visible = keys - queries + 1

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, keys)
        made = np.empty(rows.shape, dtype.storage)
        apply(rows, first_visible, queries, made)
        return (made.reshape(out.shape),)

    if site.rule.method is not Method.GEMMLOWP:
        return step
    names = ("multiplier", "left_shift", "smallest_difference")
    return Lowered(step, dict(zip(names, fixed_point(site), strict=True)))


def _check_output(site: Site) -> None:
    out = site.result()
    dtype = site.integer(out)
    by_shifts = site.rule.method is Method.IVIT
    if by_shifts and not dtype.signed:
        raise site.fail(f"output must be a signed type by method ivit, not {dtype}")
    fraction, zero_point = (dtype.bits - 1, 0) if by_shifts else (dtype.bits, dtype.min)
    if site.scale_of(out) != 2.0**-fraction or int(site.zero_of(out)) != zero_point:
        raise site.fail(
            f"output must have scale 2**-{fraction} and zero point {zero_point}, "
            f"not {site.scale_of(out):g} and {int(site.zero_of(out))}"
        )


def fixed_point(site: Site) -> tuple[int, int, int]:
    """Return multiplier, left shift and smallest difference of the Q5.26 exponential's argument."""
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    x = site.operand(0)
    fraction = 31 - _INPUT_INTEGER_BITS
    ratio = min(attrs.beta * site.scale_of(x) * (1 << fraction), (1 << 31) - 1.0)
    scaled = quantize_multiplier(ratio)
    left_shift = -scaled.right_shift
    if left_shift < 0:
        raise site.fail(f"input scale must be at least 2**-26 / beta, not {site.scale_of(x):g}")
    smallest = -(((1 << _INPUT_INTEGER_BITS) - 1) * (1 << fraction) >> left_shift)
    return scaled.multiplier, left_shift, smallest


def _gemmlowp(site: Site) -> _Rows:
    dtype = site.integer(site.result())
    multiplier, left_shift, smallest = fixed_point(site)

    def apply(rows: Array, first_visible: int, queries: int, made: Array) -> None:
        softmax_rows(
            rows, multiplier, left_shift, smallest, dtype.bits, dtype.min, dtype.max,
            first_visible, queries, made,
        )  # fmt: skip

    return apply


def _float_table(site: Site) -> _Rows:
    """Return softmax of codes of at most 8 bits by a table of float32 exponentials."""
    out = site.result()
    dtype = site.integer(out)
    exponentials = float_exponentials(site)
    out_scale, zero_point = site.scale_of(out), int(site.zero_of(out))

    def apply(rows: Array, first_visible: int, queries: int, made: Array) -> None:
        softmax_rows_by_table(rows, exponentials, out_scale, zero_point, dtype.min, dtype.max, made)

    return apply


def float_exponentials(site: Site) -> NDArray[np.float32]:
    """Return exp of every code's distance to a row's largest, nearest first, by FLOAT_TABLE."""
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    if attrs.causal:
        raise site.fail("softmax by a table of floats must not be causal")
    x = site.operand(0)
    scale = float32_product(site.scale_of(x), attrs.beta)
    distances = range(1 << site.integer(x).bits)
    return np.array([math.exp(-float32_product(scale, d)) for d in distances], np.float32)


def _by_differences(site: Site) -> _Rows:
    rule, dtype = site.rule, site.integer(site.result())
    exponentials = integer_exponentials(site)
    zero_point = int(site.zero_of(site.result()))
    if rule.method in (Method.IBERT, Method.IVIT):
        numerator, largest_sum = reciprocal_limits(rule.method)
        right_shift = 32 - dtype.bits

        def reciprocal(rows: Array, first_visible: int, queries: int, out: Array) -> None:
            softmax_by_reciprocal(
                rows, exponentials, numerator, largest_sum, right_shift, zero_point, dtype.max,
                first_visible, queries, out,
            )  # fmt: skip

        return reciprocal

    def division(rows: Array, first_visible: int, queries: int, out: Array) -> None:
        softmax_by_division(
            rows, exponentials, dtype.bits, zero_point, dtype.max, first_visible, queries, out
        )

    return division


def reciprocal_limits(method: Method) -> tuple[int, int]:
    """Return the numerator of a softmax by IBERT or IVIT, and its largest sum."""
    by_shifts = method is Method.IVIT
    return (_INT32_MAX, _INT32_MAX) if by_shifts else (1 << 32, 1 << 32)


def integer_exponentials(site: Site) -> NDArray[np.int64]:
    """Return the exponential of every code difference, the last that of 0."""
    attrs = site.node.attrs
    assert isinstance(attrs, SoftmaxAttrs)
    x = site.operand(0)
    wide = site.integer(x)
    if wide.bits > 16:
        raise site.fail(f"input must hold codes of at most 16 bits, not {wide.bits}")
    made = softmax_exponential(site.rule, attrs.beta * site.scale_of(x), wide.max - wide.min)
    exponentials = made.codes
    bits = int(exponentials[-1]).bit_length() + x.shape[-1].bit_length()
    if bits > _SUM_BITS:
        raise site.fail(f"sum of exponentials must fit {_SUM_BITS} bits, not {bits}")
    return exponentials
