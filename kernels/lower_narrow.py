"""Lowering of accumulating operators whose accumulator may be too narrow.

Here an operator is taken apart: its sums first, its codes from sums after. The plan uses it where
a profile lets an accumulator wrap or saturate; the report of accumulators looks at the sums.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    ConvAttrs,
    FullyConnectedAttrs,
    MatMulAttrs,
    MeanAttrs,
    PoolAttrs,
)
from hwsim.ops import Op
from hwsim.profile import Method, Overflow
from hwsim.verify import centered_weights

from .arith import Scaling
from .elementwise import rescale
from .lower_linear import Array, Step, matrices
from .lower_reduce import count_scaling, mean_scaling
from .narrow import requantize_by_count, saturating_sums
from .scaling import Site, output_range, product_scaling

_INT64 = np.iinfo(np.int64)
_ZERO: Any = np.int64(0)
Pair = tuple[int, int]


@dataclass(frozen=True)
class Register:
    """An accumulator of `bits` bits, and what it does beyond them."""

    bits: int
    overflow: Overflow

    @property
    def ends(self) -> Pair:
        """What each addition is clamped to."""
        if self.overflow is Overflow.SATURATE:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return int(_INT64.min), int(_INT64.max)

    def held(self, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is left of finished sums; two's complement does not see their order."""
        if self.overflow is not Overflow.WRAP:
            return sums
        unused = 64 - self.bits
        return (sums << unused) >> unused


EXACT = Register(64, Overflow.WRAP)


@dataclass(frozen=True)
class Sums:
    """Accumulators of a node, int64, one per output element.

    Args:
        final: What the register holds at the end.
        least: Smallest value that an addition made, before the register limited it.
        most: Largest such value.
    """

    final: NDArray[np.int64]
    least: NDArray[np.int64]
    most: NDArray[np.int64]


@dataclass(frozen=True)
class Accumulation:
    """An accumulating node taken apart.

    Args:
        sums: Its accumulators from its inputs.
        codes: Its output from its accumulators.
    """

    sums: Callable[[Sequence[Array], Register], Sums]
    codes: Callable[[NDArray[np.int64]], Array]


@dataclass(frozen=True)
class _Window:
    """Where a convolution looks, and the output's (H, W)."""

    size: tuple[int, ...] = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    origin: Pair = (0, 0)


def _summed(
    x: Array,
    weights: Array,
    bias: NDArray[np.int64],
    window: _Window,
    zero: Any,
    register: Register,
) -> Sums:
    """Return the sums of NHWC `x` and (groups, kh, kw, I / groups, O / groups) weights."""
    shape = (x.shape[0], *window.size, weights.shape[0] * weights.shape[4])
    final, least, most = (np.empty(shape, np.int64) for _ in range(3))
    low, high = register.ends
    saturating_sums(
        np.ascontiguousarray(x), np.ascontiguousarray(weights), bias, window.stride,
        window.dilation, window.origin, zero, low, high, final, least, most,
    )  # fmt: skip
    return Sums(register.held(final), least, most)


