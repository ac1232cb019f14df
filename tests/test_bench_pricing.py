"""The benchmark of pricing runs and writes what it says; no figure is judged here."""

import json
from pathlib import Path

import pytest

from hwsim.platforms import load_platform
from tests.bench import bench_pricing


def test_every_kind_of_platform_is_measured() -> None:
    kinds = {load_platform(name).kind for name in bench_pricing.PLATFORMS}
    assert kinds == {"npu", "mcu", "gpu", "fpga", "analytic"}


def test_it_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    units = bench_pricing.resnet50()[:21]
    monkeypatch.setattr(bench_pricing, "resnet50", lambda: units)
    monkeypatch.setattr(bench_pricing, "PLATFORMS", ("gap9", "nvidia_t4"))
    words = ["--rounds", "2", "--configurations", "150", "--out", str(tmp_path)]
    assert bench_pricing.main(words) == 0
    assert capsys.readouterr().out == (tmp_path / "pricing.md").read_text("utf-8")
    made = json.loads((tmp_path / "pricing.json").read_text("utf-8"))
    assert made["platforms"]["gap9"]["changed"] == "memories without bounds"
    assert made["platforms"]["nvidia_t4"]["changed"] == ""
    assert bench_pricing.roomy(load_platform("zcu104"))[1] == "32 times the part"
    assert made["platforms"]["gap9"]["rows"] == 21 * 7
    mixed = made["configurations"]
    assert (mixed["units"], mixed["configurations"]) == (20, 150) and mixed["per_second"] > 0
    assert {"energy_j", "latency_s", "weight_bytes", "lut"} <= set(mixed["resources"])
