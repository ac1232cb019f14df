"""Reference data of published and tool-made figures; not shipped, so tests may lack it."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hwsim.workload import Layer, Tensor, Unit, Work

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("HWSIM_REFERENCE_DATA", ROOT.parent / "shared/reference/data"))


def read_csv(name: str, count: int) -> list[dict[str, str]]:
    """Return the rows of a data file, or skip the test and say how many rows were not checked."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{count} rows not checked: {name} is absent (set HWSIM_REFERENCE_DATA)")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(name: str, count: int) -> Any:
    """Return a data file's content, or skip the test."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{count} rows not checked: {name} is absent (set HWSIM_REFERENCE_DATA)")
    return json.loads(path.read_text(encoding="utf-8"))


def hawq(network: str) -> list[Unit]:
    """Return a ResNet of HAWQ-V3's T4 measurement, batch 8 in the GEMM rows.

    Its first convolution and last layer stay at 8 bits: they are units without a choice.
    """
    layers = read_json("hawq_t4.json", 71)["networks"][network]["layers"]
    bottleneck = network == "resnet50"

    def unit(name: str, m: int, n: int, k: int, in_elements: int, choice: bool = True) -> Unit:
        layer = Layer(name, Work.CONV, m * n * k, 1, m, n, k, (1, 1), (1, 1, m, n), n * k, n)
        tensor = Tensor(f"{name}:in", in_elements, 1, 1, None if choice else 8)
        return Unit(name, (layer,), (tensor,), None, choice)

    units = [unit("first", 8 * 112 * 112, 64, 147, 8 * 3 * 224 * 224, False)]
    for row in layers:
        width = 64 * 2 ** (int(row["name"][5]) - 1)
        wide = bottleneck and row["name"].endswith(("convbn3", "identity_convbn"))
        n = 4 * width if wide else width
        k = round(row["params"] / n)
        m = 8 * round((row["macs"] / row["params"]) ** 0.5) ** 2
        channels = k // 9 if k % 9 == 0 else k
        units.append(unit(row["name"], m, n, k, m * channels))
    k = 2048 if bottleneck else 512
    return [*units, unit("last", 8, 1000, k, 8 * k, False)]
