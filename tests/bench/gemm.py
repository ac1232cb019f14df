"""Matrix products with int8 codes in and out, on one thread: the nine shapes of kernels.md 2.2.

One call computes several layers of the same input, each with weights of its own (as in a network),
so that no side is measured by what its Python call costs: `LEAST_OPS` and `MOST_LAYERS`. Ours is
the walk of a plan's machine code; it reads row-major int8 codes and writes int8 codes. Peers read
uint8 codes (their fastest), weights packed ahead; ONNX Runtime writes into bound memory. What they
write: MatMulInteger and _int_mm int32 without requantization, the quantized operators 8-bit codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.attributes import FullyConnectedAttrs
from hwsim.graph import Graph, Node
from hwsim.kernels.native.target import tier
from hwsim.kernels.plan import lower
from hwsim.ops import Op

from . import peak, peers
from .one_node import ROUNDINGS, Bare, activation, biases, graph, requantized, weights
from .table import INT_MM, MATMUL_INTEGER, NUMPY, ORT_LINEAR, PEAK, TORCH_QUANTIZED, Figure, Row
from .timing import Call, Effort, Ratio, best_of, faster, interleave

SHAPES = (
    (64, 64, 64),
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (12544, 147, 64),
    (3136, 576, 64),
    (196, 2304, 256),
    (197, 192, 768),
    (1, 1024, 1000),
)
LEAST_OPS, MOST_LAYERS, MOST_BYTES = 200_000_000, 64, 4 << 20
ENGINES = ("fbgemm", "onednn")
X_SCALE, X_ZERO, Y_ZERO = 2.0**-5, -3, 5
PEAK_DEPTH, PEAK_GOAL, LINEAR_GOAL = 256, 85.0, 1.0


@dataclass(frozen=True)
class Work:
    """Products of one input with several matrices.

    Args:
        x: int8 (M, K).
        matrices: int8 (N, K) each.
        scales: float32 (N,) of every matrix.
        bias: int32 (N,).
        y_scale: Of the results.
    """

    x: NDArray[np.int8]
    matrices: tuple[NDArray[np.int8], ...]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32]
    y_scale: float

    @classmethod
    def random(cls, rows: int, depth: int, columns: int) -> "Work":
        """Return random codes, the extremes among them, whose results fill the range."""
        rng = np.random.default_rng(rows + depth + columns)
        ops = 2 * rows * depth * columns
        count = min(-(-LEAST_OPS // ops), MOST_LAYERS, max(1, MOST_BYTES // (depth * columns)))
        return cls(
            rng.integers(-128, 128, (rows, depth), np.int8),
            tuple(rng.integers(-127, 128, (columns, depth), np.int8) for _ in range(count)),
            rng.uniform(0.005, 0.02, columns).astype(np.float32),
            rng.integers(-5000, 5000, columns, np.int32),
            2.0 ** np.ceil(np.log2(X_SCALE * 0.0125 * 73 * 73 * depth**0.5 / 64)),
        )

    @property
    def operations(self) -> int:
        """Multiplies and adds of one call."""
        rows, depth = self.x.shape
        return 2 * rows * depth * self.matrices[0].shape[0] * len(self.matrices)

    def graph(self) -> Graph:
        """Return the layers as FULLY_CONNECTED nodes."""
        rows, depth = self.x.shape
        columns = len(self.scales)
        values = [
            activation("x", (rows, depth), X_SCALE, X_ZERO),
            biases("b", self.bias, self.scales.astype(np.float64) * X_SCALE),
        ]
        nodes = []
        for index, matrix in enumerate(self.matrices):
            values += [
                weights(f"w{index}", matrix, self.scales, 0),
                activation(f"y{index}", (rows, columns), self.y_scale, Y_ZERO),
            ]
            inputs, attrs = ("x", f"w{index}", "b"), FullyConnectedAttrs()
            nodes.append(Node(f"n{index}", Op.FULLY_CONNECTED, inputs, (f"y{index}",), attrs))
        return graph(values, nodes, ["x"], [node.outputs[0] for node in nodes])

    def accumulator(self, index: int) -> NDArray[np.int64]:
        """Return exact sums of a layer; float64 holds them."""
        centered = self.x.astype(np.float64) - X_ZERO
        product = centered @ self.matrices[index].T.astype(np.float64)
        return product.astype(np.int64) + self.bias

    def codes(self, index: int, rounding: str) -> NDArray[np.int8]:
        """Return the right codes of a layer."""
        ratio = X_SCALE / self.y_scale
        return requantized(self.accumulator(index), self.scales, ratio, Y_ZERO, rounding)


def ours(work: Work, rounding: str) -> Call:
    """Return the walk of all layers, checked against `Work.codes`."""
    bare = Bare(lower(work.graph(), ROUNDINGS[rounding]), {"x": work.x})
    bare.walk()
    for index in (0, len(work.matrices) - 1):
        if not np.array_equal(bare.result(f"y{index}"), work.codes(index, rounding)):
            raise ValueError(f"{work.x.shape}, {rounding}: codes must equal the reference")
    return bare.walk


def onnx_peers(work: Work) -> dict[str, Call]:
    """Return both operators of ONNX Runtime on u8 codes; their results are checked."""
    from onnx import helper

    x = (work.x.astype(np.int16) + 128).astype(np.uint8)
    rows, columns = len(x), len(work.scales)
    layers = range(len(work.matrices))
    scales = {
        "xs": np.float32(X_SCALE), "xz": np.uint8(X_ZERO + 128), "ws": work.scales,
        "wz": np.zeros(columns, np.int8), "ys": np.float32(work.y_scale),
        "yz": np.uint8(Y_ZERO + 128),
    }  # fmt: skip
    matrices = {f"w{i}": np.ascontiguousarray(work.matrices[i].T) for i in layers}
    made: dict[str, Call] = {}
    for name, kind, dtype in (
        (MATMUL_INTEGER, "MatMulInteger", np.int32),
        (ORT_LINEAR, "QLinearMatMul", np.uint8),
    ):
        integer = kind == "MatMulInteger"
        nodes = [
            helper.make_node(
                kind,
                ["x", f"w{i}", "xz", "wz"]
                if integer
                else ["x", "xs", "xz", f"w{i}", "ws", "wz", "ys", "yz"],
                [f"y{i}"],
            )
            for i in layers
        ]
        used = {key: scales[key] for key in (("xz", "wz") if integer else scales)}
        outputs = {f"y{i}": np.empty((rows, columns), dtype) for i in layers}
        model = peers.onnx_model(nodes, matrices | used, {"x": x}, outputs)
        call, bound = peers.onnx_call(model, {"x": x}, outputs, 1)
        call()
        result = bound["y0"].numpy()
        exact = work.accumulator(0) - work.bias
        if integer:
            check(kind, result, exact)
        else:
            real = exact * (X_SCALE * work.scales.astype(np.float64)) / work.y_scale
            expected = np.clip(np.rint(real + Y_ZERO + 128), 0, 255)
            check(kind, result, expected, 1)
        made[name] = call
    return made


def check(name: str, made: Any, expected: Any, tolerance: int = 0) -> None:
    """Refuse a peer that computes something else.

    Raises:
        ValueError: If a result differs by more than `tolerance`.
    """
    worst = int(np.abs(np.asarray(made, np.int64) - np.asarray(expected, np.int64)).max())
    if worst > tolerance:
        raise ValueError(f"{name} must compute the same, not {worst} off")


def torch_peers(work: Work) -> dict[str, Call]:
    """Return torch's int8 product and its quantized linear layers by engine."""
    import torch

    torch.set_num_threads(1)
    source = torch.from_numpy(work.x)
    matrices = [torch.from_numpy(np.ascontiguousarray(w.T)) for w in work.matrices]
    sums = [torch.empty(len(work.x), len(work.scales), dtype=torch.int32) for _ in matrices]

    def int_mm() -> None:
        for matrix, out in zip(matrices, sums, strict=True):
            torch._int_mm(source, matrix, out=out)

    int_mm()
    check(INT_MM, sums[0], work.x.astype(np.int64) @ work.matrices[0].T.astype(np.int64))
    made: dict[str, Call] = {INT_MM: int_mm}
    x = (work.x.astype(np.int16) + 128).astype(np.uint8)
    for engine in ENGINES:
        if engine in torch.backends.quantized.supported_engines:
            made[f"{TORCH_QUANTIZED} {engine}"] = peers.quantized_linears(
                x, X_ZERO + 128, work.matrices, engine
            )[0]
    return made


