"""Networks that Arm Vela 5.2.0 compiled for `vela_5_2_0.csv`, beside those of MLPerf Tiny.

Weights are rounded normal codes from one generator, drawn in the order of `NETWORKS`. Compiled
with `--system-config Ethos_U55_High_End_Embedded --memory-mode Shared_Sram` of Vela's own vela.ini.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from tests.tflite_writer import Model, Operator, Tensor

_SAME = {"padding": "SAME", "dilationHFactor": 1, "dilationWFactor": 1}


class Builder:
    """A chain of operators; `current` is the tensor that the next one reads."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng = rng
        self.tensors = [Tensor("x", shape, scale=(0.1,))]
        self.operators: list[Operator] = []
        self.current, self.shape = "x", shape

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.tensors)}"

    def _weights(self, shape: tuple[int, ...], axis: int) -> tuple[str, str]:
        codes = np.clip(self.rng.normal(0, 25, shape).round(), -127, 127).astype(np.int8)
        channels = shape[axis]
        weights, bias = self._name("w"), self._name("b")
        scale = (0.01,) * channels
        self.tensors.append(Tensor(weights, shape, scale=scale, axis=axis, data=codes))
        zeros = np.zeros(channels, np.int32)
        scale = (0.001,) * channels
        self.tensors.append(Tensor(bias, (channels,), "int32", scale=scale, data=zeros))
        return weights, bias

    def _then(
        self,
        builtin: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        options: Mapping[str, Any] | None = None,
        scale: float = 0.1,
        zero_point: int = 0,
    ) -> Self:
        name = self._name("a")
        self.tensors.append(Tensor(name, shape, scale=(scale,), zero_point=(zero_point,)))
        self.operators.append(Operator(builtin, inputs, (name,), options or {}))
        self.current, self.shape = name, shape
        return self

    def _out(self, stride: int, channels: int) -> tuple[int, ...]:
        return (1, -(-self.shape[1] // stride), -(-self.shape[2] // stride), channels)

    def conv(self, channels: int, kernel: tuple[int, int], stride: int = 1) -> Self:
        inputs = (self.current, *self._weights((channels, *kernel, self.shape[3]), 0))
        options = {**_SAME, "strideH": stride, "strideW": stride}
        return self._then("CONV_2D", inputs, self._out(stride, channels), options)

    def depthwise(self, kernel: tuple[int, int], stride: int = 1) -> Self:
        channels = self.shape[3]
        inputs = (self.current, *self._weights((1, *kernel, channels), 3))
        options = {**_SAME, "strideH": stride, "strideW": stride, "depthMultiplier": 1}
        return self._then("DEPTHWISE_CONV_2D", inputs, self._out(stride, channels), options)

    def pool(self, size: int, kind: str = "MAX_POOL_2D") -> Self:
        options = {"padding": "SAME", "strideH": size, "strideW": size}
        options |= {"filterHeight": size, "filterWidth": size}
        return self._then(kind, (self.current,), self._out(size, self.shape[3]), options)

    def binary(self, builtin: str, other: str) -> Self:
        return self._then(builtin, (self.current, other), self.shape)

    def logistic(self) -> Self:
        return self._then("LOGISTIC", (self.current,), self.shape, {}, 1 / 256, -128)

    def tanh(self) -> Self:
        return self._then("TANH", (self.current,), self.shape, {}, 1 / 128)

    def fully_connected(self, channels: int) -> Self:
        inputs = (self.current, *self._weights((channels, int(np.prod(self.shape))), 0))
        return self._then("FULLY_CONNECTED", inputs, (1, channels))

    def mean(self) -> Self:
        axes = self._name("axes")
        self.tensors.append(Tensor(axes, (2,), "int32", data=np.array([1, 2], np.int32)))
        channels = self.shape[3]
        return self._then("MEAN", (self.current, axes), (1, channels), {"keepDims": False})

    def model(self) -> Model:
        """Return the chain; its last tensor is the output."""
        return Model(tuple(self.tensors), tuple(self.operators), ("x",), (self.current,))


def pooled(rng: np.random.Generator) -> Builder:
    net = Builder(rng, (1, 64, 64, 3)).conv(24, (5, 5), 2).pool(2).conv(48, (3, 3))
    return net.depthwise((5, 5), 2).conv(96, (1, 1)).pool(2).fully_connected(20)


def bottlenecks(rng: np.random.Generator) -> Builder:
    net = Builder(rng, (1, 96, 96, 4)).conv(32, (3, 3), 2).depthwise((3, 3)).conv(16, (1, 1))
    for channels, stride in ((24, 2), (24, 1), (40, 2), (40, 1), (80, 2)):
        source, inputs = net.current, net.shape[3]
        net.conv(6 * inputs, (1, 1)).depthwise((3, 3), stride).conv(channels, (1, 1))
        if stride == 1 and channels == inputs:
            net.binary("ADD", source)
    return net.conv(160, (1, 1)).mean().fully_connected(10)


def tables(rng: np.random.Generator) -> Builder:
    net = Builder(rng, (1, 40, 100, 1)).conv(20, (9, 9)).conv(30, (11, 3)).logistic()
    source = net.current
    net.conv(30, (1, 7)).tanh().binary("MUL", source).pool(4, "AVERAGE_POOL_2D")
    return net.conv(64, (3, 3)).fully_connected(100).fully_connected(12)


def rows(rng: np.random.Generator) -> Builder:
    net = Builder(rng, (1, 1, 256, 8)).conv(64, (1, 5)).conv(64, (1, 3)).conv(128, (1, 3))
    return net.depthwise((1, 3)).conv(130, (1, 1)).fully_connected(6)


def separable(rng: np.random.Generator) -> Builder:
    net = Builder(rng, (1, 160, 160, 3)).conv(32, (3, 3), 2)
    steps = ((64, 1), (64, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
    for channels, stride in steps:
        net.depthwise((3, 3), stride).conv(channels, (1, 1))
    return net.mean().fully_connected(1000)


NETWORKS: tuple[Callable[[np.random.Generator], Builder], ...] = (
    pooled, bottlenecks, tables, rows, separable,
)  # fmt: skip


def models() -> dict[str, Model]:
    """Return every network by its name."""
    rng = np.random.default_rng(0)
    return {network.__name__: network(rng).model() for network in NETWORKS}
