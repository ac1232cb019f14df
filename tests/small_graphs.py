"""Small integer graphs built by hand, and the pure-Python arithmetic of one of them."""

from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np

from hwsim.attributes import (
    Activation,
    Attrs,
    ConvAttrs,
    FullyConnectedAttrs,
    LeakyReluAttrs,
    NoAttrs,
    ReshapeAttrs,
)
from hwsim.graph import Graph, Node, Value
from hwsim.ops import Op
from hwsim.profile import NumericProfile, Requant
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, IntType, QuantParams
from tests.oracle.arith import clamp, mbqm_double, quantize_multiplier

S_X, Z_X, S_W, S_Y, Z_Y, S_F, S_O = 0.05, -3, 0.02, 0.04, -7, 0.0313, 0.2531


def variant(name: str, requant: Requant) -> NumericProfile:
    """Return tflite_ref with another rounding wherever it rounds twice."""
    base = PROFILES["tflite_ref"]
    rules = {
        key: replace(rule, requant=requant) if rule.requant is Requant.DOUBLE_ROUNDING else rule
        for key, rule in base.rules.items()
    }
    return replace(base, name=name, rules=rules)


SINGLE = variant("single", Requant.HALF_UP)


def activation(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> Value:
    return Value(name, shape, INT8, QuantParams.per_tensor(scale, zero_point))


def constant(
    name: str, data: np.ndarray, scale: float, dtype: IntType = INT8, zero_point: int = 0
) -> Value:
    stored = np.asarray(data, dtype.storage)
    return Value(name, stored.shape, dtype, QuantParams.per_tensor(scale, zero_point), stored)


def network() -> Graph:
    """Return conv 1x1 (2 -> 3, RELU), leaky ReLU, reshape, fully connected (12 -> 4)."""
    rng = np.random.default_rng(5)
    values = [
        activation("x", (1, 2, 2, 2), S_X, Z_X),
        constant("w", rng.integers(-127, 128, (3, 1, 1, 2)), S_W),
        constant("b", rng.integers(-500, 500, 3), S_X * S_W, INT32),
        activation("conv", (1, 2, 2, 3), S_Y, Z_Y),
        activation("leaky", (1, 2, 2, 3), S_F, 4),
        activation("flat", (1, 12), S_F, 4),
        constant("wf", rng.integers(-127, 128, (4, 12)), S_W),
        constant("bf", rng.integers(-900, 900, 4), S_F * S_W, INT32),
        activation("logits", (1, 4), S_O, 1),
    ]
    nodes = (
        node("conv", Op.CONV_2D, ("x", "w", "b"), ConvAttrs(activation=Activation.RELU)),
        node("leaky", Op.LEAKY_RELU, ("conv",), LeakyReluAttrs(0.3)),
        node("flat", Op.RESHAPE, ("leaky",), ReshapeAttrs((1, 12))),
        node("logits", Op.FULLY_CONNECTED, ("flat", "wf", "bf"), FullyConnectedAttrs()),
    )
    return graph(values, nodes, ("x",), ("logits",))


def node(output: str, op: Op, inputs: tuple[str, ...], attrs: Attrs) -> Node:
    return Node(f"{output}_node", op, inputs, (output,), attrs)


def unary(op: Op, scale: float, out_scale: float, elements: int = 256) -> Graph:
    """Return one operator on one operand of int8 codes with zero points 0."""
    values = [
        activation("x", (1, elements), scale, 0),
        activation("y", (1, elements), out_scale, 0),
    ]
    return graph(values, (node("y", op, ("x",), NoAttrs()),), ("x",), ("y",))


def graph(
    values: list[Value], nodes: tuple[Node, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Graph:
    return Graph("small", {v.name: v for v in values}, nodes, inputs, outputs, "tflite_ref")


def single_rounding(acc: int, multiplier: int, shift: int) -> int:
    """Return the product rounded once, ties up; shift is positive to the left."""
    return floor(Fraction(acc * multiplier) / Fraction(2) ** (31 - shift) + Fraction(1, 2))


def conv_by_hand(net: Graph, x: np.ndarray, once: bool) -> np.ndarray:
    """Return the network's convolution, one element at a time, rounded once or twice."""
    weights, bias = net.values["w"].data, net.values["b"].data
    assert weights is not None and bias is not None
    rounding = single_rounding if once else mbqm_double
    multiplier, shift = quantize_multiplier(S_X * S_W / S_Y)
    made = np.zeros((len(x), 2, 2, 3), np.int8)
    for n, row, column, channel in np.ndindex(made.shape):
        acc = int(bias[channel]) + sum(
            (int(x[n, row, column, i]) - Z_X) * int(weights[channel, 0, 0, i]) for i in range(2)
        )
        code = rounding(acc, multiplier, shift) + Z_Y
        made[n, row, column, channel] = clamp(code, Z_Y, 127)
    return made


def codes(net: Graph, count: int, seed: int = 0) -> np.ndarray:
    """Return random codes of the one input."""
    shape = (count, *net.inputs[0].shape[1:])
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)
