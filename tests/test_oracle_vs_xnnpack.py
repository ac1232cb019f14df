"""Profile `xnnpack` and its oracle against LiteRT 2.3.0 as it runs by default.

Which nodes XNNPACK takes is asked of LiteRT itself, model by model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import GraphError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from hwsim.kernels.plan import execute
from hwsim.kernels.softmax import softmax_rows_by_table
from hwsim.profiles import PROFILES
from tests.litert import LiteRT, LiteRTDied, LiteRTRefused, available
from tests.oracle import graph as builtin
from tests.oracle import xnnpack
from tests.strategies import GENERATORS, RANGES, Case, every_code, f32, generate, single
from tests.test_oracle_vs_litert import SWEEPS
from tests.tflite_writer import Model, Tensor

PROFILE = PROFILES["xnnpack"]
OPERATORS = [name for name in GENERATORS if "INT16" not in name and name in (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "AVERAGE_POOL_2D",
    "MAX_POOL_2D", "LOGISTIC", "TANH", "HARD_SWISH", "QUANTIZE", "LEAKY_RELU", "RELU", "RELU6",
    "RELU_N1_TO_1", "RESHAPE", "SQUEEZE", "TRANSPOSE", "PAD", "PADV2", "CONCATENATION",
    "STRIDED_SLICE", "SLICE", "SPLIT", "MEAN", "SOFTMAX", "QUANTIZE_REALS", "DEQUANTIZE",
    "BATCH_MATMUL",
)]  # fmt: skip
SEEDS = 25
# The most of SEEDS models that LiteRT runs and the profile refuses, by name.
REFUSED = {"FULLY_CONNECTED": 5, "QUANTIZE": 10, "DEPTHWISE_CONV_2D": 2, "ADD": 3, "SUB": 3}
CASES = len(OPERATORS) * SEEDS + 6 * len(SWEEPS)


@pytest.fixture(scope="module")
def litert() -> Iterator[LiteRT]:
    if not available():
        pytest.skip(f"ai_edge_litert is missing: its share of {CASES} models is not compared")
    with LiteRT(kernels="default") as worker:
        yield worker


def read(model: Model) -> Graph:
    return read_tflite(model.to_bytes(), Path("model.tflite"))


def finite(case: Case) -> Case:
    """Return the case without the infinities that hwsim refuses to quantize."""
    feed = {
        name: np.where(np.isfinite(array), array, 0).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in case.feed.items()
    }
    return Case(case.model, feed)


def taken(graph: Graph) -> bool | None:
    """Return whether the first rule of the model's operator holds; None if it is for every node."""
    node = graph.nodes[0]
    rule = PROFILE.rules.get((node.op, 8))
    if rule is None or rule.condition is None:
        return None
    return rule.condition.holds(graph, node)


def against_the_specification(case: Case) -> bool:
    """Tell whether per-channel weights have zero points: LiteRT ignores them, XNNPACK looks."""
    return any(len(t.scale) > 1 and any(t.zero_point) for t in case.model.tensors)


def run(litert: LiteRT, case: Case) -> dict[str, np.ndarray] | None:
    """Return LiteRT's outputs, or None where it refuses the model or dies of it."""
    try:
        return litert.run(case.model.to_bytes(), [case.feed], repr(case))[0]
    except (LiteRTDied, LiteRTRefused):
        return None


def engine(case: Case) -> dict[str, np.ndarray]:
    graph = read(case.model)
    feed = {name: case.feed[name] for name in graph.input_names}
    return execute(graph, PROFILE, feed, keep_all=True)


