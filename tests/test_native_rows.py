"""Machine code of softmax, norms and GELU gives the very bits of the reference kernels.

Rows of every length that a vector does or does not fill, with the extremes of their codes, on
every tier that this CPU runs, each in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hwsim.attributes import Attrs, ConvAttrs, GeluAttrs, NormAttrs, SoftmaxAttrs
from hwsim.graph import Graph, Node, Value
from hwsim.kernels.cache import TIER_VARIABLE
from hwsim.kernels.native.target import able_tiers, tier
from hwsim.kernels.plan import lower
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, UINT8, IntType, QuantParams

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (1, 3, 17, 64, 65, 197)
INT16, UINT16 = IntType(16), IntType(16, signed=False)
NONE = Requant.NONE


class Case(NamedTuple):
    """A graph of few nodes, all of which must be machine code, and rows of codes for it."""

    name: str
    graph: Graph
    profile: NumericProfile
    codes: np.ndarray


def rows_of(dtype: IntType, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return rows over the whole range and parts of it: level, with one peak, rising, random."""
    rng = np.random.default_rng(seed)
    count, width = int(np.prod(shape[:-1])), shape[-1]
    made = np.empty((count, width), np.int64)
    for row in range(count):
        low, high = sorted(rng.integers(dtype.min, dtype.max + 1, 2))
        match row % 6:
            case 0:
                made[row] = rng.integers(dtype.min, dtype.max + 1, width)
            case 1:
                made[row] = dtype.min if row % 4 == 1 else dtype.max
            case 2:
                made[row] = dtype.min
                made[row, rng.integers(width)] = dtype.max
            case 3:
                made[row] = np.linspace(low, high, width)
            case 4:
                made[row] = rng.integers(max(high - 5, dtype.min), high + 1, width)
            case _:
                made[row] = rng.integers(low, high + 1, width)
    return made.reshape(shape).astype(dtype.storage)


def one_node(
    op: Op, attrs: Attrs, x: Value, out: Value, constants: tuple[Value, ...] = ()
) -> Graph:
    values = {value.name: value for value in (x, *constants, out)}
    names = (x.name, *(value.name for value in constants))
    return Graph("g", values, (Node("node", op, names, (out.name,), attrs),), (x.name,), ("y",))


def with_rule(op: Op, rule: OperatorRule) -> NumericProfile:
    rules = {(op, 8): rule, (op, 16): rule}
    return replace(PROFILES["hawq"], name=rule.method.value, rules=rules)


def per_tensor(scale: float, zero: int = 0) -> QuantParams:
    return QuantParams.per_tensor(scale, zero)


SOFTMAXES: Mapping[str, NumericProfile] = {
    "tflite_ref": PROFILES["tflite_ref"],
    "xnnpack": PROFILES["xnnpack"],
    "cmsis_nn": PROFILES["cmsis_nn"],
    "cmsis_single": PROFILES["cmsis_single"],
    "ort": PROFILES["ort"],
    "hawq": PROFILES["hawq"],
    "ibert": PROFILES["ibert"],
    "ivit": PROFILES["ivit"],
    "qaof": PROFILES["qaof"],
    "lines": with_rule(
        Op.SOFTMAX, OperatorRule(NONE, Method.PIECEWISE, segments=8, fraction_bits=30, guard_bits=0)
    ),
    "table": with_rule(Op.SOFTMAX, OperatorRule(NONE, Method.EXP_TABLE)),
    "fine": with_rule(Op.SOFTMAX, OperatorRule(NONE, Method.EXP_TABLE, fraction_bits=30)),
}
FLOATS = ("xnnpack", "ort")
Q15 = ("tflite_ref", "cmsis_nn", "cmsis_single")  # at 16 bits


def softmax_cases() -> Iterator[Case]:
    """Yield softmaxes of every profile, width and sign, causal ones among them."""
    for name, profile in SOFTMAXES.items():
        scales = {8: (0.004, 0.07, 0.3), 4: (0.5,), 16: (0.0003,)}
        sources = [INT8, *([] if name.startswith("cmsis") else [UINT8])]
        if name not in FLOATS:
            sources += [INT16, *([] if name in Q15 else [IntType(4), UINT16])]
        for source in sources:
            for index, scale in enumerate(scales[source.bits]):
                for length in LENGTHS:
                    causal = (
                        name not in FLOATS
                        and length > 1
                        and not (source.bits == 16 and name in Q15)
                    )
                    for queries in (7, *([-1] if causal else [])):
                        yield softmax_case(name, profile, source, scale, length, queries, index)


