"""Sums of products in an accumulator that may be too narrow for them.

Every sum here is taken one addition at a time in int64, in the order that `hwsim.profile.Overflow`
documents, because an accumulator that saturates depends on it. Oracle: tests/oracle/narrow.py.
"""

import numpy as np
from numpy.typing import NDArray

from .arith import Scaling, requantize, saturate, widen
from .jit import jit

Codes = NDArray[np.integer]
Sums = NDArray[np.int64]


@jit
def saturating_sums(
    x: Codes,
    weights: Codes,
    bias: Sums,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    origin: tuple[int, int],
    x_zero: int,
    low: int,
    high: int,
    sums: Sums,
    least: Sums,
    most: Sums,
) -> None:
    """Convolve NHWC `x`, each addition clamped to [low, high]; the full int64 range clamps none.

    `weights` is (groups, kh, kw, I / groups, O / groups), `origin` (top, left) padding, which adds
    nothing. `sums`, `least` and `most` are (B, H, W, O): the final sum, and the smallest and
    largest value, bias included, that an addition made before it was clamped.
    """
    groups, taps_h, taps_w, depth, per_group = weights.shape
    height, width = x.shape[1], x.shape[2]
    for b in range(sums.shape[0]):
        for row in range(sums.shape[1]):
            for col in range(sums.shape[2]):
                acc, bottom, top = sums[b, row, col], least[b, row, col], most[b, row, col]
                bottom[:] = bias
                top[:] = bias
                for o in range(acc.size):
                    acc[o] = saturate(bias[o], low, high)
                for i in range(taps_h):
                    y = row * stride[0] - origin[0] + i * dilation[0]
                    if y < 0 or y >= height:
                        continue
                    for j in range(taps_w):
                        z = col * stride[1] - origin[1] + j * dilation[1]
                        if z < 0 or z >= width:
                            continue
                        for g in range(groups):
                            for c in range(depth):
                                code = widen(x[b, y, z, g * depth + c]) - x_zero
                                for k in range(per_group):
                                    o = g * per_group + k
                                    exact = acc[o] + code * widen(weights[g, i, j, c, k])
                                    bottom[o] = min(bottom[o], exact)
                                    top[o] = max(top[o], exact)
                                    acc[o] = saturate(exact, low, high)


@jit
def requantize_by_count(sums: Sums, counts: Codes, by_count: Scaling, out: Codes) -> None:
    """Requantize sums (B, P, C) of `counts` (P,) terms; entry n of `by_count` divides by n."""
    for b in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            for c in range(sums.shape[2]):
                out[b, p, c] = requantize(sums[b, p, c], by_count, counts[p])
