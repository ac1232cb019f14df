"""An integer graph of profile `ort`, every activation, as ONNX Runtime 1.31 on x86-64 computes it.

Fractions and single float32 steps, one element at a time. What the runtime does was read in its
sources (contrib_ops/cpu/quantization, core/mlas/lib) and measured; docstrings name the file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tests.oracle import hawq
from tests.oracle.arith import clamp, f32, f32_div, f32_mul
from tests.oracle.hawq import Evaluation, element


def nearest_float32(exact: Fraction) -> float:
    """Return the float32 nearest to an exact number, ties to even; normal range alone."""
    if exact == 0:
        return 0.0
    magnitude = abs(exact)
    exponent = math.floor(math.log2(magnitude))
    while Fraction(2) ** exponent > magnitude:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    step = Fraction(2) ** (exponent - 23)
    return float(round(exact / step) * step)


def fused(a: float, b: float, c: float) -> float:
    """Return a * b + c, rounded once."""
    return nearest_float32(Fraction(a) * Fraction(b) + Fraction(c))


def nearest_even(real: float) -> int:
    """Return the nearest integer, ties to even."""
    return round(Fraction(real))


def f32_add(a: float, b: float) -> float:
    return float(np.float32(a) + np.float32(b))


def first_is_scalar(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether the broadcast loop's innermost span holds one element of `a` (element_wise_ops.h)."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    for p, q in zip(left[::-1], right[::-1], strict=True):
        if p > 1 or q > 1:
            return p == 1
    return True


def run(graph: Any, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every activation of a hwsim graph by name."""
    return hawq.run(graph, feed, OrtOracle)


