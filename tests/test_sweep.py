"""A sweep gives every configuration the outputs of its own full run, whatever it shares."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

import hwsim
from hwsim import networks
from hwsim.attributes import (
    ClipAttrs,
    ConvAttrs,
    FullyConnectedAttrs,
    FusedAttrs,
    LeakyReluAttrs,
    NoAttrs,
    ReshapeAttrs,
)
from hwsim.calibration import calibrate
from hwsim.errors import GraphError, InputError
from hwsim.graph import Graph, Node, Value
from hwsim.inputs import checked_inputs
from hwsim.kernels import sweeping
from hwsim.kernels.pieces import pieces_of
from hwsim.kernels.plan import execute
from hwsim.kernels.sweeping import DEFAULT_LIMIT, Sweep, plan_sweep
from hwsim.ops import Op
from hwsim.partition import partition
from hwsim.profile import NumericProfile
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, IntType, QuantParams
from hwsim.quantizer import quantize, quantize_all
from tests.float_graphs import FAMILIES, random_bits, samples
from tests.shared import model_file
from tests.small_graphs import activation, codes, constant, graph, network, node

HAWQ, REF = PROFILES["hawq"], PROFILES["tflite_ref"]
Arrays = Mapping[str, NDArray[np.generic]]


def swept(plan: Sweep) -> dict[str, dict[str, np.ndarray]]:
    """Return every configuration's outputs, joined."""
    parts: dict[str, list[Arrays]] = {}
    stops: dict[str, int] = {}
    for part in plan.run():
        assert part.start == stops.get(part.name, 0)
        stops[part.name] = part.stop
        parts.setdefault(part.name, []).append(part.outputs)
    return {
        name: {key: np.concatenate([one[key] for one in found]) for key in found[0]}
        for name, found in parts.items()
    }


def full(
    configurations: Mapping[str, Graph], profile: NumericProfile, inputs: Arrays
) -> dict[str, dict[str, np.ndarray]]:
    """Return every configuration's outputs by a full run of its own."""
    return {
        name: execute(one, profile, checked_inputs(one, inputs, profile.input_rounding))
        for name, one in configurations.items()
    }


def assert_same(found: Mapping[str, Arrays], expected: Mapping[str, Arrays]) -> None:
    assert found.keys() == expected.keys()
    for name, outputs in expected.items():
        assert found[name].keys() == outputs.keys()
        for key, array in outputs.items():
            assert found[name][key].dtype == array.dtype
            assert np.array_equal(found[name][key], array), (name, key)


