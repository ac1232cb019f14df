"""LSTM and SVDF read from `.tflite` files equal TFLite Micro's kernels, element for element."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.errors import HwsimError
from hwsim.formats.tflite import read_tflite
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from tests.litert import LiteRT
from tests.oracle.arith import mbqm_double, quantize_multiplier
from tests.tflite_writer import Model, Operator, Tensor

SEEDS = 40
FEEDS = 3


def micro() -> LiteRT:
    for module in ("tflite_micro", "ai_edge_litert"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is missing: {SEEDS} recurrent models are not compared")
    return LiteRT(kernels="micro")


def tensor(name: str, codes: np.ndarray | tuple[int, ...], dtype: str, scale: float, zero: int = 0,
           **more: Any) -> Tensor:  # fmt: skip
    """Return a constant, or a computed tensor where a shape is given."""
    if isinstance(codes, tuple):
        return Tensor(name, codes, dtype, (scale,), (zero,), **more)
    return Tensor(name, codes.shape, dtype, (scale,), (zero,), data=codes, **more)


def lstm_model(seed: int, *, time_major: bool = False, **options: Any) -> Model:
    """Return an LSTM with int8 or int16 activations; other options go to the operator."""
    rng = np.random.default_rng(seed)
    wide = bool(seed % 2)
    dtype, bias = ("int16", "int64") if wide else ("int8", "int32")
    batch, steps, inputs, units = (int(n) for n in rng.integers(1, 6, 4))
    if time_major:
        batch = 1 + seed % 2
    zeros = (0, 0) if wide else tuple(int(z) for z in rng.integers(-30, 30, 2))
    x_scale, h_scale = rng.uniform(0.004, 0.02, 2) / (256 if wide else 1)
    cell_scale = 2.0 ** rng.integers(-15, -9)
    shape = (steps, batch) if time_major else (batch, steps)
    x = tensor("x", (*shape, inputs), dtype, x_scale, zeros[0])
    tensors, names = [x], ["x"]
    for kind, depth in (("w", inputs), ("r", units)):
        for gate in range(4):
            codes = rng.integers(-127, 128, (units, depth))
            tensors.append(tensor(f"{kind}{gate}", codes, "int8", rng.uniform(0.002, 0.03)))
            names.append(f"{kind}{gate}")
    names += [""] * 3
    for gate in range(4):
        # TFLite Micro does not look at a bias's own scale.
        codes = rng.integers(-2000, 2000, units)
        tensors.append(tensor(f"b{gate}", codes, bias, 1.0))
        names.append(f"b{gate}")
    state = {"variable": True}
    tensors.append(tensor("h", (batch, units), dtype, h_scale, zeros[1], **state))
    tensors.append(tensor("c", (batch, units), "int16", cell_scale, **state))
    names += ["", "", "h", "c", *[""] * 4]
    tensors.append(tensor("y", (*shape, units), dtype, h_scale, zeros[1]))
    chosen = {"fusedActivationFunction": "TANH", "cellClip": float(rng.choice([0.0, 10.0, 0.3])),
              "timeMajor": time_major} | options  # fmt: skip
    operator = Operator("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(names), ("y",), chosen)
    return Model(tuple(tensors), (operator,), ("x",), ("y",))


def svdf_model(seed: int) -> Model:
    """Return an SVDF with an int8 or int16 state."""
    rng = np.random.default_rng(seed)
    state = ("int8", "int16")[seed % 2]
    batch, inputs, units, memory = (int(n) for n in rng.integers(1, 6, 4))
    rank = int(rng.integers(1, 4))
    features = units * rank
    x_scale, w_scale, t_scale = rng.uniform(0.003, 0.03, 3)
    reach = 127 if state == "int8" else 32767
    s_scale = x_scale * w_scale * 128 * 90 / reach
    out_scale = max(s_scale * reach * t_scale * 40 / 127, 1e-6)
    z_x, z_out = (int(z) for z in rng.integers(-50, 50, 2))
    feature = rng.integers(-127, 128, (features, inputs))
    time = rng.integers(-127, 128, (features, memory))
    tensors = (
        tensor("x", (batch, inputs), "int8", x_scale, z_x),
        tensor("feature", feature, "int8", w_scale),
        tensor("time", time, state, t_scale),
        tensor("bias", rng.integers(-5000, 5000, units), "int32", s_scale * t_scale),
        tensor("state", (batch, features * memory), state, s_scale, variable=True),
        tensor("y", (batch, units), "int8", out_scale, z_out),
    )
    operator = Operator("SVDF", ("x", "feature", "time", "bias", "state"), ("y",), {"rank": rank})
    return Model(tensors, (operator,), ("x",), ("y",))


def compare(oracle: LiteRT, model: Model, seed: int, profile: str) -> tuple[int, set[int]]:
    """Return the elements compared, all equal, and the codes seen."""
    content = model.to_bytes()
    graph = read_tflite(content, Path(f"model_{seed}.tflite"))
    (x,) = graph.inputs
    rng = np.random.default_rng([seed, 1])
    info = np.iinfo(x.dtype.storage)
    compared, seen = 0, set()
    for _ in range(FEEDS):
        # A model per feed: states live as long as the interpreter.
        codes = rng.integers(info.min, info.max, x.shape, x.dtype.storage, endpoint=True)
        (theirs,) = oracle.run(content, [{"x": codes}], f"model {seed}")
        ours = execute(graph, PROFILES[profile], {"x": codes})["y"]
        assert np.array_equal(ours, theirs["y"]), (seed, np.count_nonzero(ours != theirs["y"]))
        compared += ours.size
        seen |= set(ours.ravel().tolist())
    return compared, seen


@pytest.mark.parametrize("profile", ["cmsis_nn", "tflm"])
@pytest.mark.parametrize("kind", ["lstm", "lstm in time-major order", "svdf"])
def test_engine_equals_tflite_micro(kind: str, profile: str) -> None:
    with micro() as oracle:
        total, codes = 0, set()
        for seed in range(SEEDS):
            if kind == "svdf":
                model = svdf_model(seed)
            else:
                model = lstm_model(seed, time_major="time-major" in kind)
            compared, seen = compare(oracle, model, seed, profile)
            total += compared
            codes |= seen
    assert total > 500
    assert len(codes) > 100


def near_ties(scales: tuple[float, float, float]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return accumulators whose codes tell the precision of their multiplier, and the codes."""
    a, b, out = scales
    single = float(np.float32(a) * np.float32(b))
    reals = (a * b / out, single / out, float(np.float32(single) / np.float32(out)))
    multipliers = [quantize_multiplier(real) for real in reals]
    found, codes = [], []
    for code in range(-120, 120):
        tie = int((code + 0.5) / reals[0])
        for acc in range(tie - 100, tie + 100):
            made = [mbqm_double(acc, *multiplier) for multiplier in multipliers]
            if len(set(made)) > 1:
                found.append(acc)
                codes.append(made)
    return np.array(found, np.int32), list(np.array(codes).T)


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_of_svdf_are_formed_in_float64(seed: int) -> None:
    """A bias near a tie shows in which precision TFLite Micro forms s_state * s_time / s_out."""
    rng = np.random.default_rng(seed)
    state, time = (float(np.float32(s)) for s in rng.uniform(0.001, 0.02, 2))
    out = float(np.float32(state * time * 2.0**22 * rng.uniform(0.9, 1.4)))
    bias, expected = near_ties((state, time, out))
    count = bias.size
    tensors = (
        tensor("x", (1, 1), "int8", 0.01),
        tensor("feature", np.ones((count, 1)), "int8", 0.01),
        tensor("time", np.ones((count, 1)), "int16", time),
        tensor("bias", bias, "int32", state * time),
        tensor("state", (1, count), "int16", state, variable=True),
        tensor("y", (1, count), "int8", out),
    )
    operator = Operator("SVDF", ("x", "feature", "time", "bias", "state"), ("y",), {"rank": 1})
    model = Model(tensors, (operator,), ("x",), ("y",)).to_bytes()
    feed = {"x": np.zeros((1, 1), np.int8)}
    with micro() as oracle:
        (theirs,) = oracle.run(model, [feed])
    ours = execute(read_tflite(model, Path("m.tflite")), PROFILES["cmsis_nn"], feed)["y"]
    assert count > 100
    assert np.array_equal(ours, theirs["y"])
    wrong = [int(np.count_nonzero(codes != theirs["y"].ravel())) for codes in expected]
    assert wrong[0] == 0
    assert max(wrong[1:]) > 0


