"""The oracles equal LiteRT 2.3.0's reference kernels (BUILTIN_REF), element for element."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.litert import LiteRT, LiteRTDied, LiteRTRefused, available
from tests.oracle import graph
from tests.oracle.arith import f32, f32_div, f32_mul
from tests.strategies import (
    GENERATORS,
    HOST_LIBM,
    Case,
    Draw,
    cases,
    codes,
    every_code,
    generate,
    single,
)
from tests.tflite_writer import Model, Operator, Tensor

SEEDS_PER_OPERATOR = 150
HYPOTHESIS_CASES = 60
SWEEPS = (
    # input scale, zero point as a share of the range: 0 is the lowest code, 1 the highest
    *(
        (scale, 0.5)
        for scale in (1e-4, 1 / 256, 1 / 128, 0.03, 0.0471, 1 / 16, 0.1, 0.25, 1.0, 2.0)
    ),
    *((scale, share) for scale in (0.0117, 0.05, 0.3) for share in (0.0, 0.25, 1.0)),
)
TABLES = ("LOGISTIC", "TANH", "HARD_SWISH")
MODELS = len(GENERATORS) * SEEDS_PER_OPERATOR + len(SWEEPS) * len(TABLES) * 2 + HYPOTHESIS_CASES


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip(f"ai_edge_litert is missing: its share of {MODELS} models is not compared")
    with LiteRT() as worker:
        yield worker


def assert_equal_to_litert(litert: LiteRT, case: Case) -> int:
    """Compare every tensor of the model; return how many elements that were."""
    answers = litert.run(case.model.to_bytes(), [case.feed], repr(case))[0]
    expected = graph.run(case.model, case.feed)
    compared = 0
    for operator in case.model.operators:
        for name in operator.outputs:
            wrong = np.argwhere(answers[name] != expected[name])
            assert answers[name].shape == expected[name].shape, f"{name} in {case}"
            where = tuple(wrong[0]) if len(wrong) else ()
            assert len(wrong) == 0, (
                f"{name} differs in {len(wrong)} of {expected[name].size} elements, first {where}:"
                f" oracle {expected[name][where]}, LiteRT {answers[name][where]}, {case}"
            )
            compared += expected[name].size
    return compared


@pytest.mark.parametrize("operator", GENERATORS)
def test_generated_models(litert: LiteRT, operator: str) -> None:
    compared = [
        assert_equal_to_litert(litert, generate(operator, seed))
        for seed in range(SEEDS_PER_OPERATOR)
    ]
    assert min(compared) > 0


@settings(max_examples=HYPOTHESIS_CASES, deadline=None)
@given(case=st.sampled_from(sorted(set(GENERATORS) - HOST_LIBM)).flatmap(cases))
def test_models_of_any_seed(litert: LiteRT, case: Case) -> None:
    assert_equal_to_litert(litert, case)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("operator", TABLES)
def test_every_code_of_the_table_operators(litert: LiteRT, operator: str, dtype: str) -> None:
    lowest = -128 if dtype == "int8" else 0
    for scale, share in SWEEPS:
        x = Tensor("x", (1, 256), dtype, (scale,), (lowest + round(255 * share),))
        out_scale, out_zero_point = {
            "LOGISTIC": (1 / 256, lowest),
            "TANH": (1 / 128, lowest + 128),
            "HARD_SWISH": (scale * 0.7, lowest + round(255 * (1 - share) * 0.3)),
        }[operator]
        out = Tensor("out", (1, 256), dtype, (out_scale,), (out_zero_point,))
        case = single(operator, [x], [out], {"x": every_code(dtype)})
        assert assert_equal_to_litert(litert, case) == 256


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_uint8_convolutions_multiply_their_scales_in_float32(litert: LiteRT, operator: str) -> None:
    """One product per output, and multipliers of few bits: ties, where float64 is visible."""
    draw = Draw([0])
    for _ in range(20):
        ifmap = Tensor("ifmap", (1, 16, 16, 1), "uint8", (draw.scale(),), (128,))
        weights = np.full((1, 1, 1, 1), 8, np.uint8)
        filters = Tensor("weights", (1, 1, 1, 1), "uint8", (draw.scale(),), (7,), 0, weights)
        product = f32_mul(ifmap.scale[0], filters.scale[0])
        bias = Tensor("bias", (1,), "int32", (product,), (0,), data=np.zeros(1, np.int32))
        scale = f32_div(product, draw.choice([0.5, 0.25, 0.75, 1.5, 2.5]))
        ofmap = Tensor("ofmap", (1, 16, 16, 1), "uint8", (scale,), (100,))
        options = {"padding": "VALID", "strideH": 1, "strideW": 1}
        if operator == "DEPTHWISE_CONV_2D":
            options["depthMultiplier"] = 1
        feed = {"ifmap": every_code("uint8").reshape(ifmap.shape)}
        case = single(operator, [ifmap, filters, bias], [ofmap], feed, **options)
        assert_equal_to_litert(litert, case)


def chain(seed: int) -> Case:
    """PAD, CONV_2D, ADD with itself, RESHAPE, FULLY_CONNECTED, SOFTMAX."""
    draw = Draw([seed])
    rng = draw.rng
    image = Tensor("image", (2, 6, 6, 3), "int8", (0.05,), (draw.zero_point("int8"),))
    padded = Tensor("padded", (2, 8, 8, 3), "int8", image.scale, image.zero_point)
    scales = tuple(draw.scale(1e-3, 1e-2) for _ in range(4))
    w1 = Tensor(
        "w1", (4, 3, 3, 3), "int8", scales, (0,) * 4, 0, rng.integers(-127, 128, (4, 3, 3, 3))
    )
    b1 = Tensor(
        "b1",
        (4,),
        "int32",
        tuple(f32(0.05 * s) for s in scales),
        (0,) * 4,
        0,
        rng.integers(-999, 999, 4),
    )
    maps = Tensor("maps", (2, 3, 3, 4), "int8", (0.2,), (-128,))
    twice = Tensor("twice", (2, 3, 3, 4), "int8", (0.33,), (-90,))
    flat = Tensor("flat", (2, 36), "int8", twice.scale, twice.zero_point)
    w2 = Tensor("w2", (5, 36), "int8", (0.004,), (0,), 0, rng.integers(-127, 128, (5, 36)))
    b2 = Tensor("b2", (5,), "int32", (f32(0.33 * 0.004),), (0,), 0, rng.integers(-999, 999, 5))
    logits = Tensor("logits", (2, 5), "int8", (0.17,), (3,))
    odds = Tensor("odds", (2, 5), "int8", (1 / 256,), (-128,))
    pads = Tensor("pads", (4, 2), "int32", data=np.array([[0, 0], [1, 1], [1, 1], [0, 0]]))
    shape = Tensor("shape", (2,), "int32", data=np.array([2, 36]))
    strides = {"strideH": 2, "strideW": 2}
    operators = (
        Operator("PAD", ("image", "pads"), ("padded",)),
        Operator(
            "CONV_2D",
            ("padded", "w1", "b1"),
            ("maps",),
            {"padding": "VALID", "fusedActivationFunction": "RELU", **strides},
        ),
        Operator("ADD", ("maps", "maps"), ("twice",)),
        Operator("RESHAPE", ("twice", "shape"), ("flat",), {"newShape": [2, 36]}),
        Operator("FULLY_CONNECTED", ("flat", "w2", "b2"), ("logits",)),
        Operator("SOFTMAX", ("logits",), ("odds",), {"beta": 1.0}),
    )
    tensors = (image, padded, w1, b1, maps, twice, flat, w2, b2, logits, odds, pads, shape)
    feed = {"image": codes(rng, image.shape, "int8", "random", 0)}
    return Case(Model(tensors, operators, ("image",), ("odds",)), feed)


@pytest.mark.parametrize("seed", range(3))
def test_every_tensor_of_a_small_network(litert: LiteRT, seed: int) -> None:
    assert assert_equal_to_litert(litert, chain(seed)) > 500


def flat_softmax(count: int, scale: float = 0.1) -> Case:
    x = Tensor("x", (1, count), "int8", (scale,), (0,))
    out = Tensor("out", (1, count), "int8", (1 / 256,), (-128,))
    return single("SOFTMAX", [x], [out], {"x": np.zeros((1, count), np.int8)}, beta=1.0)


@pytest.mark.parametrize(
    "case", [flat_softmax(512), flat_softmax(4, 2.0**-26)], ids=["row", "scale"]
)
def test_the_death_of_litert_is_an_exception(litert: LiteRT, case: Case) -> None:
    with pytest.raises(LiteRTDied, match="LiteRT died on a softmax .exit status -6"):
        litert.run(case.model.to_bytes(), [case.feed], "a softmax")
    assert assert_equal_to_litert(litert, flat_softmax(511)) == 511


def test_a_refused_model_leaves_the_worker_alive(litert: LiteRT) -> None:
    good = generate("FULLY_CONNECTED", 0)
    ins = [t for t in good.model.tensors if t.name != "bias"]
    bad = single("CONV_2D", ins[:2], ins[2:], good.feed)
    with pytest.raises(LiteRTRefused, match="LiteRT refused a convolution"):
        litert.run(bad.model.to_bytes(), [bad.feed], "a convolution")
    assert_equal_to_litert(litert, good)


def test_several_feeds_of_one_model(litert: LiteRT) -> None:
    case = generate("ADD", 3)
    feeds = [
        {name: np.roll(array, shift) for name, array in case.feed.items()} for shift in range(3)
    ]
    answers = litert.run(case.model.to_bytes(), feeds)
    for feed, answer in zip(feeds, answers, strict=True):
        assert np.array_equal(answer["out"], graph.run(case.model, feed)["out"])


def test_the_same_seed_gives_the_same_model() -> None:
    one, two = generate("CONV_2D", 5), generate("CONV_2D", 5)
    assert repr(one) == repr(two)
    assert all(np.array_equal(one.feed[name], two.feed[name]) for name in one.feed)
