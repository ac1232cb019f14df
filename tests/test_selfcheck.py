"""The self-check as a command: it counts, it names what it skips, and a wrong element fails it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hwsim.cli import main
from hwsim.selfcheck import AREAS
from tests.oracle import graph
from tests.strategies import generate


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Return exit status, output and errors of `hwsim selfcheck`."""
    monkeypatch.setattr(sys, "argv", ["hwsim", "selfcheck", *words])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def write_vectors(folder: Path, *, flipped: bool) -> None:
    """Write two cases in SEANet's form, their golden outputs from the slow oracle."""
    arrays, cases = {}, {}
    for seed in (0, 1):
        case = generate("ADD_INT16", seed)
        golden = graph.run(case.model, case.feed)[case.model.outputs[0]].astype(np.int16)
        if flipped and seed == 1:
            golden.flat[0] ^= 1
        name = f"add{seed}"
        arrays[f"{name}/model"] = np.frombuffer(case.model.to_bytes(), np.uint8)
        arrays[f"{name}/golden"] = golden
        arrays |= {f"{name}/input{i}": case.feed[k] for i, k in enumerate(case.model.inputs)}
        cases[name] = {"operator": "ADD", "graph_inputs": [0] * len(case.model.inputs)}
    folder.mkdir(parents=True)
    np.savez(folder / "seanet.npz", **arrays)
    (folder / "cases.json").write_text(json.dumps(cases), "utf-8")


@pytest.mark.parametrize("flipped", [False, True])
def test_wrong_elements_fail_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    flipped: bool,
) -> None:  # fmt: skip
    write_vectors(tmp_path / "seanet", flipped=flipped)
    words = ("--area", "seanet", "--vectors", str(tmp_path), "--json")
    status, out, _ = call(capsys, monkeypatch, *words)
    (row,) = json.loads(out)
    assert (row["run"], row["skipped"], row["wrong"]) == (2, 0, int(flipped))
    assert status == int(flipped)
    monkeypatch.setenv("HWSIM_VECTORS", str(tmp_path))
    status, out, _ = call(capsys, monkeypatch, "--area", "seanet")
    assert status == int(flipped) and "SEANet int16 vectors" in out
    assert ("1 of" in out) == flipped


def test_absent_folders_are_skipped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for name in ("cmsis_nn", "seanet", "networks") for word in ("--area", name)]
    places = [f"--{name}={tmp_path / 'nowhere'}" for name in ("vectors", "models", "data")]
    status, out, _ = call(capsys, monkeypatch, *words, *places, "--json")
    rows = json.loads(out)
    assert status == 0 and len(rows) >= 3
    assert all(row["run"] == 0 and row["skipped"] > 0 and row["note"] for row in rows)


def test_unknown_areas_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = call(capsys, monkeypatch, "--area", "vibes")
    assert status == 2
    assert err == f"hwsim: area must be one of {', '.join(AREAS)}, not 'vibes'\n"
