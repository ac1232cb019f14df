"""Graphs of one operator, and their bare machine code."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.graph import Graph, Node, Value
from hwsim.kernels.native.memory import walk_kernel
from hwsim.kernels.native.program import Arena
from hwsim.kernels.plan import Plan
from hwsim.profiles import PROFILES
from hwsim.quant import INT8, INT32, IntType, QuantParams
from tests.oracle.arith import quantize_multiplier

Array = NDArray[Any]
DOUBLE, SINGLE, FLOAT32 = PROFILES["tflm"], PROFILES["cmsis_single"], PROFILES["ort"]
"""Two roundings (ties up, then away from zero), one (ties up), and ONNX Runtime's own: a float32
product, ties to even."""
ROUNDINGS = {"double": DOUBLE, "single": SINGLE, "float32": FLOAT32}


def activation(
    name: str, shape: tuple[int, ...], scale: float, zero: int, dtype: IntType = INT8
) -> Value:
    """Return a value without data."""
    return Value(name, shape, dtype, QuantParams.per_tensor(scale, zero))


def weights(name: str, data: Array, scales: Array, axis: int) -> Value:
    """Return int8 weights with a scale per channel of an axis."""
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), axis)
    return Value(name, data.shape, INT8, quant, data)


def biases(name: str, data: Array, scales: Array) -> Value:
    """Return an int32 bias with a scale per entry."""
    quant = QuantParams(tuple(map(float, scales)), (0,) * len(scales), 0)
    return Value(name, data.shape, INT32, quant, data)


def graph(
    values: Sequence[Value], nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str]
) -> Graph:
    """Return a graph of such values."""
    return Graph(
        "bench", {v.name: v for v in values}, tuple(nodes), tuple(inputs), tuple(outputs),
        DOUBLE.name,
    )  # fmt: skip


class Bare:
    """A plan's machine code in an arena of its own: what a run is without Python around it."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Array]) -> None:
        """Put the inputs in place.

        Raises:
            ValueError: If a node has no machine code.
        """
        missing = [call.outputs[0] for call in plan.calls if call.native is None]
        if missing:
            raise ValueError(f"no machine code makes {', '.join(missing)}")
        assert plan.program is not None
        self.program = plan.program
        self.arena: Arena = self.program.arena()
        (self._stage,) = self.arena.walks
        self._run = walk_kernel().on
        self._inputs = inputs
        self.put()

    def put(self) -> None:
        """Copy the inputs to where the program reads them, inside their borders."""
        for value in self.program.graph.inputs:
            self.arena.views[value.name][...] = self._inputs[value.name]

    def walk(self) -> None:
        """Run all machine code, from codes in the arena to codes in the arena."""
        self._run(self._stage)

    def put_and_walk(self) -> None:
        """Do the same with the copy of the inputs."""
        self.put()
        self._run(self._stage)

    def result(self, name: str) -> Array:
        """Return what the last walk left; the inputs may be gone by then."""
        return np.array(self.arena.views[name])


def requantized(
    acc: Array, scales: Array, scale_ratio: float, zero: int, rounding: str
) -> NDArray[np.int8]:
    """Return int8 codes of exact accumulators (rows, channels), written out a step at a time.

    Args:
        acc: int64.
        scales: float32, of the weights, per channel.
        scale_ratio: Scale of the input over the result's, a power of two: all products are exact.
        zero: Zero point of the result.
        rounding: A name of `ROUNDINGS`.
    """
    if rounding == "float32":
        product = acc.astype(np.float32) * (scales * np.float32(scale_ratio))
        return np.clip(np.rint(product) + zero, -128, 127).astype(np.int8)
    factors = [quantize_multiplier(scale_ratio * float(scale)) for scale in scales]
    multiplier = np.array([m for m, _ in factors], np.int64)
    right = np.array([-s for _, s in factors], np.int64)
    product = acc * multiplier
    if rounding == "single":
        made = (product + (np.int64(1) << (30 + right))) >> (31 + right)
    else:
        high = (product + (1 << 30)) >> 31
        # Halves away from zero: the magnitude is rounded, then signed again.
        made = np.sign(high) * ((np.abs(high) * 2 + (np.int64(1) << right)) >> (right + 1))
    return np.clip(made + zero, -128, 127).astype(np.int8)
