"""FPGA resources: FINN's own estimates, and look-up tables of synthesized units."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from hwsim.energy.finn import MatrixUnit
from hwsim.energy.logic import Logic
from hwsim.energy.luts import TABLE as SHIPPED
from hwsim.energy.luts import (
    Multiplier,
    SynthesisTable,
    merge_factors,
    merged,
    shipped_rows,
    table_of,
    xc7,
)

from .row import Row, Target

GOLDENS = "FINN 39f0c9a estimates"
TABLE = "yosys LUT and LC, as answered"
INTERPOLATED = "yosys LUT and LC, pair left out"
DOTS = "yosys dot products, left out"
UNITS = "yosys requantizers, by formula"

TARGETS = (
    Target(GOLDENS, "exact", worst=0.0),
    Target(TABLE, "median within 8 %, 95th percentile within 20 %", median=0.08, p95=0.20),
    Target(INTERPOLATED, "median within 8 %, 95th percentile within 20 %", median=0.08, p95=0.20),
    Target(DOTS, "each within 15 %", worst=0.15),
)

_FLAGS = "synth_xilinx -family xc7 -noiopad -noclkbuf -flatten"


def finn_goldens(data: Path) -> Iterator[Row]:
    """Compare FINN's formulas with what FINN's own functions returned."""
    for index, golden in enumerate(_rows(data / "finn_goldens.csv")):
        unit = _matrix_unit(golden)
        versal = unit.rtl and golden["fpga_part"].startswith("xcvc")
        predicted = {
            "lut": unit.lut,
            "dsp": unit.dsp58_blocks if versal else unit.dsp_blocks,
            "bram_18k": unit.bram_18k,
            "uram": unit.uram,
            "cycles": unit.cycles,
        }
        for name, value in predicted.items():
            case = f"{golden['case']} {index} {name}"
            yield Row(GOLDENS, case, float(golden[name]), value, name)


def synthesized(data: Path) -> Iterator[Row]:
    """Compare multipliers and MACs with syntheses: with the whole table, then without the pair.

    The first comparison is what a user gets; where the pair stands in the shipped table it says
    only that the tool is deterministic. The second is the error of the interpolation.
    """
    table = xc7()
    for row in _rows(data / "luts_xc7.csv"):
        unit, _, kind = row["unit"].partition("_")
        if unit not in ("multiplier", "mac") or row["flags"] != f"{_FLAGS} -nodsp":
            continue
        w, a = int(row["w_bits"]), int(row["a_bits"])
        parameters = _parameters(row)
        fresh = (w, a) not in table.multipliers[Multiplier(kind), True].points
        for against, source in ((TABLE, table), (INTERPOLATED, table.without((w, a)))):
            logic = _predicted(source, row["unit"], w, a, parameters)
            case = f"{row['unit']} {w}x{a} {row['params']}"
            held_out = fresh or against == INTERPOLATED
            for name in ("lut", "lc"):
                measured = float(row[name])
                yield Row(against, f"{case} {name}", measured, getattr(logic, name), name, held_out)


def dot_products(data: Path) -> Iterator[Row]:
    """Compare dot products with syntheses, each with the merge factor of all the others."""
    table = xc7()
    for row in _rows(data / "luts_xc7.csv"):
        if row["unit"] != "dot_product_row" or row["flags"] != f"{_FLAGS} -nodsp":
            continue
        w, a = int(row["w_bits"]), int(row["a_bits"])
        parameters = _parameters(row)
        length, accumulator = int(parameters["length"]), int(parameters["accumulator_bits"])
        lut, lc = merge_factors(table, (w, a, length, accumulator))
        logic = merged(table.dot_terms(w, a, length, accumulator), lut, lc)
        case = f"{w}x{a} length {length}"
        yield Row(DOTS, f"{case} lc", float(row["lc"]), logic.lc, "lc")
        yield Row(f"{DOTS}, LUT", f"{case} lut", float(row["lut"]), logic.lut, "lut")


def requantizers(data: Path) -> Iterator[Row]:
    """Compare dyadic requantizers with syntheses, each answered without its own entry."""
    shipped = shipped_rows(SHIPPED)
    for row in _rows(data / "luts_xc7.csv"):
        parameters = _parameters(row)
        if row["unit"] != "requantize_dyadic" or parameters["output_bits"] != "8":
            continue
        accumulator = int(parameters["accumulator_bits"])
        bits = int(parameters["multiplier_bits"])
        dsp = "-nodsp" not in row["flags"]
        key = str(accumulator), str(bits), str(int(dsp))
        others = [
            entry
            for entry in shipped
            if (entry["accumulator_bits"], entry["w_bits"], entry["dsp_allowed"]) != key
            or entry["unit"] != "requantize_dyadic"
        ]
        logic = table_of(others).dyadic(accumulator, bits, dsp=dsp)
        case = f"{accumulator} x {bits} bits{', DSP' if dsp else ''}"
        # Its factor saw the row: this is no error of a row held out.
        yield Row(UNITS, f"{case} lc", float(row["lc"]), logic.lc, "lc", held_out=False)


def _predicted(
    table: SynthesisTable, unit: str, w: int, a: int, parameters: Mapping[str, str]
) -> Logic:
    name, _, kind = unit.partition("_")
    if name == "mac":
        return table.mac(w, a, int(parameters["accumulator_bits"]), Multiplier(kind))
    signed = parameters["signedness"] == "signed"
    return table.multiplier(w, a, Multiplier(kind), signed=signed)


def _parameters(row: Mapping[str, str]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in row["params"].split(";") if item)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _type(name: str) -> tuple[int, bool]:
    """Return width and signedness of a FINN type; BIPOLAR is one signed bit."""
    if name == "BIPOLAR":
        return 1, True
    return int(name.removeprefix("U").removeprefix("INT")), not name.startswith("U")


def _matrix_unit(golden: Mapping[str, str]) -> MatrixUnit:
    """Return the node of a golden row."""
    depthwise = golden["op"].startswith("VVAU")
    vectors = 1
    for size in golden["num_input_vectors"].split("x"):
        vectors *= int(size)
    high, wide = (int(size) for size in (golden["kernel"] or "1x1").split("x"))
    activation_bits, signed = _type(golden["act_type"])
    return MatrixUnit(
        mw=high * wide if depthwise else int(golden["mw"]),
        mh=int(golden["channels"] if depthwise else golden["mh"]),
        pe=int(golden["pe"]),
        simd=int(golden["simd"]),
        vectors=vectors,
        weight_bits=_type(golden["weight_type"])[0],
        activation_bits=activation_bits,
        activation_signed=signed,
        accumulator_bits=_type(golden["acc_type"])[0],
        output_bits=_type(golden["out_type"])[0] if golden["no_activation"] == "0" else None,
        depthwise=depthwise,
        dsp=golden["res_type"] == "dsp",
        rtl=golden["op"].endswith("rtl"),
        mem_mode=golden["mem_mode"],  # type: ignore[arg-type]
        ram_style=golden["ram_style"],  # type: ignore[arg-type]
        thresholds_distributed=golden["ram_style_thresholds"] == "distributed",
    )
