"""The comparisons with SCALE-Sim, TPU v1 and Eyeriss: what they say, and of which files."""

import csv
import shutil
from pathlib import Path

import pytest

from hwsim.energy.validation import COMPARISONS, TARGETS, judged
from tests.energy.reference import FOLDER, read_csv

NAMES = ("scalesim", "tpu_v1", "eyeriss")


def verdicts(data: Path, name: str) -> dict[str, str]:
    """Return the state of every comparison of a source."""
    rows = list(COMPARISONS[name](data))
    return {verdict.against: verdict.state for verdict in judged(rows, TARGETS)}


def write(path: Path, records: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def test_a_folder_without_the_files_yields_nothing(tmp_path: Path) -> None:
    assert [list(COMPARISONS[name](tmp_path)) for name in NAMES] == [[], [], []]


def test_every_scalesim_figure_is_reached() -> None:
    read_csv("scalesim_cycles.csv", 111)
    assert set(verdicts(FOLDER, "scalesim").values()) == {"reached"}


def test_every_eyeriss_target_is_reached_and_its_baseline_beaten() -> None:
    read_csv("eyeriss_alexnet_mapping.csv", 5)
    rows = list(COMPARISONS["eyeriss"](FOLDER))
    found = {verdict.against: verdict for verdict in judged(rows, TARGETS)}
    assert {v.state for v in found.values()} == {"reached", "reported"}
    assert [a for a, v in found.items() if v.state == "reported"] == [
        "Eyeriss global buffer traffic",
        "Eyeriss power, mean of the other layers",
    ]
    ours, mean = found["Eyeriss power"], found["Eyeriss power, mean of the other layers"]
    assert ours.mean < mean.mean and ours.worst < mean.worst


def test_the_tpu_model_beats_the_roofline_but_misses_its_target() -> None:
    # Four applications are met. LSTM1 and CNN1 are not: the paper's own counters and throughput
    # contradict each other by 46 % on CNN1, and nothing published says what else LSTM1 waits for.
    read_csv("tpuv1.csv", 6)
    rows = list(COMPARISONS["tpu_v1"](FOLDER))
    found = {verdict.against: verdict for verdict in judged(rows, TARGETS)}
    ours, plain = found["TPU v1 applications"], found["TPU v1 applications, plain roofline"]
    assert ours.state == "missed"
    assert ours.mean < plain.mean / 4 and ours.worst < plain.worst / 4
    errors = {row.case: row.error for row in rows if row.against == "TPU v1 applications"}
    assert [case for case, error in errors.items() if abs(error) > 0.15] == ["LSTM1", "CNN1"]
    assert all(error > 0 for error in errors.values())  # it is a bound: nothing runs faster
    counters = found["TPU v1 applications, from its counters"]
    assert counters.worst > 0.4


def test_rows_kept_back_are_read_and_a_wrong_one_is_missed(tmp_path: Path) -> None:
    record = {
        "array_rows": "12", "array_cols": "16", "dataflow": "ws", "m": "88", "n": "49", "k": "16",
        "sram_kib_each": "1", "bandwidth_mode": "USER", "bandwidth_words_per_cycle": "4",
        "total_cycles": "2207", "stall_cycles": "1200",
    }  # fmt: skip
    write(tmp_path / "scalesim_cycles.csv", [record])
    states = verdicts(tmp_path, "scalesim")
    assert states["SCALE-Sim 3.0.0 cycles"] == "reached"
    assert states["SCALE-Sim 3.0.0 stalls and first fill"] == "reached"
    write(tmp_path / "scalesim_cycles.csv", [record | {"total_cycles": "2208"}])
    assert verdicts(tmp_path, "scalesim")["SCALE-Sim 3.0.0 cycles"] == "missed"


def test_no_constant_is_fitted_on_the_data_that_is_judged(tmp_path: Path) -> None:
    records = read_csv("eyeriss_alexnet.csv", 5)
    shutil.copy(FOLDER / "eyeriss_alexnet_mapping.csv", tmp_path)
    doubled = [record | {"power_mw": str(2 * float(record["power_mw"]))} for record in records]
    write(tmp_path / "eyeriss_alexnet.csv", doubled)
    before = [row for row in COMPARISONS["eyeriss"](FOLDER) if row.against == "Eyeriss power"]
    after = [row for row in COMPARISONS["eyeriss"](tmp_path) if row.against == "Eyeriss power"]
    assert [row.predicted for row in after] == [row.predicted for row in before]
    assert [row.measured for row in after] == pytest.approx([2 * row.measured for row in before])
