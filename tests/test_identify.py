"""Recordings of others name their arithmetic; separating inputs are checked with the oracles."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import GraphError, InputError
from hwsim.graph import Graph
from hwsim.identification import Identification, OperatorVerdict
from hwsim.kernels.plan import lower
from hwsim.kernels.sameness import same_step
from hwsim.multiplier import quantize_multiplier
from hwsim.ops import Op
from hwsim.oracles import run_litert
from hwsim.profile import NumericProfile, Requant
from hwsim.profiles import PROFILES
from hwsim.requant_rules import RequantIdentification
from tests.litert import LiteRT, available
from tests.oracle import arith
from tests.shared import model_file
from tests.small_graphs import (
    SINGLE,
    codes,
    conv_by_hand,
    network,
    single_rounding,
    unary,
    variant,
)
from tests.strategies import generate

NET = network()
X = codes(NET, 64)
REF = PROFILES["tflite_ref"]
AWAY, FLOOR, EVEN = (
    variant(kind.name.lower(), kind)
    for kind in (Requant.HALF_AWAY, Requant.FLOOR, Requant.HALF_EVEN)
)
FLOAT32 = variant("float32", Requant.FLOAT32_HALF_EVEN)


def identified(
    graph: Graph, trace: dict[str, np.ndarray], *profiles: NumericProfile, search: bool = False
) -> Identification:
    result = hwsim.identify(graph, trace, profiles, search=search)
    assert isinstance(result, Identification)
    return result


def row(result: Identification, node: str) -> OperatorVerdict:
    return next(row for row in result.rows if row.node == node)


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip("ai_edge_litert is missing: its traces are not identified")
    with LiteRT() as worker:
        yield worker


@pytest.mark.parametrize(
    "operator", ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "LEAKY_RELU", "MEAN", "SOFTMAX"]
)
def test_litert_reference_is_named_from_its_own_traces(
    litert: LiteRT, operator: str, tmp_path: Path
) -> None:
    """Other roundings are told from it wherever one element shows the difference."""
    ruled_out = set()
    for seed in range(6):
        case = generate(operator, seed)
        content = case.model.to_bytes()
        path = tmp_path / f"{operator}_{seed}.tflite"
        path.write_bytes(content)
        graph = hwsim.load(path)
        foreign = litert.run(content, [case.feed])[0]
        trace = {v.name: foreign[v.name] for v in graph.activations}
        result = identified(graph, trace, REF, SINGLE, FLOOR)
        assert "tflite_ref" in result.consistent, (operator, seed)
        ruled_out |= {"single", "floor"} - set(result.consistent)
    assert operator == "SOFTMAX" or "floor" in ruled_out


def test_litert_default_is_no_double_rounding() -> None:
    if not available():
        pytest.skip("ai_edge_litert is missing: 1 network is not identified")
    path = model_file("mlperf_tiny/kws_ref_model.tflite", "1 network is not identified")
    graph = hwsim.load(path)
    inputs = hwsim.random_inputs(graph, 8)
    names = [name for node in graph.nodes for name in node.outputs]
    made = {
        kernels: identified(
            graph, {**inputs, **run_litert(graph, inputs, kernels, names)}, REF, SINGLE, FLOAT32
        )
        for kernels in ("litert_ref", "litert")
    }
    assert made["litert_ref"].consistent == ("tflite_ref",)
    assert "tflite_ref" not in made["litert"].consistent
    assert "float32" in made["litert"].consistent
    assert all("tflite_ref" in found.consistent for found in made["litert_ref"].rows)


def test_verdicts_count_what_a_profile_does_not_reproduce() -> None:
    trace = {"x": X, "conv": conv_by_hand(NET, X, once=True)}
    result = identified(NET, trace, REF, SINGLE)
    assert result.left_out == ("leaky_node", "flat_node", "logits_node")
    assert result.consistent == ("single",) and result.runs == 64
    (found,) = result.rows
    wrong = np.count_nonzero(conv_by_hand(NET, X, once=False) != trace["conv"])
    assert {v.profile: v.differing for v in found.verdicts} == {"tflite_ref": wrong, "single": 0}
    assert wrong > 0 and found.elements == trace["conv"].size


def test_each_operator_is_judged_on_its_own_recorded_operands() -> None:
    """A hardware that mixes roundings: no profile fits all, each operator names its own."""
    mixed = dict(hwsim.trace(NET, X))
    conv = conv_by_hand(NET, X, once=True)
    after = replace(NET, nodes=NET.nodes[1:], input_names=("conv",))
    mixed |= hwsim.trace(after, conv)
    result = identified(NET, mixed, REF, SINGLE)
    assert row(result, "conv_node").consistent == ("single",)
    assert "tflite_ref" in row(result, "leaky_node").consistent
    assert row(result, "flat_node").same == (("tflite_ref", "single"),)
    assert row(result, "logits_node").same == (("tflite_ref", "single"),)
    assert not row(result, "flat_node").telling and row(result, "conv_node").telling


def test_a_profile_without_the_operator_is_refused_not_wrong() -> None:
    rules = {key: rule for key, rule in REF.rules.items() if key[0] is not Op.LEAKY_RELU}
    poor = replace(REF, name="poor", rules=rules)
    result = identified(NET, hwsim.trace(NET, X), REF, poor)
    verdict = next(v for v in row(result, "leaky_node").verdicts if v.profile == "poor")
    assert verdict.differing is None and "not leaky_relu" in verdict.refused
    assert result.consistent == ("tflite_ref",)


def test_the_same_rules_are_the_same_step_and_others_are_not() -> None:
    def steps(profile: NumericProfile) -> list[object]:
        return [call.step for call in lower(NET, profile).calls]

    twin = replace(REF, name="twin")
    assert all(same_step(a, b) for a, b in zip(steps(REF), steps(twin), strict=True))  # type: ignore[arg-type]
    same = [same_step(a, b) for a, b in zip(steps(REF), steps(SINGLE), strict=True)]  # type: ignore[arg-type]
    assert same == [False, False, True, True]


def test_a_separating_convolution_input_is_minimal_and_right() -> None:
    still = next(  # a picture on which the two do not part
        X[i : i + 1]
        for i in range(64)
        if np.array_equal(*(conv_by_hand(NET, X[i : i + 1], once=o) for o in (False, True)))
    )
    trace = {"x": still, "conv": conv_by_hand(NET, still, once=False)}
    result = identified(NET, trace, REF, SINGLE, search=True)
    assert result.consistent == ("tflite_ref", "single")
    (search,) = result.searches
    found = search.separation
    assert found is not None and found.node == "conv_node" and found.value == "conv"
    x = found.inputs["x"]
    twice, once = conv_by_hand(NET, x, once=False), conv_by_hand(NET, x, once=True)
    assert np.array_equal(found.outputs["tflite_ref"]["conv"], twice)
    assert np.array_equal(found.outputs["single"]["conv"], once)
    assert tuple(np.argwhere(twice != once)[0]) == found.index
    assert found.codes == {"tflite_ref": twice[found.index], "single": once[found.index]}
    changed = np.argwhere(x != -3)
    assert len(changed) == found.changed <= 2  # a 1x1 window of two channels
    for place in changed:  # no element can be spared
        spared = x.copy()
        spared[tuple(place)] = -3
        left, right = (conv_by_hand(NET, spared, once=o) for o in (False, True))
        assert np.array_equal(left, right)


@pytest.mark.parametrize("operator", ["ADD", "MUL", "FULLY_CONNECTED", "MEAN", "AVERAGE_POOL_2D"])
def test_separating_inputs_hold_in_litert(litert: LiteRT, operator: str, tmp_path: Path) -> None:
    """What is expected of tflite_ref is what LiteRT's reference makes of the separating input."""
    separated = 0
    for seed in range(6):
        case = generate(operator, seed)
        content = case.model.to_bytes()
        path = tmp_path / f"{operator}_{seed}.tflite"
        path.write_bytes(content)
        graph = hwsim.load(path)
        trace = {v.name: np.zeros(v.shape, v.dtype.storage) for v in graph.inputs}
        for value in graph.inputs:
            assert value.quant is not None
            trace[value.name] += value.dtype.storage.type(value.quant.zero_point[0])
        trace |= hwsim.run(graph, trace)
        result = identified(graph, trace, REF, PROFILES["cmsis_nn"], FLOOR, search=True)
        for search in result.searches:
            if search.separation is None:
                continue
            for profile, outputs in search.separation.outputs.items():
                if profile == "tflite_ref":
                    foreign = litert.run(content, [dict(search.separation.inputs)])[0]
                    for name, array in outputs.items():
                        assert np.array_equal(array, foreign[name])
                        separated += 1
            one, two = search.profiles
            codes_of = search.separation.codes
            assert codes_of[one] != codes_of[two]
    assert separated > 0 or operator in ("FULLY_CONNECTED", "AVERAGE_POOL_2D")


