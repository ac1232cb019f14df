"""Rules of a profile: every rounding against exact fractions; files that contradict themselves."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.errors import GraphError, QuantizationError
from hwsim.kernels.arith import INT32_MAX, INT32_MIN, scale
from hwsim.kernels.scaling import pack_scaling, shiftable_multiplier
from hwsim.multiplier import Multiplier
from hwsim.ops import Op
from hwsim.profile import Method, OperatorRule, Overflow, Requant
from hwsim.profiles import PROFILES, find_profile
from hwsim.profiles.file import json_schema
from hwsim.quant import Rounding
from tests.strategies import generate

ONCE = {
    Requant.HALF_UP: Rounding.HALF_UP,
    Requant.HALF_AWAY: Rounding.HALF_AWAY,
    Requant.HALF_EVEN: Rounding.HALF_EVEN,
    Requant.FLOOR: Rounding.FLOOR,
    Requant.TRUNC: Rounding.TRUNC,
}
INT32 = st.integers(INT32_MIN, INT32_MAX) | st.sampled_from(
    [INT32_MIN, INT32_MAX, -1, 0, 1, 2, 3, -2, -3]
)


def scaled(requant: Requant, acc: int, bits: int, multiplier: int, right_shift: int) -> int:
    rule = OperatorRule(requant, multiplier_bits=bits)
    whole = Multiplier(multiplier, right_shift)
    scaling = pack_scaling(rule, [whole], [0.0], 0, INT32_MIN, INT32_MAX)
    return int(scale(np.int64(acc), scaling, 0))


@settings(max_examples=500, deadline=None)
@given(
    requant=st.sampled_from(sorted(ONCE)), acc=INT32, bits=st.integers(2, 31),
    share=st.floats(0.5, 1), right_shift=st.integers(-8, 31),
)  # fmt: skip
@example(Requant.HALF_UP, -5, 31, 0.5, 0)
@example(Requant.HALF_AWAY, -5, 31, 0.5, 0)
@example(Requant.HALF_EVEN, -5, 31, 0.5, 0)
@example(Requant.TRUNC, -5, 31, 0.5, 0)
def test_one_rounding_is_exact(
    requant: Requant, acc: int, bits: int, share: float, right_shift: int
) -> None:
    multiplier = min(int(share * (1 << bits)), (1 << bits) - 1)
    exact = Fraction(acc * multiplier) / Fraction(2) ** (bits + right_shift)
    assert scaled(requant, acc, bits, multiplier, right_shift) == ONCE[requant].of(exact)


@settings(max_examples=500, deadline=None)
@given(acc=INT32, multiplier=st.integers(1 << 30, INT32_MAX), right_shift=st.integers(0, 31))
@example(-3, 1 << 30, 0)
@example(-2, 1 << 30, 1)
@example(INT32_MIN, INT32_MAX, 31)
def test_two_roundings_are_exact(acc: int, multiplier: int, right_shift: int) -> None:
    high = Rounding.HALF_UP.of(Fraction(acc * multiplier, 1 << 31))
    for requant, second in (
        (Requant.DOUBLE_ROUNDING, Rounding.HALF_AWAY),
        (Requant.DOUBLE_HALF_UP, Rounding.HALF_UP),
    ):
        expected = second.of(Fraction(high, 1 << right_shift))
        assert scaled(requant, acc, 31, multiplier, right_shift) == expected


@settings(max_examples=300, deadline=None)
@given(acc=INT32, ratio=st.floats(1e-9, 4.0))
@example(3, 0.5)
@example(-5, 0.5)
@example(16777217, 1.0)
def test_float32_products_round_three_times(acc: int, ratio: float) -> None:
    rule = OperatorRule(Requant.FLOAT32_HALF_EVEN)
    scaling = pack_scaling(rule, [Multiplier(0, 0)], [ratio], 0, INT32_MIN, INT32_MAX)
    expected = np.rint(np.float32(acc) * np.float32(ratio)).astype(np.float64)
    assert scale(np.int64(acc), scaling, 0) == min(max(expected, INT32_MIN), INT32_MAX)


@pytest.mark.parametrize("right_shifts", [(0, 4), (6, 31)])
def test_shifts_out_of_range_are_refused(right_shifts: tuple[int, int]) -> None:
    rule = OperatorRule(Requant.HALF_UP, right_shifts=right_shifts)
    with pytest.raises(QuantizationError, match=r"right shift .* must be in \[\d+, \d+\]"):
        shiftable_multiplier(rule, 0.7 * 2.0**-5)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_rows_hold_what_the_table_of_methods_allows(name: str) -> None:
    profile = PROFILES[name]
    assert profile.rules and profile.reproduces and find_profile(name) is profile
    (op, width), rule = next(iter(profile.rules.items()))
    wrong = next(method for method in Method if method is not rule.method)
    for method in (wrong,):
        with pytest.raises(GraphError, match=f"{op.value}, {width} bits: method must be one of"):
            replace(profile, rules={(op, width): replace(rule, method=method)})


GOOD = """
name = "block_x"
reproduces = "requantizer of block X"
based_on = "tflite_ref"

