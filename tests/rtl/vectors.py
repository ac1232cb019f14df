"""Input vectors and expected words of the Verilog units, from kernels, oracles and formulas.

Kernels serve where 10**6 vectors are too many for an oracle; each is compared with its oracle on a
part of the very same vectors.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numba
import numpy as np

from hwsim.kernels.arith import Scaling, requantize_row
from hwsim.kernels.jit import jit
from hwsim.kernels.norm import integer_sqrt, layer_norm_rows
from hwsim.kernels.softmax import INTEGER_BITS, exp_on_negative, reciprocal, softmax_rows
from hwsim.profile import Requant
from tests.oracle import ibert, ivit, pwl
from tests.oracle import softmax as gemmlowp
from tests.oracle.arith import quantize_multiplier, sat32, srdhm, truncated_division
from tests.rtl.simulators import Pin, Unit

# Interpreted kernels would need minutes for as many.
COUNT = 20_000 if numba.config.DISABLE_JIT else 1_000_000
PART = 5_000

Vectors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Proof:
    """A unit, what it is fed, and what must come out where `checked`."""

    unit: Unit
    vectors: Vectors
    expected: np.ndarray
    checked: np.ndarray | None = None

    def wrong(self, made: np.ndarray) -> int:
        """Return how many words differ."""
        if self.checked is None:
            return int((made != self.expected).sum())
        return int((made[self.checked] != self.expected).sum())

    @property
    def words(self) -> int:
        return int(self.expected.size)


@dataclass(frozen=True)
class Mutant:
    """A unit known to differ: what a model of it says, and the proof that it must fail."""

    unit: Unit
    victim: Proof
    model: np.ndarray


def _mixed(rng: np.random.Generator, count: int, bits: int) -> np.ndarray:
    """Return signed integers of all magnitudes, the extremes, 0 and -1 first."""
    top = rng.integers(0, bits - 1, count)
    values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), count) >> (bits - 2 - top)
    values[:5] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1, 1]
    return values


# ---- requantize ----


def requantize_vectors(acc_bits: int, fraction: int, seed: int) -> dict[str, np.ndarray]:
    """Return accumulators and multipliers: a third ties, most codes inside the clamp."""
    rng = np.random.default_rng(seed)
    acc = _mixed(rng, COUNT, acc_bits)
    low = 1 << (fraction - 1)
    multiplier = rng.integers(low, 2 * low, COUNT)
    multiplier[rng.random(COUNT) < 0.05] = 2 * low - 1
    multiplier[rng.random(COUNT) < 0.02] = 0
    multiplier = np.where(rng.random(COUNT) < 0.1, -multiplier, multiplier)
    size = np.array([int(a).bit_length() for a in np.abs(acc).tolist()])
    # Scaled magnitudes from 0 to 2**10: half of them inside the clamp.
    left, right = (-30, 31) if fraction == 31 else (-7, 31)
    shift = np.clip(size - rng.integers(-1, 11, COUNT), left, right)
    anywhere = rng.random(COUNT) < 0.05
    shift = np.where(anywhere, rng.integers(left, right + 1, COUNT), shift)
    ties = np.flatnonzero(rng.random(COUNT) < 1 / 3)
    odd = rng.integers(-300, 300, ties.size) * 2 + 1
    places = rng.integers(0, 20, ties.size)
    acc[ties], multiplier[ties], shift[ties] = odd << places, low, places
    return {"acc": acc, "multiplier": multiplier, "right_shift": shift}


def requantize_unit(name: str, rule: Requant, **widths: int) -> Unit:
    acc, multiplier = widths.get("ACC_BITS", 32), widths.get("MULTIPLIER_BITS", 32)
    code, signed = widths.get("CODE_BITS", 8), bool(widths.get("CODE_SIGNED", 1))
    settings = "".join(f", .{key}({value})" for key, value in widths.items())
    pins = [Pin("acc", acc), Pin("multiplier", multiplier), Pin("right_shift", 6)]
    pins += [Pin(end, code, signed) for end in ("zero_point", "qmin", "qmax")]
    return Unit(
        name, f"requantize #(.RULE({int(rule)}){settings})", tuple(pins),
        Pin("code", code, signed), ties=".clk(1'b0)",
    )  # fmt: skip


def requantize_proof(unit: Unit, rule: Requant, fraction: int, base: Vectors) -> Proof:
    """Return vectors in eight blocks of different zero points and clamps."""
    code = unit.output
    low, high = (
        (-(2 ** (code.bits - 1)), 2 ** (code.bits - 1) - 1)
        if code.signed
        else (0, 2**code.bits - 1)
    )
    middle = (low + high + 1) // 2
    settings = [
        (middle, low, high), (low, low, high), (high, low, high), (middle + 3, middle + 3, high),
        (middle - 7, low + 1, high), (middle, middle - 5, middle + 90), (low + 9, low, high - 2),
        (middle, low, high),
    ]  # fmt: skip
    edges = np.linspace(0, base["acc"].size, len(settings) + 1).astype(int)
    ends = np.empty((3, base["acc"].size), np.int64)
    expected = np.empty(base["acc"].size, np.int64)
    for (zero, qmin, qmax), start, stop in zip(settings, edges, edges[1:], strict=False):
        part = slice(start, stop)
        ends[:, part] = np.array([[zero], [qmin], [qmax]])
        factors = (base["multiplier"][part].copy(), base["right_shift"][part].copy())
        real = np.zeros(stop - start)
        scaling = Scaling(int(rule), fraction, *factors, real, zero, qmin, qmax)
        requantize_row(base["acc"][part].copy(), scaling, expected[part])
    names = ("zero_point", "qmin", "qmax")
    return Proof(unit, {**base, **dict(zip(names, ends, strict=True))}, expected)


FIXED = tuple(rule for rule in Requant if rule.is_fixed)


def requantize_proofs() -> list[Proof]:
    """Return every fixed rule on the same vectors; then unsigned codes; then int16's form."""
    base = requantize_vectors(32, 31, 1)
    proofs = [
        requantize_proof(requantize_unit(f"rq{int(rule)}", rule), rule, 31, base) for rule in FIXED
    ]
    double = Requant.DOUBLE_ROUNDING
    unsigned = requantize_unit("rqunsigned", double, CODE_SIGNED=0)
    proofs.append(requantize_proof(unsigned, double, 31, base))
    wide = {"ACC_BITS": 48, "MULTIPLIER_BITS": 16, "CODE_BITS": 16}
    for rule in (Requant.HALF_UP, Requant.HALF_EVEN):
        unit = requantize_unit(f"rqwide{int(rule)}", rule, **wide)
        proofs.append(requantize_proof(unit, rule, 15, requantize_vectors(48, 15, 2)))
    return proofs


