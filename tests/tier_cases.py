"""Random matrix operators as one tier computes them, against NumPy's int64 and the oracle's rules.

Run as a module, it prints what it found as JSON; `tests/test_tiers.py` gives every tier a process
of its own. Nothing here lowers a graph: a case hands the native lowering weights, biases and
factors of its own, so that extremes come that no quantized model holds.

    python -m tests.tier_cases CASES_OF_A_GROUP GROUPS SEED    # 0 groups: the few of the test
"""

import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.attributes import Attrs, ConvAttrs, FullyConnectedAttrs, MatMulAttrs
from hwsim.graph import Value
from hwsim.kernels.arith import Scaling
from hwsim.kernels.native import emit
from hwsim.kernels.native import target as native_target
from hwsim.kernels.native.operators import NATIVE
from hwsim.kernels.native.program import Item, Program, Runner
from hwsim.kernels.native.target import target, tier
from hwsim.kernels.scaling import Site
from hwsim.ops import Op
from hwsim.profile import Requant
from hwsim.profiles import PROFILES
from hwsim.quant import IntType, QuantParams
from tests.oracle.arith import clamp, mbqm_double, round_half_away, sat32, srdhm, wrap32
from tests.small_graphs import graph, node

TYPES = {
    "int8": IntType(8),
    "uint8": IntType(8, signed=False),
    "int16": IntType(16),
    "uint16": IntType(16, signed=False),
    "int32": IntType(32),
}
DOUBLES = (Requant.DOUBLE_ROUNDING, Requant.DOUBLE_HALF_UP)
FLOATS = (Requant.FLOAT32_HALF_EVEN, Requant.FLOAT32_SHIFTED, Requant.REAL_HALF_AWAY)
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Group:
    """Cases that share machine code.

    `width` says how many columns: "narrow" fits a vector of every tier, "middle" two, "wide" more;
    `row` is one row of them. `wide_weights` are centered weights of nine bits.
    """

    op: Op
    rule: Requant
    x: str = "int8"
    out: str = "int8"
    width: str = "narrow"
    wide_weights: bool = False


CONV, DEPTHWISE, DENSE, MATMUL = OPERATORS = (
    Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MATMUL,
)  # fmt: skip
CODES = ("int8", "uint8", "int16", "uint16")


def all_groups() -> Iterator[Group]:
    """Return every group."""
    for op, rule, x, out, wide, width in itertools.product(
        OPERATORS, Requant, CODES, CODES, (False, True), ("row", "narrow", "middle", "wide")
    ):
        yield Group(op, rule, x, "int32" if rule is Requant.NONE else out, width, wide)


def few_groups() -> Iterator[Group]:
    """Return groups that touch every rule, type and tile: each costs the time of a compilation."""
    double = Requant.DOUBLE_ROUNDING
    for rule in Requant:
        yield Group(CONV, rule, out="int32" if rule is Requant.NONE else "int8")
    for x, out in (("uint8", "uint8"), ("int16", "int16"), ("uint16", "uint16"), ("int16", "int8"),
                   ("int8", "int16")):  # fmt: skip
        yield Group(CONV, double, x, out)
    for width in ("row", "middle", "wide"):
        yield Group(DENSE, double, width=width)
        yield Group(CONV, Requant.HALF_EVEN, "uint8", "int8", width=width)
    for x in ("int8", "uint8"):
        yield Group(CONV, Requant.HALF_UP, x, x, wide_weights=True)
    for x in CODES:
        yield Group(DEPTHWISE, double, x, x)
        yield Group(MATMUL, Requant.HALF_AWAY, x, x)
    yield Group(DEPTHWISE, Requant.FLOAT32_HALF_EVEN, width="wide")
    yield Group(DENSE, Requant.REAL_HALF_AWAY, "uint8", "uint8")


@dataclass(frozen=True)
class Case:
    """An operator with its constants, its inputs, and the accumulators that int64 gives."""

    group: Group
    attrs: Attrs
    values: list[Value]
    feed: dict[str, np.ndarray]
    constants: dict[str, np.ndarray | Scaling]
    sums: np.ndarray
    bits: int


