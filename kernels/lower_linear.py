"""Lowering of the accumulating operators: weights are packed once, at plan time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import (
    Activation,
    ConvAttrs,
    FullyConnectedAttrs,
    MatMulAttrs,
    TransposeConvAttrs,
)
from hwsim.errors import InputError
from hwsim.graph import Value
from hwsim.verify import centered_weights

from .arith import Scaling
from .conv import batched_matmul, conv_2d, depthwise_conv_2d, fully_connected, transpose_conv
from .scaling import Scratch, Site, aligned, product_scaling

Array = NDArray[Any]
Step = Callable[[Sequence[Array]], tuple[Array, ...]]


@dataclass(frozen=True)
class Lowered:
    """A step together with the constants that its kernel reads.

    Args:
        step: The kernel call.
        constants: What the call computes with besides activations, by port name: the very arrays
            or views of them, so that whoever writes them out cannot disagree with the engine.
            Weights are centered and in the graph's layout; a `Scaling` is a requantizer.
    """

    step: Step
    constants: Mapping[str, Array | Scaling | int]


def _packed(site: Site, axes: tuple[int, ...]) -> NDArray[np.signedinteger]:
    """Return constant weights without zero point, axes permuted, as int32."""
    weights = site.operand(1)
    if weights.data is None:
        raise site.fail(f"weights {weights.name!r} must be a constant")
    site.integer(weights)
    centered = centered_weights(weights).transpose(axes)
    return placed(centered)


def placed(weights: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    """Return an aligned int32 copy."""
    copy = aligned(weights.shape, np.int32)
    copy[...] = weights
    return copy


def constant_bias(site: Site, slot: int, channels: int) -> NDArray[np.int64]:
    """Return the bias of each output channel, 0 where the node has none."""
    bias = site.optional(slot)
    if bias is None:
        return np.zeros(channels, np.int64)
    if bias.data is None or bias.dtype.bits < 32 or bias.is_float:
        raise site.fail(f"bias {bias.name!r} must be a constant of 32-bit integers")
    return np.asarray(bias.data, np.int64)


def _empty(out: Value, shape: tuple[int, ...]) -> Array:
    return np.empty(shape, out.dtype.storage)


def lower_conv_2d(site: Site) -> Lowered:
    """Lower CONV_2D."""
    attrs = site.node.attrs
    assert isinstance(attrs, ConvAttrs)
    out = site.result()
    packed = _packed(site, (1, 2, 3, 0))
    channels = packed.shape[3]
    by_group = packed.reshape(*packed.shape[:3], attrs.groups, -1)
    weights = placed(by_group.transpose(3, 0, 1, 2, 4))
    bias = constant_bias(site, 2, channels)
    scaling = product_scaling(site, attrs.activation, channels)
    x_zero = site.zero_of(site.operand(0))
    scratch = Scratch(channels, site.rule.accumulator_bits)

    joined = attrs.groups == 1 and attrs.dilation[1] == 1
    run = weights.shape[2] if joined else 1
    rows = (*site.operand(0).shape[:2], -1)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        acc = scratch.take()
        made = _empty(out, out.shape)
        conv_2d(
            arrays[0].reshape(rows), weights, bias, run, attrs.stride, attrs.dilation,
            attrs.padding[:2], x_zero, scaling, acc, made,
        )  # fmt: skip
        scratch.give(acc)
        return (made,)

    ohwi = weights.transpose(0, 4, 1, 2, 3)  # with the groups as an axis of their own
    return Lowered(step, {"weights": ohwi, "bias": bias, "requantize": scaling})


def lower_depthwise_conv_2d(site: Site) -> Lowered:
    """Lower DEPTHWISE_CONV_2D."""
    attrs = site.node.attrs
    assert isinstance(attrs, ConvAttrs)
    out = site.result()
    weights = _packed(site, (0, 1, 2, 3))[0]
    channels = weights.shape[2]
    bias = constant_bias(site, 2, channels)
    scaling = product_scaling(site, attrs.activation, channels)
    x_zero = site.zero_of(site.operand(0))
    scratch = Scratch(channels, site.rule.accumulator_bits)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        acc = scratch.take()
        made = _empty(out, out.shape)
        depthwise_conv_2d(
            arrays[0], weights, bias, attrs.stride, attrs.dilation, attrs.padding[:2],
            x_zero, scaling, acc, made,
        )  # fmt: skip
        scratch.give(acc)
        return (made,)

    return Lowered(step, {"weights": weights, "bias": bias, "requantize": scaling})


def lower_transpose_conv(site: Site) -> Lowered:
    """Lower TRANSPOSE_CONV."""
    attrs = site.node.attrs
    assert isinstance(attrs, TransposeConvAttrs)
    out = site.result()
    weights = _packed(site, (1, 2, 3, 0))
    channels = weights.shape[3]
    bias = constant_bias(site, 2, channels)
    if bias.shape != (channels,):
        raise site.fail(f"bias must have shape ({channels},), not {bias.shape}")
    scaling = product_scaling(site, attrs.activation, channels)
    x_zero = site.zero_of(site.operand(0))
    scratch = Scratch(channels, site.rule.accumulator_bits)
    asked = site.optional(3)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        if asked is not None and not np.array_equal(arrays[-1], out.shape):
            raise InputError(
                f"output shape {asked.name!r} of node {site.node.name!r} must be "
                f"{list(out.shape)}, as the graph states, not {arrays[-1].tolist()}"
            )
        acc = scratch.take()
        made = _empty(out, out.shape)
        transpose_conv(
            arrays[0], weights, bias, attrs.stride, attrs.origin, x_zero, scaling, acc, made
        )
        scratch.give(acc)
        return (made,)

    ohwi = weights.transpose(3, 0, 1, 2)
    return Lowered(step, {"weights": ohwi, "bias": bias, "requantize": scaling})


def lower_fully_connected(site: Site) -> Lowered:
    """Lower FULLY_CONNECTED."""
    attrs = site.node.attrs
    assert isinstance(attrs, FullyConnectedAttrs)
    out = site.result()
    weights = _packed(site, (1, 0))
    depth, channels = weights.shape
    bias = constant_bias(site, 2, channels)
    scaling = product_scaling(site, attrs.activation, channels)
    x_zero = site.zero_of(site.operand(0))
    scratch = Scratch(channels, site.rule.accumulator_bits)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        rows = arrays[0].reshape(-1, depth)
        acc = scratch.take()
        made = _empty(out, (rows.shape[0], channels))
        fully_connected(rows, weights, bias, x_zero, scaling, acc, made)
        scratch.give(acc)
        return (made.reshape(out.shape),)

    return Lowered(step, {"weights": weights.T, "bias": bias, "requantize": scaling})


def lower_matmul(site: Site) -> Lowered:
    """Lower MATMUL of two activations."""
    attrs = site.node.attrs
    assert isinstance(attrs, MatMulAttrs)
    a, b, out = site.operand(0), site.operand(1), site.result()
    site.scale_of(b)
    scaling = product_scaling(site, Activation.NONE, 1)
    a_zero, b_zero = site.zero_of(a), site.zero_of(b)
    scratch = Scratch(out.shape[-1], site.rule.accumulator_bits)

    def step(arrays: Sequence[Array]) -> tuple[Array, ...]:
        batch, (m, n) = out.shape[:-2], out.shape[-2:]
        left = matrices(arrays[0], batch, attrs.transpose_a)
        right = matrices(arrays[1], batch, attrs.transpose_b)
        acc = scratch.take()
        made = _empty(out, (left.shape[0], m, n))
        batched_matmul(left, right, a_zero, b_zero, scaling, acc, made)
        scratch.give(acc)
        return (made.reshape(out.shape),)

    return Lowered(step, {"requantize": scaling})


def matrices(array: Array, batch: tuple[int, ...], transpose: bool) -> Array:
    """Return contiguous (batch, rows, columns) matrices, broadcast and transposed."""
    oriented = np.swapaxes(array, -1, -2) if transpose else array
    full = np.broadcast_to(oriented, (*batch, *oriented.shape[-2:]))
    return np.ascontiguousarray(full).reshape(-1, *oriented.shape[-2:])
