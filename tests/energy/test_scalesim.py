import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.energy.scalesim import Memory, Run, simulate
from hwsim.energy.systolic import (
    Dataflow,
    Gemm,
    Systolic,
    cycles,
    mapping_efficiency,
    sram_accesses,
)
from hwsim.errors import InputError
from tests.energy.reference import ROOT, read_csv

# Printed by SCALE-Sim 3.0.0 (pip, numpy 1.26) on products drawn at random: rows, columns,
# dataflow, M, N, K, KiB of each buffer, bandwidth (0: CALC), total cycles, stalls, cycles with
# prefetch, SRAM output writes, DRAM reads of input and weight, DRAM writes.
FOREIGN = [
    (8, 32, "os", 69, 59, 1, 1, 4, 826, 125, 1084, 4791, 80, 70, 4074),
    (32, 2, "os", 31, 86, 130, 3, 16, 17477, 10512, 17702, 4128, 174020, 12320, 2681),
    (1, 13, "os", 14, 44, 38, 1, 10, 7805, 5006, 7867, 1400, 39520, 71240, 616),
    (12, 32, "os", 54, 1, 117, 2, 3, 816, 22, 936, 274, 7210, 1030, 54),
    (16, 8, "os", 61, 117, 1, 1, 2, 3030, 1651, 3538, 8577, 70, 120, 7138),
    (32, 4, "os", 27, 76, 65, 1, 0, 1880, 0, 2055, 2736, 33345, 4940, 2055),
    (32, 16, "os", 17, 16, 10, 8, 3, 55, 0, 177, 320, 320, 160, 272),
    (16, 1, "ws", 34, 1, 94, 2, 10, 717, 328, 840, 204, 7210, 100, 204),
    (8, 16, "ws", 113, 3, 44, 1, 10, 1175, 318, 1276, 2034, 10400, 520, 2034),
    (12, 16, "ws", 88, 49, 16, 1, 4, 2207, 1200, 2367, 8624, 8840, 1040, 8627),
    (3, 8, "ws", 51, 27, 66, 4, 3, 9253, 3710, 10083, 30294, 20500, 2050, 30296),
    (32, 16, "ws", 108, 136, 49, 2, 4, 9966, 6619, 10501, 29376, 95790, 93730, 29379),
    (12, 8, "ws", 35, 51, 30, 1, 0, 1364, 0, 1444, 5355, 7350, 1530, 5362),
    (12, 14, "ws", 113, 34, 76, 1, 0, 3128, 0, 3193, 26894, 25764, 2584, 26894),
    (3, 3, "ws", 59, 13, 56, 1, 0, 6269, 0, 6388, 14573, 16520, 728, 14573),
    (16, 3, "ws", 1, 1, 18, 3, 8, 67, 0, 73, 2, 40, 60, 2),
    (4, 8, "is", 103, 72, 83, 8, 5, 30109, 6632, 31340, 155736, 28700, 168100, 155739),
    (12, 8, "is", 1, 112, 90, 1, 2, 3183, 2048, 3427, 896, 520, 30680, 897),
    (16, 1, "is", 1, 116, 62, 2, 4, 713, 126, 931, 464, 70, 7210, 464),
    (16, 32, "is", 1, 119, 44, 2, 50, 576, 34, 686, 357, 1030, 6180, 357),
    (16, 4, "is", 100, 1, 27, 1, 5, 2033, 284, 2124, 200, 19240, 40, 200),
    (1, 2, "is", 32, 39, 29, 1, 0, 19023, 0, 19249, 36192, 928, 18096, 36193),
    (8, 3, "is", 33, 28, 48, 1, 0, 2969, 0, 3156, 5544, 1584, 14784, 5544),
    (8, 1, "is", 16, 1, 8, 1, 50, 255, 0, 268, 16, 130, 10, 16),
]

_RUN = tuple[int, int, str, int, int, int, int, int, int, int, int, int, int, int, int]


def run(row: _RUN) -> tuple[Run, tuple[int, ...]]:
    array = Systolic(row[0], row[1], Dataflow(row[2]))
    return simulate(array, Gemm(*row[3:6]), Memory(1024 * row[6], row[7] or None)), row[8:]


@pytest.mark.parametrize("row", FOREIGN, ids=lambda row: "-".join(map(str, row[:8])))
def test_a_run_of_the_simulator_is_reproduced(row: _RUN) -> None:
    got, printed = run(row)
    assert printed == (
        got.cycles,
        got.stalls,
        got.cycles_with_prefetch,
        got.sram.output_writes,
        got.dram.input_reads,
        got.dram.weight_reads,
        got.dram.output_writes,
    )