class OrtOracle(Evaluation):
    """One node with its operands."""

    def results(self) -> list[np.ndarray]:
        rules: dict[str, Callable[[], Any]] = {
            "add": self.add,
            "sub": self.sub,
            "mul": self.mul,
            "average_pool_2d": self.average_pool,
            "mean": self.mean,
            "softmax": self.softmax,
            "leaky_relu": lambda: self.unary(lambda x: x if x >= 0 else f32_mul(self.alpha, x)),
            "logistic": lambda: self.unary(logistic),
            "tanh": lambda: self.unary(tanh),
            "hard_swish": lambda: self.unary(hard_swish),
            "quantize": self.quantize,
            "dequantize": self.dequantize,
            "concatenation": self.concatenation,
            "clip": self.clip,
            "dynamic_quantize": self.dynamic_quantize,
        }
        if self.kind not in rules:
            return super().results()
        made = rules[self.kind]()
        return made if isinstance(made, list) else [made]

    @property
    def alpha(self) -> float:
        return f32(self.attrs.alpha)

    @property
    def out_zero(self) -> int:
        (zero,) = self.out.quant.zero_point
        return int(zero)

    def saturated(self, code: int) -> int:
        return clamp(code, self.out.dtype.min, self.out.dtype.max)

    def product_code(self, acc: int, channel: int) -> int:
        """MlasRequantizeOutput, quantize.cpp: the accumulator in float32 times one ratio."""
        if self.out.dtype.bits == 32:
            return acc
        scales = self.values[1].quant.scale
        product = f32_mul(self.scale(0), scales[channel if len(scales) > 1 else 0])
        scaled = f32_mul(f32(acc), f32_div(product, self.out_scale))
        return self.saturated(nearest_even(scaled) + self.out_zero)

    def add(self) -> np.ndarray:
        """MlasQLinearAddKernelAvx2, qladd_avx2.cpp: fused products, zero points in one offset."""
        a, b = 0, 1
        ratios = [f32_div(self.scale(slot), self.out_scale) for slot in (0, 1)]
        inner = fused(ratios[a], self.zero(a), f32_mul(ratios[b], self.zero(b)))
        offset = f32_add(self.out_zero, -inner)
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            p, q = (element(self.codes[slot], index) for slot in (a, b))
            exact = fused(p, ratios[a], fused(q, ratios[b], offset))
            made[index] = self.saturated(nearest_even(exact))
        return made

    def sub(self) -> np.ndarray:
        """Sub between DequantizeLinear and QuantizeLinear."""
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            p, q = (self.real(slot, element(self.codes[slot], index)) for slot in (0, 1))
            made[index] = self.stored(f32_add(p, -q))
        return made

    def mul(self) -> np.ndarray:
        """MlasQLinearMul, qlmul.cpp: the zero point is added before the rounding."""
        ratio = f32_div(f32_mul(self.scale(0), self.scale(1)), self.out_scale)
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            p, q = (element(self.codes[slot], index) - self.zero(slot) for slot in (0, 1))
            exact = f32_add(f32_mul(f32(p * q), ratio), self.out_zero)
            made[index] = self.saturated(nearest_even(exact))
        return made

    def real(self, slot: int, code: int) -> float:
        return f32_mul(self.scale(slot), code - self.zero(slot))

    def stored(self, real: float) -> int:
        """MlasQuantizeLinear, quantize.cpp: divided in float32, ties to even."""
        return self.saturated(nearest_even(f32_div(real, self.out_scale)) + self.out_zero)

    def average_pool(self) -> np.ndarray:
        """QLinearAveragePool, qlinear_pool.cc: float32 sums row by row, the zero point added."""
        kernel, pads = self.attrs.kernel, self.attrs.padding
        height, width = self.codes[0].shape[1:3]
        if kernel == (height, width) and not any(pads):
            return self.global_pool((1, 2))
        made = np.zeros(self.out.shape, np.int64)
        for n, row, col, c in np.ndindex(*self.out.shape):
            top = row * self.attrs.stride[0] - pads[0]
            left = col * self.attrs.stride[1] - pads[1]
            total, count = 0.0, 0
            for y in range(max(top, 0), min(top + kernel[0], height)):
                for z in range(max(left, 0), min(left + kernel[1], width)):
                    total = f32_add(total, self.real(0, int(self.codes[0][n, y, z, c])))
                    count += 1
            count = kernel[0] * kernel[1] if self.attrs.count_padding else count
            scaled = f32_div(f32_div(total, count), self.out_scale)
            made[n, row, col, c] = self.saturated(nearest_even(f32_add(scaled, self.out_zero)))
        return made

    def mean(self) -> np.ndarray:
        return self.global_pool(self.attrs.axes)

    def global_pool(self, axes: tuple[int, ...]) -> np.ndarray:
        """MlasQLinearGlobalAveragePool, qlgavgpool.cpp: s_x / (s_y * n) in float32."""
        x = self.codes[0]
        count = math.prod(x.shape[axis] for axis in axes)
        ratio = f32_div(self.scale(0), f32_mul(self.out_scale, count))
        sums: dict[tuple[int, ...], int] = {}
        for index in np.ndindex(*x.shape):
            place = tuple(i for axis, i in enumerate(index) if axis not in axes)
            sums[place] = sums.get(place, 0) + int(x[index]) - self.zero(0)
        codes = [
            self.saturated(nearest_even(f32_mul(f32(sums[place]), ratio)) + self.out_zero)
            for place in sorted(sums)
        ]
        return np.array(codes, np.int64).reshape(self.out.shape)

    def softmax(self) -> np.ndarray:
        """QLinearSoftmax, qlinear_softmax.cc: 256 float32 exponentials, lifted, summed in order."""
        classes = self.codes[0].shape[-1]
        room = f32(math.log(f32_div(float(np.finfo(np.float32).max), classes)))
        lift = max(0.0, room - 5) / self.scale(0)
        steps = math.floor(f32_div(1, self.out_scale))
        made = []
        for row in self.codes[0].reshape(-1, classes).tolist():
            powers = [f32(math.exp((code - max(row) + lift) * self.scale(0))) for code in row]
            total = 0.0
            for power in powers:
                total = f32_add(total, power)
            for power in powers:
                code = nearest_even(f32_div(f32_mul(power, steps), total))
                made.append(self.saturated(code + self.out_zero))
        return np.array(made, np.int64).reshape(self.out.shape)

    def unary(self, function: Callable[[float], float]) -> np.ndarray:
        codes = self.codes[0].ravel().tolist()
        made = [self.stored(function(self.real(0, code))) for code in codes]
        return np.array(made, np.int64).reshape(self.out.shape)

    def quantize(self) -> np.ndarray:
        """QuantizeLinear of reals, perhaps with a scale per index of an axis; or of codes."""
        if not self.values[0].is_float:
            return self.unary(lambda real: real)
        quant = self.out.quant
        made = np.zeros(self.out.shape, np.int64)
        for index in np.ndindex(*self.out.shape):
            entry = 0 if quant.axis is None else index[quant.axis]
            scaled = f32_div(float(self.reals[0][index]), quant.scale[entry])
            made[index] = self.saturated(nearest_even(scaled) + quant.zero_point[entry])
        return made

    def dequantize(self) -> np.ndarray:
        quant = self.values[0].quant
        made = np.zeros(self.out.shape, np.float32)
        for index in np.ndindex(*self.out.shape):
            entry = 0 if quant.axis is None else index[quant.axis]
            centered = int(self.codes[0][index]) - quant.zero_point[entry]
            made[index] = f32_mul(f32(centered), quant.scale[entry])
        return made

    def concatenation(self) -> np.ndarray:
        """QLinearConcat, qlinear_concat.cc: a table per part, a copy where parameters agree."""
        made = np.zeros(self.out.shape, np.int64)
        first = 0
        for slot, (part, value) in enumerate(zip(self.codes, self.values, strict=True)):
            for index in np.ndindex(*part.shape):
                place = list(index)
                place[self.attrs.axis] += first
                code = int(part[index])
                same = value.quant == self.out.quant
                made[tuple(place)] = code if same else self.stored(self.real(slot, code))
            first += part.shape[self.attrs.axis]
        return made

    def clip(self) -> np.ndarray:
        """Clip of codes: real bounds that are multiples of the scale."""
        low, high = (
            bound if math.isinf(bound) else self.out_zero + round(Fraction(bound / self.out_scale))
            for bound in (self.attrs.low, self.attrs.high)
        )
        codes = [min(max(code, low), high) for code in self.codes[0].ravel().tolist()]
        return np.array(codes, np.int64).reshape(self.out.shape)

    def dynamic_quantize(self) -> list[np.ndarray]:
        """DynamicQuantizeLinear: scale (max - min) / 255 of a range that holds 0."""
        reals = [float(real) for real in self.reals[0].ravel()]
        low, high = min(*reals, 0.0), max(*reals, 0.0)
        scale = f32_div(f32_add(high, -low), 255) or 1.0
        zero = clamp(nearest_even(f32_div(-low, scale)), 0, 255)
        codes = [clamp(nearest_even(f32_div(real, scale)) + zero, 0, 255) for real in reals]
        made = np.array(codes, np.int64).reshape(self.out.shape)
        return [made, np.asarray(scale, np.float32), np.asarray(zero, np.int64)]