def softmax_case(
    name: str, profile: NumericProfile, source: IntType, scale: float, length: int, queries: int,
    seed: int,
) -> Case:  # fmt: skip
    """Return one softmax over rows of `length`; causal where there are -1 queries."""
    causal = queries < 0
    shape = (1, 2, min(length, 9) if causal else queries, length)
    made = source if source.bits > 4 else INT8
    if name == "ivit":
        made = IntType(made.bits)
        params = per_tensor(2.0 ** (1 - made.bits))
    elif name == "ort":
        params = per_tensor(0.009, 5)
    elif name in Q15 and made.bits == 16:
        params = per_tensor(2.0**-15)
    else:
        params = per_tensor(2.0**-made.bits, made.min)
    x = Value("x", shape, source, per_tensor(scale, 0))
    graph = one_node(Op.SOFTMAX, SoftmaxAttrs(causal=causal), x, Value("y", shape, made, params))
    label = f"softmax {name} {source} {scale} {shape} {'causal' if causal else ''}"
    return Case(label, graph, profile, rows_of(source, shape, seed))


NORM_RULES = {
    requant.name.lower(): replace(PROFILES["hawq"].rules[Op.LAYER_NORM, 8], requant=requant)
    for requant in Requant
    if requant is not NONE
}
NORMS = {"ibert": PROFILES["ibert"], "ivit": PROFILES["ivit"]} | {
    name: replace(with_rule(Op.LAYER_NORM, rule), name=name) for name, rule in NORM_RULES.items()
}


def norm_cases() -> Iterator[Case]:
    """Yield norms of every method and rounding, over codes of every width."""
    for seed, (name, profile) in enumerate(NORMS.items()):
        often = name in ("ibert", "ivit", "half_even")
        for source in (INT8, UINT8, IntType(5), INT16, UINT16) if often else (INT16,):
            for length in LENGTHS if often else (3, 17):
                yield norm_case(name, profile, Op.LAYER_NORM, source, length, seed + length)
    for source in (INT8, UINT16):
        for length in LENGTHS:
            yield norm_case("rms", PROFILES["hawq"], Op.RMS_NORM, source, length, length)


def norm_case(
    name: str, profile: NumericProfile, op: Op, source: IntType, length: int, seed: int
) -> Case:
    rng = np.random.default_rng(seed)
    made = {INT8: UINT8, UINT16: INT8, INT16: INT16}.get(source, INT8)  # few pairs to compile
    gamma, beta = norm_constants(rng, length, by_sign=name in ("ibert", "ivit"))
    constants = (gamma, beta) if op is Op.LAYER_NORM else (gamma,)
    zero = (source.min + source.max + 1) // 2 if seed % 2 else source.min + 3
    x = Value("x", (2, 3, 5, length), source, per_tensor(0.02, zero))
    out_scale = 4.0 / made.max
    y = Value("y", x.shape, made, per_tensor(out_scale, (made.min + made.max) // 2 + seed % 5))
    epsilon = (1e-5, 1e-12, 0.1)[seed % 3]
    graph = one_node(op, NormAttrs(epsilon), x, y, constants)
    label = f"{op.value} {name} {source} to {made} {length}"
    return Case(label, graph, profile, rows_of(source, x.shape, seed))


def norm_constants(rng: np.random.Generator, length: int, *, by_sign: bool) -> tuple[Value, Value]:
    if by_sign:
        signs = rng.choice([-1, 1], length).astype(np.int8)
        scales = QuantParams(tuple(rng.uniform(0.05, 3, length)), (0,) * length, 0)
        shifts = rng.integers(-(1 << 29), 1 << 29, length).astype(np.int32)
        gamma = Value("gamma", (length,), IntType(2), scales, signs)
    else:
        factors = rng.integers(-(1 << 14), 1 << 14, length).astype(np.int16)
        scales = per_tensor(2.0**-14)
        shifts = rng.integers(-(1 << 23), 1 << 23, length).astype(np.int32)
        gamma = Value("gamma", (length,), INT16, scales, factors)
    return gamma, Value("beta", (length,), INT32, scales, shifts)


def gelu_cases() -> Iterator[Case]:
    """Yield GELU of sums and of codes, by I-BERT; of codes by I-ViT."""
    for length in LENGTHS:
        for source, made in ((INT32, INT8), (INT16, INT16), (UINT8, INT8)):
            for channels in (1, length):
                yield polynomial_case(source, made, length, channels)
        for source, made in ((INT8, INT16), (UINT8, UINT8), (IntType(6), INT16)):
            shape = (2, 4, 3, length)
            zero = (source.min + source.max) // 2 + 1
            x = Value("x", shape, source, per_tensor(0.04, zero))
            y = Value("y", shape, made, per_tensor(9 / made.max, made.min + 20))
            graph = one_node(Op.GELU, GeluAttrs(), x, y)
            rows = rows_of(source, shape, length)
            yield Case(f"gelu ivit {source} {length}", graph, PROFILES["ivit"], rows)


def polynomial_case(source: IntType, made: IntType, length: int, channels: int) -> Case:
    shape = (2, 3, 4, length)
    rng = np.random.default_rng(length)
    scales = rng.uniform(0.5, 1, channels) * (
        2e-5 if source.bits == 32 else (7.5 if made.bits == 8 else 1) / source.max
    )
    quant = QuantParams(tuple(scales), (0,) * channels, 3 if channels > 1 else None)
    x = Value("x", shape, source, quant)
    y = Value("y", shape, made, per_tensor(6 / made.max, 1))
    rows = rows_of(source, shape, length)
    if source.bits == 32:
        rows = (rows_of(INT16, shape, length).astype(np.int32) * 15).astype(np.int32)
        rows[0, 0, 0] = [INT32.max if i % 2 else INT32.min for i in range(length)]
    label = f"gelu ibert {source} to {made} {length} by {channels}"
    return Case(label, one_node(Op.GELU, GeluAttrs(), x, y), PROFILES["ibert"], rows)


def beside_convolutions(node: Node, source: Value, out: Value, constants: list[Value]) -> Graph:
    """Return a graph whose convolutions want halos around both ends of a node."""
    channels = source.shape[-1]
    weights = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, channels)).astype(np.int8)
    values = [source, out, *constants, Value("w", weights.shape, INT8, per_tensor(0.01), weights)]
    nodes = [node]
    for end in (source, out):
        shape = (*end.shape[:3], 4)
        values.append(Value(f"conv_{end.name}", shape, INT8, per_tensor(1.0)))
        names = (end.name, "w")
        attrs = ConvAttrs(stride=(1, 1), padding=(1, 1, 1, 1))
        nodes.append(Node(f"conv_{end.name}", Op.CONV_2D, names, (f"conv_{end.name}",), attrs))
    outputs = ("conv_x", "conv_y", "y")
    return Graph("halos", {value.name: value for value in values}, tuple(nodes), ("x",), outputs)


