"""LiteRT 2.3.0 as it runs by default: XNNPACK, and the builtin kernels for what that leaves.

One element at a time, float32 steps written out. `run` evaluates a whole model.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from tests.oracle import graph
from tests.oracle.arith import clamp, f32, f32_div, f32_mul, wrap32
from tests.oracle.conv import output_size, padding_before
from tests.oracle.elementwise import per_code, per_pair
from tests.oracle.graph import RANGES
from tests.tflite_writer import Model, Operator, Tensor


def f32_add(a: float, b: float) -> float:
    """Add two float32 values in float32."""
    return float(np.float32(a) + np.float32(b))


def rint(real: float) -> int:
    """Round to the nearest integer, ties to even."""
    return round(Fraction(real))


def rq_f32(acc: int, ratio: float) -> int:
    """Scale an int32 accumulator: one float32 product, ties to even."""
    return rint(f32_mul(f32(acc), ratio))


def rq_q8(code: int, ratio: float) -> int:
    """Scale a code by a multiplier of 8 fraction bits, ties up."""
    return (code * rint(f32_mul(256.0, ratio)) + 128) >> 8


def activation_range(activation: str, out: Tensor) -> tuple[int, int]:
    """Return the clamp of a fused activation: zero point included before ties go to even."""
    low, high = RANGES[out.dtype]
    ends = {
        "NONE": (-math.inf, math.inf),
        "RELU": (0.0, math.inf),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
    }[activation]

    def code(real: float) -> int:
        exact = f32_add(f32_div(real, out.scale[0]), out.zero_point[0])
        return rint(min(max(exact, float(low)), float(high)))

    return code(ends[0]), code(ends[1])


def conv_2d(
    operator: Operator,
    ifmap: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    tensors: Sequence[Tensor],
    out: Tensor,
) -> np.ndarray:
    """CONV_2D and DEPTHWISE_CONV_2D."""
    options = operator.options
    depthwise = operator.builtin == "DEPTHWISE_CONV_2D"
    stride = (options["strideH"], options["strideW"])
    dilation = (options.get("dilationHFactor", 1), options.get("dilationWFactor", 1))
    kernel = weights.shape[1:3]
    channels = weights.shape[3] if depthwise else weights.shape[0]
    batch, height, width, depth = ifmap.shape
    size, origin = [], []
    for axis, n in enumerate((height, width)):
        k, s, d = kernel[axis], stride[axis], dilation[axis]
        made = output_size(n, k, s, d, options["padding"])
        size.append(made)
        same = options["padding"] == "SAME"
        origin.append(padding_before(n, made, k, s, d) if same else 0)
    ratios = requantization_ratios(tensors, out, channels)
    low, high = activation_range(options.get("fusedActivationFunction", "NONE"), out)
    z_in, z_w = tensors[0].zero_point[0], tensors[1].zero_point[0]
    codes, taps = ifmap.tolist(), weights.tolist()
    result = np.zeros((batch, *size, channels), np.int64)
    per_group = depth if depthwise else weights.shape[3]
    groups = depth // per_group
    for n, y, x, o in np.ndindex(*result.shape):
        acc = 0 if bias is None else int(bias[o])
        for i in range(kernel[0]):
            row = y * stride[0] - origin[0] + i * dilation[0]
            for j in range(kernel[1]):
                column = x * stride[1] - origin[1] + j * dilation[1]
                if not (0 <= row < height and 0 <= column < width):
                    continue
                pixel = codes[n][row][column]
                if depthwise:
                    c = o // (channels // depth)
                    acc += (pixel[c] - z_in) * (taps[0][i][j][o] - z_w)
                    continue
                first = o // (channels // groups) * per_group
                for c in range(per_group):
                    acc += (pixel[first + c] - z_in) * (taps[o][i][j][c] - z_w)
        scaled = rq_f32(wrap32(acc), ratios[o])
        result[n, y, x, o] = clamp(scaled + out.zero_point[0], low, high)
    return result


def requantization_ratios(tensors: Sequence[Tensor], out: Tensor, channels: int) -> list[float]:
    """Return s_in * s_w / s_out of every output channel, each step in float32."""
    scales = tensors[1].scale * (channels if len(tensors[1].scale) == 1 else 1)
    return [f32_div(f32_mul(tensors[0].scale[0], s), out.scale[0]) for s in scales]


def fully_connected(
    operator: Operator,
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    tensors: Sequence[Tensor],
    out: Tensor,
) -> np.ndarray:
    """FULLY_CONNECTED."""
    rows = x.reshape(-1, weights.shape[1]).tolist()
    ratios = requantization_ratios(tensors, out, weights.shape[0])
    low, high = activation_range(operator.options.get("fusedActivationFunction", "NONE"), out)
    z_in, z_w = tensors[0].zero_point[0], tensors[1].zero_point[0]
    result = np.zeros((len(rows), weights.shape[0]), np.int64)
    for m, o in np.ndindex(*result.shape):
        acc = 0 if bias is None else int(bias[o])
        acc += sum(
            (p - z_in) * (q - z_w) for p, q in zip(rows[m], weights[o].tolist(), strict=True)
        )
        scaled = rq_f32(wrap32(acc), ratios[o])
        result[m, o] = clamp(scaled + out.zero_point[0], low, high)
    return result


def add(
    operator: Operator, a: np.ndarray, b: np.ndarray, tensors: Sequence[Tensor], out: Tensor
) -> np.ndarray:
    """ADD and SUB: one sum of products, one shift, ties up."""
    ratios = [f32_div(tensor.scale[0], out.scale[0]) for tensor in tensors]
    shift = 20 - (math.frexp(max(ratios))[1] - 1)
    p, q = (rint(math.ldexp(ratio, shift)) for ratio in ratios)
    if operator.builtin == "SUB":
        q = -q
    low, high = activation_range(operator.options.get("fusedActivationFunction", "NONE"), out)
    z_a, z_b, z_out = tensors[0].zero_point[0], tensors[1].zero_point[0], out.zero_point[0]
    return per_pair(
        a,
        b,
        lambda x, y: clamp(
            ((p * (x - z_a) + q * (y - z_b) + (1 << (shift - 1))) >> shift) + z_out, low, high
        ),
    )


def mul(
    operator: Operator, a: np.ndarray, b: np.ndarray, tensors: Sequence[Tensor], out: Tensor
) -> np.ndarray:
    """MUL."""
    ratio = f32_div(f32_mul(tensors[0].scale[0], tensors[1].scale[0]), out.scale[0])
    low, high = activation_range(operator.options.get("fusedActivationFunction", "NONE"), out)
    z_a, z_b, z_out = tensors[0].zero_point[0], tensors[1].zero_point[0], out.zero_point[0]
    return per_pair(
        a, b, lambda x, y: clamp(rq_f32((x - z_a) * (y - z_b), ratio) + z_out, low, high)
    )


def quantize_codes(codes: np.ndarray, x: Tensor, out: Tensor) -> np.ndarray:
    """QUANTIZE between codes of one type."""
    ratio = f32_div(x.scale[0], out.scale[0])
    low, high = RANGES[out.dtype]
    return per_code(
        codes,
        lambda c: clamp(rq_q8(c - x.zero_point[0], ratio) + out.zero_point[0], low, high),
    )


def quantize_reals(reals: np.ndarray, out: Tensor) -> np.ndarray:
    """QUANTIZE from float32: times the reciprocal, ties to even."""
    inverse = f32_div(1.0, out.scale[0])
    low, high = RANGES[out.dtype]
    z = out.zero_point[0]
    result = np.zeros(reals.shape, np.int64)
    for index in np.ndindex(*reals.shape):
        scaled = f32_mul(float(reals[index]), inverse)
        scaled = min(max(scaled, float(low - z)), float(high - z))
        result[index] = rint(scaled) + z
    return result


def leaky_relu(codes: np.ndarray, alpha: float, x: Tensor, out: Tensor) -> np.ndarray:
    """LEAKY_RELU."""
    above = f32_div(x.scale[0], out.scale[0])
    below = f32_mul(above, alpha)
    low, high = RANGES[out.dtype]

    def one(code: int) -> int:
        centered = code - x.zero_point[0]
        return clamp(
            rq_q8(centered, above if centered >= 0 else below) + out.zero_point[0], low, high
        )

    return per_code(codes, one)


def mean(
    codes: np.ndarray, axes: Sequence[int], keep_dims: bool, x: Tensor, out: Tensor
) -> np.ndarray:
    """MEAN over any axes: the zero point is added in float32, before ties go to even."""
    reduced = tuple(sorted({axis % codes.ndim for axis in axes}))
    count = math.prod(codes.shape[axis] for axis in reduced)
    sums = codes.astype(np.int64).sum(axis=reduced, keepdims=keep_dims)
    ratio = f32_div(f32_div(x.scale[0], out.scale[0]), float(count))
    low, high = RANGES[out.dtype]

    def one(total: int) -> int:
        scaled = f32_mul(f32(total - count * x.zero_point[0]), ratio)
        exact = f32_add(scaled, out.zero_point[0])
        return rint(min(max(exact, float(low)), float(high)))

    return per_code(np.asarray(sums), one)


FUNCTIONS = {"LOGISTIC": lambda x: 1 / (1 + math.exp(min(-x, 700.0))), "TANH": math.tanh}


def table(codes: np.ndarray, function: str, x: Tensor, out: Tensor) -> np.ndarray:
    """LOGISTIC and TANH: the function in float64, the rest in float32, ties to even."""
    low, high = RANGES[out.dtype]
    inverse = f32_div(1.0, out.scale[0])

    def one(code: int) -> int:
        argument = f32_mul(x.scale[0], code - x.zero_point[0])
        real = f32(FUNCTIONS[function](argument))
        exact = f32_add(f32_mul(real, inverse), out.zero_point[0])
        return rint(min(max(exact, float(low)), float(high)))

    return per_code(codes, one)


def softmax(codes: np.ndarray, beta: float, x: Tensor, out: Tensor) -> np.ndarray:
    """SOFTMAX of the builtin kernel: a float32 table, a float32 sum in element order."""
    scale = f32_mul(-x.scale[0], beta)
    exps = [f32(math.exp(f32_mul(scale, 255 - index))) for index in range(256)]
    low, high = RANGES[out.dtype]
    out_scale, zero_point = 1 / 256, low
    result = np.zeros(codes.shape, np.int64)
    for index in np.ndindex(*codes.shape[:-1]):
        row = codes[index].tolist()
        largest = max(row)
        entries = [exps[255 - (largest - code)] for code in row]
        total = 0.0
        for entry in entries:
            total = f32_add(total, entry)
        inverse = f32_div(1.0, f32_mul(total, out_scale))
        for c, entry in enumerate(entries):
            result[(*index, c)] = clamp(rint(f32_mul(entry, inverse)) + zero_point, low, high)
    return result


def evaluate(
    operator: Operator, tensors: Mapping[str, Tensor], values: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Return the outputs of one operator."""
    ins = [tensors[name] for name in operator.inputs if name]
    args = [values[name] if name else None for name in operator.inputs]
    out = tensors[operator.outputs[0]]
    x = args[0]
    assert x is not None
    second = args[1] if len(args) > 1 else None
    third = args[2] if len(args) > 2 else None
    match operator.builtin:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            assert second is not None
            return [conv_2d(operator, x, second, third, ins, out)]
        case "FULLY_CONNECTED":
            assert second is not None
            return [fully_connected(operator, x, second, third, ins, out)]
        case "ADD" | "SUB":
            assert second is not None
            return [add(operator, x, second, ins, out)]
        case "MUL":
            assert second is not None
            return [mul(operator, x, second, ins, out)]
        case "QUANTIZE":
            if ins[0].dtype == "float32":
                return [quantize_reals(x, out)]
            return [quantize_codes(x, ins[0], out)]
        case "LEAKY_RELU":
            return [leaky_relu(x, operator.options["alpha"], ins[0], out)]
        case "MEAN":
            assert second is not None
            axes = second.ravel().tolist()
            return [mean(x, axes, operator.options["keepDims"], ins[0], out)]
        case "LOGISTIC" | "TANH":
            return [table(x, operator.builtin, ins[0], out)]
        case "SOFTMAX":
            return [softmax(x, f32(operator.options["beta"]), ins[0], out)]
        case _:
            return graph.evaluate(operator, tensors, values)


def run(model: Model, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every tensor by name: int64 codes, float32 reals."""
    return graph.run(model, feed, evaluate)
