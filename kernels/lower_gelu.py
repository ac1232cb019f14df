"""Lowering of GELU: by table, by I-BERT's polynomial or by I-ViT's shifts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.exponentials import shift_exponential
from hwsim.gelu import SIGMOID_SLOPE, Parabola
from hwsim.profile import Method
from hwsim.verify import largest_code

from .arith import Scaling
from .gelu import gelu_by_polynomial, gelu_by_shifts
from .lower_linear import Array, Lowered, Step
from .lower_table import lower_table
from .scaling import Site, exact_scaling, fixed_scaling

_WIDE_BITS = 62
_INT32_MAX = (1 << 31) - 1
SIGMOID_BITS = 8


def lower_gelu(site: Site) -> Step | Lowered:
    """Lower GELU by the profile's rule."""
    lower = {Method.IBERT: _by_polynomial, Method.IVIT: _by_shifts}
    return lower.get(site.rule.method, lower_table)(site)


class PolynomialGelu(NamedTuple):
    """The integers of I-BERT's GELU: one per channel, or one for all; see the kernel."""

    x_zero: Any
    knee: NDArray[np.int64]
    height: NDArray[np.int64]
    one: NDArray[np.int64]
    scaling: Scaling


def polynomial_gelu(site: Site) -> PolynomialGelu:
    """Return I-BERT's GELU of an accumulator, with a scale per channel, or of codes."""
    x, out = site.operand(0), site.result()
    site.integer(x)
    if x.quant is None or x.quant.axis not in (None, len(x.shape) - 1):
        raise site.fail(f"{x.name!r} must have one scale, or one per index of its last axis")
    if len(set(x.quant.zero_point)) != 1:
        raise site.fail(f"{x.name!r} must have one zero point for all channels")
    parabolas = [Parabola.at(scale) for scale in x.quant.scale]
    largest = largest_code(site.graph, x)
    bits = max(parabola.bits(largest) for parabola in parabolas)
    if bits > _WIDE_BITS:
        raise site.fail(
            f"i-GELU must fit {_WIDE_BITS} bits, not {bits}; its input's scale is too fine"
        )
    dtype = site.integer(out)
    ratios = [parabola.unit / site.scale_of(out) for parabola in parabolas]
    if max(abs(ratio) for ratio in ratios) >= 1:
        raise site.fail(
            f"a step of i-GELU must be below the output's scale {site.scale_of(out):g}; its "
            f"input's scale {max(x.quant.scale):g} is too coarse, let it read a 32-bit sum"
        )
    scaling = exact_scaling(ratios, int(site.zero_of(out)), dtype.min, dtype.max)
    knee, height, one = (
        np.array([getattr(parabola, name) for parabola in parabolas], np.int64)
        for name in ("knee", "height", "one")
    )
    return PolynomialGelu(np.int64(x.quant.zero_point[0]), knee, height, one, scaling)


def _by_polynomial(site: Site) -> Step:
    out = site.result()
    dtype = site.integer(out)
    constants = polynomial_gelu(site)
    channels = out.shape[-1] if out.shape else 1

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, channels)
        made = np.empty(rows.shape, dtype.storage)
        gelu_by_polynomial(rows, *constants, made)
        return (made.reshape(out.shape),)

    return step


def _by_shifts(site: Site) -> Step:
    """Lower ShiftGELU of codes of at most 8 bits; the sigmoid has 8."""
    out = site.result()
    dtype = site.integer(out)
    compute = shift_gelu(site)
    channels = out.shape[-1] if out.shape else 1

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = np.ascontiguousarray(arrays[0]).reshape(-1, channels)
        made = np.empty(rows.shape, dtype.storage)
        compute(rows, made)
        return (made.reshape(out.shape),)

    return step


def shift_gelu(site: Site) -> Callable[[Array, Array], None]:
    """Return the function that writes ShiftGELU of rows of codes, of any number and length."""
    x, out = site.operand(0), site.result()
    source, dtype = site.integer(x), site.integer(out)
    if source.bits > 8:
        raise site.fail(f"{x.name!r} must hold codes of at most 8 bits, not {source.bits}")
    x_zero = site.zero_of(x)
    low, high = source.min - int(x_zero), source.max - int(x_zero)
    # Arguments are x - max and -max of a row.
    first, last = min(low - high, -high), max(0, -low)
    scale = site.scale_of(x)
    made_of = shift_exponential(scale * SIGMOID_SLOPE, first, last, site.rule.fraction_bits)
    if made_of.bits > _WIDE_BITS:
        raise site.fail(
            f"exponential of ShiftGELU must fit {_WIDE_BITS} bits, not {made_of.bits}; "
            "its input's scale is too coarse"
        )
    exponentials = made_of.codes
    ratio = scale * 2.0 ** -(SIGMOID_BITS - 1) / site.scale_of(out)
    scaling = fixed_scaling(site.rule, [ratio], int(site.zero_of(out)), dtype.min, dtype.max)

    def compute(rows: Array, made: Array) -> None:
        gelu_by_shifts(
            rows, x_zero, exponentials, first, _INT32_MAX, 32 - SIGMOID_BITS, scaling, made
        )

    return compute
