"""TFLite Micro's reference kernels, int8, where they part from LiteRT's."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tests.oracle import graph
from tests.oracle.arith import (
    INT32_MAX,
    activation_range,
    clamp,
    f32_div,
    mbqm_double,
    quantize_multiplier,
    rdbpot,
    round_half_away,
    sat32,
    srdhm,
    truncated_division,
    wrap32,
)
from tests.oracle.elementwise import per_code, per_pair
from tests.oracle.graph import RANGES
from tests.oracle.softmax import EXP_FACTORS, exp_on_quarter, one_over_one_plus
from tests.tflite_writer import Model, Operator, Tensor


def exp_on_negative(a: int, integer_bits: int) -> int:
    """exp of a number that is not positive, with 31 - integer_bits fraction bits, as Q0.31."""
    if a == 0:
        return INT32_MAX
    fraction_bits = 31 - integer_bits
    quarter = 2 ** (fraction_bits - 2)
    remainder_mod = (a & (quarter - 1)) - quarter
    result = exp_on_quarter(remainder_mod << integer_bits)
    remainder = remainder_mod - a
    for exponent, factor in EXP_FACTORS:
        if exponent < integer_bits and (remainder >> (fraction_bits + exponent)) & 1:
            result = srdhm(result, factor)
    return result


def one_minus_over_one_plus(a: int) -> int:
    """(1 - x) / (1 + x) for x in [0, 1), Q0.31, by three Newton steps."""
    half = truncated_division(a + INT32_MAX + 1, 2)
    x = 1515870810 + srdhm(half, -1010580540)
    for _ in range(3):
        x += sat32(srdhm(x, 2**29 - srdhm(half, x)) << 2)
    return sat32((x - 2**29) << 2)


def logistic(a: int) -> int:
    """1 / (1 + exp(-x)) of Q4.27 as Q0.31."""
    if a == 0:
        return 2**30
    positive = one_over_one_plus(exp_on_negative(-abs(a), 4))
    return positive if a > 0 else INT32_MAX - positive


def tanh(a: int) -> int:
    """tanh of Q4.27 as Q0.31: the doubled argument is the same integer with Q5.26."""
    if a == 0:
        return 0
    positive = one_minus_over_one_plus(exp_on_negative(-abs(a), 5))
    return positive if a > 0 else -positive


def fixed(codes: np.ndarray, function: str, x: Tensor) -> np.ndarray:
    """LOGISTIC (output 1/256, -128) and TANH (output 1/128, 0) in Q4.27."""
    fraction, left_shift = math.frexp(x.scale[0] * 2**27)
    multiplier = round_half_away(fraction * 2**31)
    radius = math.floor(15 * 2**27 / 2.0**left_shift)
    apply, shift, zero_point = (logistic, 23, -128) if function == "LOGISTIC" else (tanh, 24, 0)

    def one(code: int) -> int:
        centered = code - x.zero_point[0]
        if centered <= -radius:
            return -128
        if centered >= radius:
            return 127
        scaled = mbqm_double(centered, multiplier, left_shift)
        return clamp(rdbpot(apply(scaled), shift) + zero_point, -128, 127)

    return per_code(codes, one)


def fully_connected(
    operator: Operator,
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    tensors: Sequence[Tensor],
    out: Tensor,
) -> np.ndarray:
    """FULLY_CONNECTED: rounds twice; zero points of per-channel weights are ignored."""
    channels = weights.shape[0]
    scales = tensors[1].scale * (channels if len(tensors[1].scale) == 1 else 1)
    scalings = [quantize_multiplier(tensors[0].scale[0] * s / out.scale[0]) for s in scales]
    low, high = ends(operator, out)
    z_in = tensors[0].zero_point[0]
    z_w = tensors[1].zero_point[0] if len(tensors[1].scale) == 1 else 0
    rows = x.reshape(-1, weights.shape[1]).tolist()
    result = np.zeros((len(rows), channels), np.int64)
    for m, o in np.ndindex(*result.shape):
        acc = 0 if bias is None else int(bias[o])
        taps = weights[o].tolist()
        acc += sum((p - z_in) * (q - z_w) for p, q in zip(rows[m], taps, strict=True))
        scaled = mbqm_double(wrap32(acc), *scalings[o])
        result[m, o] = clamp(scaled + out.zero_point[0], low, high)
    return result


def ends(operator: Operator, out: Tensor) -> tuple[int, int]:
    """Return the clamp of the fused activation."""
    activation = operator.options.get("fusedActivationFunction", "NONE")
    return activation_range(activation, out.scale[0], out.zero_point[0], *RANGES[out.dtype])


def mul(
    operator: Operator, a: np.ndarray, b: np.ndarray, tensors: Sequence[Tensor], out: Tensor
) -> np.ndarray:
    """MUL: its multiplier is formed in float64."""
    scaling = quantize_multiplier(tensors[0].scale[0] * tensors[1].scale[0] / out.scale[0])
    low, high = ends(operator, out)
    z_a, z_b, z_out = tensors[0].zero_point[0], tensors[1].zero_point[0], out.zero_point[0]
    return per_pair(
        a, b, lambda x, y: clamp(mbqm_double((x - z_a) * (y - z_b), *scaling) + z_out, low, high)
    )


def rescaled(codes: np.ndarray, x: Tensor, out: Tensor, below: float, low: int) -> np.ndarray:
    """RELU and LEAKY_RELU: multipliers in float64, `below` times it for negative codes."""
    above = quantize_multiplier(x.scale[0] / out.scale[0])
    sloped = quantize_multiplier(x.scale[0] * below / out.scale[0])

    def one(code: int) -> int:
        centered = code - x.zero_point[0]
        scaled = mbqm_double(centered, *(above if centered >= 0 else sloped))
        return clamp(scaled + out.zero_point[0], low, 127)

    return per_code(codes, one)


def relu_6(codes: np.ndarray, x: Tensor) -> np.ndarray:
    """RELU6: codes are clamped, never rescaled."""
    z = x.zero_point[0]
    six = clamp(z + round_half_away(f32_div(6.0, x.scale[0])), -128, 127)
    return per_code(codes, lambda code: clamp(code, z, six))


def batch_matmul(
    operator: Operator, a: np.ndarray, b: np.ndarray, tensors: Sequence[Tensor], out: Tensor
) -> np.ndarray:
    """BATCH_MATMUL: its multiplier is formed in float64."""
    left = np.swapaxes(a, -1, -2) if operator.options.get("adjX") else a
    right = np.swapaxes(b, -1, -2) if operator.options.get("adjY") else b
    centered = [
        codes.astype(np.int64) - tensor.zero_point[0]
        for codes, tensor in zip((left, right), tensors, strict=True)
    ]
    scaling = quantize_multiplier(tensors[0].scale[0] * tensors[1].scale[0] / out.scale[0])
    return per_code(
        np.matmul(*centered),
        lambda acc: clamp(mbqm_double(acc, *scaling) + out.zero_point[0], -128, 127),
    )


def evaluate(
    operator: Operator, tensors: Mapping[str, Tensor], values: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Return the outputs of one operator."""
    ins = [tensors[name] for name in operator.inputs if name]
    args = [values[name] if name else None for name in operator.inputs]
    out = tensors[operator.outputs[0]]
    x = args[0]
    assert x is not None
    match operator.builtin:
        case "FULLY_CONNECTED":
            assert args[1] is not None
            bias = args[2] if len(args) > 2 else None
            return [fully_connected(operator, x, args[1], bias, ins, out)]
        case "BATCH_MATMUL":
            assert args[1] is not None
            return [batch_matmul(operator, x, args[1], ins, out)]
        case "MUL":
            assert args[1] is not None
            return [mul(operator, x, args[1], ins, out)]
        case "LOGISTIC" | "TANH":
            return [fixed(x, operator.builtin, ins[0])]
        case "RELU":
            return [rescaled(x, ins[0], out, 1.0, max(-128, out.zero_point[0]))]
        case "LEAKY_RELU":
            return [rescaled(x, ins[0], out, operator.options["alpha"], -128)]
        case "RELU6":
            return [relu_6(x, ins[0])]
        case _:
            return graph.evaluate(operator, tensors, values)


def run(model: Model, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every tensor by name: int64 codes, float32 reals."""
    return graph.run(model, feed, evaluate)