def test_a_proof_that_nothing_separates_tries_every_code() -> None:
    """RELU clamps negative codes, so ties up and ties away are the same on every code."""
    graph = unary(Op.RELU, 0.5, 1.0)
    trace = hwsim.trace(graph, np.zeros((1, 256), np.int8), profile=AWAY)
    up = variant("up", Requant.HALF_UP)
    result = identified(graph, trace, up, AWAY, search=True)
    (search,) = result.searches
    assert search.exhaustive and search.separation is None
    quantize = unary(Op.QUANTIZE, 0.5, 1.0)
    trace = hwsim.trace(quantize, np.zeros((1, 256), np.int8), profile=AWAY)
    (search,) = identified(quantize, trace, up, AWAY, search=True).searches
    found = search.separation
    assert found is not None and found.changed == 1
    # The negative tie nearest to zero: -1 / 2 is 0 with ties up, -1 with ties away.
    assert found.inputs["x"].min() == -1 and found.inputs["x"].max() == 0
    assert found.codes == {"up": 0, "half_away": -1}


def test_a_proof_over_accumulators_is_right_where_brute_force_can_be() -> None:
    """The proof says "never" exactly where no accumulator of the convolution separates."""
    multiplier, shift = arith.quantize_multiplier(0.05 * 0.02 / 0.04)
    zeros = np.full((1, 2, 2, 2), -3, np.int8)
    for other, rounding in (
        (EVEN, lambda f: round(f)),
        (AWAY, lambda f: arith.round_half_away(f)),
        (FLOOR, lambda f: floor(f)),
    ):
        exact = (
            (single_rounding(acc, multiplier, shift), Fraction(acc * multiplier, 2 ** (31 - shift)))
            for acc in range(-6000, 6000)  # beyond, both clamp
        )
        apart = any(np.clip(one, 0, 134) != np.clip(rounding(two), 0, 134) for one, two in exact)
        trace = {"x": zeros, "conv": hwsim.trace(NET, zeros, profile=SINGLE)["conv"]}
        result = identified(NET, trace, SINGLE, other, search=True)
        if "single" in result.consistent and other.name in result.consistent:
            (search,) = result.searches
            assert search.exhaustive == (not apart)
            assert (search.separation is not None) == apart
        else:
            assert apart