def test_single_rounding_is_seen() -> None:
    """The comparison can fail: the other build of CMSIS-NN is another arithmetic."""
    with micro() as oracle, pytest.raises(AssertionError):
        for seed in range(SEEDS):
            compare(oracle, lstm_model(seed), seed, "cmsis_single")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"fusedActivationFunction": "RELU"}, "fused activation must be TANH, not 1"),
        ({"cellClip": -1.0}, "cell_clip must be 0 or more, not -1.0"),
    ],
)
def test_options_without_a_meaning_are_refused(changed: dict[str, Any], sentence: str) -> None:
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(HwsimError) as raised:
        read_tflite(lstm_model(0, **changed).to_bytes(), Path("m.tflite"))
    assert str(raised.value).endswith(sentence)


def test_a_peephole_is_refused() -> None:
    pytest.importorskip("ai_edge_litert")
    model = lstm_model(0)
    (operator,) = model.operators
    inputs = (*operator.inputs[:9], "b0", *operator.inputs[10:])
    peeping = Operator(operator.builtin, inputs, operator.outputs, operator.options)
    content = Model(model.tensors, (peeping,), model.inputs, model.outputs).to_bytes()
    with pytest.raises(HwsimError, match=r"LSTM must have no peephole weights$"):
        read_tflite(content, Path("m.tflite"))


def test_a_profile_without_the_operator_says_so(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "lstm.tflite"
    path.write_bytes(lstm_model(0).to_bytes())
    graph = hwsim.load(path)
    with pytest.raises(HwsimError, match=r"^node 'y' \(lstm\): profile tflite_ref: operator "):
        hwsim.run(graph, np.zeros(graph.inputs[0].shape, np.int8))
