"""SEANet's int16 operators: every golden element of TFLite Micro, and an archive that is off."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwsim.archives import read_arrays
from hwsim.errors import InputError
from hwsim.selfcheck.check import Check, Places
from hwsim.selfcheck.seanet import outputs, seanet
from tests.shared import vector_file

LOSS = "76 int16 models and 125,120 golden elements are not compared"


def checks(vectors: Path) -> list[Check]:
    said: list[str] = []
    found = list(seanet(Places(vectors, vectors, vectors), said.append))
    assert len(said) == len(found)
    return found


@pytest.fixture
def vectors() -> Iterator[Path]:
    yield vector_file("seanet/seanet.npz", LOSS).parent.parent


def test_every_golden_element_is_equal(vectors: Path) -> None:
    found = checks(vectors)
    assert all(check.skipped == check.wrong == 0 for check in found), found
    cases = json.loads((vectors / "seanet" / "cases.json").read_text("utf-8"))
    assert sum(check.run for check in found) == len(cases) >= 76
    elements = sum(case["golden_elements"] for case in cases.values())
    assert sum(check.elements for check in found) == elements >= 125_120


def test_the_profile_of_tflite_micro_gives_them_too(vectors: Path) -> None:
    cases = json.loads((vectors / "seanet" / "cases.json").read_text("utf-8"))
    arrays = read_arrays(vectors / "seanet" / "seanet.npz")
    for name, case in cases.items():
        made, golden = outputs(name, len(case["graph_inputs"]), arrays, "tflm")
        assert np.array_equal(made, golden), name


def test_a_wrong_element_is_counted(vectors: Path, tmp_path: Path) -> None:
    cases = json.loads((vectors / "seanet" / "cases.json").read_text("utf-8"))
    name = next(name for name, case in cases.items() if case["operator"] == "CONV_2D")
    with np.load(vectors / "seanet" / "seanet.npz") as archive:
        arrays = {key: archive[key] for key in archive.files if key.startswith(f"{name}/")}
    arrays[f"{name}/golden"].ravel()[7] += 1
    folder = tmp_path / "seanet"
    folder.mkdir()
    np.savez(folder / "seanet.npz", **arrays)
    (folder / "cases.json").write_text(json.dumps({name: cases[name]}), "utf-8")
    (check,) = checks(tmp_path)
    assert (check.run, check.wrong) == (1, 1)
    assert check.note == f"{name}: 1 of {check.elements} elements differ"


def test_an_absent_folder_is_one_skipped_line(tmp_path: Path) -> None:
    (check,) = seanet(Places(tmp_path, tmp_path, tmp_path), lambda text: None)
    assert (check.run, check.skipped, check.note) == (0, 76, f"{tmp_path / 'seanet'} is absent")


@pytest.mark.parametrize("content", ["[1]", '{"a": {"operator": "ADD"}}', "{"])
def test_a_broken_list_of_cases_is_refused(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "seanet"
    folder.mkdir()
    np.savez(folder / "seanet.npz", x=np.zeros(1))
    (folder / "cases.json").write_text(content, "utf-8")
    with pytest.raises(InputError, match="cases.json: "):
        list(seanet(Places(tmp_path, tmp_path, tmp_path), lambda text: None))
