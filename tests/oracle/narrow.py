"""Sums in an accumulator of a few bits, and the codes they become; Python integers throughout.

The opponents of the engine under `overflow = "wrap"` and `"saturate"`. Sums are taken from the
definition of each operator; requantization belongs to other oracles, so `run` is handed one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np


def wrapped(value: int, bits: int) -> int:
    """Two's complement of `bits` bits."""
    rest = value % 2**bits
    return rest - 2**bits if rest >= 2 ** (bits - 1) else rest


def limited(value: int, bits: int) -> int:
    """The nearest value that `bits` bits hold."""
    return min(max(value, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def accumulate(bias: int, terms: Iterable[int], bits: int, overflow: str) -> tuple[int, int, int]:
    """Return (sum, least, most): the last two are what additions made before they were limited."""
    acc = least = most = bias
    acc = limited(acc, bits) if overflow == "saturate" else acc
    for term in terms:
        acc += term
        least, most = min(least, acc), max(most, acc)
        acc = limited(acc, bits) if overflow == "saturate" else acc
    return (wrapped(acc, bits) if overflow == "wrap" else acc), least, most


def terms_of(
    graph: Any, node: Any, arrays: Mapping[str, np.ndarray], raw_pool: bool
) -> Iterator[Any]:
    """Yield (index of the output element, bias, terms in order, terms counted) of a node.

    A pool adds codes as they are if `raw_pool`, else codes minus zero point, as a mean does.
    """
    values = [graph.values[name] for name in node.inputs if name]
    x, out, attrs = values[0], graph.values[node.outputs[0]], node.attrs
    codes = np.asarray(arrays[x.name], object)
    kind = node.op.value
    zero = x.quant.zero_point[0]
    if kind == "mean":
        kept = [axis for axis in range(codes.ndim) if axis not in attrs.axes]
        rows = codes.transpose(*kept, *attrs.axes).reshape(out.elements, -1)
        for index, row in zip(np.ndindex(*out.shape), rows, strict=True):
            yield index, 0, [int(c) - zero for c in row], len(row)
        return
    if kind == "average_pool_2d":
        top, left = attrs.padding[:2]
        for n, r, q, c in np.ndindex(*out.shape):
            window = [
                int(codes[n, y, z, c]) - (0 if raw_pool else zero)
                for y in range(
                    r * attrs.stride[0] - top, r * attrs.stride[0] - top + attrs.kernel[0]
                )
                for z in range(
                    q * attrs.stride[1] - left, q * attrs.stride[1] - left + attrs.kernel[1]
                )
                if 0 <= y < codes.shape[1] and 0 <= z < codes.shape[2]
            ]
            yield (n, r, q, c), 0, window, len(window)
        return
    w = values[1]
    weights = np.asarray(arrays[w.name], object)
    w_zeros = w.quant.zero_point
    if kind == "matmul":
        a = codes.swapaxes(-1, -2) if attrs.transpose_a else codes
        b = weights.swapaxes(-1, -2) if attrs.transpose_b else weights
        a = np.broadcast_to(a, (*out.shape[:-2], *a.shape[-2:]))
        b = np.broadcast_to(b, (*out.shape[:-2], *b.shape[-2:]))
        for index in np.ndindex(*out.shape):
            batch, m, n = index[:-2], index[-2], index[-1]
            left_row, right = a[(*batch, m)], b[batch][:, n]
            pairs = zip(left_row, right, strict=True)
            yield index, 0, [int(p - zero) * int(q - w_zeros[0]) for p, q in pairs], len(left_row)
        return
    channels = out.shape[-1]
    zeros = w_zeros if len(w_zeros) > 1 else w_zeros * channels
    bias = [0] * channels
    if len(values) > 2:
        bias = [int(b) for b in arrays[values[2].name]]
    if kind == "fully_connected":
        rows = codes.reshape(-1, weights.shape[1])
        for position, index in enumerate(np.ndindex(*out.shape)):
            o = index[-1]
            pairs = zip(rows[position // channels], weights[o], strict=True)
            terms = [int(p - zero) * int(q - zeros[o]) for p, q in pairs]
            yield index, bias[o], terms, len(terms)
        return
    depth = codes.shape[3]
    depthwise = kind == "depthwise_conv_2d"
    taps_h, taps_w = weights.shape[1:3]
    for n, r, q, o in np.ndindex(*out.shape):
        terms = []
        for i in range(taps_h):
            for j in range(taps_w):
                y = r * attrs.stride[0] - attrs.padding[0] + i * attrs.dilation[0]
                z = q * attrs.stride[1] - attrs.padding[1] + j * attrs.dilation[1]
                if not (0 <= y < codes.shape[1] and 0 <= z < codes.shape[2]):
                    continue
                if depthwise:
                    c = o // (channels // depth)
                    terms.append(
                        int(codes[n, y, z, c] - zero) * int(weights[0, i, j, o] - zeros[o])
                    )
                    continue
                inner = weights.shape[3]
                first = o // (channels // attrs.groups) * inner
                for c in range(inner):
                    code = int(codes[n, y, z, first + c] - zero)
                    terms.append(code * int(weights[o, i, j, c] - zeros[o]))
        yield (n, r, q, o), bias[o], terms, len(terms)


def run(
    graph: Any,
    node: Any,
    arrays: Mapping[str, np.ndarray],
    bits: int,
    overflow: str,
    finish: Callable[[int, tuple[int, ...], int], int],
    *,
    raw_pool: bool = False,
) -> tuple[np.ndarray, int]:
    """Return a node's output codes and how many of its accumulators did not hold their sum.

    `finish(sum, index, terms)` is the requantization. Under "saturate" an accumulator counts that
    was limited once; under "wrap" one whose finished sum is beyond the width.
    """
    out = np.zeros(graph.values[node.outputs[0]].shape, np.int64)
    broken = 0
    for index, bias, terms, count in terms_of(graph, node, arrays, raw_pool):
        acc, least, most = accumulate(bias, terms, bits, overflow)
        if overflow == "wrap":
            broken += acc != bias + sum(terms)
        else:
            broken += (limited(least, bits), limited(most, bits)) != (least, most)
        out[index] = finish(acc, index, count)
    return out, broken