def some_bits(units: tuple[str, ...], seed: int) -> dict[str, Mapping[str, tuple[int, int]]]:
    """Return bits of one unit at a time, of several at once, and one configuration twice."""
    base = dict.fromkeys(units, (8, 8))
    made = {f"{u} {w}x{a}": {**base, u: (w, a)} for u in units for w, a in ((4, 8), (8, 3), (4, 3))}
    return {
        "base": base, **made, "again": dict(base),
        "random 1": random_bits(units, seed), "random 2": random_bits(units, seed + 1),
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_outputs_are_those_of_full_runs(family: str, seed: int) -> None:
    floats = FAMILIES[family](seed)
    feed = samples(floats, 11, seed)
    bits = some_bits(partition(floats).units, seed)
    made = quantize_all(floats, calibrate(floats, feed), bits)
    expected = full(made, HAWQ, feed)
    whole = plan_sweep(made, HAWQ, feed).work
    assert (whole.dropped, whole.configurations, whole.blocks) == (0, len(bits), 2)
    for limit in (0, whole.kept_bytes // 2, DEFAULT_LIMIT):
        for threads, batch in ((1, 8), (2, 3), (3, 64)):
            plan = plan_sweep(made, HAWQ, feed, threads=threads, batch=batch, limit_bytes=limit)
            assert_same(swept(plan), expected)
            assert plan.work.kept_bytes + plan.work.plan_bytes <= limit


@pytest.mark.parametrize("profile", ["ibert", "ivit", "qaof"])
def test_wide_values_stay_inside_a_piece(profile: str) -> None:
    floats = FAMILIES["transformer"](1)
    feed = samples(floats, 5, 1)
    ranges = calibrate(floats, feed)
    units = partition(floats).units
    base = dict.fromkeys(units, (8, 8))
    bits = {"base": base} | {unit: {**base, unit: (5, 8)} for unit in units}
    rules = PROFILES[profile]
    made = {n: quantize(floats, ranges, chosen, profile=profile) for n, chosen in bits.items()}
    widths = [v.dtype.bits for v in made["base"].activations]
    assert max(widths) == 32  # sums that an addition or a GELU reads
    assert_same(swept(plan_sweep(made, rules, feed)), full(made, rules, feed))


@pytest.mark.parametrize("name", networks.NAMES)
def test_digit_networks(name: str) -> None:
    floats = hwsim.load(networks.path(name))
    digits = networks.digits_split()
    ranges = calibrate(floats, digits.x_train[:64])
    units = partition(floats).units
    base = dict.fromkeys(units, (8, 8))
    bits = {"W4A4": dict.fromkeys(units, (4, 4)), "base": base, "mixed": random_bits(units, 0)}
    bits |= {unit: {**base, unit: (3, 8)} for unit in units[::3]}
    made = quantize_all(floats, ranges, bits)
    assert made["mixed"] == quantize(floats, ranges, bits["mixed"])
    result = hwsim.sweep(made, digits.x_test[:50], threads=2)
    expected = {key: hwsim.run(one, digits.x_test[:50]) for key, one in made.items()}
    assert_same(result.outputs, expected)
    assert result.work.computed < result.work.pieces


def test_resnet20_at_mixed_bits() -> None:
    floats = hwsim.load(model_file("cifar10/resnet20.onnx", "no sweep over ResNet-20 is checked"))
    images = np.random.default_rng(0).normal(0, 1, (10, 3, 32, 32)).astype(np.float32)
    units = partition(floats).units
    base = dict.fromkeys(units, (8, 8))
    bits = {unit: {**base, unit: (4, 4)} for unit in units[::4]} | {"base": base}
    bits |= {f"random {seed}": random_bits(units, seed) for seed in range(3)}
    made = quantize_all(floats, calibrate(floats, images), bits)
    expected = full(made, HAWQ, {floats.input_names[0]: images})
    for limit in (400_000, DEFAULT_LIMIT):
        assert_same(swept(plan_sweep(made, HAWQ, images, limit_bytes=limit)), expected)


@pytest.mark.parametrize("file", ["pretrainedResnet_quant.tflite", "kws_ref_model.tflite"])
def test_networks_of_files(file: str) -> None:
    net = hwsim.load(model_file(f"mlperf_tiny/{file}", "no sweep over it is checked"))
    last = next(one for one in reversed(net.nodes) if one.op is Op.FULLY_CONNECTED)
    weights = net.values[last.inputs[1]]
    assert weights.data is not None
    other = changed(net, weights.name, (weights.data // 2).astype(weights.data.dtype))
    shape = (9, *net.inputs[0].shape[1:])
    x = np.random.default_rng(0).integers(-128, 128, shape, np.int8)
    made = {"as it is": net, "halved": other}
    plan = plan_sweep(made, REF, x)
    assert_same(swept(plan), full(made, REF, {net.input_names[0]: x}))
    assert plan.work.computed < 0.6 * plan.work.pieces


def changed(net: Graph, name: str, data: np.ndarray) -> Graph:
    """Return the graph with another constant."""
    return replace(net, values={**net.values, name: replace(net.values[name], data=data)})


def test_whatever_differs_is_told_apart() -> None:
    # One element, scale, zero point or attribute at a time: a value taken for another's would
    # give this configuration the outputs of that one.
    net = network()
    made = {"": net}
    for name, value in net.values.items():
        if value.data is not None:
            for index in np.ndindex(value.shape):
                data = value.data.copy()
                data[index] = ~data[index]
                made[f"{name}{index}"] = changed(net, name, data)
        assert value.quant is not None
        scale, zero = value.quant.scale[0], value.quant.zero_point[0]
        for quant in (
            QuantParams.per_tensor(scale * 1.5, zero),
            QuantParams((scale,), (zero + 1,)),
        ):
            if not value.is_constant:
                other = {**net.values, name: replace(value, quant=quant)}
                if name in ("leaky", "flat"):
                    both = ("leaky", "flat")
                    other |= {n: replace(net.values[n], quant=quant) for n in both}
                made[f"{name} {quant}"] = replace(net, values=other)
    conv, leaky, *rest = net.nodes
    unclamped = replace(conv, attrs=ConvAttrs())
    made["unclamped"] = replace(net, nodes=(unclamped, leaky, *rest))
    steep = replace(leaky, attrs=LeakyReluAttrs(0.7))
    made["steep"] = replace(net, nodes=(unclamped, steep, *rest))
    x = codes(net, 40)
    expected = full(made, REF, {"x": x})
    different = {outputs["logits"].tobytes() for outputs in expected.values()}
    assert len(different) > 0.9 * len(made)
    assert_same(swept(plan_sweep(made, REF, x)), expected)


def test_names_do_not_matter() -> None:
    net = network()
    renamed = Graph(
        "other",
        {f"{n}'" if n != "x" else n: replace(v, name=f"{n}'" if n != "x" else n)
         for n, v in net.values.items()},
        tuple(
            Node(
                f"{one.name}'", one.op,
                tuple(f"{n}'" if n != "x" else n for n in one.inputs),
                tuple(f"{n}'" for n in one.outputs), one.attrs,
            )
            for one in net.nodes
        ),
        ("x",), ("logits'",), net.profile,
    )  # fmt: skip
    x = codes(net, 4)
    plan = plan_sweep({"a": net, "b": renamed}, REF, x)
    assert plan.work.computed == 1 + 4  # the input and four nodes, once
    made = swept(plan)
    assert np.array_equal(made["a"]["logits"], made["b"]["logits'"])


def layers(count: int, seed: int = 0) -> Graph:
    """Return a chain of fully connected layers."""
    rng = np.random.default_rng(seed)
    values: list[Value] = [activation("v0", (1, 6), 0.05, -3)]
    nodes = []
    for index in range(count):
        weights = constant(f"w{index}", rng.integers(-127, 128, (6, 6)), 0.02)
        values += [weights, activation(f"v{index + 1}", (1, 6), 0.1, 2)]
        attrs = FullyConnectedAttrs()
        nodes.append(node(f"v{index + 1}", Op.FULLY_CONNECTED, (f"v{index}", f"w{index}"), attrs))
    return graph(values, tuple(nodes), ("v0",), (f"v{count}",))


def one_layer_at_a_time(count: int) -> dict[str, Graph]:
    net = layers(count)
    made = {"base": net}
    for index in range(count):
        data = net.values[f"w{index}"].data
        assert data is not None
        made[f"layer {index}"] = changed(net, f"w{index}", (data // 3).astype(np.int8))
    return made


def test_what_stands_before_a_changed_layer_is_computed_once() -> None:
    count = 12
    made = one_layer_at_a_time(count)
    x = np.random.default_rng(1).integers(-128, 128, (16, 6), np.int8)
    plan = plan_sweep(made, REF, x)
    # The input once, the base once, and from each changed layer on to the end.
    assert plan.work.computed == 1 + count + sum(count - index for index in range(count))
    assert plan.work.pieces == (1 + count) * len(made)
    assert plan.work.lowered == 2 * count
    # One value of 8 x 6 codes waits at a fork, whatever the depth.
    assert plan.work.kept_bytes == 8 * 6
    assert_same(swept(plan), full(made, REF, {"v0": x}))
    nothing = plan_sweep(made, REF, x, limit_bytes=0).work
    assert nothing.computed == nothing.pieces
    assert (nothing.kept_bytes, nothing.plan_bytes) == (0, 0)


def test_pieces_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[Graph] = []
    lower = sweeping.lower

    def counted(net: Graph, profile: NumericProfile) -> sweeping.Plan:
        lowered.append(net)
        return lower(net, profile)

    monkeypatch.setattr(sweeping, "lower", counted)
    made = one_layer_at_a_time(5)
    x = np.zeros((40, 6), np.int8)
    plan = plan_sweep(made, REF, x)
    assert sum(1 for _ in plan.run()) == 5 * len(made)
    assert len(lowered) == plan.work.lowered == 10


@pytest.mark.parametrize("limit", [0, 2_000, 40_000, DEFAULT_LIMIT])
def test_memory_is_what_the_plan_says(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    floats = FAMILIES["mixed"](0)
    feed = samples(floats, 16, 0)
    made = quantize_all(floats, calibrate(floats, feed), some_bits(partition(floats).units, 0))
    plan = plan_sweep(made, HAWQ, feed, limit_bytes=limit)
    most_kept = 0
    run_pass = Sweep._run_pass

    def watched(self, index, part, given, arrays):  # type: ignore[no-untyped-def]
        nonlocal most_kept
        most_kept = max(most_kept, sum(array.nbytes for array in arrays.values()))
        run_pass(self, index, part, given, arrays)
        there = sum(array.nbytes for array in arrays.values())
        assert there == part.held_bytes <= plan.work.working_bytes

    monkeypatch.setattr(Sweep, "_run_pass", watched)
    assert sum(1 for _ in plan.run()) == plan.work.blocks * len(made)
    assert most_kept == plan.work.kept_bytes <= limit / 2
    assert plan.work.plan_bytes <= limit / 2
    assert (plan.work.dropped > 0) == (limit < 4_000)


def test_groups_that_must_not_be_parted() -> None:
    # A wide value and a path around it: the path cannot run between its two ends.
    wide = Value("wide", (1, 4), INT32, QuantParams((0.001,) * 4, (0,) * 4, 1))
    rng = np.random.default_rng(0)
    values = [
        activation("x", (1, 4), 0.05, 0), constant("w", rng.integers(-9, 9, (4, 4)), 0.02),
        wide, activation("side", (1, 4), 0.1, 0), activation("y", (1, 4), 0.1, 0),
        activation("z", (1, 4), 0.1, 0),
    ]  # fmt: skip
    nodes = (
        node("wide", Op.FULLY_CONNECTED, ("x", "w"), FullyConnectedAttrs()),
        node("side", Op.RELU, ("x",), NoAttrs()),
        node("y", Op.RELU, ("side",), NoAttrs()),
        node("z", Op.RESHAPE, ("y",), ReshapeAttrs((1, 4))),
    )
    apart = graph(values, nodes, ("x",), ("wide", "z"))
    assert [len(piece.nodes) for piece in pieces_of(apart)] == [1, 1, 1, 1]
    around = (*nodes[:3], node("z", Op.ADD, ("wide", "y"), FusedAttrs()))
    tied = graph(values, around, ("x",), ("z",))
    assert [[n.outputs[0] for n in piece.nodes] for piece in pieces_of(tied)] == [
        ["side"], ["y"], ["wide", "z"],
    ]  # fmt: skip
    through = (
        nodes[0],
        node("side", Op.CLIP, ("wide",), ClipAttrs(0.0, 1.0)),
        nodes[2],
        node("z", Op.ADD, ("wide", "y"), FusedAttrs()),
    )
    (only,) = pieces_of(graph(values, through, ("x",), ("z",)))
    assert len(only.nodes) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_come_in_order_and_leave_nothing_out(family: str) -> None:
    for seed in range(4):
        floats = FAMILIES[family](seed)
        made = quantize(floats, calibrate(floats, samples(floats, 8, seed)), 5)
        known = {*made.input_names}
        nodes = []
        for piece in pieces_of(made):
            assert known.issuperset(piece.inputs)
            known |= set(piece.outputs)
            nodes += piece.nodes
            piece.alone()  # its own graph keeps the rules
        assert sorted(n.name for n in nodes) == sorted(n.name for n in made.nodes)
        assert known.issuperset(made.output_names)


def test_a_graph_for_one_batch_alone() -> None:
    # A batch of 3 whose rows a reshape mixes: it runs at its own batch.
    values = [
        activation("x", (3, 4), 0.05, 1), activation("flat", (1, 12), 0.05, 1),
        constant("w", np.random.default_rng(0).integers(-99, 99, (5, 12)), 0.02),
        activation("y", (1, 5), 0.2, 0),
    ]  # fmt: skip
    nodes = (
        node("flat", Op.RESHAPE, ("x",), ReshapeAttrs((1, 12))),
        node("y", Op.FULLY_CONNECTED, ("flat", "w"), FullyConnectedAttrs()),
    )
    net = graph(values, nodes, ("x",), ("y",))
    data = values[2].data
    assert data is not None
    made = {"a": net, "b": changed(net, "w", (data // 2).astype(np.int8))}
    x = np.random.default_rng(1).integers(-128, 128, (12, 4), np.int8)
    for threads in (1, 3):
        plan = plan_sweep(made, REF, x, threads=threads)
        assert plan.work.blocks == 4
        outputs: dict[str, list[np.ndarray]] = {"a": [], "b": []}
        for part in plan.run():
            outputs[part.name].append(part.outputs["y"])
        for name, found in outputs.items():
            assert np.array_equal(np.concatenate(found), execute(made[name], REF, {"x": x})["y"])


def test_an_input_may_be_an_output() -> None:
    net = network()
    through = replace(net, output_names=("x", "logits"))
    x = codes(net, 5)
    made = {"a": through, "b": net}
    assert_same(swept(plan_sweep(made, REF, x)), full(made, REF, {"x": x}))


def test_codes_of_other_widths_are_converted_by_each_configuration() -> None:
    floats = FAMILIES["residual"](0)
    feed = samples(floats, 9, 0)
    ranges = calibrate(floats, feed)
    units = partition(floats).units
    bits = {f"A{width}": dict.fromkeys(units, (8, width)) for width in (2, 3, 5, 8)}
    made = quantize_all(floats, ranges, bits)
    assert len({one.inputs[0].quant for one in made.values()}) == 4
    assert_same(swept(plan_sweep(made, HAWQ, feed)), full(made, HAWQ, feed))


def test_progress_counts_inputs_of_configurations() -> None:
    made = one_layer_at_a_time(3)
    for threads in (1, 2):
        seen: list[int] = []
        hwsim.sweep(made, np.zeros((19, 6), np.int8), threads=threads, progress=seen.append)
        assert sum(seen) == 19 * len(made)


def refused(
    error: type[Exception], sentence: str, made: Mapping[str, Graph], **options: int
) -> None:
    with pytest.raises(error) as raised:
        hwsim.sweep(made, np.zeros((2, 6), np.int8), **options)  # type: ignore[arg-type]
    assert str(raised.value) == sentence


def test_bad_input_is_one_sentence() -> None:
    net = layers(2)
    refused(InputError, "configurations must hold at least one graph, not none", {})
    refused(InputError, "threads must be 1 or more, not 0", {"a": net}, threads=0)
    refused(InputError, "limit_bytes must be 0 or more, not -1", {"a": net}, limit_bytes=-1)
    refused(
        InputError,
        "configuration 'b' must have the inputs of 'a', {'v0': (1, 6)}, not {'x': (1, 2, 2, 2)}",
        {"a": net, "b": network()},
    )
    refused(
        InputError,
        "configurations must be of one profile, not of hawq, tflite_ref; "
        "name the one to run them all under",
        {"a": net, "b": replace(net, profile="hawq")},
    )
    refused(
        GraphError,
        "graph 'made' must hold quantized codes, not floats; quantize it, or ask for profile "
        "'float'",
        {"a": replace(FAMILIES["chain"](0), profile="tflite_ref"), "b": net},
    )
    wide = {**net.values, "w1": replace(net.values["w1"], dtype=IntType(32), data=np.full(
        (6, 6), 1 << 20, np.int32))}  # fmt: skip
    refused(
        GraphError,
        "configuration 'b': node 'v2_node': factor 'w1' must have at most 16 bits, not 32",
        {"a": net, "b": replace(net, values=wide)},
    )


def test_codes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"^input 'v0' must have shape \(batch, 6\), not"):
        hwsim.sweep({"a": layers(1)}, np.zeros((2, 7), np.int8))


def test_constants_of_many_configurations_are_shared() -> None:
    floats = FAMILIES["residual"](1)
    ranges = calibrate(floats, samples(floats, 4, 1))
    units = partition(floats).units
    base = dict.fromkeys(units, (8, 8))
    made = quantize_all(floats, ranges, {u: {**base, u: (4, 8)} for u in units})
    for first, second in pairwise(made.values()):
        equal = [
            name
            for name, value in first.values.items()
            if value.is_constant and second.values[name] == value
        ]
        assert equal
        assert all(first.values[n].data is second.values[n].data for n in equal)
    assert INT8 in {value.dtype for value in next(iter(made.values())).values.values()}