def test_names_in_the_archive_of_separating_inputs() -> None:
    quantize = unary(Op.QUANTIZE, 0.5, 1.0)
    trace = hwsim.trace(quantize, np.zeros((1, 256), np.int8), profile=AWAY)
    result = identified(quantize, trace, SINGLE, AWAY, search=True)
    arrays = result.arrays()
    assert set(arrays) == {"0/input/x", "0/output/single/y", "0/output/half_away/y"}
    again = identified(quantize, trace, SINGLE, AWAY, search=True)
    assert result.to_dict() == again.to_dict()


def test_recordings_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(InputError, match="^trace: trace must hold the operands and an output of"):
        identified(NET, {"x": X}, REF)
    with pytest.raises(InputError, match="profiles must have different names, not two 'twin'"):
        identified(NET, {"x": X}, replace(REF, name="twin"), replace(SINGLE, name="twin"))
    with pytest.raises(InputError, match="trace: value 'conv' must hold codes of int8"):
        identified(NET, {"x": X, "conv": np.full((64, 2, 2, 3), 200)}, REF)
    floats = hwsim.load(Path(hwsim.__file__).parent / "networks" / "digits_cnn.onnx")
    with pytest.raises(GraphError, match="must hold quantized codes, not floats"):
        hwsim.identify(floats, {"x": X})


# Bare requantizations: the rule of each from exact fractions.
ROUNDINGS = {
    "double_rounding": arith.mbqm_double,
    "half_up": single_rounding,
    "half_even": lambda acc, q, s: round(Fraction(acc * q) / Fraction(2) ** (31 - s)),
    "half_away": lambda acc, q, s: arith.round_half_away(
        Fraction(acc * q) / Fraction(2) ** (31 - s)
    ),
    "floor": lambda acc, q, s: floor(Fraction(acc * q) / Fraction(2) ** (31 - s)),
    "trunc": lambda acc, q, s: int(Fraction(acc * q) / Fraction(2) ** (31 - s)),
}