# ---- MAC ----


def _mac_unit(name: str, x_signed: bool, w_bits: int, w_signed: bool) -> Unit:
    module = f"mac #(.X_SIGNED({int(x_signed)}), .W_BITS({w_bits}), .W_SIGNED({int(w_signed)}))"
    pins = (
        Pin("clear", 1, False), Pin("bias", 32), Pin("x", 8, x_signed), Pin("zero", 8, x_signed),
        Pin("w", w_bits, w_signed),
    )  # fmt: skip
    return Unit(name, module, pins, Pin("acc", 32), clocked=True)


def _accumulated(vectors: Vectors) -> np.ndarray:
    """Return the sum after each clock, by a running total less what was before the last clear."""
    product = (vectors["x"] - vectors["zero"]) * vectors["w"]
    total = np.cumsum(product)
    last = np.maximum.accumulate(np.where(vectors["clear"] == 1, np.arange(COUNT), 0))
    before = total[last] - product[last]
    exact = total - before + vectors["bias"][last]
    return (exact + 2**31) % 2**32 - 2**31


def mac_proofs() -> tuple[list[Proof], list[Mutant]]:
    proofs = []
    rng = np.random.default_rng(3)
    for name, x_signed, w_bits, w_signed in (
        ("macss", True, 8, True), ("macus", False, 8, True), ("macuu", False, 8, False),
        ("macs4", True, 4, True),
    ):  # fmt: skip
        x = (-128, 128) if x_signed else (0, 256)
        w = (-(2 ** (w_bits - 1)), 2 ** (w_bits - 1)) if w_signed else (0, 2**w_bits)
        clear = (rng.random(COUNT) < 1 / 64).astype(np.int64)
        clear[0] = 1
        vectors = {
            "clear": clear,
            "bias": _mixed(rng, COUNT, 32),
            "x": rng.integers(*x, COUNT),
            "zero": rng.integers(*x, COUNT),
            "w": rng.integers(*w, COUNT),
        }
        vectors["x"][:4], vectors["zero"][:4] = x[0], x[1] - 1
        vectors["w"][:4] = w[0]
        unit = _mac_unit(name, x_signed, w_bits, w_signed)
        proofs.append(Proof(unit, vectors, _accumulated(vectors)))
    victim = proofs[0]
    unsigned = {**victim.vectors, "w": victim.vectors["w"] % 256}
    mutant = Mutant(_mac_unit("macbad", True, 8, False), victim, _accumulated(unsigned))
    return proofs, [mutant]


