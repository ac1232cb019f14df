"""Integer models and inputs that break a rule: one sentence that names file, tensor and field."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.errors import GraphError, HwsimError, InputError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.profile import Method, OperatorRule, Requant
from tests.litert import LiteRT, LiteRTRefused, available
from tests.strategies import index_tensor, single
from tests.tflite_writer import Model, Tensor

X = Tensor("x", (1, 4), "int8", (0.1,), (3,))
W = Tensor("w", (2, 4), "int8", (0.1, 0.2), (0, 0), 0, np.arange(8).reshape(2, 4))
Y = Tensor("y", (1, 2), "int8", (0.1,), (3,))


def dense(x: Tensor = X, w: Tensor = W, y: Tensor = Y) -> Model:
    return single("FULLY_CONNECTED", [x, w], [y], {"x": np.zeros(x.shape, x.dtype)}).model


def read(model: Model) -> Graph:
    pytest.importorskip(
        "ai_edge_litert", reason="ai_edge_litert is missing: its schema writes the file of the case"
    )
    return read_tflite(model.to_bytes(), Path("net.tflite"))


def refused(model: Model, sentence: str) -> None:
    with pytest.raises(HwsimError) as caught:
        read(model)
    assert str(caught.value) == sentence


def refuses_input(model: Model, feed: dict[str, Any], sentence: str) -> None:
    graph = read(model)
    with pytest.raises(HwsimError) as caught:
        hwsim.run(graph, feed)
    assert str(caught.value) == sentence


AXES = {
    "several scales": (dense(w=replace(W, axis=7)), "tensor 1 ('w')", "[0, 1], not 7"),
    "negative": (dense(w=replace(W, axis=-1)), "tensor 1 ('w')", "[0, 1], not -1"),
    "one scale": (dense(x=replace(X, axis=2)), "tensor 0 ('x')", "[0, 1], not 2"),
    "output": (dense(y=replace(Y, axis=9)), "tensor 2 ('y')", "[0, 1], not 9"),
}


@pytest.mark.parametrize(("model", "place", "rest"), AXES.values(), ids=AXES)
def test_a_quantized_dimension_beyond_the_rank(model: Model, place: str, rest: str) -> None:
    refused(model, f"net.tflite: {place}: quantized_dimension must be in {rest}")


@pytest.mark.skipif(not available(), reason="ai_edge_litert is missing: 4 models are not compared")
@pytest.mark.parametrize("model", [model for model, *_ in AXES.values()], ids=AXES)
def test_litert_refuses_those_dimensions_too(model: Model) -> None:
    with LiteRT() as litert, pytest.raises(LiteRTRefused):
        litert.run(model.to_bytes(), [{"x": np.zeros((1, 4), np.int8)}])


def test_scales_of_another_axis_than_its_length() -> None:
    refused(
        dense(w=replace(W, axis=1)),
        "net.tflite: tensor 1 ('w'): value 'w': scales must be 4, one per index of axis 1, not 2",
    )


@pytest.mark.parametrize(
    ("scale", "rest"),
    [
        (0.0, "must be a positive finite number, not 0.0"),
        (-0.5, "must be a positive finite number, not -0.5"),
        (math.inf, "must be a positive finite number, not inf"),
        (math.nan, "must be a positive finite number, not nan"),
        (1e-40, "must be at least 1.17549e-38, the smallest normal float32, not 9.99995e-41"),
    ],
)
def test_scales_that_define_no_map(scale: float, rest: str) -> None:
    for model, place, index in (
        (dense(x=replace(X, scale=(scale,))), "input 0 (input) 'x'", 0),
        (dense(w=replace(W, scale=(0.1, scale))), "input 1 (weights) 'w'", 1),
        (dense(y=replace(Y, scale=(scale,))), "output 0 'y'", 0),
    ):
        refused(model, f"net.tflite: operator 0 (FULLY_CONNECTED): {place}: scale[{index}] {rest}")


def test_packed_weights_of_another_length() -> None:
    """int4 codes share bytes: 6 codes take 3, not the 6 of a file that holds one each."""
    weights = Tensor("w", (2, 3), "int4", (0.1,), (0,), 0, np.ones((2, 3)))
    model = dense(replace(X, shape=(1, 3)), weights)
    data = model.to_bytes()
    packed, loose = b"\x03\x00\x00\x00\x11\x11\x11", b"\x04\x00\x00\x00\x11\x11\x11\x11"
    assert data.count(packed) == 1
    with pytest.raises(HwsimError) as caught:
        read_tflite(data.replace(packed + b"\x00", loose), Path("net.tflite"))
    assert str(caught.value) == (
        "net.tflite: tensor 1 ('w'): data must be 3 bytes for int4 of shape (2, 3), not 4"
    )


def test_int4_codes_are_signed_and_the_low_nibble_comes_first() -> None:
    codes = np.array([[-8, 7, -1], [0, 1, -7]])
    weights = Tensor("w", (2, 3), "int4", (0.1,), (0,), 0, codes)
    assert weights.data is not None
    model = dense(replace(X, shape=(1, 3)), weights)
    assert bytes([0x78, 0x0F, 0x91]) in model.to_bytes()
    read_back = read(model).values["w"]
    assert str(read_back.dtype) == "int4"
    assert read_back.data is not None and np.array_equal(read_back.data, codes)


def table(builtin: str, scale: float, out_scale: float) -> Model:
    x = Tensor("x", (1, 4), "int16", (scale,), (0,))
    y = Tensor("y", (1, 4), "int16", (out_scale,), (0,))
    options = {"beta": 1.0} if builtin == "SOFTMAX" else {}
    return single(builtin, [x], [y], {"x": np.zeros((1, 4), np.int16)}, **options).model


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            table("LOGISTIC", 1e-3, 1e-3),
            "node 'y' (logistic): 'y' must have scale 2**-15, not 0.001",
        ),
        (
            table("TANH", 6.0, 2.0**-15),
            "node 'y' (tanh): scale of 'x' must be below 16/3, not 6",
        ),
        (
            table("SOFTMAX", 3.0, 2.0**-15),
            "node 'y' (softmax): beta * scale of 'x' must be below 2.5, not 3",
        ),
        (
            table("EXP", 0.003, 0.1),
            "node 'y' (exp): function must be finite over the input's codes, from -98.304 "
            "to 98.301",
        ),
        (
            table("HARD_SWISH", 1e-3, 1e-3),
            "node 'y' (hard_swish): profile tflite_ref: hard_swish must have operands of at most "
            "8 bits, not 16",
        ),
    ],
)
def test_16_bit_functions_out_of_their_range(model: Model, sentence: str) -> None:
    refuses_input(model, {"x": np.zeros((1, 4), np.int16)}, sentence)


def test_a_16_bit_function_of_codes_with_a_zero_point() -> None:
    """No TFLite file holds such a graph; a graph made by hand can."""
    graph = read(table("TANH", 1e-3, 2.0**-15))
    x = graph.values["x"]
    assert x.quant is not None
    shifted = replace(x, quant=replace(x.quant, zero_point=(5,)))
    made = replace(graph, values={**graph.values, "x": shifted})
    sentence = "node 'y' (tanh): 'x' must be int16 with zero point 0, not int16 with zero point 5"
    with pytest.raises(GraphError) as caught:
        hwsim.run(made, {"x": np.zeros((1, 4), np.int16)}, profile="tflite_ref")
    assert str(caught.value) == sentence


def test_sums_at_powers_of_two_that_no_shift_can_meet() -> None:
    feed = {name: np.zeros((1, 4), np.int16) for name in "ab"}
    a, b, y = (Tensor(n, (1, 4), "int16", (s,)) for n, s in zip("aby", (0.5, 0.25, 0.25)))
    refuses_input(
        single("ADD", [a, b], [y], feed).model,
        feed,
        "node 'y' (add): one operand must have the scale of 'y' and the other a finer one, "
        "not 2**-1 and 2**-2 for 2**-2",
    )
    wide, narrow = replace(b, shape=(1, 4)), replace(y, name="a", shape=(1, 1))
    feed = {"a": np.zeros((1, 1), np.int16), "b": np.zeros((1, 4), np.int16)}
    refuses_input(
        single("SUB", [narrow, wide], [y], feed).model,
        feed,
        "node 'y' (sub): operands at power-of-two scales must have one shape, not (1, 1) "
        "and (1, 4)",
    )


def test_a_product_of_32_bit_codes() -> None:
    """LiteRT multiplies int32 codes as they are; no rule of ours says so."""
    feed = {name: np.zeros((1, 4), np.int32) for name in "ab"}
    tensors = [Tensor(name, (1, 4), "int32", (0.5,)) for name in "aby"]
    refuses_input(
        single("MUL", tensors[:2], tensors[2:], feed).model,
        feed,
        "node 'y' (mul): 'a' must hold codes of at most 16 bits",
    )


def test_indices_beyond_the_table() -> None:
    codes = np.ones((5, 2), np.int8)
    held = Tensor("w", (5, 2), "int8", (0.1,), (0,), 0, codes)
    asked, y = Tensor("i", (3,), "int32"), Tensor("y", (3, 2), "int8", (0.1,))
    indices = np.array([0, 4, 5], np.int32)
    model = single("GATHER", [held, asked], [y], {"i": indices}).model
    sentence = "indices 'i' of node 'y' must be in [0, 4], not [0, 5]"
    refuses_input(model, {"i": indices}, sentence)
    assert np.array_equal(
        hwsim.run(read(model), {"i": indices - 1 + (indices == 0)})["y"], codes[:3]
    )


def test_roots_of_negative_numbers() -> None:
    x = Tensor("x", (1, 3), "int8", (0.1,), (-5,))
    model = single("RSQRT", [x], [Tensor("y", (1, 3), "int8", (0.1,))], {"x": 0}).model
    refuses_input(
        model,
        {"x": np.array([[-5, -6, 9]], np.int8)},
        "codes of 'x' must be at or above its zero point -5 for the rsqrt 'y', not -6",
    )


def transposed(shape_data: list[int] | None) -> Model:
    wanted = index_tensor("shape", shape_data or [0] * 4)
    if shape_data is None:
        wanted = replace(wanted, data=None)
    w = Tensor("w", (2, 3, 3, 1), "int8", (0.1,), (0,), 0, np.ones((2, 3, 3, 1)))
    x = Tensor("x", (1, 2, 2, 1), "int8", (0.1,))
    y = Tensor("y", (1, 4, 4, 2), "int8", (0.1,))
    feed = {"shape": 0, "x": 0} if shape_data is None else {"x": 0}
    options = {"padding": "SAME", "strideH": 2, "strideW": 2}
    return single("TRANSPOSE_CONV", [wanted, w, x], [y], feed, **options).model


def test_an_output_shape_that_is_not_the_stated_one() -> None:
    x = np.ones((1, 2, 2, 1), np.int8)
    refuses_input(
        transposed(None),
        {"shape": np.array([1, 4, 5, 2], np.int32), "x": x},
        "output shape 'shape' of node 'y' must be [1, 4, 4, 2], as the graph states, "
        "not [1, 4, 5, 2]",
    )
    asked = {"shape": np.array([1, 4, 4, 2], np.int32), "x": x}
    made = hwsim.run(read(transposed(None)), asked)["y"]
    assert np.array_equal(made, hwsim.run(read(transposed([1, 4, 4, 2])), x)["y"])
    refused(
        transposed([1, 4, 5, 2]),
        "net.tflite: operator 0 (TRANSPOSE_CONV): input 0 (output shape) must be that of the "
        "output, (1, 4, 4, 2), not (1, 4, 5, 2)",
    )


def test_products_that_64_bits_do_not_hold() -> None:
    OperatorRule(Requant.HALF_UP, multiplier_bits=15, accumulator_bits=48)
    with pytest.raises(GraphError) as caught:
        OperatorRule(Requant.HALF_UP, accumulator_bits=48)
    assert str(caught.value) == (
        "accumulator_bits and multiplier_bits must add to at most 64, not 48 and 31"
    )


def test_a_left_shift_beyond_the_operand() -> None:
    with pytest.raises(GraphError, match=r"^left_shift must be in \[0, 30\], not 31$"):
        OperatorRule(Requant.DOUBLE_ROUNDING, Method.SHIFTED, left_shift=31)


def test_inputs_of_another_width() -> None:
    graph = read(table("TANH", 1e-3, 2.0**-15))
    with pytest.raises(InputError, match="^input 'x' must be int16 codes or floats, not int8$"):
        hwsim.run(graph, np.zeros((1, 4), np.int8))
    reals = np.array([[0.5, -0.5, 0.0, 99.0]], np.float32)
    codes = np.array([[500, -500, 0, 32767]], np.int16)
    assert np.array_equal(hwsim.run(graph, reals)["y"], hwsim.run(graph, codes)["y"])
    assert graph.nodes[0].op is Op.TANH
