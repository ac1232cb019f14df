"""Reference data of published and tool-made figures; not shipped, so tests may lack it."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hwsim.tables import Option
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


_WORK = {
    "CONV_2D": Work.CONV,
    "DEPTHWISE_CONV_2D": Work.DEPTHWISE,
    "FULLY_CONNECTED": Work.FULLY_CONNECTED,
    "AVERAGE_POOL_2D": Work.POOL,
    "SOFTMAX": Work.SOFTMAX,
    "RESHAPE": Work.MOVE,
    "ADD": Work.ELEMENTWISE,
}


def mlperf_tiny(task: str) -> list[Unit]:
    """Return one unit per operator of an MLPerf Tiny network; each owns the tensor it reads."""
    units = []
    for row in read_csv("mlperf_tiny_layers.csv", 70):
        if row["task"] != task:
            continue
        work = _WORK[row["operator"]]
        depthwise = work is Work.DEPTHWISE
        layer = Layer(
            node=f"{task}_{row['index']}",
            work=work,
            macs=int(row["macs"]),
            groups=int(row["out_shape"].split("x")[-1]) if depthwise else 1,
            m=int(row["gemm_m"] or 0),
            n=int(row["gemm_n"] or 0),
            k=int(row["gemm_k"] or 0),
            kernel=(int(row["kernel_h"] or 1), int(row["kernel_w"] or 1)),
            out_shape=tuple(int(size) for size in row["out_shape"].split("x")),
            weight_elements=int(row["weights"]),
            bias_elements=int(row["biases"]),
        )
        reads = 2 if work is Work.ELEMENTWISE else 1
        writes = 0 if row["index"] == "0" else 1
        tensor = Tensor(f"{layer.node}:in", int(row["in_elements"]), reads, writes)
        moves = work is Work.MOVE
        choice = layer.macs > 0
        native = Option(8, 8) if choice else None
        units.append(Unit(layer.node, (layer,), () if moves else (tensor,), native, choice))
    return units
