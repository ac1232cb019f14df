"""Accumulators: their bounds, what they held, and what narrower ones compute, against an oracle."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.attributes import FullyConnectedAttrs, NormAttrs
from hwsim.calibration import calibrate
from hwsim.cli import main
from hwsim.errors import GraphError, InputError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph, Node, Value
from hwsim.intermediates import intermediate_bounds
from hwsim.kernels.lower_narrow import EXACT, Accumulation, Register, accumulation
from hwsim.kernels.plan import execute
from hwsim.kernels.scaling import Site
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.profile import Method, NumericProfile, Overflow
from hwsim.profiles import PROFILES
from hwsim.quant import IntType, QuantParams
from hwsim.quantizer import quantize
from hwsim.verify import AccumulatorBound, accumulator_bounds, signed_bits, verify
from tests.float_graphs import FAMILIES, random_bits, samples
from tests.oracle import hawq, narrow
from tests.shared import model_file
from tests.strategies import generate

HAWQ, TFLITE = PROFILES["hawq"], PROFILES["tflite_ref"]
BOTH = (Overflow.WRAP, Overflow.SATURATE)
SEEDS = 4
SUMMING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "MEAN")
GENERATED = (*SUMMING, "AVERAGE_POOL_2D")
ROOT = Path(__file__).resolve().parents[1]


def narrowed(profile: NumericProfile, bits: int, overflow: Overflow) -> NumericProfile:
    """Return the profile with another accumulator in every rule."""
    rules = {
        key: replace(rule, accumulator_bits=bits, overflow=overflow)
        for key, rule in profile.rules.items()
    }
    return replace(profile, name=f"{profile.name}_{overflow.value}_{bits}", rules=rules)


def quantized(family: str, seed: int) -> Graph:
    """Return a random network of a family at random widths."""
    graph = FAMILIES[family](seed)
    return quantize(
        graph,
        calibrate(graph, samples(graph, 16, seed)),
        random_bits(partition(graph).units, seed),
    )


def loaded(operator: str, seed: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """Return a generated model of one operator and its inputs."""
    case = generate(operator, seed)
    graph = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
    return graph, {name: case.feed[name] for name in graph.input_names}


def extremes(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return random codes; the first entries are all least, all largest."""
    feed = hwsim.random_inputs(graph, count, seed)
    for value in graph.inputs:
        assert isinstance(value.dtype, IntType)
        feed[value.name][0] = value.dtype.min
        feed[value.name][1:2] = value.dtype.max
    return feed


