"""Requantized convolutions, NHWC int8 in and out, one thread: the layers of kernels.md 2.4.

Two forms of ours: the walk of a plan's machine code with the copy of the input into its bordered
place ("with copy"), and the walk alone, as in the middle of a network, where the layer before
writes there ("bordered"); filling the border is in both. ONNX Runtime's QLinearConv reads uint8
codes in the better of two forms: standard NCHW with its own transposes, or its internal NHWC
operator. torch computes float32, channels last, with the better of plain and oneDNN-packed weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import ConvAttrs
from hwsim.graph import Graph, Node
from hwsim.kernels.native.target import tier
from hwsim.kernels.plan import lower
from hwsim.ops import Op

from . import peak, peers
from .gemm import X_SCALE, X_ZERO, Y_ZERO, check
from .one_node import ROUNDINGS, Bare, activation, biases, graph, requantized, weights
from .table import ORT_LINEAR, PEAK, TORCH, Figure, Row
from .timing import Call, Effort, Ratio, best_of, faster, interleave


@dataclass(frozen=True)
class Layer:
    """A square convolution; `depthwise` has one filter per channel."""

    size: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    depthwise: bool = False

    @property
    def padding(self) -> int:
        """Pixels on every side."""
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def operations(self) -> int:
        """Multiplies and adds."""
        taps = self.kernel**2 * (1 if self.depthwise else self.channels)
        return 2 * self.out_size**2 * self.filters * taps

    def __str__(self) -> str:
        """Return what a table says."""
        step = f" s{self.stride}" if self.stride > 1 else ""
        kernel = f"{self.kernel}x{self.kernel}{step}"
        if self.depthwise:
            return f"{self.size}² x {self.channels}, depthwise {kernel}"
        return f"{self.size}² x {self.channels} -> {self.filters}, {kernel}"


LAYERS = (
    Layer(224, 3, 64, 7, 2),
    Layer(56, 64, 64, 3),
    Layer(28, 128, 128, 3),
    Layer(14, 256, 256, 3),
    Layer(7, 512, 512, 3),
    Layer(56, 64, 256, 1),
    Layer(56, 128, 128, 3, 2),
)
DEPTHWISE = (
    Layer(112, 32, 32, 3, 1, True),
    Layer(56, 144, 144, 3, 1, True),
    Layer(56, 144, 144, 3, 2, True),
    Layer(14, 576, 576, 3, 1, True),
)
LINEAR_GOAL, TORCH_GOAL = 1.05, 2.7


@dataclass(frozen=True)
class Work:
    """A layer with codes: x (1, H, W, C) and w (out, kh, kw, in) int8, or (1, kh, kw, C)."""

    layer: Layer
    x: NDArray[np.int8]
    w: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32]
    y_scale: float

    @classmethod
    def random(cls, layer: Layer) -> "Work":
        """Return random codes whose results fill the range."""
        rng = np.random.default_rng(layer.size + layer.filters)
        depth = 1 if layer.depthwise else layer.channels
        shape = (layer.filters, layer.kernel, layer.kernel, depth)
        fan = layer.kernel**2 * depth
        return cls(
            layer,
            rng.integers(-128, 128, (1, layer.size, layer.size, layer.channels), np.int8),
            rng.integers(-127, 128, shape, np.int8),
            rng.uniform(0.005, 0.02, layer.filters).astype(np.float32),
            rng.integers(-5000, 5000, layer.filters, np.int32),
            2.0 ** np.ceil(np.log2(X_SCALE * 0.0125 * 73 * 73 * fan**0.5 / 64)),
        )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """NHWC."""
        return (1, self.layer.out_size, self.layer.out_size, self.layer.filters)

    def graph(self) -> Graph:
        """Return the layer as a graph."""
        layer, deep = self.layer, self.layer.depthwise
        data = np.ascontiguousarray(self.w.transpose(3, 1, 2, 0)) if deep else self.w
        values = [
            activation("x", self.x.shape, X_SCALE, X_ZERO),
            weights("w", data, self.scales, 3 if deep else 0),
            biases("b", self.bias, self.scales.astype(np.float64) * X_SCALE),
            activation("y", self.out_shape, self.y_scale, Y_ZERO),
        ]
        op = Op.DEPTHWISE_CONV_2D if deep else Op.CONV_2D
        attrs = ConvAttrs(
            (layer.stride,) * 2, padding=(layer.padding,) * 4, groups=layer.channels if deep else 1
        )
        return graph(values, [Node("n", op, ("x", "w", "b"), ("y",), attrs)], ["x"], ["y"])

    def accumulator(self) -> NDArray[np.int64]:
        """Return exact sums (pixels, filters), tap by tap; float64 holds them."""
        layer, out = self.layer, self.layer.out_size
        pad = ((0, 0), (layer.padding,) * 2, (layer.padding,) * 2, (0, 0))
        x = np.pad(self.x.astype(np.float64) - X_ZERO, pad)[0]
        total = np.zeros((out * out, layer.filters))
        for i, j in np.ndindex(layer.kernel, layer.kernel):
            step, end = layer.stride, layer.stride * (out - 1) + 1
            tap = x[i : i + end : step, j : j + end : step].reshape(out * out, -1)
            matrix = self.w[:, i, j].T.astype(np.float64)
            total += tap * matrix[0] if layer.depthwise else tap @ matrix
        return total.astype(np.int64) + self.bias

    def codes(self, rounding: str) -> NDArray[np.int8]:
        """Return the right codes."""
        ratio = X_SCALE / self.y_scale
        made = requantized(self.accumulator(), self.scales, ratio, Y_ZERO, rounding)
        return made.reshape(self.out_shape)


def ours(work: Work, rounding: str) -> Bare:
    """Return the layer's machine code, checked against `Work.codes`.

    Raises:
        ValueError: If there is none, or its codes are wrong.
    """
    bare = Bare(lower(work.graph(), ROUNDINGS[rounding]), {"x": work.x})
    bare.walk()
    if not np.array_equal(bare.result("y"), work.codes(rounding)):
        raise ValueError(f"{work.layer}, {rounding}: codes must equal the reference")
    return bare


def onnx_peers(work: Work) -> dict[str, Call]:
    """Return QLinearConv in NCHW and in NHWC on u8 codes; their results are checked."""
    from onnx import helper

    layer = work.layer
    u8 = (work.x.astype(np.int16) + 128).astype(np.uint8)
    constants = {
        "xs": np.float32(X_SCALE), "xz": np.uint8(X_ZERO + 128),
        "w": np.ascontiguousarray(work.w.transpose(0, 3, 1, 2)), "ws": work.scales,
        "wz": np.zeros(layer.filters, np.int8), "ys": np.float32(work.y_scale),
        "yz": np.uint8(Y_ZERO + 128), "b": work.bias,
    }  # fmt: skip
    real = work.accumulator() * (X_SCALE * work.scales.astype(np.float64)) / work.y_scale
    expected = np.clip(np.rint(real + Y_ZERO + 128), 0, 255).reshape(work.out_shape)
    made = {}
    for name, domain in (("NCHW", ""), ("NHWC", "com.microsoft")):
        last = bool(domain)
        x = u8 if last else np.ascontiguousarray(u8.transpose(0, 3, 1, 2))
        shape = work.out_shape
        out = {"y": np.empty(shape if last else (1, shape[3], *shape[1:3]), np.uint8)}
        node = helper.make_node(
            "QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"],
            domain=domain, kernel_shape=[layer.kernel] * 2, pads=[layer.padding] * 4,
            strides=[layer.stride] * 2, group=layer.channels if layer.depthwise else 1,
            **({"channels_last": 1} if last else {}),
        )  # fmt: skip
        model = peers.onnx_model([node], constants, {"x": x}, out)
        call, bound = peers.onnx_call(model, {"x": x}, out, 1)
        call()
        result: Any = bound["y"].numpy()
        check(name, result if last else result.transpose(0, 2, 3, 1), expected, 1)
        made[f"{ORT_LINEAR} {name}"] = call
    return made


def measure(layer: Layer, effort: Effort, *, part: str = "conv") -> list[Row]:
    """Return the rows of a layer."""
    import torch

    torch.set_num_threads(1)
    work = Work.random(layer)
    instructions = tier()
    assert instructions is not None
    forms: dict[str, Call] = {}
    for rounding in ("double", "float32"):
        bare = ours(work, rounding)
        forms[f"{rounding} rounding, with copy"] = bare.put_and_walk
        forms[f"{rounding} rounding, bordered"] = bare.walk
    field: dict[str, Call] = {
        **forms,
        **onnx_peers(work),
        **{
            f"{TORCH} {name}": call
            for name, call in peers.torch_convolutions(
                work.x, work.w, work.bias, layer.stride, layer.padding,
                layer.channels if layer.depthwise else 1,
            ).items()
        },
    }  # fmt: skip
    limit = peak.peak_call(instructions)
    if limit is not None:
        field[PEAK] = limit
    seconds = interleave(field, effort)
    for peer in (ORT_LINEAR, TORCH):
        options = [name for name in field if name.startswith(peer)]
        seconds[peer] = seconds[best_of(seconds, options)]
    medians = {key: Ratio.of(values).median for key, values in seconds.items()}
    rows = []
    for name in forms:
        ratios = faster(seconds, name)
        goals = {ORT_LINEAR: LINEAR_GOAL, TORCH: TORCH_GOAL} if not layer.depthwise else {}
        figures = {
            peer: Figure(ratio.median, ratio.least, ratio.most, goals.get(peer))
            for peer, ratio in ratios.items()
            if peer in (ORT_LINEAR, TORCH)
        }
        if limit is not None and not layer.depthwise:
            share = layer.operations / peak.operations(instructions)
            pairs = zip(seconds[PEAK], seconds[name], strict=True)
            ratio = Ratio.of([100 * share * p / mine for p, mine in pairs])
            figures[PEAK] = Figure(ratio.median, ratio.least, ratio.most)
        rows.append(
            Row(
                part,
                f"conv {layer}, {name}",
                1,
                f"{layer.operations / medians[name] / 1e9:.0f} GOP/s",
                figures,
                "float64 sums, a step-by-step requantization in NumPy, byte for byte",
                medians,
            )
        )
    return rows


def rows(effort: Effort, threads: int, layers: Sequence[Layer]) -> list[Row]:
    """Return all rows."""
    return [row for layer in layers for row in measure(layer, effort)]