[[rule]]
operators = ["conv_2d"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_replaces_fields_of_its_base(tmp_path: Path) -> None:
    base = PROFILES["tflite_ref"]
    profile = find_profile(write(tmp_path, GOOD + 'ties = "up"\nmultiplier_bits = 16\n'))
    rule = profile.rule(Op.CONV_2D, 8)
    kept = base.rule(Op.CONV_2D, 8)
    assert rule == replace(kept, requant=Requant.HALF_UP, multiplier_bits=16)
    assert profile.rule(Op.ADD, 8) == base.rule(Op.ADD, 8)
    assert profile.input_rounding is base.input_rounding


def test_a_file_that_says_what_tflite_ref_does_gives_its_integers(tmp_path: Path) -> None:
    text = GOOD + 'ties = "away"\ndoubling = true\n'
    case = generate("CONV_2D", 3)
    path = tmp_path / "conv.tflite"
    path.write_bytes(case.model.to_bytes())
    graph = hwsim.load(path)
    one = hwsim.run(graph, case.feed, profile="tflite_ref")
    two = hwsim.run(graph, case.feed, profile=str(write(tmp_path, text)))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", PROFILES)
def test_a_row_that_changes_nothing_keeps_every_case_of_its_base(tmp_path: Path, name: str) -> None:
    base = PROFILES[name]
    rows = "".join(
        f'[[rule]]\noperators = ["{op.value}"]\nwidths = [{width}]\nclamp = "{rule.clamp.value}"\n'
        for (op, width), rule in base.rules.items()
    )
    head = f'name = "same"\nreproduces = "its base"\nbased_on = "{name}"\n'
    assert find_profile(write(tmp_path, head + rows)).rules == base.rules


def test_a_row_changes_each_case_of_its_base(tmp_path: Path) -> None:
    text = GOOD + 'widths = [16]\noverflow = "wrap"\n'
    kept = PROFILES["tflite_ref"].rule(Op.CONV_2D, 16)
    assert kept.narrow_bias is not None
    narrow = replace(kept.narrow_bias, overflow=Overflow.WRAP)
    changed = replace(kept, overflow=Overflow.WRAP, narrow_bias=narrow)
    assert find_profile(write(tmp_path, text)).rule(Op.CONV_2D, 16) == changed


@pytest.mark.parametrize("line", ['ties = "up"', "multiplier_bits = 12"])
def test_a_row_that_says_how_to_round_is_for_every_bias(tmp_path: Path, line: str) -> None:
    rule = find_profile(write(tmp_path, GOOD + f"widths = [16]\n{line}\n")).rule(Op.CONV_2D, 16)
    assert rule.narrow_bias is None


def test_a_row_that_says_how_to_round_is_for_every_node(tmp_path: Path) -> None:
    text = GOOD.replace("tflite_ref", "xnnpack").replace("conv_2d", "leaky_relu")
    rule = find_profile(write(tmp_path, text + 'method = "requantize"\nties = "up"\n'))
    assert rule.rule(Op.LEAKY_RELU, 8).condition is None
    assert rule.rule(Op.LEAKY_RELU, 8).otherwise is None


WRONG = [
    ('shift = "floor"\nties = "up"', "ties must be absent under shift 'floor', not 'up'"),
    ('shift = "truncate"\ndoubling = true', "doubling must be false under shift 'truncate'"),
    ('shift = "round"', "ties must be one of up, away, even under shift 'round', not missing"),
    ('ties = "even"\ndoubling = true', "ties must be up or away where doubling is true"),
    ('arithmetic = "float32"\nties = "up"', "ties must be 'even' or absent"),
    ('arithmetic = "float64"\nshift = "round"', "shift must be absent under arithmetic 'float64'"),
    ('arithmetic = "none"\nties = "up"', "ties must be absent under arithmetic 'none', not 'up'"),
    ("multiplier_bits = 15", "multiplier_bits must be 31 under double_rounding, not 15"),
    ('ties = "up"\nmultiplier_bits = 32', r"multiplier_bits must be in \[2, 31\], not 32"),
    ("right_shifts = [4, 2]", r"right_shifts must rise inside \[-30, 31\], not \[4, 2\]"),
    ("right_shifts = [0]", r"rule\[0\].right_shifts must be"),
    ("accumulator_bits = 65", r"accumulator_bits must be in \[2, 64\], not 65"),
    ('overflow = "trap"', "overflow must be one of error, wrap, saturate, not 'trap'"),
    ('clamp = "half"', "clamp must be one of full, symmetric, not 'half'"),
    ('method = "magic"', "method must be one of .*, not 'magic'"),
    ('method = "shifted"', "conv_2d, 8 bits: method must be one of requantize, not shifted"),
    ("table = [1, 2]", "table must be absent under method requantize, not given"),
    ("tie = 3", r"rule\[0\].tie must be a key that the schema knows, not 'tie'"),
    ("doubling = 1", r"rule\[0\].doubling must be true or false, not 1"),
    (
        'ties = "up"\n[[rule]]\noperators = ["conv_2d"]\nties = "away"',
        r"rule\[1\], operator conv_2d: ties must be given by one rule at 8 bits, not by rule\[0\]",
    ),
    (
        'ties = "up"\n[[rule]]\noperators = ["conv_2d"]\nshift = "floor"',
        r"shift must be given by one rule at 8 bits, not by rule\[0\] too",
    ),
    ('[[rule]]\noperators = ["conv_3d"]', "operator must be one of .*, not 'conv_3d'"),
    ('[[rule]]\noperators = ["layer_norm"]', "arithmetic must be given where no built-in rule"),
    ('[[rule]]\noperators = ["gelu"]\ntable = [1, 2, 3]', "table must hold 2, 4, 8 ... 256 codes"),
]


@pytest.mark.parametrize(("line", "sentence"), WRONG)
def test_contradictions_are_one_sentence(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence) as caught:
        find_profile(write(tmp_path, GOOD + line + "\n"))
    assert str(caught.value).startswith("mine.toml: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD.replace("block_x", "hawq"), "name must not be that of a built-in profile"),
        (GOOD.replace('"tflite_ref"', '"mine"'), "based_on must be one of .*, not 'mine'"),
        (GOOD.replace("name =", "nam ="), "name must be given, not missing"),
        (GOOD + "\x00", "mine.toml must be TOML"),
    ],
)
def test_heads_of_files_are_checked(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence):
        find_profile(write(tmp_path, text))