# ---- gemmlowp ----


@jit
def _each_exp(a: np.ndarray, out: np.ndarray) -> None:
    for i in range(a.size):
        out[i] = exp_on_negative(a[i], INTEGER_BITS)


@jit
def _each_reciprocal(a: np.ndarray, out: np.ndarray) -> None:
    for i in range(a.size):
        out[i] = reciprocal(a[i])


@jit
def _each_root(a: np.ndarray, out: np.ndarray) -> None:
    for i in range(a.size):
        out[i] = integer_sqrt(a[i])


def _all(function: Callable[[np.ndarray, np.ndarray], None], a: np.ndarray) -> np.ndarray:
    out = np.empty(a.size, np.int64)
    function(a, out)
    return out


def _one_over(a: int, steps: int) -> int:
    """The oracle's reciprocal with another number of Newton steps."""
    total = a + 2**31 - 1
    half = truncated_division(total + (1 if total >= 0 else -1), 2)
    x = 1515870810 + srdhm(half, -1010580540)
    for _ in range(steps):
        x += sat32(srdhm(x, 2**29 - srdhm(half, x)) << 2)
    return sat32(x << 1)


def gemmlowp_proofs() -> tuple[list[Proof], list[Mutant]]:
    rng = np.random.default_rng(4)
    a = -np.abs(_mixed(rng, COUNT, 32))
    a[:4] = [0, -1, -(2**31), -(2**24)]
    exp_unit = Unit("expneg", "exp_on_negative", (Pin("a", 32),), Pin("y", 32))
    exps = Proof(exp_unit, {"a": a}, _all(_each_exp, a))
    assert exps.expected[:PART].tolist() == list(map(gemmlowp.exp_on_negative, a[:PART].tolist()))

    unit = rng.integers(0, 2**31, COUNT)
    unit[:3] = [0, 1, 2**31 - 1]
    unit = unit if COUNT > PART else unit[:COUNT]
    recip_unit = Unit("recip", "reciprocal", (Pin("a", 32),), Pin("y", 32))
    recips = Proof(recip_unit, {"a": unit}, _all(_each_reciprocal, unit))
    expected = list(map(gemmlowp.one_over_one_plus, unit[:PART].tolist()))
    assert recips.expected[:PART].tolist() == expected
    assert expected == [_one_over(v, 3) for v in unit[:PART].tolist()]

    third = gemmlowp.ONE_THIRD
    try:
        gemmlowp.ONE_THIRD = third + 2**12
        wrong = np.array(list(map(gemmlowp.exp_on_negative, a[:PART].tolist())))
    finally:
        gemmlowp.ONE_THIRD = third
    few = Proof(exp_unit, {"a": a[:PART]}, exps.expected[:PART])
    bad_exp = Unit("expbad", f"exp_on_negative #(.THIRD({third + 2**12}))", *_pins(exp_unit))
    short = np.array([_one_over(v, 2) for v in unit[:PART].tolist()])
    few_recips = Proof(recip_unit, {"a": unit[:PART]}, recips.expected[:PART])
    bad_recip = Unit("recipbad", "reciprocal #(.STEPS(2))", *_pins(recip_unit))
    return [exps, recips], [Mutant(bad_exp, few, wrong), Mutant(bad_recip, few_recips, short)]


def _pins(unit: Unit) -> tuple[tuple[Pin, ...], Pin]:
    return unit.inputs, unit.output


SOFTMAX_PINS = (
    Pin("phase", 2, False), Pin("first", 1, False), Pin("x", 8), Pin("multiplier", 32),
    Pin("left_shift", 5, False), Pin("smallest", 32),
)  # fmt: skip


