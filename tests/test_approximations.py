"""Exponentials, GELUs, norms and roots against their oracles, and what is said of their limits."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.approximations import TEN_STEP_LIMIT, approximations, notes
from hwsim.attributes import FullyConnectedAttrs, GeluAttrs, NormAttrs, SoftmaxAttrs
from hwsim.errors import GraphError, QuantizationError
from hwsim.exponentials import (
    clipped_lines,
    exponential_lines,
    shift_exponential,
    softmax_exponential,
)
from hwsim.gelu import Parabola
from hwsim.graph import Graph, Node, Value
from hwsim.kernels.arith import scale_wide
from hwsim.kernels.gelu import gelu_by_polynomial, gelu_by_shifts
from hwsim.kernels.norm import integer_sqrt, layer_norm_by_reciprocal, ten_step_sqrt
from hwsim.kernels.plan import execute
from hwsim.kernels.scaling import exact_scaling, fixed_scaling
from hwsim.norm import overflow_shift
from hwsim.ops import Op
from hwsim.profile import Method, NumericProfile, OperatorRule, Requant
from hwsim.profiles import PROFILES
from hwsim.quant import INT32, IntType, QuantParams, Rounding
from hwsim.quantizer import quantize
from tests.float_graphs import Maker
from tests.oracle import ibert, ivit, pwl, transformers
from tests.oracle.hawq import Evaluation

NONE = Requant.NONE
SCALES = (0.3, 0.1, 0.0625, 0.05, 0.01, 1e-3)
PWL = [(segments, equal) for segments in (1, 2, 4, 8, 16) for equal in (False, True)]


# Exponentials


@pytest.mark.parametrize("scale", [*SCALES, 5e-5])
def test_ibert_exponential_is_the_oracle_on_every_difference(scale: float) -> None:
    made = softmax_exponential(OperatorRule(NONE, Method.IBERT), scale, 255)
    assert made.codes.tolist() == [ibert.exp_16(x, scale) for x in range(-255, 1)]
    assert made.bits == ibert.i_exp(0, scale).bit_length()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", [15, 23])
def test_shift_exponential_is_the_oracle_on_both_sides_of_0(scale: float, shift: int) -> None:
    made = (
        shift_exponential(scale, -255, 40, shift)
        if scale > 0.2
        else shift_exponential(scale, -255, 128, shift)
    )
    last = made.first + len(made.codes)
    assert made.codes.tolist() == [ivit.shift_exp(x, scale, shift) for x in range(-255, last)]


@pytest.mark.parametrize(("segments", "equal"), PWL)
@pytest.mark.parametrize("scale", SCALES)
def test_lines_are_the_oracle_on_every_difference(segments: int, equal: bool, scale: float) -> None:
    rule = OperatorRule(NONE, Method.PIECEWISE, segments=segments, equal_segments=equal)
    table = pwl.integers(pwl.lines(segments, uniform=equal), scale, 15, 8)
    found = [(c.first, c.slope, c.height, c.low, c.high) for c in clipped_lines(rule, scale)]
    assert found == table
    made = softmax_exponential(rule, scale, 255)
    assert made.codes.tolist() == [pwl.clip_exp(x, table, 8) for x in range(-255, 1)]
    assert (np.diff(made.codes) >= 0).all()
    _, error = exponential_lines(segments, equal)
    # numerics.md, 4.3: rounding of the code, and of slope and height over the widest argument
    assert made.errors.max() <= error + 2.0**-16 + 256 * 2.0**-24


def test_line_errors_are_those_of_the_reference() -> None:
    """Figures of numerics.md, 4.3: a tail of 0 for one line, a tail of E for several."""
    assert exponential_lines(1, False)[1] == pytest.approx(0.1135, abs=1e-4)
    (line,), _ = exponential_lines(1, False)
    assert (line.slope, line.height) == pytest.approx((0.40770, 0.88700), abs=6e-4)
    for segments, error in ((2, 3.44e-2), (4, 1.14e-2), (8, 3.31e-3), (16, 8.98e-4)):
        assert pwl.optimal_error(segments, tail=2) == pytest.approx(error, rel=5e-3)
        assert error < exponential_lines(segments, False)[1] < 2 * error


def test_published_coefficients_come_out() -> None:
    """The example of numerics.md, 4.3: four lines at 1/16, F = 15, n = 8."""
    error = pwl.optimal_error(4, tail=2)
    ends = pwl.breakpoints(error, 4)
    lines = []
    for q, p in zip(ends, ends[1:], strict=False):
        (slope, height), _ = pwl.minimax_line(p, q)
        lines.append((p, slope, height))
    rows = pwl.integers(lines, 1 / 16, 15, 8)
    assert [(first, a, b) for first, a, b, _, _ in rows] == [
        (-7, 416587, 8293340), (-17, 240874, 6946757), (-32, 112798, 4672953),
        (-60, 32371, 2055518),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "scale", "sentence"),
    [
        (OperatorRule(NONE, Method.IBERT), 2.0,
         "exponential of 0 by ibert must be a positive integer, not 0; the input's scale 2 is too "
         "coarse for it"),
        (OperatorRule(NONE, Method.IBERT), 1e-5,
         "exponential by ibert must fit 63 bits, not 65; the input's scale 1e-05 is too fine "
         "for it"),
    ],
)  # fmt: skip
def test_exponentials_without_an_integer_form_are_refused(
    rule: OperatorRule, scale: float, sentence: str
) -> None:
    with pytest.raises(GraphError, match=f"^{re.escape(sentence)}$"):
        softmax_exponential(rule, scale, 255)


# Softmax


ROWS = {
    Method.IBERT: transformers.Ibert,
    Method.IVIT: transformers.Ivit,
    Method.PIECEWISE: transformers.Piecewise,
    Method.EXP_TABLE: transformers.ExpTable,
    Method.GEMMLOWP: Evaluation,
}


def softmax_graph(
    shape: tuple[int, ...], bits: int, scale: float, method: Method, *, causal: bool
) -> Graph:
    """Return the integer graph of one softmax of 8-bit probabilities."""
    signed = method is Method.IVIT
    out = QuantParams.per_tensor(2.0 ** -(7 if signed else 8))
    values = [
        Value("x", shape, IntType(bits), QuantParams.per_tensor(scale)),
        Value("y", shape, IntType(8, signed), out),
    ]
    node = Node("y", Op.SOFTMAX, ("x",), ("y",), SoftmaxAttrs(1.0, causal))
    return Graph("one", {v.name: v for v in values}, (node,), ("x",), ("y",))


def profile_of(op: Op, rule: OperatorRule) -> NumericProfile:
    return NumericProfile("one", "test", {(op, 8): rule, (op, 16): rule}, Rounding.HALF_EVEN)


@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("bits", "scale"), [(8, 0.05), (8, 0.01), (4, 0.3), (16, 2e-4)])
def test_softmax_equals_its_oracle(method: Method, causal: bool, bits: int, scale: float) -> None:
    rng = np.random.default_rng(bits)
    shape = (2, 5, 7)
    graph = softmax_graph(shape, bits, scale, method, causal=causal)
    dtype = IntType(bits)
    rule = OperatorRule(NONE, method)
    for spread in (1.0, 0.1, 0.0):
        reals = rng.normal(0, spread * dtype.max, shape)
        x = np.clip(reals, dtype.min, dtype.max).astype(dtype.storage)
        x[0, 0, 0], x[0, 1, 1] = dtype.min, dtype.max
        made = execute(graph, profile_of(Op.SOFTMAX, rule), {"x": x})["y"]
        (expected,) = ROWS[method](graph, graph.nodes[0], {"x": x}).results()
        assert np.array_equal(made, expected)
        if causal:
            hidden = ~np.tri(5, 7, 2, dtype=bool)
            assert not made[:, hidden].any()
            assert made[:, ~hidden].any()


@pytest.mark.parametrize("method", ROWS)
def test_what_is_hidden_cannot_change_a_causal_row(method: Method) -> None:
    rng = np.random.default_rng(0)
    graph = softmax_graph((1, 6, 6), 8, 0.05, method, causal=True)
    profile = profile_of(Op.SOFTMAX, OperatorRule(NONE, method))
    x = rng.integers(-128, 128, (1, 6, 6), np.int8)
    other = np.where(np.tri(6, 6, dtype=bool), x, rng.integers(-128, 128, x.shape)).astype(np.int8)
    assert not np.array_equal(x, other)
    one, two = (execute(graph, profile, {"x": array})["y"] for array in (x, other))
    assert np.array_equal(one, two)


# Wide accumulators


WIDE = st.integers(-(2**61), 2**61) | st.sampled_from([0, 1, -1, 2**61, -(2**61), 2**31, -(2**31)])


@settings(max_examples=1000, deadline=None)
@given(acc=WIDE, ratio=st.floats(1e-18, 0.999) | st.sampled_from([2.0**-k for k in range(1, 60)]))
@example(acc=3, ratio=0.5)
@example(acc=-3, ratio=0.5)
@example(acc=5, ratio=0.5)
@example(acc=(1 << 40) + (1 << 39), ratio=2.0**-40)
@example(acc=-(1 << 40) - (1 << 39), ratio=2.0**-40)
def test_wide_products_are_exact(acc: int, ratio: float) -> None:
    for sign in (1, -1):
        scaling = exact_scaling([sign * ratio], 0, -(1 << 62), 1 << 62)
        assert int(scale_wide(np.int64(acc), scaling, 0)) == ibert.dyadic(acc, sign * ratio)


# GELU


def test_i_gelu_equals_its_oracle() -> None:
    rng = np.random.default_rng(0)
    scales = [2e-2, 1e-2, 1e-3, 1e-4, 1.7e-5]
    x = np.stack([rng.normal(0, 3, 3000) / scale for scale in scales], axis=1).astype(np.int32)
    x[:3] = [[0] * 5, [1] * 5, [-1] * 5]
    for c, scale in enumerate(scales):  # around the knee
        knee = Parabola.at(scale).knee
        x[3:9, c] = [knee - 1, knee, knee + 1, -knee, 1 - knee, -knee - 1]
    parts = [Parabola.at(scale) for scale in scales]
    scaling = exact_scaling([p.unit / 0.05 for p in parts], 3, -128, 127)
    columns = [
        np.array([getattr(p, n) for p in parts], np.int64) for n in ("knee", "height", "one")
    ]
    made = np.empty(x.shape, np.int8)
    gelu_by_polynomial(x, np.int64(0), *columns, scaling, made)
    for c, scale in enumerate(scales):
        ratio = ibert.gelu_unit(scale) / 0.05
        for code, found in zip(x[:, c].tolist(), made[:, c].tolist(), strict=True):
            exact = ibert.dyadic(ibert.i_gelu(code, scale), ratio)
            assert found == min(max(exact + 3, -128), 127)


@pytest.mark.parametrize(
    ("scale", "error"),
    [(0.1, 136), (0.05, 29), (0.01, 1.1), (0.005, 0.18), (0.002, 0.032), (1e-3, 0.0218)],
)
def test_i_gelu_is_as_wrong_as_measured(scale: float, error: float) -> None:
    """numerics.md, 4.1: x in [-6, 6]."""
    parabola = Parabola.at(scale)
    worst = max(
        abs(
            parabola.apply(x) * parabola.unit - 0.5 * x * scale * (1 + math.erf(x * scale / 2**0.5))
        )
        for x in range(-round(6 / scale), round(6 / scale) + 1)
    )
    assert worst == pytest.approx(error, rel=0.03)


@pytest.mark.parametrize("scale", [0.0625, 0.05, 0.02, 0.01])
def test_shift_gelu_equals_its_oracle_on_every_code_and_maximum(scale: float) -> None:
    pairs = [(x, largest) for largest in range(-128, 128) for x in range(-128, largest + 1, 3)]
    rows = np.array(pairs, np.int8)
    made_of = shift_exponential(scale * 1.702, -255, 128, 23)
    ratio = scale * 2.0**-7 / 0.03
    scaling = fixed_scaling(OperatorRule(Requant.HALF_EVEN), [ratio], -5, -128, 127)
    made = np.empty(rows.shape, np.int8)
    gelu_by_shifts(rows, np.int64(0), made_of.codes, -255, 2**31 - 1, 24, scaling, made)
    for row, found in zip(pairs, made.tolist(), strict=True):
        exact = [ibert.dyadic(value, ratio) - 5 for value in ivit.gelu(row, scale)]
        assert found == [min(max(code, -128), 127) for code in exact]


# Roots and norms


def test_integer_sqrt_is_exact_within_seven_divisions() -> None:
    """All of 16 bits; k**2 - 1, k**2 and k**2 + 1 up to 62 bits."""
    rng = np.random.default_rng(0)
    roots = {*range(1, 300), *rng.integers(1, 2**31, 20_000).tolist()}
    roots |= {2**k + d for k in range(2, 31) for d in (-1, 0, 1)}
    values = {*range(1 << 16), *(k * k + d for k in roots for d in (-1, 0, 1))}
    values.add(2**62 - 1)
    for value in values:
        exact, steps = ibert.integer_sqrt(value)
        assert exact == math.isqrt(value) == int(integer_sqrt(np.int64(value)))
        assert steps <= 7


def test_ten_steps_converge_from_the_stated_limit_on() -> None:
    """Within 1 % of floor(sqrt) from 34,596 on, and not at 34,595; to 2**44, 4096 16-bit codes."""

    def off(value: int) -> float:
        found = int(ten_step_sqrt(np.int64(value)))
        assert found == ivit.integer_sqrt(value)
        return abs(found / math.isqrt(value) - 1)

    assert [int(ten_step_sqrt(np.int64(v))) for v in (0, 1, 100, 10_000)] == [64, 64, 64, 108]
    assert off(TEN_STEP_LIMIT - 1) > 0.01
    assert max(off(value) for value in range(TEN_STEP_LIMIT, 1 << 17)) <= 0.01
    rng = np.random.default_rng(0)
    roots = [2**k + d for k in range(8, 22) for d in (-1, 0, 1)]
    roots += (2 ** rng.uniform(8, 22, 5000)).astype(int).tolist()
    values = [k * k + d for k in roots for d in (-1, 0, 1) if k * k + d >= TEN_STEP_LIMIT]
    assert max(off(value) for value in [*values, 1 << 44]) <= 0.01


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ten_steps", [False, True])
def test_reciprocal_norms_equal_their_oracle(bits: int, ten_steps: bool) -> None:
    rng = np.random.default_rng(bits)
    dtype, channels = IntType(bits), 24
    rows = np.concatenate([
        rng.integers(dtype.min, dtype.max, (60, channels), endpoint=True),
        rng.integers(-3, 4, (20, channels)),  # hardly any deviation
        rng.choice([dtype.min, dtype.max], (20, channels)),  # the largest
        np.full((1, channels), dtype.max),
    ]).astype(dtype.storage)  # fmt: skip
    signs = rng.choice([-1, 1], channels)
    beta = rng.integers(-(2**36), 2**36, channels)
    ratios = (2.0 ** rng.uniform(-30, -22, channels)).tolist()
    shift = 0 if ten_steps else overflow_shift(channels, dtype.max - dtype.min)
    assert ten_steps or shift == ibert.norm_shift(channels, dtype.min, dtype.max)
    made = np.empty(rows.shape, np.int16)
    layer_norm_by_reciprocal(
        rows, signs, beta, ten_steps, 2**31 - 1 if ten_steps else 2**31, shift,
        exact_scaling(ratios, 0, -(2**15), 2**15 - 1), made,
    )  # fmt: skip
    for row, found in zip(rows.tolist(), made.tolist(), strict=True):
        normalized = ivit.normalize(row) if ten_steps else ibert.normalize(row, shift)
        for c, code in enumerate(normalized):
            exact = ibert.dyadic(code * int(signs[c]) + int(beta[c]), ratios[c])
            assert found[c] == min(max(exact, -(2**15)), 2**15 - 1)


def test_means_of_reciprocal_norms_round_ties_to_even() -> None:
    rows = [[0, 1], [1, 2], [-1, 0], [-2, -1], [3, 4]]
    assert [ibert.mean(row) for row in rows] == [0, 2, 0, -2, 4]
    made = np.empty((5, 2), np.int16)
    ones, zeros = np.ones(2, np.int64), np.zeros(2, np.int64)
    scaling = exact_scaling([2.0**-20] * 2, 0, -(2**15), 2**15 - 1)
    layer_norm_by_reciprocal(np.array(rows, np.int8), ones, zeros, False, 2**31, 0, scaling, made)
    expected = [[round(Fraction(v, 2**20)) for v in ibert.normalize(row, 0)] for row in rows]
    assert made.tolist() == expected


# What is said


def gelu_of(bits: int, scale: float) -> Graph:
    values = [
        Value("x", (1, 4), IntType(bits), QuantParams.per_tensor(scale)),
        Value("y", (1, 4), IntType(8), QuantParams.per_tensor(0.05)),
    ]
    node = Node("y", Op.GELU, ("x",), ("y",), GeluAttrs())
    return Graph("one", {v.name: v for v in values}, (node,), ("x",), ("y",))


def test_a_coarse_i_gelu_is_said_to_be_wrong() -> None:
    (found,) = notes(gelu_of(8, 0.05), PROFILES["ibert"])
    assert found == (
        "node 'y' (gelu, ibert): i-GELU is wrong by up to 31 at input scale 0.05, which its "
        "14-bit shift is too coarse for; let it read a 32-bit sum"
    )


def test_a_fine_i_gelu_is_right() -> None:
    (form,) = approximations(gelu_of(16, 2e-4), PROFILES["ibert"])
    assert (form.bits, form.samples, form.warnings) == (31, 2**16 + 1, ())
    assert form.max_error == pytest.approx(0.0182, abs=2e-4)


@pytest.mark.parametrize(("scale", "bits"), [(0.1, 39), (0.05, 41), (0.01, 45), (1e-3, 52)])
def test_i_exp_is_said_to_need_more_than_32_bits(scale: float, bits: int) -> None:
    """floor(log2) + 1 of floor(2.7921 / scale**2) * 2**30: 8.1, 10.1, 14.8, 21.4 + 30."""
    graph = softmax_graph((1, 2, 4), 8, scale, Method.IBERT, causal=False)
    (form,) = approximations(graph, PROFILES["ibert"])
    assert form.bits == bits
    assert form.warnings[0] == f"its integers need {bits} bits, not 32"


def test_the_ten_step_root_is_said_not_to_converge() -> None:
    m = Maker(0)
    graph = m.done(m.norm(m.input(1, 4, 48)))
    feed = {"x": m.rng.normal(0, 1, (8, 4, 48)).astype(np.float32)}
    made = quantize(graph, hwsim.calibrate(graph, feed), 8, profile="ivit")
    assert (
        "node 'layer_norm0' (layer_norm, ivit): its ten-step square root has not converged below "
        "34,596: rows that deviate by less than 26.8 codes (root mean square) come out too small"
    ) in notes(made, PROFILES["ivit"])


def test_a_gamma_of_0_is_refused_where_beta_is_divided_by_it() -> None:
    m = Maker(0)
    inputs = [m.input(1, 3), m.constant([1.0, 0.0, 1.0]), m.constant([0.0, 1.0, 0.0])]
    graph = m.done(m.node(Op.LAYER_NORM, inputs, NormAttrs(1e-5), "norm"))
    ranges = hwsim.calibrate(graph, {"x": np.ones((1, 3), np.float32)})
    with pytest.raises(QuantizationError, match="gamma must not be 0 in any channel under"):
        quantize(graph, ranges, 8, profile="ibert")


def test_a_graph_of_another_profile_is_refused_in_words() -> None:
    m = Maker(0)
    graph = m.done(m.norm(m.input(1, 4)))
    ranges = hwsim.calibrate(graph, {"x": np.ones((1, 4), np.float32)})
    with pytest.raises(GraphError, match="quantize for this profile"):
        hwsim.run(quantize(graph, ranges), np.ones((1, 4), np.float32), profile="ibert")


def test_i_gelu_reads_the_sum_itself() -> None:
    m = Maker(0)
    y = m.dense(m.input(1, 8), 6, name="sum")
    graph = m.done(m.node(Op.GELU, [y], GeluAttrs(), "gelu"))
    feed = {"x": m.rng.normal(0, 1, (16, 8)).astype(np.float32)}
    made = quantize(graph, hwsim.calibrate(graph, feed), 8, profile="ibert")
    assert made.values["sum"].dtype == INT32
    assert isinstance(made.nodes[0].attrs, FullyConnectedAttrs)
    other: Any = quantize(graph, hwsim.calibrate(graph, feed), 8, profile="ivit")
    assert other.values["sum"].dtype == IntType(8)