def test_missing_profiles_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"profile must be one of .* or the path of a \.toml"):
        find_profile("nobody")
    with pytest.raises(GraphError, match="none.toml must be a readable file"):
        find_profile(tmp_path / "none.toml")


def test_an_operator_without_a_row_is_named(tmp_path: Path) -> None:
    text = GOOD.replace('based_on = "tflite_ref"\n', "") + 'ties = "up"\n'
    case = generate("ADD", 0)
    path = tmp_path / "add.tflite"
    path.write_bytes(case.model.to_bytes())
    with pytest.raises(GraphError, match="node 'out'.*mine.toml: profile block_x: .* not add"):
        hwsim.run(hwsim.load(path), case.feed, profile=write(tmp_path, text))


def test_a_table_of_the_profile_is_used_and_checked(tmp_path: Path) -> None:
    case = generate("TANH", 0)
    path = tmp_path / "tanh.tflite"
    path.write_bytes(case.model.to_bytes())
    graph = hwsim.load(path)
    dtype = graph.outputs[0].dtype
    lowest = dtype.min
    rows = [lowest + (7 * code) % 256 for code in range(256)]
    text = GOOD.replace("conv_2d", "tanh") + f'method = "table"\ntable = {rows}\n'
    made = hwsim.run(graph, case.feed, profile=write(tmp_path, text))
    (codes,) = case.feed.values()
    expected = np.array(rows)[codes.astype(np.int64) - graph.inputs[0].dtype.min]
    assert np.array_equal(next(iter(made.values())), expected)
    for table, sentence in (
        (rows[:128], "must hold 256 codes"),
        ([*rows[:255], 999], r"table\[255\] of profile block_x must be a code of u?int8, not 999"),
    ):
        wrong = GOOD.replace("conv_2d", "tanh") + f'method = "table"\ntable = {table}\n'
        with pytest.raises(GraphError, match=sentence):
            hwsim.run(graph, case.feed, profile=write(tmp_path, wrong))


def test_the_schema_names_every_field() -> None:
    row = json_schema()["$defs"]["Row"]["properties"]
    # Rules inside rules cannot be written in a file; its rows keep those of their base.
    kept_back = ("requant", "product", "narrow_bias", "condition", "otherwise")
    rule = {name for name in OperatorRule.__slots__ if name not in kept_back}
    assert rule | {"operators", "widths", "arithmetic", "scale_product"} <= set(row)
