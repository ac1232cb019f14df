"""The Ethos-U55 model against Arm Vela 5.2.0, an oracle of its block search, and its laws."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hwsim
from hwsim.energy.block_cycles import pass_cycles
from hwsim.energy.block_engine import Engine, engine_of
from hwsim.energy.block_pass import Output, Pass, Stage
from hwsim.energy.block_schedule import schedule
from hwsim.energy.block_search import block_of
from hwsim.energy.encoded_weights import weight_codes, with_encoded_weights
from hwsim.energy.validation import vela
from hwsim.energy.weight_codes import narrowed_bits, stream_bits
from hwsim.errors import InputError, PlatformError
from hwsim.partition import workload
from hwsim.platform import NpuPlatform
from hwsim.platforms import load_platform
from tests.energy.reference import read_csv
from tests.energy.vela_networks import models
from tests.oracle import ethos
from tests.shared import model_file
from tests.small_graphs import network

HERE = Path(__file__).parent
SIZES = (32, 64, 128, 256)


def npu(size: int) -> NpuPlatform:
    platform = load_platform(f"ethos_u55_{size}")
    assert isinstance(platform, NpuPlatform)
    return platform


def engine(size: int) -> Engine:
    return engine_of(npu(size), 0)


@st.composite
def passes(draw: st.DrawFn) -> Pass:
    """Return a pass of any stage whose input covers its output."""
    stage = draw(st.sampled_from(list(Stage)))
    ofm = (draw(st.integers(1, 40)), draw(st.integers(1, 70)), draw(st.integers(1, 150)))
    kernel, stride = (1, 1), (1, 1)
    if stage in (Stage.CONV, Stage.DEPTHWISE, Stage.POOL):
        kernel = (draw(st.integers(1, 11)), draw(st.integers(1, 11)))
        stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    side = [(ofm[axis] - 1) * stride[axis] + kernel[axis] for axis in (0, 1)]
    depth = draw(st.integers(1, 300)) if stage in (Stage.CONV, Stage.REDUCE) else ofm[2]
    bits = 32 if stage is Stage.REDUCE else draw(st.sampled_from([8, 8, 16]))
    if stage is Stage.ELEMENTWISE:
        bits = draw(st.sampled_from([8, 16, 32]))
    output = draw(st.sampled_from([Output.DEFAULT, Output.TABLE]))
    return Pass(
        stage, (side[0], side[1], depth), ofm, kernel, stride, output, bits, 8,
        draw(st.booleans()), draw(st.booleans()), 2 if stage is Stage.ELEMENTWISE else 1,
        biased=stage in (Stage.CONV, Stage.DEPTHWISE),
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@given(work=passes())
@example(work=Pass(Stage.POOL, (25, 5, 64), (1, 1, 64), (25, 5)))  # equal costs: the last small one
@example(work=Pass(Stage.CONV, (1, 64, 32), (1, 64, 48), (1, 3)))  # one row: 4 x 1 micro-blocks
@settings(max_examples=12, deadline=None)
def test_the_block_search_equals_its_oracle(size: int, work: Pass) -> None:
    best = ethos.best_block(engine(size), work)
    if best is None:
        with pytest.raises(PlatformError):
            block_of(engine(size), work)
        return
    block = block_of(engine(size), work)
    assert (block.ifm, block.ofm) == best
    assert block.part_kernel == ethos.part_kernel(work)


# npu cycles of single passes that Vela 5.2.0 reports: layers of kws, ic and ad, a mean, a count of zeros.
NPU_CYCLES = [
    (Pass(Stage.DEPTHWISE, (25, 5, 64), (25, 5, 64), (3, 3), biased=True),
     (26244, 13284, 8124, 4968)),
    (Pass(Stage.CONV, (25, 5, 64), (25, 5, 64), biased=True), (17864, 9064, 5944, 3960)),
    (Pass(Stage.POOL, (25, 5, 64), (1, 1, 64), (25, 5)), (2932, 5416, 5400, 5476)),
    (Pass(Stage.CONV, (32, 32, 16), (16, 16, 32), (3, 3), (2, 2), biased=True),
     (51742, 26142, 13680, 8352)),
    (Pass(Stage.ELEMENTWISE, (32, 32, 16), (32, 32, 16), output=Output.ADD, operands=2),
     (98304, 49152, 24576, 12288)),
    (Pass(Stage.CONV, (1, 1, 128), (1, 1, 8), biased=True), (239, 249, 244, 244)),
    (Pass(Stage.DEPTHWISE, (10, 10, 512), (1, 1, 512), (10, 10), ofm_bits=32, biased=True),
     (62513, 56912, 56480, 58726)),
    (Pass(Stage.ELEMENTWISE, (1, 1, 1), (1, 1, 1), output=Output.WIDE_UNARY, ifm_bits=32,
          ofm_bits=32), (40, 20, 12, 10)),
]  # fmt: skip


@pytest.mark.parametrize(("work", "cycles"), NPU_CYCLES, ids=lambda value: str(value)[:30])
def test_a_pass_takes_the_cycles_that_vela_reports(work: Pass, cycles: tuple[int, ...]) -> None:
    # Vela fetches all weights ahead but the fully connected layer's, which are used once.
    staged = work.kernel != (1, 1) or work.ofm[0] > 1
    for size, reported in zip(SIZES, cycles, strict=True):
        block = block_of(engine(size), work)
        assert pass_cycles(engine(size), work, block, staged=staged).total == reported


# Of 20, 20, 26 and 56. Those that differ wait for weights, whose slices are estimated.
EQUAL_LAYERS = {"ad": 20, "kws": 18, "ic": 25, "vww": 53}


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("ad", "ad01_int8"), ("kws", "kws_ref_model"),
        ("ic", "pretrainedResnet_quant"), ("vww", "vww_96_int8"),
    ],
)  # fmt: skip
def test_layers_against_the_shipped_rows_of_vela(task: str, file: str) -> None:
    cases = read_csv("vela_layers.csv", 406)
    graph = hwsim.load(model_file(f"mlperf_tiny/{file}.tflite", "layers not compared"))
    equal = 0
    for size in (64, 128):
        platform = npu(size)
        units = with_encoded_weights(workload(graph), platform, weight_codes(graph))
        times = schedule(engine(size), [layer for unit in units for layer in unit.layers])
        rows = [
            row
            for row in cases
            if (row["network"], row["accelerator"]) == (task, f"u55-{size}")
            and row["npu_operator"] not in ("Relu", "LUT")
        ]
        assert len(rows) == len(times)
        for row, time in zip(rows, times, strict=True):
            if row["npu_operator"] in ("Conv2D", "DepthwiseConv2D", "FullyConnected", "Add"):
                if row["original_operator"] == "Softmax":
                    continue
                equal += time.engine == int(row["cycles_npu"])
                assert time.engine == pytest.approx(int(row["cycles_npu"]), rel=0.07)
    assert equal >= EQUAL_LAYERS[task]


def with_rows(folder: Path, names: set[str]) -> Path:
    """Return a folder whose vela_cycles.csv holds rows that do not ship with the data."""
    with (HERE / "vela_5_2_0.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "vela_cycles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["network"] in names)
    return folder


def test_other_sizes_of_mlperf_tiny(tmp_path: Path) -> None:
    model_file("mlperf_tiny/ad01_int8.tflite", "8 network cycles not compared")
    folder = with_rows(tmp_path, {"ad", "kws", "ic", "vww"})
    rows = list(vela.cycles(folder)) or pytest.fail("no rows")
    assert len(rows) == 8
    assert max(abs(row.error) for row in rows) <= 0.02
    encoded = list(vela.encoded(folder))
    assert max(abs(row.error) for row in encoded) <= 0.10


@pytest.mark.parametrize("name", ["pooled", "bottlenecks", "tables", "rows", "separable"])
def test_other_networks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / f"{name}.tflite").write_bytes(models()[name].to_bytes())
    monkeypatch.setenv("HWSIM_MODELS", str(tmp_path))
    folder = with_rows(tmp_path, {name})
    rows = list(vela.cycles(folder))
    assert len(rows) == 4
    assert max(abs(row.error) for row in rows) <= 0.015
    assert max(abs(row.error) for row in vela.additive_cycles(folder)) <= 0.05
    assert max(abs(row.error) for row in vela.encoded(folder)) <= 0.05


def test_a_missing_file_yields_nothing(tmp_path: Path) -> None:
    assert list(vela.cycles(tmp_path)) == []
    with_rows(tmp_path, {"tables"})
    assert list(vela.cycles(tmp_path)) == []  # neither a model nor a list of layers


# Bits per weight that Vela 5.2.0's encoder gives 4096 weights. It is 7 % off its best Rice code on
# the normal ones, which it stores as plain 7-bit codes.
@pytest.mark.parametrize(
    ("draw", "measured"),
    [
        (lambda rng: rng.integers(-127, 128, 4096), 8.03),
        (lambda rng: np.clip(rng.normal(0, 20, 4096).round(), -127, 127), 7.00),
        (lambda rng: rng.integers(-8, 8, 4096), 4.03),
        (lambda rng: rng.integers(-127, 128, 4096) * (rng.random(4096) >= 0.8), 2.31),
        (lambda rng: np.zeros(4096), 0.16),
    ],
    ids=["uniform", "normal", "narrow", "sparse", "zeros"],
)
def test_bits_per_weight_of_the_encoder(draw: object, measured: float) -> None:
    assert callable(draw)
    codes = draw(np.random.default_rng(1)).astype(np.int64)
    assert stream_bits(codes) / 4096 == pytest.approx(measured, rel=0.08)


@given(
    weights=st.integers(0, 10**6),
    encoded=st.integers(0, 10**7),
    widths=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_narrower_weights_never_take_more(
    weights: int, encoded: int, widths: tuple[int, int]
) -> None:
    narrow, wide = sorted(widths)
    assert narrowed_bits(encoded, weights, narrow) <= narrowed_bits(encoded, weights, wide)
    assert narrowed_bits(encoded, weights, 8) == encoded


def test_a_stated_size_is_the_flash_traffic() -> None:
    graph = network()
    plain = hwsim.cost(graph, "ethos_u55_64", options=[])
    encoded = hwsim.cost(graph, "ethos_u55_64", options=[], encoded_weights=True)
    first = plain.rows[0].unit
    assert encoded.rows[0].unit == first
    assert encoded.rows[0].memory_bytes["flash"] != plain.rows[0].memory_bytes["flash"]
    assert encoded.rows[0].macs == plain.rows[0].macs


def test_encoded_weights_are_refused_where_nothing_encodes() -> None:
    with pytest.raises(InputError) as caught:
        hwsim.cost(network(), "nvidia_t4", encoded_weights=True)
    assert str(caught.value) == "encoded_weights must be asked for of an npu, not 'gpu'"


def test_a_buffer_without_room_for_a_block_is_refused() -> None:
    work = Pass(Stage.CONV, (64, 64, 32), (8, 8, 64), (8, 8), (8, 8), biased=True)
    with pytest.raises(PlatformError) as caught:
        block_of(replace(engine(64), banks=4), work)
    assert str(caught.value) == (
        "ethos_u55_64: array.buffer must hold the smallest block of a conv pass, not 4 KiB"
    )