def assert_same(case: Case, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> int:
    """Compare every output; return the elements."""
    compared = 0
    for name in case.model.operators[0].outputs:
        wrong = np.argwhere(ours[name].reshape(theirs[name].shape) != theirs[name])
        assert len(wrong) == 0, (
            f"{name} differs in {len(wrong)} of {theirs[name].size} elements, first at "
            f"{wrong[0]}, of {case}"
        )
        compared += theirs[name].size
    return compared


@pytest.mark.parametrize("operator", OPERATORS)
def test_engine_and_oracle_equal_litert(litert: LiteRT, operator: str) -> None:
    compared = refused = 0
    for seed in range(SEEDS):
        case = finite(generate(operator, seed))
        theirs = run(litert, case)
        if theirs is None or against_the_specification(case):
            continue
        delegated = "DELEGATE" in litert.operators(case.model.to_bytes())
        first = taken(read(case.model))
        assert first in (None, delegated), case
        # SOFTMAX's builtin kernel is not the reference one: its oracle stands with XNNPACK's.
        oracle = xnnpack if delegated or operator == "SOFTMAX" else builtin
        try:
            ours = engine(case)
        except GraphError as error:
            assert "profile xnnpack: " in str(error) and not delegated
            refused += 1
            continue
        compared += assert_same(case, ours, theirs)
        assert_same(case, oracle.run(case.model, case.feed), theirs)
    assert compared > 0
    assert refused <= REFUSED.get(operator, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("operator", ["LOGISTIC", "TANH", "HARD_SWISH"])
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
        theirs = run(litert, case)
        assert theirs is not None
        assert assert_same(case, engine(case), theirs) == 256


@pytest.mark.parametrize("approximate", [False, True])
def test_every_code_of_gelu(litert: LiteRT, approximate: bool) -> None:
    for scale, share in SWEEPS:
        x = Tensor("x", (1, 256), "int8", (scale,), (-128 + round(255 * share),))
        out = Tensor("out", (1, 256), "int8", (scale * 0.9,), (-100,))
        case = single("GELU", [x], [out], {"x": every_code("int8")}, approximate=approximate)
        theirs = run(litert, case)
        assert theirs is not None
        assert assert_same(case, engine(case), theirs) == 256


def near(logits: float, dtype: str, scale: float, beta: float, classes: int) -> Case:
    """Return a softmax of normally distributed codes."""
    rng = np.random.default_rng(round(logits * 1000) + classes)
    lowest = RANGES[dtype][0]
    codes = np.clip(np.rint(rng.normal(lowest + 128, logits, (5, classes))), *RANGES[dtype])
    x = Tensor("x", (5, classes), dtype, (scale,), (lowest + 128,))
    out = Tensor("out", (5, classes), dtype, (1 / 256,), (lowest,))
    return single("SOFTMAX", [x], [out], {"x": codes.astype(dtype)}, beta=beta)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_softmax_of_many_classes(litert: LiteRT, dtype: str) -> None:
    """Rows that the reference kernels die of: 4,000 classes, flat."""
    for classes in (2, 12, 511, 1000, 4000):
        for scale, beta in ((0.001, 1.0), (0.03, 0.7), (0.2, 2.5)):
            case = near(3 + 9 * scale, dtype, f32(scale), beta, classes)
            theirs = run(litert, case)
            assert theirs is not None
            assert_same(case, xnnpack.run(case.model, case.feed), theirs)
            assert assert_same(case, engine(case), theirs) == 5 * classes


def addition(scale: float, zero_point: int, activation: str) -> Case:
    """Return code + 0 with a fused activation."""
    a = Tensor("a", (1, 256), "int8", (scale,), (0,))
    b = Tensor("b", (1, 1), "int8", (scale,), (0,), data=np.zeros((1, 1), np.int8))
    out = Tensor("out", (1, 256), "int8", (scale,), (zero_point,))
    feed = {"a": every_code("int8")}
    return single("ADD", [a, b], [out], feed, fusedActivationFunction=activation)


@pytest.mark.parametrize("activation", ["RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("zero_point", [0, 1, -1, 6, -128])
def test_bounds_of_activations_at_ties(litert: LiteRT, activation: str, zero_point: int) -> None:
    """6 / 4 and 1 / 2 codes: the zero point decides which code is even."""
    for scale in (4.0, 2.0, 12.0, 0.8):
        case = addition(scale, zero_point, activation)
        theirs = run(litert, case)
        assert theirs is not None
        assert_same(case, xnnpack.run(case.model, case.feed), theirs)
        assert_same(case, engine(case), theirs)


def unary(operator: str, ratio: float, **options: float) -> Case:
    x = Tensor("x", (1, 256), "int8", (0.5,), (3,))
    out = Tensor("out", (1, 256), "int8", (0.5 / ratio,), (-5,))
    return single(operator, [x], [out], {"x": every_code("int8")}, **options)


def binary(operator: str, a: float, b: float, out: float) -> Case:
    tensors = [Tensor(n, (1, 256), "int8", (s,), (1,)) for n, s in (("a", a), ("b", b))]
    feed = {"a": every_code("int8"), "b": every_code("int8")[:, ::-1].copy()}
    return single(operator, tensors, [Tensor("out", (1, 256), "int8", (out,), (0,))], feed)


def around(exact: float) -> Sequence[float]:
    """Return the float32 below, the number, and the float32 above."""
    middle = np.float32(exact)
    ends = np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))
    return [float(ends[0]), float(middle), float(ends[1])]


LIMITS = [
    *(unary("QUANTIZE", ratio) for end in (2**-8, 128) for ratio in around(end)),
    *(unary("LEAKY_RELU", ratio, alpha=0.5) for end in (2**-7, 128) for ratio in around(end)),
    *(unary("LEAKY_RELU", 64.0, alpha=a) for e in (2.0, -2.0, 2**-14) for a in around(e)),
    *(unary("LEAKY_RELU", 1.0, alpha=alpha) for alpha in (0.0, 1e-40, -0.3)),
    *(binary("ADD", s, 1.0, 1.0) for end in (2**-10, 256) for s in around(end)),
    *(binary("SUB", 1.0, s, 1.0) for end in (2**-10, 256) for s in around(end)),
    *(binary("MUL", s, 1.0, 1.0) for end in (2**-16, 256) for s in around(end)),
]


@pytest.mark.parametrize("case", LIMITS, ids=repr)
def test_what_xnnpack_leaves_is_known_to_the_last_bit(litert: LiteRT, case: Case) -> None:
    theirs = run(litert, case)
    assert theirs is not None
    delegated = "DELEGATE" in litert.operators(case.model.to_bytes())
    assert taken(read(case.model)) == delegated
    try:
        ours = engine(case)
    except GraphError as error:
        assert not delegated and "profile xnnpack: s_" in str(error)
        return
    assert_same(case, ours, theirs)


def test_matmul_by_an_operand_with_a_zero_point_is_left(litert: LiteRT) -> None:
    seen = set()
    for seed in range(40):
        case = generate("BATCH_MATMUL", seed)
        tensors = tuple(
            replace(t, zero_point=(0 if seed % 2 else 7,)) if t.name == "rhs" else t
            for t in case.model.tensors
        )
        model = Model(tensors, case.model.operators, case.model.inputs, case.model.outputs)
        changed = Case(model, case.feed)
        theirs = run(litert, changed)
        assert theirs is not None
        delegated = "DELEGATE" in litert.operators(model.to_bytes())
        assert delegated == bool(seed % 2) == taken(read(model))
        seen.add(delegated)
        assert_same(changed, engine(changed), theirs)
    assert seen == {False, True}


def test_exponentials_are_added_in_element_order() -> None:
    """Behind a sum of 1, 2**-25 is lost; before it, eight of them are a quarter of a millionth."""
    table = np.full(256, np.float32(2.0**-25))
    table[0], table[1] = np.float32(1 - 1.5 / 256), np.float32(1.5 / 256)
    tiny = [-128] * 8
    rows = np.array([[10, 9, *tiny], [*tiny, 10, 9]], np.int8)
    made = np.empty(rows.shape, np.int8)
    softmax_rows_by_table(rows, table, 1 / 256, -128, -128, 127, made)
    assert (int(made[0, 1]), int(made[1, 9])) == (2 - 128, 1 - 128)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (generate("FULLY_CONNECTED", 11), r"s_x \* s_w / s_out must be below 256 and"),
        (generate("QUANTIZE", 4), r"s_in / s_out must be at least 1/2, or at least 2\*\*-8 for"),
        (binary("ADD", 256.0, 1.0, 1.0), r"s_in / s_out must be in \[2\*\*-10, 256\)$"),
        (binary("MUL", 256.0, 1.0, 1.0), r"s_a \* s_b / s_out must be in \[2\*\*-16, 256\)$"),
    ],
)
def test_what_nobody_reproduces_is_refused_by_name(case: Case, sentence: str) -> None:
    with pytest.raises(GraphError, match=f"^node 'o.*' .*: profile xnnpack: {sentence}"):
        engine(case)


def test_every_operator_of_the_profile_is_compared() -> None:
    names = {"GELU", *OPERATORS, "MATMUL"}
    assert {op.name for op, _ in PROFILE.rules} <= names
