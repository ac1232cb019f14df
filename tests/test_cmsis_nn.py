"""Every vector of CMSIS-NN's unit tests on the integer engine, and the other build told apart."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import FormatError, GraphError
from hwsim.profiles import PROFILES
from hwsim.selfcheck import cmsis
from hwsim.selfcheck.check import Check, Places
from hwsim.selfcheck.cmsis_cases import Case, graph_of, read_cases, with_given_multipliers

VECTORS = Path(
    os.environ.get(
        "HWSIM_VECTORS", Path(__file__).resolve().parent.parent.parent / "shared" / "vectors"
    )
)
# From the folder's README: what the measured selection holds.
CASES, ELEMENTS = 126, 86_642


def folder() -> Path:
    if not (VECTORS / "cmsis_nn" / "cases.json").is_file():
        pytest.skip(f"vectors/cmsis_nn is absent (set HWSIM_VECTORS): {CASES} cases are not run")
    return VECTORS / "cmsis_nn"


def checks(vectors: Path) -> list[Check]:
    places = Places(vectors, vectors, vectors)
    return list(cmsis.cmsis_nn(places, lambda text: None))


def test_every_case_is_exact() -> None:
    rows = checks(folder().parent)
    assert [row.note for row in rows if row.note] == []
    assert sum(row.run for row in rows) == CASES
    assert sum(row.skipped for row in rows) == 0
    assert sum(row.wrong for row in rows) == 0
    assert sum(row.elements for row in rows) == ELEMENTS
    assert len({row.subject for row in rows}) == len(rows) == 32


def test_absent_vectors_are_counted(tmp_path: Path) -> None:
    (row,) = checks(tmp_path)
    assert (row.run, row.skipped, row.wrong) == (0, CASES, 0)
    assert row.note == "needs cmsis_nn in the folder of vectors"


def test_single_rounding_is_told_apart() -> None:
    """84 elements of 20 cases, as measured with another program, and 4 of an int16 softmax.

    That program left the softmax's one requantization at double rounding; CMSIS-NN's
    arm_softmax_s16 calls arm_nn_requantize, which the build option changes.
    """
    profile = with_given_multipliers(PROFILES["cmsis_single"])
    found = {case.name: cmsis.differences(case, profile) for case in read_cases(folder())}
    wrong = {name: count for name, count in found.items() if count}
    assert wrong.pop("softmax_s16") == 4
    assert (sum(wrong.values()), len(wrong)) == (84, 20)
    named = ("depthwise_int4_1", "kernel1x1_int4_3", "lstm_2")
    assert [wrong[name] for name in named] == [23, 24, 3]


def connected(**changed: int) -> Case:
    """Return a fully connected case of one weight row, computed by hand."""
    params = {
        "input_offset": 0, "output_offset": 0, "output_multiplier": 1 << 30, "output_shift": 1,
        "out_activation_min": -128, "out_activation_max": 127,
    } | changed  # fmt: skip
    arrays = {
        "input": np.array([[10, -20, 30]], np.int8),
        "weights": np.array([[1, 2, -1]], np.int8),
        "bias": np.array([5], np.int32),
        "output": np.array([[-55]], np.int8),
    }
    return Case("connected", "fully_connected", "s8", params, arrays)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, -55),  # 10 - 40 - 30 + 5
        ({"input_offset": 7}, -41),  # 14 more: 7 * (1 + 2 - 1)
        ({"input_offset": -200}, -128),  # zero point 200 is no code: 400 less
        ({"input_offset": 200, "output_shift": 0}, 127),  # (400 - 55) / 2
        ({"output_offset": 150}, 95),  # zero point 150 is no code
        ({"filter_offset": -1, "input_offset": 1}, -76),  # (0, 1, -2) by (11, -19, 31), + 5
        ({"out_activation_min": -50}, -50),
        ({"out_activation_max": -60}, -60),
    ],
)
def test_a_case_keeps_its_offsets_and_clamp(changed: dict[str, int], expected: int) -> None:
    case = connected(**changed)
    case = replace(case, arrays={**case.arrays, "output": np.array([[expected]], np.int8)})
    profile = with_given_multipliers(PROFILES["cmsis_nn"])
    assert cmsis.differences(case, profile) == 0
    off_by_one = {**case.arrays, "output": case.arrays["output"] - np.int8(1)}
    assert cmsis.differences(replace(case, arrays=off_by_one), profile) == 1


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            connected(output_multiplier=1 << 29),
            "multiplier 536870912 with shift 1 must be normalized",
        ),
        (
            replace(connected(), operator="conv3d"),
            "operator must be one of conv, grouped_conv, depthwise_conv, transpose_conv, "
            "fully_connected, batch_matmul, add, mul, avg_pool, max_pool, maximum, minimum, "
            "softmax, transpose, pad, svdf, lstm, network, not 'conv3d'",
        ),
    ],
)
def test_what_no_graph_can_have_is_refused(case: Case, sentence: str) -> None:
    with pytest.raises(FormatError) as raised:
        graph_of(case)
    assert str(raised.value) == sentence


def test_a_case_that_does_not_run_is_counted_as_skipped() -> None:
    row = cmsis.row_of("fully_connected s8", [connected(output_multiplier=1)], PROFILES["cmsis_nn"])
    assert (row.run, row.skipped) == (0, 1)
    assert row.note == "connected: multiplier 1 with shift 1 must be normalized"


def test_tosa_has_no_row_for_what_it_does_not_define() -> None:
    case = Case(
        "softmax", "softmax", "s8",
        {"input_mult": 1 << 30, "input_left_shift": 20},
        {"input": np.zeros((1, 4), np.int8), "output": np.zeros((1, 4), np.int8)},
    )  # fmt: skip
    with pytest.raises(GraphError, match="profile tosa: operator with operands of 8 bits must be"):
        cmsis.differences(case, PROFILES["tosa"])
