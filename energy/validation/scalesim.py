"""SCALE-Sim 3.0.0's recorded runs against the emulation of it; nothing is fitted."""

import csv
from collections.abc import Iterator
from pathlib import Path

from hwsim.energy.scalesim import Memory, simulate
from hwsim.energy.systolic import Dataflow, Gemm, Systolic, mapping_efficiency

from .row import Row, Target

_FILE = "scalesim_cycles.csv"
CYCLES = "SCALE-Sim 3.0.0 cycles"
STALLS = "SCALE-Sim 3.0.0 stalls and first fill"
SRAM = "SCALE-Sim 3.0.0 SRAM words"
DRAM = "SCALE-Sim 3.0.0 DRAM words"
MAPPING = "SCALE-Sim 3.0.0 mapping efficiency"

TARGETS = (
    Target(CYCLES, "0 difference", worst=0.0),
    Target(STALLS, "0 difference", worst=0.0),
    Target(SRAM, "0 difference", worst=0.0),
    Target(DRAM, "each within 1 %", worst=0.01),
    Target(MAPPING, "as printed, 4 digits", worst=1e-4),
)


def rows(data: Path) -> Iterator[Row]:
    """Yield the counts of every recorded run: cycles, stalls, words at both borders."""
    path = data / _FILE
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            yield from _compared(record)


def _compared(record: dict[str, str]) -> Iterator[Row]:
    """Yield the figures of one run."""
    array = Systolic(
        int(record["array_rows"]), int(record["array_cols"]), Dataflow(record["dataflow"])
    )
    gemm = Gemm(int(record["m"]), int(record["n"]), int(record["k"]))
    limited = record["bandwidth_mode"] == "USER"
    bandwidth = int(record["bandwidth_words_per_cycle"]) if limited else None
    run = simulate(array, gemm, Memory(1024 * int(record["sram_kib_each"]), bandwidth))
    case = (
        f"{array.rows}x{array.columns} {array.dataflow.value} {gemm.m}x{gemm.n}x{gemm.k} "
        f"{record['sram_kib_each']}K {record['bandwidth_mode']}{bandwidth or ''}"
    )
    counts = (
        (CYCLES, "total_cycles", run.cycles, "cycle"),
        (STALLS, "stall_cycles", run.stalls, "cycle"),
        (STALLS, "total_cycles_incl_prefetch", run.cycles_with_prefetch, "cycle"),
        (SRAM, "sram_ifmap_reads_words", run.sram.input_reads, "word"),
        (SRAM, "sram_filter_reads_words", run.sram.weight_reads, "word"),
        (SRAM, "sram_ofmap_writes_words", run.sram.output_writes, "word"),
        (DRAM, "dram_ifmap_reads_words", run.dram.input_reads, "word"),
        (DRAM, "dram_filter_reads_words", run.dram.weight_reads, "word"),
        (DRAM, "dram_ofmap_writes_words", run.dram.output_writes, "word"),
        (MAPPING, "mapping_efficiency_percent", 100 * mapping_efficiency(array, gemm), "%"),
    )
    for against, column, predicted, unit in counts:
        if record.get(column):
            yield Row(against, case, float(record[column]), float(predicted), unit)
