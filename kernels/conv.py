"""Convolution, depthwise convolution and matrix products on integer codes.

Weights arrive packed: zero point removed, output channels last, so that the inner loop runs over
contiguous accumulators. `acc` is scratch for one output pixel; its dtype is the accumulator's
width, proved sufficient by `hwsim.verify`. Oracle: tests/oracle/conv.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, requantize_row, widen
from .jit import jit

Codes = NDArray[np.integer]


@jit
def add_products(acc: Codes, codes: Codes, zero: int, weights: Codes) -> None:
    """Add (codes - zero) @ weights to `acc`, weights (I, O).

    Four rows of weights at a time: an accumulator is read and written once for four products.
    """
    whole = weights.shape[0] - weights.shape[0] % 4
    for i in range(0, whole, 4):
        # The detour over 32 bits lets the compiler multiply in the accumulator's own width.
        p = widen(np.int32(codes[i] - zero))
        q = widen(np.int32(codes[i + 1] - zero))
        r = widen(np.int32(codes[i + 2] - zero))
        s = widen(np.int32(codes[i + 3] - zero))
        for o in range(weights.shape[1]):
            acc[o] += p * weights[i, o]
            acc[o] += q * weights[i + 1, o]
            acc[o] += r * weights[i + 2, o]
            acc[o] += s * weights[i + 3, o]
    for i in range(whole, weights.shape[0]):
        p = widen(np.int32(codes[i] - zero))
        for o in range(weights.shape[1]):
            acc[o] += p * weights[i, o]


@jit
def conv_2d(
    x: Codes,
    weights: Codes,
    bias: Codes,
    run: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    origin: tuple[int, int],
    x_zero: int,
    scaling: Scaling,
    acc: Codes,
    out: Codes,
) -> None:
    """Convolve NHWC `x`, its rows flat, with packed weights into NHWC `out`.

    `x` is (B, H, W * I), `weights` (groups, kh, kw, I / groups, O / groups). `origin` is (top,
    left) padding; padded positions hold the zero point, so they add nothing. `run` taps of a row
    lie side by side in `x`: all where neither dilation nor groups part them, else one.
    """
    groups, taps_h, taps_w, depth, per_group = weights.shape
    height, width = x.shape[1], x.shape[2] // (groups * depth)
    flat = weights.reshape(groups, taps_h, taps_w * depth, per_group)
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            for col in range(out.shape[2]):
                acc[:] = bias
                for i in range(taps_h):
                    y = row * stride[0] - origin[0] + i * dilation[0]
                    if y < 0 or y >= height:
                        continue
                    for j in range(0, taps_w, run):
                        z = col * stride[1] - origin[1] + j * dilation[1]
                        first, last = max(-z, 0), min(width - z, run)
                        if first >= last:
                            continue
                        for g in range(groups):
                            start = (z + first) * groups * depth + g * depth
                            codes = x[b, y, start : start + (last - first) * depth]
                            taps = flat[g, i, (j + first) * depth : (j + last) * depth]
                            sums = acc[g * per_group : (g + 1) * per_group]
                            add_products(sums, codes, x_zero, taps)
                requantize_row(acc, scaling, out[b, row, col])


@jit
def depthwise_conv_2d(
    x: Codes,
    weights: Codes,
    bias: Codes,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    origin: tuple[int, int],
    x_zero: int,
    scaling: Scaling,
    acc: Codes,
    out: Codes,
) -> None:
    """Convolve each channel of NHWC `x` with its own (kh, kw, O) weights, O = I * multiplier."""
    height, width, depth = x.shape[1], x.shape[2], x.shape[3]
    taps_h, taps_w, channels = weights.shape
    multiplier = channels // depth
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            for col in range(out.shape[2]):
                acc[:] = bias
                for i in range(taps_h):
                    y = row * stride[0] - origin[0] + i * dilation[0]
                    if y < 0 or y >= height:
                        continue
                    for j in range(taps_w):
                        z = col * stride[1] - origin[1] + j * dilation[1]
                        if z < 0 or z >= width:
                            continue
                        if multiplier == 1:
                            for c in range(depth):
                                acc[c] += (x[b, y, z, c] - x_zero) * weights[i, j, c]
                        else:
                            for o in range(channels):
                                code = x[b, y, z, o // multiplier] - x_zero
                                acc[o] += code * weights[i, j, o]
                requantize_row(acc, scaling, out[b, row, col])


@jit
def transpose_conv(
    x: Codes,
    weights: Codes,
    bias: Codes,
    stride: tuple[int, int],
    origin: tuple[int, int],
    x_zero: int,
    scaling: Scaling,
    acc: Codes,
    out: Codes,
) -> None:
    """Gather what `x` (B, H, W, I) scatters through (kh, kw, I, O) weights into `out`.

    Output row r gets tap i of input row y where y * stride + i = r + origin.
    """
    taps_h, taps_w = weights.shape[0], weights.shape[1]
    for b in range(out.shape[0]):
        for row in range(out.shape[1]):
            for col in range(out.shape[2]):
                acc[:] = bias
                for i in range((row + origin[0]) % stride[0], taps_h, stride[0]):
                    y = (row + origin[0] - i) // stride[0]
                    if y < 0 or y >= x.shape[1]:
                        continue
                    for j in range((col + origin[1]) % stride[1], taps_w, stride[1]):
                        z = (col + origin[1] - j) // stride[1]
                        if 0 <= z < x.shape[2]:
                            add_products(acc, x[b, y, z], x_zero, weights[i, j])
                requantize_row(acc, scaling, out[b, row, col])


@jit
def fully_connected(
    x: Codes,
    weights: Codes,
    bias: Codes,
    x_zero: int,
    scaling: Scaling,
    acc: Codes,
    out: Codes,
) -> None:
    """Multiply rows of `x` (M, I) by packed weights (I, O) into `out` (M, O)."""
    for m in range(out.shape[0]):
        acc[:] = bias
        add_products(acc, x[m], x_zero, weights)
        requantize_row(acc, scaling, out[m])


@jit
def batched_matmul(
    a: Codes,
    b: Codes,
    a_zero: int,
    b_zero: int,
    scaling: Scaling,
    acc: Codes,
    out: Codes,
) -> None:
    """Multiply `a` (B, M, K) by `b` (B, K, N) into `out` (B, M, N), one scale for all."""
    for batch in range(out.shape[0]):
        for m in range(out.shape[1]):
            acc[:] = 0
            for k in range(a.shape[2]):
                code = a[batch, m, k] - a_zero
                for n in range(b.shape[2]):
                    acc[n] += code * (b[batch, k, n] - b_zero)
            for n in range(out.shape[2]):
                out[batch, m, n] = requantize(acc[n], scaling, 0)