class Draw:
    """Random choices of a group."""

    def __init__(self, group: Group, seed: Sequence[int]) -> None:
        self.group = group
        self.rng = np.random.default_rng(seed)

    def below(self, low: int, high: int) -> int:
        """Return low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def columns(self) -> int:
        low, high = {"row": (1, 40), "narrow": (1, 8), "middle": (17, 32), "wide": (33, 70)}[
            self.group.width
        ]
        return self.below(low, high)

    def depth(self) -> int:
        """Return how many codes meet: often no multiple of a group of four."""
        return self.below(1, 9) if self.below(0, 2) else self.below(10, 70)

    def codes(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        """Return codes: random, extremes, one extreme, or one value."""
        fill = self.below(0, 5)
        if fill == 0:
            made = self.rng.choice([low, high], shape)
        elif fill in (1, 2):
            made = np.full(shape, (low, high)[fill - 1])
        elif fill == 3:
            made = np.full(shape, self.below(low, high))
        else:
            made = self.rng.integers(low, high + 1, shape)
        return np.asarray(made, np.int64)

    def zero(self, dtype: IntType) -> int:
        if dtype.signed and dtype.bits > 8 and self.below(0, 1):
            return 0
        return (dtype.min, dtype.max, 0 if dtype.signed else dtype.max // 2,
                self.below(dtype.min, dtype.max))[self.below(0, 3)]  # fmt: skip

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        low, high = (-255, 255) if self.group.wide_weights else (-128, 127)
        return self.codes(shape, low, high)

    def value(self, name: str, shape: tuple[int, ...], kind: str) -> Value:
        dtype = TYPES[kind]
        return Value(name, shape, dtype, QuantParams.per_tensor(1.0, self.zero(dtype)))

    def input(self, name: str, shape: tuple[int, ...]) -> tuple[Value, np.ndarray]:
        """Return a value and codes of it."""
        dtype = TYPES[self.group.x]
        codes = self.codes(shape, dtype.min, dtype.max)
        return self.value(name, shape, self.group.x), codes

    def bias(self, count: int) -> np.ndarray:
        reach = (0, 1000, 2**31 - 1)[self.below(0, 2)]
        return self.rng.integers(-reach - 1, reach + 1, count)

    def scaling(self, sums: np.ndarray, out: Value, channels: int) -> Scaling:
        """Return factors that bring sums to about the range of the result, or the largest."""
        assert out.quant is not None and isinstance(out.dtype, IntType)
        rule = self.group.rule
        count = channels if self.below(0, 1) else 1
        fraction = 31 if rule in DOUBLES else (31, 30, 15)[self.below(0, 2)]
        spread = float(np.abs(sums).max(initial=1)) / 2 ** self.below(0, 10) + 1
        real = self.rng.uniform(0.5, 2.0, count) * 2.0 ** (out.dtype.bits - 1) / spread
        pairs = [math.frexp(one) for one in real]
        multiplier = np.array([min(round(f * 2**fraction), 2**fraction - 1) for f, _ in pairs])
        # Double rounding shifts left by 30 and right by 31 at most, others by 1 to 62 in all.
        low, high = (-30, 31) if rule in DOUBLES else (1 - fraction, 62 - fraction)
        shift = np.array([clamp(-e, low, high) for _, e in pairs])
        extreme = self.below(0, 5)
        if extreme == 0:
            multiplier = self.rng.choice([LARGEST, -LARGEST, 0, 1, -1], count)
        elif extreme == 1:
            multiplier = -multiplier
        elif extreme == 2:
            shift = self.rng.choice([low, high, 0], count)
        elif extreme == 3:
            multiplier = np.full(count, 2 ** (fraction - 1))  # ties
        qmin, qmax = out.dtype.min, out.dtype.max
        if rule is not Requant.NONE and self.below(0, 2) == 0:
            qmin, qmax = sorted((self.below(qmin, qmax), self.below(qmin, qmax)))
        zero = 0 if rule is Requant.NONE else int(out.quant.zero_point[0])
        return Scaling(
            int(rule), fraction, multiplier.astype(np.int64), shift.astype(np.int64),
            real * self.rng.choice([1.0, 1.0, -1.0], count), zero, qmin, qmax,
        )  # fmt: skip

    def case(self) -> Case:
        """Return one."""
        match self.group.op:
            case Op.FULLY_CONNECTED:
                made = self._dense()
            case Op.MATMUL:
                made = self._matmul()
            case _:
                made = self._convolution()
        attrs, values, feed, constants, sums, most = made
        out = values[-1]
        channels = out.shape[-1]
        constants["requantize"] = self.scaling(sums, out, channels)
        # A proof that says more than 32 bits keeps machine code away; 32 say that sums may wrap.
        bits = min(int(most).bit_length() + 1, 32)
        return Case(self.group, attrs, values, feed, constants, sums, bits)

    def _dense(self) -> tuple:
        columns, depth = self.columns(), self.depth()
        rows = 1 if self.group.width == "row" else self.below(2, 20)
        x, codes = self.input("x", (rows, depth))
        weights, bias = self.weights((columns, depth)), self.bias(columns)
        centered = codes - x.quant.zero_point[0]
        sums = centered @ weights.T + bias
        values = [x, _constant("w", weights), self.value("y", sums.shape, self.group.out)]
        most = (np.abs(centered).max() * np.abs(weights).sum(1) + np.abs(bias)).max()
        feed = {"x": codes}
        return FullyConnectedAttrs(), values, feed, {"weights": weights, "bias": bias}, sums, most

    def _matmul(self) -> tuple:
        columns, depth = self.columns(), self.depth()
        rows = 1 if self.group.width == "row" else self.below(2, 12)
        batch = ((), (1,), (2,), (2, 2))[self.below(0, 3)]
        shared = () if self.below(0, 1) else batch
        turned = bool(self.below(0, 1))
        a, left = self.input("a", (*batch, rows, depth))
        b, right = self.input("b", (*shared, *((columns, depth) if turned else (depth, columns))))
        k_by_n = np.swapaxes(right, -1, -2) if turned else right
        one, other = left - a.quant.zero_point[0], k_by_n - b.quant.zero_point[0]
        sums = one @ other
        values = [a, b, self.value("y", sums.shape, self.group.out)]
        most = (np.abs(one) @ np.abs(other)).max()
        attrs = MatMulAttrs(transpose_b=turned)
        return attrs, values, {"a": left, "b": right}, {}, sums, most

    def _convolution(self) -> tuple:
        rng, depthwise = self.rng, self.group.op is Op.DEPTHWISE_CONV_2D
        taps = [(1, 1), (3, 3), (1, 4), (3, 2), (2, 1)][self.below(0, 4)]
        stride = (self.below(1, 3), self.below(1, 3))
        dilation = tuple(int(n) for n in rng.choice([1, 1, 1, 2, 3, 37], 2))
        padding = tuple(self.below(0, 3) for _ in range(4))
        if self.group.width == "row":
            size = tuple((t - 1) * d + 1 for t, d in zip(taps, dilation, strict=True))
            padding = (0, 0, 0, 0)
        else:
            size = tuple(
                max(self.below(1, 9), (t - 1) * d + 1 - padding[a] - padding[a + 2])
                for a, (t, d) in enumerate(zip(taps, dilation, strict=True))
            )
        groups = 1
        if depthwise:
            channels = self.columns()
            filters = channels * (1, 1, 1, 2)[self.below(0, 3)]
            weights = self.weights((*taps, filters))
            flat = np.repeat(np.eye(channels, dtype=np.int64), filters // channels, 1)
            dense = weights[:, :, None, :] * flat  # kh, kw, channel, filter
            stored = weights[None]
        else:
            groups = (1, 1, 1, 2, 3)[self.below(0, 4)]
            filters, depth = self.columns(), self.below(1, 20)
            weights = self.weights((groups, filters, *taps, depth))
            channels = groups * depth
            dense = np.zeros((*taps, channels, groups * filters), np.int64)
            for g in range(groups):
                own = slice(g * depth, (g + 1) * depth), slice(g * filters, (g + 1) * filters)
                dense[:, :, own[0], own[1]] = weights[g].transpose(1, 2, 3, 0)
            filters *= groups
            stored = weights.reshape(filters, *taps, depth)
        bias = self.bias(filters)
        x, codes = self.input("x", (self.below(1, 3), *size, channels))
        top, left, bottom, right = padding
        centered = np.pad(
            codes - x.quant.zero_point[0], ((0, 0), (top, bottom), (left, right), (0, 0))
        )
        reach = [(t - 1) * d for t, d in zip(taps, dilation, strict=True)]
        lines, pixels = ((centered.shape[1 + a] - reach[a] - 1) // stride[a] + 1 for a in (0, 1))
        sums = np.zeros((x.shape[0], lines, pixels, filters), np.int64) + bias
        for i, j in np.ndindex(*taps):
            first = i * dilation[0], j * dilation[1]
            window = centered[
                :,
                first[0] : first[0] + (lines - 1) * stride[0] + 1 : stride[0],
                first[1] : first[1] + (pixels - 1) * stride[1] + 1 : stride[1],
            ]
            sums += window @ dense[i, j]
        most = (np.abs(centered).max() * np.abs(dense).sum((0, 1, 2)) + np.abs(bias)).max()
        attrs = ConvAttrs(stride, dilation, padding, channels if depthwise else groups)
        values = [x, _constant("w", stored), self.value("y", sums.shape, self.group.out)]
        return attrs, values, {"x": codes}, {"weights": weights, "bias": bias}, sums, most


def _constant(name: str, data: np.ndarray) -> Value:
    """Return weights as a graph holds them; only their shape is read."""
    stored = np.zeros(data.shape, np.int16)
    return Value(name, data.shape, IntType(16), QuantParams.per_tensor(1.0, 0), stored)


def code_of(sum_: int, scaling: Scaling, channel: int) -> int:
    """Return what the rule makes of a sum of 32 bits, in Python's integers and fractions."""
    rule = Requant(scaling.rule)
    slot = min(channel, scaling.multiplier.size - 1)
    multiplier, shift = int(scaling.multiplier[slot]), int(scaling.right_shift[slot])
    real, zero = float(scaling.real[slot]), scaling.zero_point
    exact = Fraction(sum_ * multiplier) / Fraction(2) ** (scaling.fraction + shift)
    match rule:
        case Requant.DOUBLE_ROUNDING:
            made = mbqm_double(sum_, multiplier, -shift)
        case Requant.DOUBLE_HALF_UP:
            high = srdhm(wrap32(sum_ << max(-shift, 0)), multiplier)
            made = math.floor(Fraction(high, 2 ** max(shift, 0)) + Fraction(1, 2))
        case Requant.HALF_UP:
            made = math.floor(exact + Fraction(1, 2))
        case Requant.HALF_AWAY:
            made = round_half_away(exact)
        case Requant.HALF_EVEN:
            made = round(exact)
        case Requant.FLOOR:
            made = math.floor(exact)
        case Requant.TRUNC:
            made = math.trunc(exact)
        case Requant.REAL_HALF_AWAY:
            made = sat32(round_half_away(float(sum_) * real))
        case Requant.FLOAT32_HALF_EVEN:
            made = sat32(round(Fraction(float(np.float32(sum_) * np.float32(real)))))
        case Requant.FLOAT32_SHIFTED:
            shifted = float(np.float32(sum_) * np.float32(real) + np.float32(zero))
            return round(Fraction(min(max(shifted, scaling.qmin), scaling.qmax)))
        case Requant.NONE:
            made = sum_
    return clamp(made + zero, scaling.qmin, scaling.qmax)