def test_the_recorded_runs_are_reproduced() -> None:
    records = read_csv("scalesim_cycles.csv", 111)
    stalled = 0
    for record in records:
        array = Systolic(
            int(record["array_rows"]), int(record["array_cols"]), Dataflow(record["dataflow"])
        )
        gemm = Gemm(int(record["m"]), int(record["n"]), int(record["k"]))
        words = 1024 * int(record["sram_kib_each"])
        bandwidth = int(record["bandwidth_words_per_cycle"] or 0) or None
        got = simulate(array, gemm, Memory(words, bandwidth))
        assert got.cycles == int(record["total_cycles"])
        assert got.stalls == int(record["stall_cycles"])
        assert got.cycles_with_prefetch == int(record["total_cycles_incl_prefetch"])
        assert got.sram.input_reads == int(record["sram_ifmap_reads_words"])
        assert got.sram.weight_reads == int(record["sram_filter_reads_words"])
        assert got.sram.output_writes == int(record["sram_ofmap_writes_words"])
        assert got.dram.input_reads == int(record["dram_ifmap_reads_words"])
        assert got.dram.weight_reads == int(record["dram_filter_reads_words"])
        assert got.dram.output_writes == int(record["dram_ofmap_writes_words"])
        assert cycles(array, gemm) == int(record["closed_form_cycles"])
        printed = float(record["mapping_efficiency_percent"])
        assert 100 * mapping_efficiency(array, gemm) == pytest.approx(printed, abs=6e-5)
        stalled += got.stalls > 0
    assert stalled >= 10  # the file holds runs that wait for memory


arrays = st.builds(Systolic, st.integers(1, 9), st.integers(1, 9), st.sampled_from(list(Dataflow)))
gemms = st.builds(Gemm, st.integers(1, 20), st.integers(1, 20), st.integers(1, 20))


@given(array=arrays, gemm=gemms, words=st.sampled_from([100, 256, 1024, 65536]))
@settings(max_examples=60, deadline=None)
def test_the_laws_of_unlimited_bandwidth(array: Systolic, gemm: Gemm, words: int) -> None:
    got = simulate(array, gemm, Memory(words, None))
    assert got.cycles == cycles(array, gemm) + got.stalls
    # The simulator prints the number of the last cycle, counted from 0.
    assert got.cycles + 1 >= gemm.macs / (array.rows * array.columns)
    assert 0 < mapping_efficiency(array, gemm) <= 1
    sram = sram_accesses(array, gemm)
    # Every operand moves at least once, and never more often than the array asks for it.
    assert gemm.m * gemm.k <= got.dram.input_reads <= sram.input_reads
    assert gemm.k * gemm.n <= got.dram.weight_reads <= sram.weight_reads
    assert got.dram.output_writes >= sram.output_writes >= gemm.m * gemm.n
    large = simulate(array, gemm, Memory(65536, None))
    assert large.dram.input_reads <= got.dram.input_reads
    assert large.dram.weight_reads <= got.dram.weight_reads
    if words == 65536:
        assert (got.dram.input_reads, got.dram.weight_reads) == (
            gemm.m * gemm.k,
            gemm.k * gemm.n,
        )


def test_accumulators_keep_partial_sums() -> None:
    gemm = Gemm(64, 96, 147)
    for flow, spilled in ((Dataflow.OUTPUT, 1), (Dataflow.WEIGHT, 10), (Dataflow.INPUT, 10)):
        array = Systolic(16, 16, flow)
        assert sram_accesses(array, gemm).output_writes == 64 * 96 * spilled
        assert sram_accesses(array, gemm, accumulators=True).output_writes == 64 * 96


def test_the_interpreted_loops_give_the_same_run() -> None:
    code = (
        "from hwsim.energy.scalesim import Memory, simulate\n"
        "from hwsim.energy.systolic import Dataflow, Gemm, Systolic\n"
        "for limit in (None, 5):\n"
        "    print(simulate(Systolic(4, 8, Dataflow('is')), Gemm(30, 24, 33), Memory(1024, limit)))"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("0", "1")
    ]
    assert printed[0] == printed[1] != ""


@pytest.mark.parametrize(
    ("gemm", "memory", "sentence"),
    [
        (Gemm(0, 1, 1), Memory(1024, None), "sizes of product and array must be positive, not "),
        (Gemm(1, 1, 1), Memory(99, None), "words must be at least 100, not 99"),
        (Gemm(1, 1, 1), Memory(1024, 0), "bandwidth must be at least 1 word a cycle, not 0"),
    ],
)
def test_what_cannot_run_is_refused(gemm: Gemm, memory: Memory, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(Systolic(2, 2, Dataflow.OUTPUT), gemm, memory)
    assert str(caught.value).startswith(sentence)
