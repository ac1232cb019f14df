import json
import math
import re
from fractions import Fraction
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import FormatError
from hwsim.reports import serialize
from hwsim.reports.strict_json import dump
from hwsim.tables import Allocation, Option
from tests.reports.samples import costs, front, scores

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
OPTIONS = st.builds(Option, st.integers(1, 32), st.integers(1, 32))
NAMES = st.text(max_size=12)
NUMBERED = st.dictionaries(NAMES, NUMBERS, max_size=4)


def read_csv(text: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(text))


def assert_same(read: pd.DataFrame, frame: pd.DataFrame) -> None:
    assert list(read.columns) == list(frame.columns)
    for column in frame.columns:
        expected = [None if missing(value) else value for value in frame[column]]
        assert [None if missing(value) else value for value in read[column]] == expected


def missing(value: object) -> bool:
    return value is None or value == "" or value != value


@pytest.mark.parametrize("all_options", [False, True])
@pytest.mark.parametrize("timed", [False, True])
def test_cost_csv_reads_back_equal(all_options: bool, timed: bool) -> None:
    table = costs(timed=timed)
    text = serialize.cost_csv(table, all_options=all_options)
    assert_same(read_csv(text), table.to_frame(all_options=all_options))
    assert "energy_sram_j" in text.splitlines()[0]
    assert text.splitlines()[1].split(",")[1] == "2"  # a width is no float


def test_other_csv_reads_back_equal() -> None:
    assert_same(read_csv(serialize.sensitivity_csv(scores())), scores().to_frame())
    assert_same(read_csv(serialize.front_csv(front())), front().to_frame())


def test_cost_json_holds_rows_and_totals() -> None:
    table = costs(timed=False)
    data = json.loads(serialize.cost_json(table))
    assert (data["schema_version"], data["kind"]) == (1, "cost_table")
    assert len(data["rows"]) == len(table.rows)
    chosen = [row for row in data["rows"] if row["selected"]]
    assert [row["unit"] for row in chosen] == [row.unit for row in table.selected_rows]
    exact = sum(Fraction(row["energy_j"]) for row in chosen)
    shown = data["total"]["energy_j"]
    assert Fraction(math.nextafter(shown, -1)) < exact <= Fraction(shown)
    assert data["total"]["energy_j"] == table.total.energy_j
    assert data["total"]["latency_s"] is None


def test_sensitivity_and_front_json() -> None:
    data = json.loads(serialize.sensitivity_json(scores()))
    read = {(row["unit"], Option.parse(row["option"])): row["score"] for row in data["scores"]}
    assert read == scores().values and data["model_sha256"] == "ab" * 32
    data = json.loads(serialize.front_json(front(7)))
    assert len(data["points"]) == 7 and data["objectives"] == ["energy_j", "score"]


def test_json_is_strict_and_sorted() -> None:
    text = dump({"b": math.nan, "a": [math.inf, np.float32(0.5), np.int64(3), np.bool_(True)]})
    assert text == '{\n "a": [\n  null,\n  0.5,\n  3,\n  true\n ],\n "b": null\n}\n'


@given(
    st.builds(
        Allocation,
        bits=st.dictionaries(NAMES, OPTIONS, max_size=5),
        score=NUMBERS,
        resources=NUMBERED,
        budgets=NUMBERED,
        method=NAMES,
        lower_bound=st.none() | NUMBERS,
        shadow_price=NUMBERED,
        next_upgrade=st.none() | st.tuples(NAMES, OPTIONS),
    )
)
def test_an_allocation_comes_back(allocation: Allocation) -> None:
    back = serialize.allocation_from_json(serialize.allocation_json(allocation))
    assert back == allocation
    assert list(back.bits) == list(allocation.bits)  # the order of units, too


def test_nan_comes_back_as_nan() -> None:
    text = serialize.allocation_json(Allocation({}, math.nan, {"energy_j": math.inf}))
    back = serialize.allocation_from_json(text)
    assert math.isnan(back.score) and math.isnan(back.resources["energy_j"])


GOOD = json.loads(serialize.allocation_json(front(1).points[0]))
UNIT = GOOD["bits"][0]["unit"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 2}, "schema_version must be 1, not 2"),
        ({"schema_version": True}, "schema_version must be 1, not True"),
        ({"kind": "front"}, "kind must be 'allocation', not 'front'"),
        ({"score": "1"}, "score must be a number or null, not '1'"),
        ({"score": True}, "score must be a number or null, not True"),
        ({"bits": {}}, "bits must be a list, not {}"),
        ({"bits": [3]}, "bits[0] must be an object, not 3"),
        ({"bits": [{"unit": "a"}]}, "bits[0].option must be given"),
        (
            {"bits": [{"unit": "a", "option": "W4A33"}]},
            "bits[0].option must be a pair of widths in [1, 32], as 'W4A8', not 'W4A33'",
        ),
        (
            {"bits": GOOD["bits"] * 2},
            f"bits must name every unit once, not {UNIT!r} twice",
        ),
        ({"resources": {"energy_j": []}}, "resources.energy_j must be a number or null, not []"),
        ({"method": None}, "method must be text, not None"),
        ({"next_upgrade": "x" * 80}, f"next_upgrade must be an object, not '{'x' * 56}..."),
    ],
)
def test_a_wrong_allocation_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(FormatError, match=f"^allocation: {re.escape(sentence)}$"):
        serialize.allocation_from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "the text must be JSON, and is not at line 1, column 2"),
        ("[]", "the text must be an object, not []"),
        ("[" * 200_000, "the text must be JSON of a sensible size"),
        ("[" + "9" * 5000 + "]", "the text must be JSON of a sensible size"),
        ('{"score": NaN}', "a number must be finite, not NaN"),
        ('{"score": 1e999}', "a number must be finite, not 1e999"),
        ('{"a": 1, "a": 2}', "every field must stand once, not twice as 'a'"),
        ('{"schema_version": 1, "kind": "allocation"}', "bits must be given"),
    ],
)
def test_wrong_json_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(FormatError, match=f"^allocation: {re.escape(sentence)}$"):
        serialize.allocation_from_json(text)


def test_an_unknown_field_is_refused() -> None:
    known = ", ".join(sorted(GOOD))
    with pytest.raises(
        FormatError, match=f"^allocation: a field must be one of {known}, not 'scores'$"
    ):
        serialize.allocation_from_json(json.dumps(GOOD | {"scores": 1}))