def expected(case: Case) -> np.ndarray:
    scaling = case.constants["requantize"]
    assert isinstance(scaling, Scaling)
    flat = case.sums.reshape(-1, case.sums.shape[-1])
    made = [[code_of(wrap32(int(s)), scaling, c) for c, s in enumerate(row)] for row in flat]
    return np.array(made, np.int64).reshape(case.sums.shape)


def computed(case: Case) -> np.ndarray | None:
    """Return what machine code makes of a case, or None if there is none."""
    names = [value.name for value in case.values]
    one = node(names[-1], case.group.op, tuple(names[:-1]), case.attrs)
    inputs = tuple(case.feed)
    made = graph(case.values, (one,), inputs, (names[-1],))
    site = Site(made, one, PROFILES["tflite_ref"])
    instructions = tier()
    assert instructions is not None
    work = NATIVE[case.group.op](instructions, site, case.constants, case.bits)
    if work is None:
        return None
    item = Item(inputs, (names[-1],), work)
    runner = Runner(Program(made, (item,), {}, keep_all=False))
    feed = {
        name: array.astype(made.values[name].dtype.storage) for name, array in case.feed.items()
    }
    return np.array(runner.run(feed)[names[-1]], np.int64)


def emulate_neon() -> None:
    """Choose the tier of ARM's dot product on any CPU, with its instruction written out."""
    emitted = emit.call

    def call(b: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        if "aarch64" not in name:
            return emitted(b, name, result, arguments)
        total, codes, weights = arguments
        wide = emit.vector(emit.I32, 16)
        products = b.mul(b.sext(codes, wide), b.sext(weights, wide))
        for tap in range(4):
            total = b.add(total, emit.shuffle(b, products, products, range(tap, 16, 4)))
        return total

    emit.call = call
    native_target.target_features = lambda: frozenset({"neon", "dotprod"})


def main(each: int, several: int, seed: int) -> None:
    """Run `each` cases of the few groups, or of `several` out of all, and print a report."""
    chosen = list(few_groups())
    if several:
        listed = list(all_groups())
        picks = np.random.default_rng(seed).permutation(len(listed))[:several]
        chosen = [listed[pick] for pick in picks]
    wrong: list[str] = []
    done: Counter[str] = Counter()
    for number, group in enumerate(chosen):
        for index in range(each):
            start = (seed, number, index)
            case = Draw(group, start).case()
            made = computed(case)
            done[f"{group.op.value} {'refused' if made is None else 'done'}"] += 1
            if made is not None and not np.array_equal(made, expected(case)):
                wrong.append(f"{start} {group} {case.attrs} {[v.shape for v in case.values]}")
    instructions = tier()
    assert instructions is not None
    report = {"tier": instructions.name, "cpu": target().cpu, "done": done, "wrong": wrong}
    print(json.dumps(report))


if __name__ == "__main__":
    if "neon" in sys.argv:
        emulate_neon()
    main(*map(int, sys.argv[1:4]))