def _rescaled(site: Site, scaling: Scaling) -> Callable[[NDArray[np.int64]], Array]:
    out = site.result()
    channels = scaling.multiplier.size

    def codes(sums: NDArray[np.int64]) -> Array:
        made = np.empty((out.elements // channels, channels), out.dtype.storage)
        rescale(sums.reshape(made.shape), _ZERO, scaling, made)
        return made.reshape(out.shape)

    return codes


def _bias(site: Site, channels: int) -> NDArray[np.int64]:
    bias = site.optional(2)
    if bias is None or bias.data is None:
        return np.zeros(channels, np.int64)
    return np.asarray(bias.data, np.int64)


def _conv(site: Site) -> Accumulation:
    attrs = site.node.attrs
    assert isinstance(attrs, ConvAttrs)
    weights = centered_weights(site.operand(1))
    if site.op is Op.DEPTHWISE_CONV_2D:
        # Output channel o reads input channel o // multiplier: a group per input channel.
        groups, by_group = site.operand(0).shape[3], weights[0][:, :, None]
    else:
        groups, by_group = attrs.groups, weights.transpose(1, 2, 3, 0)
    packed = by_group.reshape(*by_group.shape[:3], groups, -1).transpose(3, 0, 1, 2, 4)
    channels = site.result().shape[3]
    bias, zero = _bias(site, channels), site.zero_of(site.operand(0))
    window = _Window(site.result().shape[1:3], attrs.stride, attrs.dilation, attrs.padding[:2])

    def sums(arrays: Sequence[Array], register: Register) -> Sums:
        return _summed(arrays[0], packed, bias, window, zero, register)

    return Accumulation(sums, _rescaled(site, product_scaling(site, attrs.activation, channels)))


def _fully_connected(site: Site) -> Accumulation:
    attrs = site.node.attrs
    assert isinstance(attrs, FullyConnectedAttrs)
    weights = centered_weights(site.operand(1)).T
    depth, channels = weights.shape
    bias, zero = _bias(site, channels), site.zero_of(site.operand(0))

    def sums(arrays: Sequence[Array], register: Register) -> Sums:
        rows = arrays[0].reshape(-1, 1, 1, depth)
        return _summed(rows, weights[None, None, None], bias, _Window(), zero, register)

    return Accumulation(sums, _rescaled(site, product_scaling(site, attrs.activation, channels)))


def _matmul(site: Site) -> Accumulation:
    attrs = site.node.attrs
    assert isinstance(attrs, MatMulAttrs)
    a_zero, b_zero = (site.zero_of(site.operand(slot)) for slot in (0, 1))
    batch, columns = site.result().shape[:-2], site.result().shape[-1]
    bias = np.zeros(columns, np.int64)

    def sums(arrays: Sequence[Array], register: Register) -> Sums:
        left = matrices(arrays[0], batch, attrs.transpose_a)
        right = matrices(arrays[1], batch, attrs.transpose_b).astype(np.int64) - b_zero
        parts = [
            _summed(a[:, None, None], b[None, None, None], bias, _Window(), a_zero, register)
            for a, b in zip(left, right, strict=True)
        ]
        return Sums(
            np.stack([part.final for part in parts]),
            np.stack([part.least for part in parts]),
            np.stack([part.most for part in parts]),
        )

    return Accumulation(sums, _rescaled(site, product_scaling(site, Activation.NONE, 1)))


def _mean(site: Site) -> Accumulation:
    attrs = site.node.attrs
    assert isinstance(attrs, MeanAttrs)
    x = site.operand(0)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in attrs.axes)
    count = x.elements // site.result().elements
    ones, bias = np.ones((1, 1, 1, count, 1), np.int64), np.zeros(1, np.int64)
    zero = site.zero_of(x)

    def sums(arrays: Sequence[Array], register: Register) -> Sums:
        rows = arrays[0].transpose(*kept, *attrs.axes).reshape(-1, 1, 1, count)
        return _summed(rows, ones, bias, _Window(), zero, register)

    return Accumulation(sums, _rescaled(site, mean_scaling(site)))


def _average_pool(site: Site) -> Accumulation:
    attrs = site.node.attrs
    assert isinstance(attrs, PoolAttrs)
    x, out = site.operand(0), site.result()
    raw = site.rule.method is Method.CODES
    depth = x.shape[3]
    ones, bias = np.ones((depth, *attrs.kernel, 1, 1), np.int64), np.zeros(depth, np.int64)
    window = _Window(out.shape[1:3], attrs.stride, (1, 1), attrs.padding[:2])
    zero = _ZERO if raw else site.zero_of(x)
    inside = _summed(
        np.ones((1, *x.shape[1:3], 1)).astype(np.int8), ones[:1], bias[:1], window, _ZERO, EXACT
    ).final.reshape(-1)

    def sums(arrays: Sequence[Array], register: Register) -> Sums:
        return _summed(arrays[0], ones, bias, window, zero, register)

    if raw:
        qmin, qmax = output_range(site, attrs.activation)
        counts = inside.reshape(1, *out.shape[1:3], 1)

        def averaged(totals: NDArray[np.int64]) -> Array:
            magnitude = (np.abs(totals) + counts // 2) // counts
            means = np.clip(np.sign(totals) * magnitude, qmin, qmax)
            return np.asarray(means, out.dtype.storage)

        return Accumulation(sums, averaged)
    divisors = np.full_like(inside, attrs.kernel[0] * attrs.kernel[1])
    divisors = divisors if attrs.count_padding else inside
    by_count = count_scaling(site)

    def scaled(totals: NDArray[np.int64]) -> Array:
        made = np.empty((out.shape[0], inside.size, depth), out.dtype.storage)
        requantize_by_count(totals.reshape(made.shape), divisors, by_count, made)
        return made.reshape(out.shape)

    return Accumulation(sums, scaled)


_BUILDERS: Mapping[Op, Callable[[Site], Accumulation]] = MappingProxyType(
    {
        Op.CONV_2D: _conv,
        Op.DEPTHWISE_CONV_2D: _conv,
        Op.FULLY_CONNECTED: _fully_connected,
        Op.MATMUL: _matmul,
        Op.MEAN: _mean,
        Op.AVERAGE_POOL_2D: _average_pool,
    }
)


def accumulation(site: Site) -> Accumulation | None:
    """Return a node taken apart, or None where its operator keeps no sum that could be narrow."""
    builder = _BUILDERS.get(site.op)
    return builder(site) if builder else None


def lower_narrow(site: Site) -> Step:
    """Lower a node whose accumulator wraps or saturates, as its rule says.

    Raises:
        GraphError: If its operator has no such kernel.
    """
    rule = site.rule
    parts = accumulation(site)
    if parts is None:
        raise site.fail(f"overflow must be error, not {rule.overflow.value}")
    register = Register(rule.accumulator_bits, rule.overflow)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return (parts.codes(parts.sums(arrays, register).final),)

    return step
