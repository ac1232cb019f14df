"""LSTM and SVDF on the integer engine and in floats: oracles, states, batches, refusals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hwsim.attributes import LstmAttrs, SvdfAttrs
from hwsim.errors import GraphError
from hwsim.graph import Graph, Node, Value
from hwsim.kernels.plan import execute, lower
from hwsim.ops import Op
from hwsim.partition import workload
from hwsim.profiles import PROFILES
from hwsim.quant import FLOAT32, DType, IntType, QuantParams
from hwsim.selfcheck.cmsis_cases import with_given_multipliers
from hwsim.verify import accumulator_bounds
from hwsim.workload import Work
from tests.oracle import lstm as lstm_oracle
from tests.oracle.arith import quantize_multiplier
from tests.oracle.svdf import svdf as svdf_oracle

CMSIS = with_given_multipliers(PROFILES["cmsis_nn"])
INT16, INT32, INT64 = IntType(16), IntType(32), IntType(64)
SEEDS = 12


@dataclass
class Lstm:
    """A random LSTM: shapes, codes and scales."""

    seed: int
    bits: int
    batch: int = 2
    steps: int = 4
    inputs: int = 5
    units: int = 3
    clip: float = math.inf

    def __post_init__(self) -> None:
        rng = self.rng = np.random.default_rng(self.seed)
        self.dtype = IntType(self.bits)
        self.x_scale, self.hidden_scale = (float(s) for s in rng.uniform(0.003, 0.02, 2))
        self.cell_scale = float(2.0 ** rng.integers(-15, -9) * rng.uniform(0.8, 1.2))
        self.zeros = (0, 0) if self.bits == 16 else tuple(int(z) for z in rng.integers(-9, 9, 2))
        if self.bits == 16:
            self.x_scale, self.hidden_scale = self.x_scale / 256, self.hidden_scale / 256
        gates = range(4)
        self.weights = [rng.integers(-127, 128, (self.units, self.inputs)) for _ in gates]
        self.recurrent = [rng.integers(-127, 128, (self.units, self.units)) for _ in gates]
        self.w_scales = rng.uniform(0.001, 0.03, 4).tolist()
        self.r_scales = rng.uniform(0.001, 0.03, 4).tolist()
        self.bias = [rng.integers(-3000, 3000, self.units) for _ in gates]
        low, high = self.dtype.min, self.dtype.max
        self.hidden = rng.integers(low, high, (self.batch, self.units), endpoint=True)
        self.cell = rng.integers(-(2**15), 2**15, (self.batch, self.units))
        self.x = rng.integers(low, high, (self.batch, self.steps, self.inputs), endpoint=True)

    def graph(self, *, constant_states: bool = False) -> Graph:
        values: dict[str, Value] = {}

        def add(
            name: str, shape: tuple[int, ...], dtype: DType, scale: float, zero: int = 0,
            data: Any = None,
        ) -> str:  # fmt: skip
            codes = None if data is None else np.ascontiguousarray(data, dtype.storage)
            quant = QuantParams.per_tensor(scale, zero)
            values[name] = Value(name, shape, dtype, quant, codes)
            return name

        z_x, z_h = self.zeros
        states = (self.batch, self.units)
        x = add("x", self.x.shape, self.dtype, self.x_scale, z_x)
        names = [x]
        for kind, arrays, scales in (
            ("w", self.weights, self.w_scales),
            ("r", self.recurrent, self.r_scales),
        ):
            for gate, array in enumerate(arrays):
                name = f"{kind}{gate}"
                names.append(add(name, array.shape, IntType(8), scales[gate], data=array))
        first = (self.hidden, self.cell) if constant_states else (None, None)
        names.append(add("h", states, self.dtype, self.hidden_scale, z_h, first[0]))
        names.append(add("c", states, INT16, self.cell_scale, 0, first[1]))
        for gate, array in enumerate(self.bias):
            wide = INT64 if self.bits == 16 else INT32
            names.append(add(f"b{gate}", array.shape, wide, 1.0, data=array))
        shape = (self.batch, self.steps, self.units)
        outputs = (
            add("y", shape, self.dtype, self.hidden_scale, z_h),
            add("h_out", states, self.dtype, self.hidden_scale, z_h),
            add("c_out", states, INT16, self.cell_scale),
        )
        node = Node("lstm", Op.LSTM, tuple(names), outputs, LstmAttrs(self.clip))
        inputs = ("x",) if constant_states else ("x", "h", "c")
        return Graph("lstm", values, (node,), inputs, outputs)

    @property
    def feed(self) -> dict[str, np.ndarray]:
        storage = self.dtype.storage
        return {
            "x": self.x.astype(storage),
            "h": self.hidden.astype(storage),
            "c": self.cell.astype(np.int16),
        }

    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        gates = {}
        for gate, name in enumerate(lstm_oracle.GATES):
            gates[name] = lstm_oracle.Gate(
                self.weights[gate].tolist(),
                self.recurrent[gate].tolist(),
                self.bias[gate].tolist(),
                quantize_multiplier(self.x_scale * self.w_scales[gate] / 2.0**-12),
                quantize_multiplier(self.hidden_scale * self.r_scales[gate] / 2.0**-12),
            )
        clip = (-(2**15), 2**15 - 1)
        if math.isfinite(self.clip):
            code = min(int(self.clip / self.cell_scale), 2**15 - 1)
            clip = (-code, code)
        cell = lstm_oracle.Cell(
            gates,
            quantize_multiplier(2.0**-15),
            quantize_multiplier(2.0**-30 / self.cell_scale),
            quantize_multiplier(2.0**-30 / self.hidden_scale),
            round(math.log2(self.cell_scale)),
            clip,
            (self.dtype.min, self.dtype.max),
            *self.zeros,
            wide=self.bits == 16,
        )
        made = lstm_oracle.lstm(cell, self.x.tolist(), self.hidden.tolist(), self.cell.tolist())
        return np.array(made[0]), np.array(made[1])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_lstm_equals_its_oracle(seed: int, bits: int) -> None:
    case = Lstm(seed, bits, clip=0.1 if seed % 3 == 0 else math.inf)
    made = execute(case.graph(), CMSIS, case.feed)
    hidden, cell = case.expected()
    assert np.array_equal(made["y"], hidden)
    assert np.array_equal(made["h_out"], hidden[:, -1])
    assert np.array_equal(made["c_out"], cell)


def test_lstm_in_two_calls_equals_one() -> None:
    case = Lstm(3, 8, steps=6)
    whole = execute(case.graph(), CMSIS, case.feed)
    half = Lstm(3, 8, steps=3)
    state = {"h": case.feed["h"], "c": case.feed["c"]}
    parts = []
    # The halves share everything but the length of the sequence.
    for name in ("weights", "recurrent", "w_scales", "r_scales", "bias"):
        setattr(half, name, getattr(case, name))
    for name in ("x_scale", "hidden_scale", "cell_scale", "zeros"):
        setattr(half, name, getattr(case, name))
    for start in (0, 3):
        feed = {"x": np.ascontiguousarray(case.feed["x"][:, start : start + 3]), **state}
        made = execute(half.graph(), CMSIS, feed)
        parts.append(made["y"])
        state = {"h": made["h_out"], "c": made["c_out"]}
    assert np.array_equal(np.concatenate(parts, axis=1), whole["y"])


def test_constant_states_serve_any_batch() -> None:
    case = Lstm(5, 8, batch=1)
    graph = case.graph(constant_states=True)
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (11, *case.x.shape[1:]), np.int8)
    together = execute(graph, CMSIS, {"x": x})["y"]
    alone = [execute(graph, CMSIS, {"x": x[i : i + 1]})["y"] for i in range(11)]
    assert np.array_equal(together, np.concatenate(alone))


def test_lstm_bound_covers_both_products() -> None:
    case = Lstm(1, 8)
    (bound,) = accumulator_bounds(case.graph())
    z_x, z_h = case.zeros
    highs = []
    for zero, arrays, biases in (
        (z_x, case.weights, case.bias),
        (z_h, case.recurrent, [np.zeros(case.units)] * 4),
    ):
        for rows, bias in zip(arrays, biases, strict=True):
            ends = np.maximum(rows * (-128 - zero), rows * (127 - zero))
            highs.append((ends.sum(axis=1) + np.maximum(bias, 0)).max())
    assert bound.high == max(highs)


def svdf_graph(rng: np.random.Generator, bits: int, rank: int) -> tuple[Graph, dict[str, Any]]:
    """Return one step over a random state, and what the oracle needs."""
    state_type = IntType(bits)
    batch, inputs, features, memory = 2, 5, 3 * rank, 4
    z_x, z_out = (int(z) for z in rng.integers(-20, 20, 2))
    codes = {
        "feature": rng.integers(-127, 128, (features, inputs)),
        "time": rng.integers(state_type.min // 8, state_type.max // 8, (features, memory)),
        "bias": rng.integers(-900, 900, features // rank),
        "x": rng.integers(-128, 128, (batch, inputs)),
        "state": rng.integers(
            state_type.min, state_type.max, (batch, features, memory), endpoint=True
        ),
    }
    into, behind = 2.0 ** rng.uniform(-9, -6), 2.0 ** (rng.uniform(-9, -6) - (bits - 8) * 1.8)
    types: dict[str, tuple[IntType, float, int]] = {
        "feature": (IntType(8), into, 0),
        "time": (state_type, behind, 0),
        "bias": (INT32, 1.0, 0),
        "x": (IntType(8), 1.0, z_x),
        "state": (state_type, 1.0, 0),
    }
    values = {}
    for name, array in codes.items():
        dtype, scale, zero = types[name]
        data = array.astype(dtype.storage) if name in ("feature", "time", "bias") else None
        quant = QuantParams.per_tensor(scale, zero)
        values[name] = Value(name, array.shape, dtype, quant, data)
    units = (batch, features // rank)
    values["y"] = Value("y", units, IntType(8), QuantParams.per_tensor(1.0, z_out))
    values["next"] = Value("next", codes["state"].shape, state_type, values["state"].quant)
    names = ("x", "feature", "time", "state", "bias")
    node = Node("svdf", Op.SVDF, names, ("y", "next"), SvdfAttrs(rank))
    known = {
        "codes": codes, "z_x": z_x, "z_out": z_out,
        "into": into, "behind": behind, "type": state_type, "rank": rank,
    }  # fmt: skip
    return Graph("svdf", values, (node,), ("x", "state"), ("y", "next")), known


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_svdf_equals_its_oracle(seed: int, bits: int, rank: int) -> None:
    graph, known = svdf_graph(np.random.default_rng([seed, bits, rank]), bits, rank)
    codes, dtype = known["codes"], known["type"]
    feed = {"x": codes["x"].astype(np.int8), "state": codes["state"].astype(dtype.storage)}
    made = execute(graph, CMSIS, feed)
    y, state = svdf_oracle(
        codes["x"].tolist(),
        codes["feature"].tolist(),
        codes["time"].tolist(),
        codes["state"].tolist(),
        codes["bias"].tolist(),
        rank=rank,
        input_zero_point=known["z_x"],
        output_zero_point=known["z_out"],
        by_feature=quantize_multiplier(known["into"]),
        by_time=quantize_multiplier(known["behind"]),
        state_ends=(dtype.min, dtype.max),
        ends=(-128, 127),
    )
    assert made["y"].tolist() == y
    assert made["next"].tolist() == state
    assert len(set(made["y"].ravel().tolist())) > 1


def test_work_counts_every_product() -> None:
    (lstm,) = [unit for unit in workload(Lstm(1, 8).graph()) if unit.layers]
    (layer,) = lstm.layers
    assert layer.work is Work.RECURRENT
    assert layer.macs == 1 * 4 * (4 * 3) * (5 + 3)  # one sequence of four steps, four gates
    assert layer.weight_elements == 4 * 3 * (5 + 3)
    graph, _ = svdf_graph(np.random.default_rng(0), 8, 2)
    (svdf,) = [unit for unit in workload(graph) if unit.layers]
    assert svdf.macs == 6 * (5 + 4)


def broken_lstm(**changed: Any) -> Graph:
    case = Lstm(2, 8)
    graph = case.graph()
    values = dict(graph.values)
    for name, (dtype, quant) in changed.items():
        old = values[name]
        values[name] = Value(name, old.shape, dtype or old.dtype, quant or old.quant, old.data)
    return Graph("lstm", values, graph.nodes, graph.input_names, graph.output_names)


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (
            broken_lstm(c=(None, QuantParams.per_tensor(1.0))),
            "node 'lstm' (lstm): 'c_out' must have the type and quantization parameters of 'c'",
        ),
        (
            broken_lstm(
                c=(None, QuantParams.per_tensor(0.1, 3)),
                c_out=(None, QuantParams.per_tensor(0.1, 3)),
            ),
            "node 'lstm' (lstm): cell state 'c' must be int16 with zero point 0",
        ),
        (
            broken_lstm(y=(None, QuantParams.per_tensor(0.25, 1))),
            "node 'lstm' (lstm): 'y' must have the type and quantization parameters of 'h'",
        ),
    ],
)
def test_states_that_contradict_are_refused(graph: Graph, sentence: str) -> None:
    with pytest.raises(GraphError) as raised:
        lower(graph, CMSIS)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"w1": (3, 4)}, "input weights must have shape (3, 5), not (3, 4)"),
        ({"r2": (3, 4)}, "recurrent weights must have shape (3, 3), not (3, 4)"),
        ({"h": (1, 3)}, "state must have shape (2, 3), not (1, 3)"),
        ({"b3": (4,)}, "bias must have shape (3,), not (4,)"),
    ],
)
def test_shapes_of_an_lstm_are_checked(shape: dict[str, tuple[int, ...]], sentence: str) -> None:
    graph = Lstm(2, 8).graph()
    values = dict(graph.values)
    for name, new in shape.items():
        values[name] = Value(name, new, values[name].dtype, values[name].quant)
    inputs = (*graph.input_names, *(name for name in shape if name not in graph.input_names))
    with pytest.raises(GraphError) as raised:
        Graph("lstm", values, graph.nodes, inputs, graph.output_names)
    assert str(raised.value) == f"node 'lstm' (lstm): {sentence}"


def test_float_lstm_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    from hwsim.floats import run_floats

    torch.manual_seed(0)
    module = torch.nn.LSTM(5, 3, batch_first=True)
    # torch's gates stand as input, forget, cell, output: our order.
    inputs, recurrent = module.weight_ih_l0, module.weight_hh_l0
    bias = (module.bias_ih_l0 + module.bias_hh_l0).chunk(4)
    arrays = {
        **{f"w{i}": part for i, part in enumerate(inputs.chunk(4))},
        **{f"r{i}": part for i, part in enumerate(recurrent.chunk(4))},
        **{f"b{i}": part for i, part in enumerate(bias)},
    }
    values = {
        name: Value(name, tuple(part.shape), FLOAT32, None, part.detach().numpy().copy())
        for name, part in arrays.items()
    }
    shapes = {"x": (2, 4, 5), "h": (2, 3), "c": (2, 3)}
    outputs = {"y": (2, 4, 3), "h_out": (2, 3), "c_out": (2, 3)}
    for name, shape in {**shapes, **outputs}.items():
        values[name] = Value(name, shape, FLOAT32)
    order = ["x", *(f"w{i}" for i in range(4)), *(f"r{i}" for i in range(4)), "h", "c",
             *(f"b{i}" for i in range(4))]  # fmt: skip
    node = Node("lstm", Op.LSTM, tuple(order), tuple(outputs), LstmAttrs())
    graph = Graph("lstm", values, (node,), tuple(shapes), tuple(outputs))
    feed = {name: torch.randn(shape) for name, shape in shapes.items()}
    made = run_floats(graph, {name: tensor.numpy() for name, tensor in feed.items()})
    with torch.no_grad():
        y, (h, c) = module(feed["x"], (feed["h"][None], feed["c"][None]))
    for name, tensor in (("y", y), ("h_out", h[0]), ("c_out", c[0])):
        assert np.allclose(made[name], tensor.numpy(), atol=1e-6)
