"""An integer graph of profile `hawq`, every activation.

Ints and Fractions, one element at a time. A scale ratio is formed as numerics.md 3.9 and the
profile table say: the product of two scales is rounded to float32, the quotient is float64. The
products of MUL, LEAKY_RELU and stand-alone clamps are float32 throughout, as in LiteRT.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tests.oracle import movement
from tests.oracle.arith import (
    activation_range,
    clamp,
    f32,
    f32_div,
    f32_mul,
    hawq_dyadic,
    quantize_multiplier,
    round_half_away,
)
from tests.oracle.softmax import softmax
from tests.oracle.table import logistic_f32, tanh_f32

NORM_FRACTION_BITS = 10  # hwsim/norm.py


def rescale(acc: int, ratio: float) -> int:
    """Return acc times the dyadic number nearest to the ratio, ties to even."""
    multiplier, left_shift = quantize_multiplier(ratio)
    return hawq_dyadic(acc, multiplier, 31 - left_shift)


def run(
    graph: Any, feed: Mapping[str, np.ndarray], kind: type["Evaluation"] | None = None
) -> dict[str, np.ndarray]:
    """Return every activation of a hwsim graph by name, int64; `kind` evaluates other profiles."""
    arrays = {name: value.data for name, value in graph.values.items() if value.is_constant}
    arrays |= feed
    for node in graph.nodes:
        made = (kind or Evaluation)(graph, node, arrays).results()
        for name, array in zip(node.outputs, made, strict=True):
            assert array.shape == graph.values[name].shape, (node, array.shape)
            arrays[name] = array
    return {v.name: np.asarray(arrays[v.name], np.int64) for v in graph.activations}


def finisher(
    graph: Any, node: Any, arrays: Mapping[str, np.ndarray]
) -> Callable[[int, tuple[int, ...], int], int]:
    """Return what makes an output code of a sum, its place and its number of terms."""
    own = Evaluation(graph, node, arrays)
    if own.kind not in ("mean", "average_pool_2d"):
        return lambda acc, index, terms: own.product_code(acc, index[-1])
    full = None
    if getattr(node.attrs, "count_padding", False):
        full = math.prod(node.attrs.kernel)

    def mean(acc: int, index: tuple[int, ...], terms: int) -> int:
        return own.finish(rescale(acc, own.scale(0) / own.out_scale / (full or terms)))

    return mean


class Evaluation:
    """One node with its operands."""

    def __init__(self, graph: Any, node: Any, arrays: Mapping[str, np.ndarray]) -> None:
        self.kind = node.op.value
        self.attrs = node.attrs
        self.values = [graph.values[name] for name in node.inputs if name]
        self.codes = [np.asarray(arrays[name], np.int64) for name in node.inputs if name]
        self.out = graph.values[node.outputs[0]]
        self.pieces = len(node.outputs)

    def scale(self, slot: int) -> float:
        (number,) = self.values[slot].quant.scale
        return number

    def zero(self, slot: int) -> int:
        (number,) = set(self.values[slot].quant.zero_point)
        return number

    @property
    def out_scale(self) -> float:
        (number,) = self.out.quant.scale
        return number

    def centered(self, slot: int) -> Any:
        """Return code - zero point, nested lists."""
        return (self.codes[slot] - self.zero(slot)).tolist()

    def finish(self, scaled: int) -> int:
        """Add the zero point and clamp to the width and the fused activation."""
        dtype = self.out.dtype
        names = {"relu": "RELU", "relu6": "RELU6", "relu_n1_to_1": "RELU_N1_TO_1"}
        fused = getattr(self.attrs, "activation", None)
        name = fused.name if fused is not None else names.get(self.kind, "NONE")
        (zero,) = self.out.quant.zero_point
        ends = activation_range(name, self.out_scale, zero, dtype.min, dtype.max)
        if self.kind == "clip":
            ends = tuple(zero + round_half_away(f32_div(b, self.out_scale)) for b in self.bounds)
            ends = (max(ends[0], dtype.min), min(ends[1], dtype.max))
        return clamp(scaled + zero, *ends)

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of a CLIP; beyond a float32's codes there is no difference."""
        return tuple(min(max(end, -1e6), 1e6) for end in (self.attrs.low, self.attrs.high))

    def results(self) -> list[np.ndarray]:
        rules: dict[str, Callable[[], Any]] = {
            "conv_2d": self.conv,
            "depthwise_conv_2d": self.conv,
            "fully_connected": self.fully_connected,
            "matmul": self.matmul,
            "add": self.add,
            "sub": self.add,
            "mul": self.mul,
            "average_pool_2d": self.pool,
            "max_pool_2d": self.pool,
            "mean": self.mean,
            "softmax": self.softmax,
            "layer_norm": self.layer_norm,
            "rms_norm": self.rms_norm,
            "leaky_relu": self.leaky_relu,
            "relu": self.relu,
            "relu6": self.relu,
            "clip": self.relu,
            "relu_n1_to_1": self.relu,
            "gelu": self.gelu,
            "silu": self.table,
            "logistic": self.table,
            "tanh": self.table,
            "hard_swish": self.table,
            "reshape": lambda: self.codes[0].reshape(self.attrs.shape),
            "transpose": lambda: movement.transpose(self.codes[0], list(self.attrs.perm)),
            "pad": self.pad,
            "concatenation": self.concatenation,
            "strided_slice": self.strided_slice,
            "split": self.split,
            "gather": self.gather,
        }
        made = rules[self.kind]()
        return made if isinstance(made, list) else [made]

    def product_code(self, acc: int, channel: int) -> int:
        """Return what becomes of sum(x * w): the accumulator itself where 32 bits are asked for."""
        if self.out.dtype.bits == 32:
            return acc
        scales = self.values[1].quant.scale
        product = f32_mul(self.scale(0), scales[channel if len(scales) > 1 else 0])
        ratio = product * getattr(self.attrs, "scale", 1.0) / self.out_scale
        return self.finish(rescale(acc, ratio))

    def bias(self) -> list[int]:
        if len(self.codes) > 2:
            return self.codes[2].tolist()
        return [0] * self.out.shape[-1]

    def conv(self) -> np.ndarray:
        x, w, bias = self.centered(0), self.centered(1), self.bias()
        height, width, depth = self.codes[0].shape[1:]
        top, left = self.attrs.padding[:2]
        depthwise = self.kind == "depthwise_conv_2d"
        taps_h, taps_w = self.codes[1].shape[1:3]
        channels = self.out.shape[3]
        per_group = channels // (depth if depthwise else self.attrs.groups)
        made = np.zeros(self.out.shape, np.int64)
        for n, row, col, o in np.ndindex(*self.out.shape):
            acc = bias[o]
            for i in range(taps_h):
                y = row * self.attrs.stride[0] - top + i * self.attrs.dilation[0]
                for j in range(taps_w):
                    z = col * self.attrs.stride[1] - left + j * self.attrs.dilation[1]
                    if not (0 <= y < height and 0 <= z < width):
                        continue
                    group = o // per_group
                    if depthwise:
                        acc += x[n][y][z][group] * w[0][i][j][o]
                        continue
                    taps = w[o][i][j]
                    first = group * len(taps)
                    for c, weight in enumerate(taps):
                        acc += x[n][y][z][first + c] * weight
            made[n, row, col, o] = self.product_code(acc, o)
        return made

    def fully_connected(self) -> np.ndarray:
        w, bias = self.centered(1), self.bias()
        rows = (self.codes[0] - self.zero(0)).reshape(-1, len(w[0])).tolist()
        made = []
        for row in rows:
            for o, weights in enumerate(w):
                acc = bias[o] + sum(a * b for a, b in zip(row, weights, strict=True))
                made.append(self.product_code(acc, o))
        return np.array(made, np.int64).reshape(self.out.shape)

    def matmul(self) -> np.ndarray:
        a, b = (self.codes[slot] - self.zero(slot) for slot in (0, 1))
        terms = a.shape[-2] if self.attrs.transpose_a else a.shape[-1]
        made = np.zeros(self.out.shape, np.int64)
        for *batch, m, n in np.ndindex(*self.out.shape):
            acc = 0
            for k in range(terms):
                left = (k, m) if self.attrs.transpose_a else (m, k)
                right = (n, k) if self.attrs.transpose_b else (k, n)
                acc += element(a, (*batch, *left)) * element(b, (*batch, *right))
            made[(*batch, m, n)] = self.product_code(acc, 0)
        return made

    def add(self) -> np.ndarray:
        """Each operand is rounded to the output's scale, then they are added or subtracted."""
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            parts = []
            for slot in (0, 1):
                scales = self.values[slot].quant.scale
                ratio = scales[index[-1] if len(scales) > 1 else 0] / self.out_scale
                centered = element(self.codes[slot], index) - self.zero(slot)
                parts.append(rescale(centered, ratio))
            made[index] = self.finish(parts[0] + (1 if self.kind == "add" else -1) * parts[1])
        return made

    def mul(self) -> np.ndarray:
        ratio = f32_div(f32_mul(self.scale(0), self.scale(1)), self.out_scale)
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            a, b = (element(self.codes[slot], index) - self.zero(slot) for slot in (0, 1))
            made[index] = self.finish(rescale(a * b, ratio))
        return made

    def pool(self) -> np.ndarray:
        height, width = self.codes[0].shape[1:3]
        x = self.codes[0].tolist()
        made = np.zeros(self.out.shape, np.int64)
        for n, row, col, c in np.ndindex(*self.out.shape):
            top = row * self.attrs.stride[0] - self.attrs.padding[0]
            left = col * self.attrs.stride[1] - self.attrs.padding[1]
            window = [
                x[n][y][z][c]
                for y in range(top, top + self.attrs.kernel[0])
                for z in range(left, left + self.attrs.kernel[1])
                if 0 <= y < height and 0 <= z < width
            ]
            if self.kind == "max_pool_2d":
                (zero,) = self.out.quant.zero_point
                made[n, row, col, c] = self.finish(max(window) - zero)
                continue
            size = self.attrs.kernel[0] * self.attrs.kernel[1]
            count = size if self.attrs.count_padding else len(window)
            total = sum(window) - self.zero(0) * len(window)
            ratio = self.scale(0) / self.out_scale / count
            made[n, row, col, c] = self.finish(rescale(total, ratio))
        return made

    def mean(self) -> np.ndarray:
        x, axes = self.codes[0], self.attrs.axes
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        sums: dict[tuple[int, ...], int] = {}
        for index in np.ndindex(*x.shape):
            place = tuple(index[axis] for axis in kept)
            sums[place] = sums.get(place, 0) + int(x[index]) - self.zero(0)
        count = math.prod(x.shape[axis] for axis in axes)
        ratio = self.scale(0) / self.out_scale / count
        codes = [self.finish(rescale(sums[place], ratio)) for place in sorted(sums)]
        return np.array(codes, np.int64).reshape(self.out.shape)

    def softmax(self) -> np.ndarray:
        """Each row is the softmax of the codes that its query sees, then zeros."""
        made = np.full(self.out.shape, self.out.quant.zero_point[0], np.int64)
        queries, keys = (1, *self.out.shape)[-2:]
        for index in np.ndindex(*self.out.shape[:-1]):
            seen = keys - queries + 1 + index[-1] if self.attrs.causal else keys
            made[index][:seen] = self.softmax_row(self.codes[0][index][:seen])
        return made

    def softmax_row(self, row: np.ndarray) -> Any:
        dtype = self.out.dtype
        return softmax(
            row,
            input_scale=self.scale(0),
            beta=self.attrs.beta,
            unsigned=not dtype.signed,
            bits=dtype.bits,
        )

    def layer_norm(self) -> np.ndarray:
        return self.norm(centered=True)

    def rms_norm(self) -> np.ndarray:
        return self.norm(centered=False)

    def norm(self, *, centered: bool) -> np.ndarray:
        n = self.codes[0].shape[-1]
        gamma = self.codes[1].tolist()
        beta = self.bias()
        unit = self.scale(0) * self.scale(0)
        epsilon = max(round(self.attrs.epsilon * n * n / unit), 1)
        ratio = self.scale(1) * 2.0**-NORM_FRACTION_BITS / self.out_scale
        made = []
        for row in (self.codes[0] - self.zero(0)).reshape(-1, n).tolist():
            total = sum(row) if centered else 0
            spread = max(math.isqrt(n * sum(c * c for c in row) - total * total + epsilon), 1)
            for c, code in enumerate(row):
                exact = Fraction((n * code - total) * 2**NORM_FRACTION_BITS, spread)
                normalized = math.floor(exact + Fraction(1, 2))
                made.append(self.finish(rescale(normalized * gamma[c] + beta[c], ratio)))
        return np.array(made, np.int64).reshape(self.out.shape)

    def each(self, rule: Callable[[int], int]) -> np.ndarray:
        """Apply a rule to every centered code of the only operand."""
        codes = (self.codes[0] - self.zero(0)).ravel().tolist()
        return np.array([rule(c) for c in codes], np.int64).reshape(self.out.shape)

    def leaky_relu(self) -> np.ndarray:
        above = f32_div(self.scale(0), self.out_scale)
        below = f32_div(f32_mul(self.scale(0), self.attrs.alpha), self.out_scale)
        return self.each(lambda c: self.finish(rescale(c, above if c >= 0 else below)))

    def relu(self) -> np.ndarray:
        ratio = f32_div(self.scale(0), self.out_scale)
        return self.each(lambda c: self.finish(rescale(c, ratio)))

    def gelu(self) -> np.ndarray:
        return self.table()

    def table(self) -> np.ndarray:
        function = FUNCTIONS[self.kind]
        if getattr(self.attrs, "tanh", False):
            function = gelu_by_tanh
        inverse = f32_div(1.0, self.out_scale)

        def entry(centered: int) -> int:
            value = f32(function(f32_mul(self.scale(0), centered)))
            return self.finish(round_half_away(f32_mul(value, inverse)))

        return self.each(entry)

    def pad(self) -> np.ndarray:
        amounts = [list(pair) for pair in zip(self.attrs.before, self.attrs.after, strict=True)]
        return movement.pad(self.codes[0], amounts, self.zero(0))

    def concatenation(self) -> np.ndarray:
        made = np.zeros(self.out.shape, np.int64)
        first = 0
        for part, value in zip(self.codes, self.values, strict=True):
            assert value.quant == self.out.quant
            for index in np.ndindex(*part.shape):
                place = list(index)
                place[self.attrs.axis] += first
                made[tuple(place)] = part[index]
            first += part.shape[self.attrs.axis]
        return made

    def strided_slice(self) -> np.ndarray:
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            rule = zip(self.attrs.starts, self.attrs.strides, index, strict=True)
            made[index] = self.codes[0][tuple(start + step * i for start, step, i in rule)]
        return made

    def gather(self) -> np.ndarray:
        """Rows of a table; axis 0."""
        assert self.attrs.axis == 0
        indices = self.codes[1].ravel().tolist()
        return np.array([self.codes[0][i] for i in indices], np.int64).reshape(self.out.shape)

    def split(self) -> list[np.ndarray]:
        pieces, first = [], 0
        for size in self.attrs.sizes:
            index = [slice(None)] * self.codes[0].ndim
            index[self.attrs.axis] = slice(first, first + size)
            pieces.append(self.codes[0][tuple(index)])
            first += size
        return pieces


def element(array: np.ndarray, index: Sequence[int]) -> int:
    """Return one element of an operand that is broadcast to the output's index."""
    tail = index[len(index) - array.ndim :]
    return int(array[tuple(i if n > 1 else 0 for i, n in zip(tail, array.shape, strict=True))])


def gelu(x: float) -> float:
    """x * Phi(x) in float64."""
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def gelu_by_tanh(x: float) -> float:
    """The tanh form of GELU in float64."""
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: float) -> float:
    """x * logistic(x), both and their product in float32."""
    return f32_mul(x, logistic_f32(x))


def hard_swish(x: float) -> float:
    """x * clip(x + 3, 0, 6) / 6 in float64."""
    return x * clamp_real(x + 3.0) / 6.0


def clamp_real(x: float) -> float:
    """Limit to [0, 6]."""
    return min(max(x, 0.0), 6.0)


FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "gelu": gelu,
    "logistic": logistic_f32,
    "tanh": tanh_f32,
    "hard_swish": hard_swish,
    "silu": silu,
}