def softmax_proof() -> Proof:
    """Return rows of 1 to 500 codes at scales from coarse to so fine that the multiplier ends."""
    rng = np.random.default_rng(5)
    parts: dict[str, list[np.ndarray]] = {pin.name: [] for pin in SOFTMAX_PINS}
    expected, phases = [], (0, 1, 2)
    lengths, scales = (1, 2, 7, 10, 33, 64, 500), (0.0005, 0.01, 0.0625, 0.3, 1.0, 3.0)
    budget = COUNT // (len(lengths) * len(scales)) + 1
    for length in lengths:
        for scale in scales:
            multiplier, left = quantize_multiplier(min(scale * 2**26, 2.0**31 - 1))
            smallest = -math.floor(31 * 2**26 / 2**left)
            rows = rng.integers(-128, 128, (-(-budget // length), length), np.int8)
            rows[0], rows[-1] = -128, 127
            made = np.empty_like(rows)
            softmax_rows(rows, multiplier, left, smallest, 8, -128, 127, length, 1, made)
            oracle = gemmlowp.softmax(rows[:2], input_scale=scale, beta=1.0, unsigned=False)
            assert np.array_equal(made[:2], oracle)
            thrice = np.broadcast_to(rows[:, None, :], (rows.shape[0], 3, length))
            shape = thrice.shape
            parts["x"].append(thrice.reshape(-1))
            parts["phase"].append(np.broadcast_to(np.array(phases)[:, None], shape).reshape(-1))
            parts["first"].append(np.broadcast_to(np.arange(length) == 0, shape).reshape(-1))
            for name, value in (
                ("multiplier", multiplier), ("left_shift", left), ("smallest", smallest),
            ):  # fmt: skip
                parts[name].append(np.full(thrice.size, value))
            expected.append(made.reshape(-1).astype(np.int64))
    vectors = {name: np.concatenate(some).astype(np.int64) for name, some in parts.items()}
    unit = Unit("softmax", "softmax_unit", SOFTMAX_PINS, Pin("y", 8), clocked=True)
    return Proof(unit, vectors, np.concatenate(expected), vectors["phase"] == 2)


# ---- exponentials ----

SCALES = tuple(np.geomspace(6e-5, 0.6, 31).tolist())
CODES = np.arange(-32768, 1)


def _scaled_proof(
    name: str, module: str, pins: tuple[Pin, ...], constants: Callable[[float], tuple[int, ...]],
    formula: Callable[..., np.ndarray], slow: Callable[[int, float], int],
) -> Proof:  # fmt: skip
    """Return every 16-bit code at every scale; a part is compared with the slow oracle."""
    vectors: dict[str, list[np.ndarray]] = {pin.name: [] for pin in pins}
    expected = []
    for scale in SCALES:
        numbers = constants(scale)
        made = formula(CODES, *numbers)
        for code in (*CODES[::997].tolist(), -1, 0):
            assert int(made[code + 32768]) == slow(code, scale)
        for pin, value in zip(pins, (CODES, *numbers), strict=True):
            vectors[pin.name].append(np.broadcast_to(np.int64(value), CODES.shape))
        expected.append(made)
    unit = Unit(name, module, pins, Pin("y", 64, False))
    joined = {pin: np.concatenate(some) for pin, some in vectors.items()}
    return Proof(unit, joined, np.concatenate(expected).astype(np.uint64))


def _polynomial(x: np.ndarray, ln2: int, b: int, c: int, shift: int = 30) -> np.ndarray:
    limited = np.minimum(-x, shift * ln2)
    q, r = limited // ln2, -(limited % ln2)
    return np.maximum((r * (r + b) + c) << (shift - q), 0)


def _polynomial_constants(scale: float) -> tuple[int, int, int]:
    x0, b, c = ibert.exp_constants(scale)
    return -x0, b, c


def _shifted(x: np.ndarray, one: int, shift: int = 15) -> np.ndarray:
    base2 = x + (x >> 1) - (x >> 4)
    limited = np.minimum(-base2, shift * one)
    q, rest = limited // one, limited % one
    return ((2 * one - rest) << (shift - q)) >> 1


def exponential_proofs() -> tuple[list[Proof], list[Mutant]]:
    pins = (Pin("x", 16), Pin("ln2", 16, False), Pin("b", 16, False), Pin("c", 32, False))
    poly = _scaled_proof(
        "ibert", "exp_polynomial", pins, _polynomial_constants, _polynomial, ibert.i_exp
    )
    v = poly.vectors
    model = _polynomial(v["x"], v["ln2"], v["b"], v["c"], 29).astype(np.uint64)
    bad_poly = Unit("ibertbad", "exp_polynomial #(.SHIFT(29))", *_pins(poly.unit))
    mutants = [Mutant(bad_poly, poly, model)]
    proofs = [poly]
    for shift in (ivit.SOFTMAX_SHIFT, ivit.GELU_SHIFT):
        proofs.append(
            _scaled_proof(
                f"ivit{shift}", f"exp_shift #(.SHIFT({shift}))",
                (Pin("x", 16), Pin("one", 16, False)), lambda scale: (-ivit.unit_step(scale),),
                lambda x, one, shift=shift: _shifted(x, one, shift),
                lambda x, scale, shift=shift: ivit.shift_exp(x, scale, shift),
            )
        )  # fmt: skip
    v = proofs[1].vectors
    bad_shift = Unit("ivitbad", "exp_shift #(.SHIFT(14))", *_pins(proofs[1].unit))
    model = _shifted(v["x"], v["one"], 14).astype(np.uint64)
    mutants.append(Mutant(bad_shift, proofs[1], model))
    return proofs, mutants


GUARD, FRACTION = 8, 15


def _lines_unit(name: str, segments: list[pwl.Segment], round_up: int) -> Unit:
    tables = {}
    for column, key in enumerate(("FIRST", "A", "B", "L", "U")):
        words = [f"{int(segment[column]) & 0xFFFFFFFF:08x}" for segment in reversed(segments)]
        tables[key] = f".{key}({32 * len(segments)}'h{''.join(words)})"
    module = (
        f"exp_linear #(.SEGMENTS({len(segments)}), .GUARD({GUARD}), .ROUND({round_up}), "
        f"{', '.join(tables.values())})"
    )
    return Unit(name, module, (Pin("x", 16),), Pin("y", 32))


def linear_proofs() -> tuple[list[Proof], list[Mutant]]:
    """Return every 16-bit code under one, four and sixteen segments."""
    proofs, mutants = [], []
    for count, scale in ((1, 0.0625), (4, 0.0625), (16, 0.01)):
        segments = pwl.integers(pwl.lines(count, uniform=False), scale, FRACTION, GUARD)
        expected = np.array([pwl.clip_exp(x, segments, GUARD) for x in CODES.tolist()])
        proofs.append(Proof(_lines_unit(f"lines{count}", segments, 1), {"x": CODES}, expected))
        floors = [
            next(
                (min(max((a * x + b) >> GUARD, low), high)
                 for first, a, b, low, high in segments if x >= first), 0,
            )
            for x in CODES.tolist()
        ]  # fmt: skip
        if count == 4:
            bad = _lines_unit("linesbad", segments, 0)
            mutants.append(Mutant(bad, proofs[-1], np.array(floors)))
    return proofs, mutants


def table_proof(table: np.ndarray) -> tuple[Proof, Mutant]:
    """Return every code of a 256-entry table, and a ROM with one wrong entry."""
    codes = np.arange(-128, 128)

    def unit(name: str, entries: np.ndarray) -> Unit:
        words = "".join(f"{int(entry) & 0xFF:02x}" for entry in entries[::-1])
        return Unit(name, f"exp_table #(.TABLE(2048'h{words}))", (Pin("x", 8),), Pin("y", 8))

    wrong = table.astype(np.int64).copy()
    wrong[200] ^= 1
    proof = Proof(unit("rom", table), {"x": codes}, table.astype(np.int64))
    return proof, Mutant(unit("rombad", wrong), proof, wrong)


# ---- square root and LayerNorm ----


def root_proof() -> tuple[Proof, Mutant]:
    rng = np.random.default_rng(6)
    value = rng.integers(0, 2**62, COUNT) >> rng.integers(0, 62, COUNT)
    near = rng.integers(1, 2**31, COUNT // 4) ** 2
    value[: near.size] = near + rng.integers(-1, 2, near.size)
    value[:4] = [0, 1, 2**62 - 1, (2**31 - 1) ** 2 - 1]
    expected = np.array(list(map(math.isqrt, value.tolist())))
    assert np.array_equal(_all(_each_root, value), expected)
    pins = (Pin("value", 62, False),)
    proof = Proof(Unit("isqrt", "isqrt #(.BITS(62))", pins, Pin("root", 31, False)),
                  {"value": value}, expected)  # fmt: skip
    model = np.array(list(map(math.isqrt, (value % 2**60).tolist())))
    bad = Unit("isqrtbad", "isqrt #(.BITS(60))", pins, Pin("root", 31, False))
    return proof, Mutant(bad, proof, model)


NORM_PINS = (
    Pin("phase", 2, False), Pin("first", 1, False), Pin("x", 8), Pin("gamma", 8), Pin("beta", 32),
    Pin("channels", 13, False), Pin("epsilon", 40, False), Pin("multiplier", 32),
    Pin("right_shift", 6), Pin("zero_point", 8),
)  # fmt: skip
ROOT_BITS = 20


def norm_proof() -> tuple[Proof, Mutant]:
    """Return rows of 2 to 4096 channels, constant and two-valued rows among them."""
    rng = np.random.default_rng(7)
    parts: dict[str, list[np.ndarray]] = {pin.name: [] for pin in NORM_PINS}
    expected, floors = [], []
    lengths = (2, 3, 16, 64, 192, 768, 4096)
    for length in lengths:
        rows = rng.integers(-128, 128, (COUNT // len(lengths) // length + 2, length), np.int8)
        rows[0], rows[1] = -128, np.where(np.arange(length) % 2, 127, -128)
        gamma = rng.integers(-128, 128, length)
        beta = rng.integers(-200_000, 200_000, length)
        epsilon = int(rng.integers(1, length * length * 4))
        multiplier, shift, zero = int(rng.integers(2**30, 2**31)), int(rng.integers(8, 12)), -5
        factors = (np.array([multiplier]), np.array([shift]), np.zeros(1))
        scaling = Scaling(int(Requant.HALF_EVEN), 31, *factors, zero, -128, 127)
        made = np.empty_like(rows)
        layer_norm_rows(rows, np.int64(0), True, gamma, beta, np.int64(epsilon), 10, scaling, made)
        acc = {nearest: _norm_codes(rows, gamma, beta, epsilon, nearest) for nearest in (1, 0)}
        codes = {}
        for nearest, sums in acc.items():
            out = np.empty(sums.size, np.int64)
            flat = sums.reshape(-1)
            many = (np.full(flat.size, multiplier), np.full(flat.size, shift), np.zeros(flat.size))
            wide = Scaling(int(Requant.HALF_EVEN), 31, *many, zero, -128, 127)
            requantize_row(flat, wide, out)
            codes[nearest] = out
        assert np.array_equal(codes[1], made.reshape(-1))
        expected.append(codes[1])
        floors.append(codes[0])
        clocks = length + ROOT_BITS + length
        fixed = {
            "phase": np.r_[np.zeros(length), np.ones(ROOT_BITS), np.full(length, 2)],
            "first": np.isin(np.arange(clocks), (0, length, length + ROOT_BITS)),
            "gamma": np.r_[np.zeros(length + ROOT_BITS), gamma],
            "beta": np.r_[np.zeros(length + ROOT_BITS), beta],
            "channels": length, "epsilon": epsilon, "multiplier": multiplier,
            "right_shift": shift, "zero_point": zero,
        }  # fmt: skip
        for name, value in fixed.items():
            parts[name].append(np.broadcast_to(value, (rows.shape[0], clocks)).reshape(-1))
        gap = np.zeros((rows.shape[0], ROOT_BITS), np.int8)
        parts["x"].append(np.concatenate([rows, gap, rows], axis=1).reshape(-1))
    vectors = {name: np.concatenate(some).astype(np.int64) for name, some in parts.items()}
    unit = Unit("norm", "layer_norm_unit", NORM_PINS, Pin("y", 8), clocked=True)
    proof = Proof(unit, vectors, np.concatenate(expected), vectors["phase"] == 2)
    bad = Unit("normbad", "layer_norm_unit #(.NEAREST(0))", NORM_PINS, Pin("y", 8), clocked=True)
    return proof, Mutant(bad, proof, np.concatenate(floors))


def _norm_codes(
    rows: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: int, nearest: int
) -> np.ndarray:
    """Return LayerNorm's accumulators by its formula, rounded to nearest or down."""
    x, n = rows.astype(np.int64), rows.shape[1]
    total = x.sum(axis=1, keepdims=True)
    variance = n * (x * x).sum(axis=1, keepdims=True) - total * total + epsilon
    spread = np.maximum(np.vectorize(math.isqrt)(variance), 1)
    numerator = ((n * x - total) << 11) + (spread if nearest else 0)
    return (numerator // (2 * spread)) * gamma + beta