def arrays_of(graph: Graph, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return constants and activations by name."""
    constants = {name: v.data for name, v in graph.values.items() if v.data is not None}
    return {**constants, **made}


def sites(graph: Graph, profile: NumericProfile) -> Iterator[tuple[Node, Accumulation]]:
    """Yield every accumulating node, taken apart."""
    for node in graph.nodes:
        parts = accumulation(Site(graph, node, profile))
        if parts is not None:
            yield node, parts


def operands(node: Node, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name] for name in node.inputs if name]


# Networks under `hawq`, every node's codes.


@pytest.mark.parametrize("overflow", BOTH)
@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_networks_equal_the_oracle(family: str, overflow: Overflow) -> None:
    broken = 0
    for seed in range(SEEDS):
        graph = quantized(family, seed)
        for bits in (6, 9, 12):
            made = execute(
                graph, narrowed(HAWQ, bits, overflow), extremes(graph, 1, seed), keep_all=True
            )
            arrays = arrays_of(graph, made)
            for node, _ in sites(graph, HAWQ):
                finish = hawq.finisher(graph, node, arrays)
                expected, count = narrow.run(graph, node, arrays, bits, overflow.value, finish)
                assert np.array_equal(made[node.outputs[0]], expected), (node, bits, seed)
                broken += count
    assert broken > 1000


# Single operators under `tflite_ref`: sums against the oracle, codes against the ordinary kernels.


@pytest.mark.parametrize("operator", GENERATED)
def test_sums_equal_the_oracle(operator: str) -> None:
    differing = 0
    for seed in range(12):
        graph, feed = loaded(operator, seed)
        arrays = arrays_of(graph, feed)
        raw = operator == "AVERAGE_POOL_2D"
        for node, parts in sites(graph, TFLITE):
            for bits in (5, 11, 15):
                for overflow in BOTH:
                    found = parts.sums(operands(node, arrays), Register(bits, overflow))
                    rows = [
                        narrow.accumulate(bias, terms, bits, overflow.value)
                        for _, bias, terms, _ in narrow.terms_of(graph, node, arrays, raw)
                    ]
                    expected = np.array(rows).T
                    assert np.array_equal(found.final.ravel(), expected[0]), (seed, bits)
                    assert np.array_equal(found.least.ravel(), expected[1])
                    assert np.array_equal(found.most.ravel(), expected[2])
                    exact = [b + sum(t) for _, b, t, _ in narrow.terms_of(graph, node, arrays, raw)]
                    differing += int(np.count_nonzero(found.final.ravel() != exact))
    assert differing > 100


@pytest.mark.parametrize("operator", GENERATED)
def test_codes_of_exact_sums_are_those_of_the_ordinary_kernels(operator: str) -> None:
    for seed in range(40):
        graph, feed = loaded(operator, seed)
        made = execute(graph, TFLITE, feed, keep_all=True)
        for node, parts in sites(graph, TFLITE):
            sums = parts.sums(operands(node, arrays_of(graph, made)), EXACT)
            assert np.array_equal(parts.codes(sums.final), made[node.outputs[0]]), seed


def test_codes_of_a_wrapped_pool() -> None:
    """Four codes of 100 make 400, which 9 bits hold as -112: the mean is -28, not 100."""
    graph, _ = loaded("AVERAGE_POOL_2D", 0)
    node = graph.nodes[0]
    x, out = (graph.values[name] for name in (node.inputs[0], node.outputs[0]))
    quant = QuantParams.per_tensor(0.5)
    attrs = replace(node.attrs, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0))
    attrs = replace(attrs, activation=type(attrs.activation).NONE)
    values = [
        Value(x.name, (1, 2, 2, 1), IntType(8), quant),
        Value(out.name, (1, 1, 1, 1), IntType(8), quant),
    ]
    small = Graph(
        "pool",
        {v.name: v for v in values},
        (replace(node, attrs=attrs),),
        (x.name,),
        (out.name,),
        "tflite_ref",
    )
    feed = np.full((1, 2, 2, 1), 100, np.int8)
    for bits, overflow, code in (
        (10, Overflow.WRAP, 100),
        (9, Overflow.WRAP, -28),
        (9, Overflow.SATURATE, 64),  # 255 / 4 = 63.75
    ):
        made = hwsim.run(small, feed, profile=narrowed(TFLITE, bits, overflow))
        assert made[out.name].item() == code


def test_saturation_depends_on_the_order_that_is_documented() -> None:
    """Bias 5, then 7, then -9 in 4 bits: 5, 7 (not 12), -2; any other order ends elsewhere."""
    graph = dense([[7, -9]], [5])
    feed = np.ones((1, 2), np.int8)
    made = hwsim.run(graph, feed, profile=narrowed(HAWQ, 4, Overflow.SATURATE))
    assert made["y"].tolist() == [[-2]]
    made = hwsim.run(graph, feed, profile=narrowed(HAWQ, 4, Overflow.WRAP))
    assert made["y"].tolist() == [[3]]
    swapped = hwsim.run(dense([[-9, 7]], [5]), feed, profile=narrowed(HAWQ, 4, Overflow.SATURATE))
    assert swapped["y"].tolist() == [[3]]


def dense(weights: list[list[int]], bias: list[int]) -> Graph:
    """Return a layer whose output is its accumulator."""
    codes, shifts = np.array(weights, np.int8), np.array(bias, np.int64)
    one = QuantParams.per_tensor(1.0)
    values = [
        Value("x", (1, codes.shape[1]), IntType(8), one),
        Value("w", codes.shape, IntType(8), one, data=codes),
        Value("b", shifts.shape, IntType(64), one, data=shifts),
        Value("y", (1, codes.shape[0]), IntType(32), one),
    ]
    node = Node("y", Op.FULLY_CONNECTED, ("x", "w", "b"), ("y",), FullyConnectedAttrs())
    return Graph("dense", {v.name: v for v in values}, (node,), ("x",), ("y",), "hawq")


# Sufficient widths.


@pytest.mark.parametrize("family", FAMILIES)
def test_sufficient_widths_change_nothing(family: str) -> None:
    """Wrapping needs the weight-aware width alone; saturation the order-safe one."""
    for seed in range(SEEDS):
        graph = quantized(family, seed)
        bounds = {bound.node: bound for bound in accumulator_bounds(graph)}
        arrays = arrays_of(graph, execute(graph, HAWQ, extremes(graph, 4, seed), keep_all=True))
        for node, parts in sites(graph, HAWQ):
            bound = bounds[node.name]
            for start in range(4):
                part = [
                    arrays[name] if graph.values[name].is_constant else arrays[name][start:][:1]
                    for name in node.inputs
                    if name
                ]
                exact = parts.sums(part, EXACT)
                wrap = Register(bound.weight_aware_bits, Overflow.WRAP)
                assert np.array_equal(parts.sums(part, wrap).final, exact.final)
                saturate = Register(bound.bits, Overflow.SATURATE)
                assert np.array_equal(parts.sums(part, saturate).final, exact.final)
                assert bound.sum_low <= exact.final.min() and exact.final.max() <= bound.sum_high
                assert bound.low <= exact.least.min() and exact.most.max() <= bound.high
            assert bound.sum_low >= bound.low and bound.sum_high <= bound.high


@pytest.mark.parametrize("operator", GENERATED)
def test_sums_of_generated_operators_stay_inside_their_bounds(operator: str) -> None:
    """Their weights, zero points and biases are less tame than those of a quantizer."""
    for seed in range(40):
        graph, feed = loaded(operator, seed)
        (bound,) = accumulator_bounds(graph)
        for node, parts in sites(graph, TFLITE):
            part = operands(node, arrays_of(graph, feed))
            exact = parts.sums(part, EXACT)
            assert bound.low <= exact.least.min() and exact.most.max() <= bound.high
            if operator != "AVERAGE_POOL_2D":  # its bound covers codes with and without zero point
                assert bound.sum_low <= exact.final.min() and exact.final.max() <= bound.sum_high
            wrap = Register(bound.weight_aware_bits, Overflow.WRAP)
            assert np.array_equal(parts.sums(part, wrap).final, exact.final)
            saturate = Register(bound.bits, Overflow.SATURATE)
            assert np.array_equal(parts.sums(part, saturate).final, exact.final)


@pytest.mark.parametrize("overflow", BOTH)
def test_a_profile_with_enough_bits_runs_the_same(overflow: Overflow) -> None:
    graph = quantized("chain", 1)
    feed = extremes(graph, 3, 0)
    bits = max(bound.bits for bound in accumulator_bounds(graph))
    usual = hwsim.trace(graph, feed)
    for name, array in hwsim.trace(graph, feed, profile=narrowed(HAWQ, bits, overflow)).items():
        assert np.array_equal(array, usual[name])
    fewer = hwsim.trace(graph, feed, profile=narrowed(HAWQ, bits - 8, overflow))
    assert any(not np.array_equal(array, usual[name]) for name, array in fewer.items())


@pytest.mark.parametrize("overflow", BOTH)
@pytest.mark.parametrize("family", ["chain", "transformer"])
def test_batch_and_threads_change_no_bit(family: str, overflow: Overflow) -> None:
    graph = quantized(family, 2)
    profile = narrowed(HAWQ, 9, overflow)
    feed = extremes(graph, 19, 2)
    key = graph.input_names[0]
    whole = hwsim.trace(graph, feed, profile=profile, threads=2)
    for size in (1, 7):
        parts = [
            hwsim.trace(graph, {key: feed[key][start : start + size]}, profile=profile)
            for start in range(0, 19, size)
        ]
        for name, array in whole.items():
            assert np.array_equal(np.concatenate([part[name] for part in parts]), array)


def narrow_traces() -> dict[str, np.ndarray]:
    """Return every activation of a few networks with narrow accumulators."""
    made = {}
    for family in FAMILIES:
        graph = quantized(family, 0)
        for overflow in BOTH:
            profile = narrowed(HAWQ, 9, overflow)
            values = hwsim.trace(graph, extremes(graph, 1, 0), profile=profile).values()
            made |= {f"{family} {overflow.value} {i}": array for i, array in enumerate(values)}
    return made


def test_the_compiler_changes_no_bit(tmp_path: Path) -> None:
    out = tmp_path / "interpreted.npz"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment |= {"PYTHONPATH": paths, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-m", "tests.test_accumulators", str(out)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled = narrow_traces()
    with np.load(out, allow_pickle=False) as archive:
        assert set(archive.files) == set(compiled)
        for name, array in compiled.items():
            assert archive[name].tobytes() == array.tobytes(), name


# Bounds.


def test_bounds_are_taken_in_integers() -> None:
    """finn#1517: in float32, -2**31 - 1 is -2**31 and fits 32 bits; float64 fails at 2**53."""
    assert signed_bits(-(2**31), 0) == 32
    assert signed_bits(-(2**31) - 1, 0) == 33
    assert signed_bits(0, 2**31) == 33
    assert (signed_bits(-1, 0), signed_bits(0, 0), signed_bits(-4, -2)) == (1, 1, 3)
    for bias in (-(2**31) - 1, 2**31 + 1, 2**53 + 1, -(2**53) - 1, 2**62 + 1):
        (bound,) = accumulator_bounds(dense([[0, 0]], [bias]))
        assert (bound.low, bound.high) == (min(bias, 0), max(bias, 0))
        assert (bound.sum_low, bound.sum_high) == (bias, bias)
        assert bound.bits == (bias if bias > 0 else -bias - 1).bit_length() + 1


def test_bounds_of_a_layer_by_hand() -> None:
    """Codes -128 ... 127 times 3 and -2, bias 1000; the other channel has no weights."""
    (bound,) = accumulator_bounds(dense([[3, -2], [0, 0]], [1000, -7]))
    least, most = 3 * -128 - 2 * 127, 3 * 127 + 2 * 128
    assert (bound.low, bound.high) == (least, most + 1000)
    assert (bound.sum_low, bound.sum_high) == (-7, most + 1000)
    assert bound.datatype_bits == 17  # 2 * -128 * -128 is 2**15, one more than 16 bits hold
    assert (bound.bits, bound.weight_aware_bits) == (12, 12)


def test_a_sum_beyond_64_bits_is_refused_however_it_overflows() -> None:
    graph = dense([[1, 1]], [2**63 - 1])
    words = "node 'y': the accumulator must fit 64 bits, not 65; narrow the operands or split the"
    for overflow in BOTH:
        with pytest.raises(GraphError) as refusal:
            verify(graph, narrowed(HAWQ, 16, overflow))
        assert str(refusal.value) == f"{words} reduction"


TABLE = {
    # datatype, weight-aware, observed on 16 random images: numerics.md, section 5
    "pretrainedResnet_quant": (26, 23, 19),
    "kws_ref_model": (22, 21, 19),
    "ad01_int8": (26, 22, 19),
    "vww_96_int8": (24, 32, 32),
}


@pytest.mark.parametrize("name", TABLE)
def test_widths_of_published_networks(name: str) -> None:
    graph = hwsim.load(model_file(f"mlperf_tiny/{name}.tflite", "1 network has no widths"))
    report = hwsim.accumulators(graph, hwsim.random_inputs(graph, 16), widths=())
    found = report.datatype_bits, report.weight_aware_bits, report.observed_bits
    assert found == TABLE[name]
    assert report.samples == 16 and len(report.to_frame()) == len(report.layers)
    for layer in report.layers:
        assert layer.observed is not None and layer.narrowed == ()
        assert layer.observed.bits <= layer.bound.weight_aware_bits <= layer.bound.bits
        assert layer.observed.bits <= layer.observed.partial_bits <= layer.bound.bits


def test_constant_channels_of_vww() -> None:
    """973 channels have huge biases; 971 of them, in nine layers, have no weight but 0."""
    graph = hwsim.load(model_file("mlperf_tiny/vww_96_int8.tflite", "1 network has no widths"))
    report = hwsim.accumulators(graph)
    found = [layer.constant for layer in report.layers if layer.constant is not None]
    assert sum(row.channels for row in found) == 971 and len(found) == 9
    assert max(row.channels for row in found) == 234
    assert {row.bias_high for row in found if row.bias_high > 0} == {2**30, 2**30 + 128}
    assert min(row.real_low for row in found) == pytest.approx(-0.90, abs=0.005)
    assert max(row.bits for row in found) == 21
    assert report.bits == 32 and report.observed_bits is None


# The report against the oracle.


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_equal_the_oracles(family: str) -> None:
    graph = quantized(family, 3)
    feed = extremes(graph, 2, 3)
    widths = (7, 10, 13)
    report = hwsim.accumulators(graph, feed, widths=widths)
    trace = hwsim.trace(graph, feed)
    assert [layer.bound.node for layer in report.layers] == [n.name for n, _ in sites(graph, HAWQ)]
    changed = 0
    for layer, (node, _) in zip(report.layers, sites(graph, HAWQ), strict=True):
        assert [row.bits for row in layer.narrowed] == [13, 10, 7]
        sums: list[int] = []
        for row in layer.narrowed:
            counts = {overflow: [0, 0] for overflow in BOTH}
            for entry in range(2):
                single = {name: array[entry : entry + 1] for name, array in trace.items()}
                arrays = arrays_of(graph, single)
                finish = hawq.finisher(graph, node, arrays)
                for overflow in BOTH:
                    codes, broken = narrow.run(
                        graph, node, arrays, row.bits, overflow.value, finish
                    )
                    differing = np.count_nonzero(codes != single[node.outputs[0]])
                    counts[overflow][0] += broken
                    counts[overflow][1] += int(differing)
                sums += [b + sum(t) for _, b, t, _ in narrow.terms_of(graph, node, arrays, False)]
            assert [row.wrapped, row.wrapped_codes] == counts[Overflow.WRAP]
            assert [row.saturated, row.saturated_codes] == counts[Overflow.SATURATE]
            changed += row.wrapped_codes + row.saturated_codes
        assert layer.observed is not None
        assert (layer.observed.low, layer.observed.high) == (min(sums), max(sums))
        assert layer.observed.accumulators == len(sums) // len(widths)
    assert changed > 10


def test_widths_are_tried_just_below_what_the_inputs_needed() -> None:
    graph = quantized("chain", 0)
    report = hwsim.accumulators(graph, extremes(graph, 5, 0))
    for layer in report.layers:
        assert layer.observed is not None
        tried = [row.bits for row in layer.narrowed]
        most = layer.observed.partial_bits
        assert tried == list(range(most - 1, max(layer.observed.bits - 3, 1), -1))
        for row in layer.narrowed:
            assert row.saturated > 0
            assert (row.wrapped > 0) == (row.bits < layer.observed.bits)
            assert row.wrapped_codes <= row.wrapped and row.saturated_codes <= row.saturated


@pytest.mark.parametrize("family", ["residual", "mixed"])
def test_a_report_does_not_depend_on_batch_or_threads(family: str) -> None:
    graph = quantized(family, 1)
    feed = extremes(graph, 21, 1)
    whole = hwsim.accumulators(graph, feed, widths=(8, 11))
    ticks: list[int] = []
    again = hwsim.accumulators(graph, feed, widths=(8, 11), threads=2, progress=ticks.append)
    assert again == whole
    assert sum(ticks) == 42
    parts = [
        hwsim.accumulators(graph, {k: a[i : i + 7] for k, a in feed.items()}, widths=(8, 11))
        for i in range(0, 21, 7)
    ]
    for place, layer in enumerate(whole.layers):
        rows = [part.layers[place] for part in parts]
        assert layer.observed is not None
        assert layer.observed.low == min(row.observed.low for row in rows if row.observed)
        assert layer.observed.partial_high == max(
            row.observed.partial_high for row in rows if row.observed
        )
        for width, count in enumerate(layer.narrowed):
            assert count.wrapped == sum(row.narrowed[width].wrapped for row in rows)
            assert count.saturated_codes == sum(row.narrowed[width].saturated_codes for row in rows)


# Registers inside other operators.


def registers(graph: Graph, node: Node, arrays: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return what the registers of a node held, from the definitions."""
    values = [graph.values[name] for name in node.inputs]
    codes = [np.asarray(arrays[name], object) for name in node.inputs]
    centered = [c - v.quant.zero_point[0] for c, v in zip(codes, values, strict=True) if v.quant]
    if node.op is Op.MUL:
        return {"product": list((centered[0] * centered[1]).ravel())}
    if node.op in (Op.ADD, Op.SUB):
        out = graph.values[node.outputs[0]].quant
        assert out is not None
        parts = []
        for part, value in zip(centered, values, strict=True):
            assert value.quant is not None
            scales = np.broadcast_to(np.array(value.quant.scale), part.shape[-1:])
            scaled = np.empty(part.shape, object)
            for index in np.ndindex(*part.shape):
                ratio = float(scales[index[-1]]) / out.scale[0]
                scaled[index] = hawq.rescale(int(part[index]), ratio)
            parts.append(scaled)
        total = parts[0] + parts[1] if node.op is Op.ADD else parts[0] - parts[1]
        return {"sum of rescaled operands": list(total.ravel())}
    held: dict[str, list[int]] = {
        name: [] for name in ("sum", "variance", "shifted deviation", "scaled")
    }
    assert isinstance(node.attrs, NormAttrs) and values[0].quant is not None
    unit = values[0].quant.scale[0] ** 2
    for row in codes[0].reshape(-1, codes[0].shape[-1]):
        n, total = len(row), sum(row)
        spread = n * sum(c * c for c in row)
        held["sum"] += [sum(row[: k + 1]) for k in range(n)]
        held["variance"] += [spread, spread - total * total]
        held["shifted deviation"] += [(n * c - total) << 11 for c in row]
        epsilon = max(round(node.attrs.epsilon * n * n / unit), 1)
        root = max(math.isqrt(spread - total * total + epsilon), 1)
        for c, code in enumerate(row):
            normalized = math.floor(Fraction((n * code - total) << 10, root) + Fraction(1, 2))
            held["scaled"].append(normalized * int(codes[1][c]) + int(codes[2][c]))
    return held


@pytest.mark.parametrize("family", ["transformer", "residual", "mixed"])
def test_registers_stay_inside_their_bounds(family: str) -> None:
    seen = set()
    for seed in range(SEEDS):
        graph = quantized(family, seed)
        bounds = {(b.node, b.register): b for b in intermediate_bounds(graph, HAWQ)}
        for entry in range(3):
            feed = {name: a[entry : entry + 1] for name, a in extremes(graph, 3, seed).items()}
            arrays = arrays_of(graph, execute(graph, HAWQ, feed, keep_all=True))
            for node in graph.nodes:
                if node.op not in (Op.ADD, Op.SUB, Op.MUL, Op.LAYER_NORM):
                    continue
                for register, held in registers(graph, node, arrays).items():
                    bound = bounds[node.name, register]
                    assert bound.low <= min(held) and max(held) <= bound.high
                    assert signed_bits(min(held), max(held)) <= bound.bits
                    seen.add(node.op)
    assert (
        seen
        == {
            "transformer": {Op.ADD, Op.LAYER_NORM},
            "residual": {Op.ADD},
            "mixed": {Op.SUB, Op.MUL},
        }[family]
    )


def test_registers_by_hand() -> None:
    graph, _ = loaded("ADD", 0)
    shifted = {b.register: b for b in intermediate_bounds(graph, TFLITE)}["shifted operand"]
    zeros = [graph.values[name].quant for name in graph.nodes[0].inputs]
    dtype = graph.inputs[0].dtype
    assert isinstance(dtype, IntType)
    points = [quant.zero_point[0] for quant in zeros if quant is not None]
    assert shifted.high == (dtype.max - min(points)) << 20
    assert shifted.low == (dtype.min - max(points)) << 20
    assert TFLITE.rule(Op.ADD, 8).method is Method.SHIFTED


# The door and the command line.


def test_bad_requests_are_one_sentence() -> None:
    graph = quantized("chain", 0)
    with pytest.raises(InputError, match=r"^accumulator bits must be in \[2, 64\], not 65$"):
        hwsim.accumulators(graph, extremes(graph, 2, 0), widths=(65,))
    with pytest.raises(InputError, match=r"^threads must be 1 or more, not 0$"):
        hwsim.accumulators(graph, threads=0)
    with pytest.raises(GraphError, match="must hold quantized codes, not floats"):
        hwsim.accumulators(FAMILIES["chain"](0))


def test_report_without_inputs() -> None:
    report = hwsim.accumulators(quantized("mixed", 0))
    assert report.samples == 0 and report.observed_bits is None
    assert report.bits == max(report.to_frame()["bits"])
    assert report.narrowed_frame().empty
    assert report.bits_without_constants <= report.bits
    assert all(isinstance(layer.bound, AccumulatorBound) for layer in report.layers)


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["hwsim", *words])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return out if not left.value.code else f"{left.value.code} {err}"


def test_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_file("mlperf_tiny/ad01_int8.tflite", "the command line is not tried")
    words = ("accumulators", str(model))
    made = json.loads(call(capsys, monkeypatch, *words, "--random", "4", "--bits", "16", "--json"))
    assert (made["datatype_bits"], made["weight_aware_bits"], made["samples"]) == (26, 22, 4)
    assert [row["narrowed"][0]["bits"] for row in made["layers"]] == [16] * 10
    assert "order-safe 22" in call(capsys, monkeypatch, *words)
    refused = call(capsys, monkeypatch, *words, "--bits", "16")
    assert refused == "2 hwsim: --bits must come with inputs to count on; give --data or --random\n"
    refused = call(capsys, monkeypatch, *words, "--random", "1", "--bits", "x")
    assert refused == "2 hwsim: --bits must be whole numbers such as 16 or 18,16, not 'x'\n"


if __name__ == "__main__":
    np.savez(sys.argv[1], **narrow_traces())