def bare(rule: str, accs: list[int], q: int, right_shift: int) -> dict[str, np.ndarray]:
    output = [ROUNDINGS[rule](acc, q, -right_shift) for acc in accs]
    arrays = {"acc": accs, "multiplier": q, "shift": right_shift, "output": output}
    return {name: np.asarray(numbers, np.int32) for name, numbers in arrays.items()}


def rules(arrays: dict[str, np.ndarray]) -> RequantIdentification:
    result = hwsim.identify(None, arrays)
    assert isinstance(result, RequantIdentification)
    return result


@pytest.mark.parametrize("rule", sorted(ROUNDINGS))
def test_ties_of_both_signs_name_the_rule(rule: str) -> None:
    accs = list(range(-40, 41))
    result = rules(bare(rule, accs, 1 << 30, 1))  # quarters: ties and all between
    expected = {
        name
        for name, rounding in ROUNDINGS.items()
        if all(rounding(a, 1 << 30, -1) == ROUNDINGS[rule](a, 1 << 30, -1) for a in accs)
    }
    assert expected <= set(result.consistent)
    assert not (set(ROUNDINGS) - expected) & set(result.consistent)
    for name, count in result.differing.items():
        if name in ROUNDINGS:
            wrong = [
                ROUNDINGS[name](a, 1 << 30, -1) != ROUNDINGS[rule](a, 1 << 30, -1) for a in accs
            ]
            assert count == sum(wrong)


def test_the_smallest_separating_accumulator_is_found() -> None:
    q = quantize_multiplier(0.0123).multiplier
    shift = quantize_multiplier(0.0123).right_shift
    result = rules(bare("half_up", [1000, 2000, -3000], q, shift))
    assert {"double_rounding", "half_up"} <= set(result.consistent)
    found = next(s for s in result.separations if s.rules == ("double_rounding", "half_up"))
    nearest = next(
        acc
        for magnitude in range(1 << 20)
        for acc in (magnitude, -magnitude)
        if arith.mbqm_double(acc, q, -shift) != single_rounding(acc, q, -shift)
    )
    assert (found.acc, found.multiplier, found.shift) == (nearest, q, shift)
    assert found.codes is not None
    assert found.codes["double_rounding"] == arith.mbqm_double(nearest, q, -shift)
    assert found.codes["half_up"] == single_rounding(nearest, q, -shift)


def test_clamps_and_zero_points_belong_to_the_recording() -> None:
    arrays = bare("half_up", [-4000, -3, 5, 4000], 1 << 30, 1)
    output = np.clip(arrays["output"] + 7, -128, 127)
    arrays |= {"output": output.astype(np.int8), "zero_point": np.array(7)}
    assert "half_up" in rules(arrays).consistent  # the ends of int8 unless given
    narrow = np.clip(output, -100, 100)
    ends = {"qmin": np.array(-100), "qmax": np.array(100)}
    assert "half_up" in rules(arrays | {"output": narrow} | ends).consistent
    assert rules(arrays | {"output": narrow}).consistent == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"acc": np.zeros(2)}, "trace: acc must hold integers, not float64"),
        ({"acc": np.zeros(2, int)}, "trace: acc must hold 1 or 3 numbers, not 2"),
        ({"acc": np.full(3, 1 << 31)}, r"trace: acc must be in \[-2147483648, 2147483647\]"),
        ({"shift": np.full(3, 32)}, r"trace: shift must be in \[-30, 31\], not 32"),
        ({"multiplier": np.array(-1)}, r"trace: multiplier must be in \[0, 2147483647\], not -1"),
        ({"multiplier_bits": np.array(1)}, r"multiplier_bits must be in \[2, 31\], not 1"),
        ({"qmin": np.array(9), "qmax": np.array(2)}, "qmin must be at most qmax, not 9 and 2"),
        ({"scale": np.array([1.0, np.nan])}, "scale must be 1 or 3 finite numbers"),
        ({"extra": np.zeros(3)}, "array must be one of acc, .*, not 'extra'"),
    ],
)
def test_bare_recordings_that_make_no_sense(change: dict[str, np.ndarray], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        rules(bare("half_up", [1, 2, 3], 1 << 30, 1) | change)
    with pytest.raises(InputError, match="acc, multiplier, shift, output; 'shift' is missing"):
        rules({"acc": np.zeros(1, int), "multiplier": np.ones(1, int), "output": np.zeros(1, int)})
