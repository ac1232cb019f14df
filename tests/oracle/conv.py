"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV.

int8: a multiplier per channel, from the three scales in float64; weight zero points are ignored.
uint8: one multiplier, `double(float32(s_in * s_w)) / double(s_out)`, and the weights' zero point.
"""

from collections.abc import Sequence

import numpy as np

from tests.oracle.arith import clamp, f32_mul, quantize_multiplier, requantize


def padding_before(size: int, out: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the padding in front of one spatial axis; 0 where nothing is padded (VALID)."""
    return max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2


def output_size(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """Return the output length of one spatial axis."""
    if padding == "SAME":
        return -(-size // stride)
    return -(-(size - (kernel - 1) * dilation) // stride)


def multipliers(
    input_scale: float,
    weight_scales: Sequence[float],
    output_scale: float,
    channels: int,
    unsigned: bool,
) -> list[tuple[int, int]]:
    """Return (multiplier, shift) of every output channel."""
    if unsigned:
        real = f32_mul(input_scale, weight_scales[0]) / output_scale
        return [quantize_multiplier(real)] * channels
    scales = list(weight_scales) * (channels if len(weight_scales) == 1 else 1)
    return [quantize_multiplier(input_scale * scale / output_scale) for scale in scales]


def conv_2d(
    ifmap: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    *,
    input_scale: float,
    input_zero_point: int,
    weight_scales: Sequence[float],
    weight_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: str,
    unsigned: bool,
    depthwise: bool = False,
    accumulator_bits: int = 32,
) -> np.ndarray:
    """Convolve `ifmap` (n,h,w,c) with `weights` (o,kh,kw,i), in groups where c is a multiple of i.

    Depthwise weights are (1,kh,kw,o); output channel o reads input channel o // (o_count // c).
    """
    batch, height, width, channels = ifmap.shape
    kernel_h, kernel_w = weights.shape[1:3]
    if depthwise:
        outputs, depth = weights.shape[3], 1
        filters = np.transpose(weights, (3, 1, 2, 0)).tolist()
    else:
        outputs, depth = weights.shape[0], weights.shape[3]
        filters = weights.tolist()
    groups = channels // depth
    out_h = output_size(height, kernel_h, stride[0], dilation[0], padding)
    out_w = output_size(width, kernel_w, stride[1], dilation[1], padding)
    top = left = 0
    if padding == "SAME":
        top = padding_before(height, out_h, kernel_h, stride[0], dilation[0])
        left = padding_before(width, out_w, kernel_w, stride[1], dilation[1])
    scaling = multipliers(input_scale, weight_scales, output_scale, outputs, unsigned)
    z_w = weight_zero_point if unsigned else 0
    codes = ifmap.tolist()
    result = np.zeros((batch, out_h, out_w, outputs), np.int64)
    for n in range(batch):
        for y in range(out_h):
            for x in range(out_w):
                for o in range(outputs):
                    first = o // (outputs // groups) * depth
                    acc = 0
                    for i in range(kernel_h):
                        row = y * stride[0] - top + i * dilation[0]
                        if not 0 <= row < height:
                            continue
                        for j in range(kernel_w):
                            column = x * stride[1] - left + j * dilation[1]
                            if not 0 <= column < width:
                                continue
                            pixel, taps = codes[n][row][column], filters[o][i][j]
                            for c in range(depth):
                                acc += (pixel[first + c] - input_zero_point) * (taps[c] - z_w)
                    if bias is not None:
                        acc += int(bias[o])
                    scaled = requantize(acc, *scaling[o], accumulator_bits)
                    result[n, y, x, o] = clamp(scaled + output_zero_point, low, high)
    return result


def transpose_conv(
    ifmap: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    *,
    input_scale: float,
    input_zero_point: int,
    weight_scales: Sequence[float],
    weight_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    low: int,
    high: int,
    stride: tuple[int, int],
    padding: str,
    size: tuple[int, int],
    unsigned: bool,
    accumulator_bits: int = 32,
) -> np.ndarray:
    """Scatter each pixel of `ifmap` (n,h,w,c) through `weights` (o,kh,kw,c), crop to `size`."""
    batch, height, width, depth = ifmap.shape
    outputs, kernel_h, kernel_w = weights.shape[:3]
    top = left = 0
    if padding == "SAME":
        windows = [-(-n // s) for n, s in zip(size, stride, strict=True)]
        top = padding_before(size[0], windows[0], kernel_h, stride[0], 1)
        left = padding_before(size[1], windows[1], kernel_w, stride[1], 1)
    scaling = multipliers(input_scale, weight_scales, output_scale, outputs, unsigned)
    z_w = weight_zero_point if unsigned else 0
    acc = np.zeros((batch, *size, outputs), object)
    for n, y, x, c in np.ndindex(batch, height, width, depth):
        code = int(ifmap[n, y, x, c]) - input_zero_point
        for i, j, o in np.ndindex(kernel_h, kernel_w, outputs):
            row, column = y * stride[0] - top + i, x * stride[1] - left + j
            if 0 <= row < size[0] and 0 <= column < size[1]:
                acc[n, row, column, o] += code * (int(weights[o, i, j, c]) - z_w)
    result = np.zeros(acc.shape, np.int64)
    for index in np.ndindex(*acc.shape):
        total = acc[index] + (0 if bias is None else int(bias[index[3]]))
        scaled = requantize(total, *scaling[index[3]], accumulator_bits)
        result[index] = clamp(scaled + output_zero_point, low, high)
    return result