def numpy_peer(work: Work) -> Call:
    """Return float32 products into memory at hand."""
    x = work.x.astype(np.float32)
    matrices = [np.ascontiguousarray(w.T.astype(np.float32)) for w in work.matrices]
    outs = [np.empty((len(x), len(work.scales)), np.float32) for _ in matrices]

    def call() -> None:
        for matrix, out in zip(matrices, outs, strict=True):
            np.matmul(x, matrix, out=out)

    return call


def measure(shape: tuple[int, int, int], effort: Effort) -> list[Row]:
    """Return the rows of one shape: every rounding, in the same rounds."""
    work = Work.random(*shape)
    instructions = tier()
    assert instructions is not None
    field: dict[str, Call] = {
        **{rounding: ours(work, rounding) for rounding in ROUNDINGS},
        **onnx_peers(work),
        **torch_peers(work),
        NUMPY: numpy_peer(work),
    }
    limit = peak.peak_call(instructions)
    if limit is not None:
        field[PEAK] = limit
    seconds = interleave(field, effort)
    engines = [name for name in field if name.startswith(TORCH_QUANTIZED)]
    if engines:
        best = best_of(seconds, engines)
        seconds[TORCH_QUANTIZED] = seconds[best]
    rows = []
    for name in ROUNDINGS:
        own = seconds[name]
        figures = {}
        if limit is not None:
            share = work.operations / peak.operations(instructions)
            ratio = Ratio.of(
                [100 * share * p / mine for p, mine in zip(seconds[PEAK], own, strict=True)]
            )
            deep = shape[1] >= PEAK_DEPTH
            figures[PEAK] = Figure(
                ratio.median, ratio.least, ratio.most, PEAK_GOAL if deep else None
            )
        for peer, ratio in faster(seconds, name).items():
            if peer in (MATMUL_INTEGER, ORT_LINEAR, INT_MM, TORCH_QUANTIZED, NUMPY):
                goal = LINEAR_GOAL if peer == ORT_LINEAR else None
                figures[peer] = Figure(ratio.median, ratio.least, ratio.most, goal)
        medians = {key: Ratio.of(values).median for key, values in seconds.items()}
        rate = work.operations / medians[name] / 1e9
        rows.append(
            Row(
                "gemm",
                f"GEMM {' x '.join(map(str, shape))}, {name} rounding",
                1,
                f"{rate:.0f} GOP/s",
                figures,
                "float64 sums and a step-by-step requantization in NumPy, byte for byte",
                medians,
            )
        )
    return rows


def rows(effort: Effort, threads: int, shapes: Sequence[tuple[int, int, int]]) -> list[Row]:
    """Return all rows."""
    return [row for shape in shapes for row in measure(shape, effort)]