def hard_swish(x: float) -> float:
    """x * max(0, min(1, x / 6 + 1/2)), each step in float32."""
    gate = f32_add(f32_mul(x, f32(1 / 6)), 0.5)
    return f32_mul(x, min(max(gate, 0.0), 1.0))


TANH = (
    (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08)
    + (1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
LOGISTIC = (
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03)
    + (2.48287947061529e-01,),
    (6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03)
    + (1.16817656904453e-01, 9.93151921023180e-01),
)


def polynomial(x: float, coefficients: Sequence[float]) -> float:
    """Highest power first, one rounding a step."""
    made = f32(coefficients[0])
    for coefficient in coefficients[1:]:
        made = fused(made, x, f32(coefficient))
    return made


def tanh(x: float) -> float:
    """MlasTanhKernelFma3: x * p(x * x) / q(x * x)."""
    x = min(max(x, -9.0), 9.0)
    square = f32_mul(x, x)
    return f32_div(f32_mul(polynomial(square, TANH[0]), x), polynomial(square, TANH[1]))


def logistic(x: float) -> float:
    """MlasLogisticKernelFma3: the same with other numbers, plus a half."""
    x = min(max(x, -18.0), 18.0)
    square = f32_mul(x, x)
    top = f32_mul(polynomial(square, LOGISTIC[0]), x)
    return min(max(f32_add(f32_div(top, polynomial(square, LOGISTIC[1])), 0.5), 0.0), 1.0)