def halo_cases() -> Iterator[Case]:
    """Yield nodes between convolutions, whose rows lie in lines with gaps."""
    shape = (2, 5, 6, 17)
    x = Value("x", shape, INT8, per_tensor(0.05, 3))
    gamma, beta = norm_constants(np.random.default_rng(5), 17, by_sign=False)
    names = ("x", "gamma", "beta")
    node = Node("node", Op.LAYER_NORM, names, ("y",), NormAttrs(1e-5))
    y = Value("y", shape, INT8, per_tensor(0.03))
    graph = beside_convolutions(node, x, y, [gamma, beta])
    yield Case("halo norm", graph, PROFILES["hawq"], rows_of(INT8, shape, 4))
    y = Value("y", shape, INT8, per_tensor(0.3))
    for profile in ("ibert", "ivit"):
        node = Node("node", Op.GELU, ("x",), ("y",), GeluAttrs())
        graph = beside_convolutions(node, x, y, [])
        yield Case(f"halo gelu {profile}", graph, PROFILES[profile], rows_of(INT8, shape, 4))
    y = Value("y", shape, UINT8, per_tensor(2.0**-8))
    for causal in (False, True):
        node = Node("node", Op.SOFTMAX, ("x",), ("y",), SoftmaxAttrs(causal=causal))
        graph = beside_convolutions(node, x, y, [])
        yield Case(f"halo softmax {causal}", graph, PROFILES["hawq"], rows_of(INT8, shape, 3))


FAMILIES = {"softmax": softmax_cases, "norm": norm_cases, "gelu": gelu_cases, "halo": halo_cases}


def differences(family: str) -> tuple[int, list[str]]:
    """Return how many cases a family has, and which of them are not native or not equal."""
    wrong, count = [], 0
    for case in FAMILIES[family]():
        count += 1
        plan = lower(case.graph, case.profile)
        if any(call.native is None for call in plan.calls):
            wrong.append(f"{case.name}: no machine code")
            continue
        feed = {"x": case.codes}
        expected = plan.reference(feed, keep_all=True)
        made = plan.run(feed, keep_all=True)
        for name, array in expected.items():
            if array.dtype != made[name].dtype or not np.array_equal(made[name], array):
                wrong.append(f"{case.name}: {int((made[name] != array).sum())} of {array.size}")
    return count, wrong


@pytest.mark.skipif(tier() is None, reason="machine code is off")
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_equal_reference_kernels(family: str) -> None:
    count, wrong = differences(family)
    assert count > 1
    assert not wrong, wrong[:20]


def lower_tiers() -> list[str]:
    """Return the names of the tiers below this process's."""
    own = tier()
    able = able_tiers()
    return [] if own is None else [one.name for one in able[able.index(own) + 1 :]]


@pytest.mark.parametrize("name", lower_tiers())
def test_rows_equal_reference_kernels_on_lower_tiers(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_native_rows"],
        env=os.environ | {TIER_VARIABLE: name, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


if __name__ == "__main__":
    found = [line for family in sys.argv[1:] or FAMILIES for line in differences(family)[1]]
    print("\n".join(found))
    sys.exit(bool(found))
