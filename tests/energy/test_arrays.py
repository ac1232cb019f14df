"""Networks on systolic and row-stationary arrays, and the two chips that stand for them."""

from dataclasses import replace

import pytest

from hwsim.energy import cost
from hwsim.energy.arrays import row_stationary_array, systolic
from hwsim.energy.gated_power import Sample, fit, read_samples, without
from hwsim.energy.row_stationary import (
    Convolution,
    Links,
    Mapping,
    active_elements,
    best_mapping,
    buffer_words,
    cycles,
    dram_words,
    input_bytes,
    passes,
    run_length_ratio,
    sum_bytes,
)
from hwsim.energy.systolic import Gemm, folds
from hwsim.energy.validation.shipped import shipped_npu, text_of
from hwsim.errors import PlatformError
from hwsim.platform import parse_platform
from hwsim.platform_array import RowStationaryArray, SystolicArray
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work

W8A8, W8A16 = Option(8, 8), Option(8, 16)
TPU, EYERISS = shipped_npu("tpu_v1"), shipped_npu("eyeriss")
assert isinstance(TPU.array, SystolicArray)
assert isinstance(EYERISS.array, RowStationaryArray)
GRID = row_stationary_array(EYERISS.array)

# AlexNet CONV1 to CONV5 at batch 4 and their mappings: Chen et al., JSSC 2017, table III.
ALEXNET = [
    (Convolution(4, 227, 11, 11, 55, 55, 3, 96, 4, 1), Mapping(96, 1, 7, 16, 1, 1, 2)),
    (Convolution(4, 31, 5, 5, 27, 27, 48, 256, 1, 2), Mapping(64, 1, 27, 16, 2, 1, 1)),
    (Convolution(4, 15, 3, 3, 13, 13, 256, 384, 1, 1), Mapping(64, 4, 13, 16, 4, 1, 4)),
    (Convolution(4, 15, 3, 3, 13, 13, 192, 384, 1, 2), Mapping(64, 4, 13, 16, 3, 2, 2)),
    (Convolution(4, 15, 3, 3, 13, 13, 192, 256, 1, 2), Mapping(64, 4, 13, 16, 3, 2, 2)),
]


def dense(rows: int, outputs: int, inputs: int) -> Unit:
    """Return a fully connected unit over a batch of rows."""
    macs = rows * outputs * inputs
    layer = Layer(
        "fc", Work.FULLY_CONNECTED, macs, 1, rows, outputs, inputs, (1, 1), (rows, outputs),
        outputs * inputs, 0,
    )  # fmt: skip
    return Unit("fc", (layer,), (Tensor("x", rows * inputs, 1, 1),), None)


def test_table_iii_follows_from_the_mapping() -> None:
    assert [active_elements(*case) for case in ALEXNET] == [154, 135, 156, 156, 156]
    kib = [(input_bytes(*case) / 1024, sum_bytes(*case) / 1024) for case in ALEXNET]
    printed = [(15.5, 72.2), (3.8, 91.1), (7.0, 84.5), (10.5, 84.5), (10.5, 84.5)]
    for got, want in zip(kib, printed, strict=True):
        assert got == pytest.approx(want, abs=0.06)


def test_global_buffer_traffic_is_the_measured_one() -> None:
    # Table V prints one digit: 18.5, 77.6, 37.4 and 24.9 MB. CONV3's 50.2 MB are those of the
    # mapping printed for CONV4, not of its own.
    measured = [18.5, 77.6, 50.2, 37.4, 24.9]
    cases = [*ALEXNET]
    cases[2] = (ALEXNET[2][0], ALEXNET[3][1])
    for case, megabytes in zip(cases, measured, strict=True):
        assert round(2e-6 * buffer_words(*case), 1) == megabytes
    assert 2e-6 * buffer_words(*ALEXNET[2]) == pytest.approx(69.2, abs=0.05)


def test_time_is_ideal_where_links_are_infinite() -> None:
    free = Links(1e18, 1e18, 1e18)
    ideal = [13.69, 33.178, 19.169, 14.377, 9.585]  # MACs / (active elements x 200 MHz), in ms
    for case, milliseconds in zip(ALEXNET, ideal, strict=True):
        time = 1e3 * cycles(*case, free) / 200e6
        assert time >= milliseconds * 0.9999
        assert time == pytest.approx(milliseconds, rel=0.02)  # CONV1: 56 of 55 rows are computed


def test_a_layer_bound_by_partial_sums_takes_their_time() -> None:
    layer, mapping = ALEXNET[2]
    sums = 16 * 4 * 13 * 13 * 4  # p t e F n of a pass
    slow = Links(1e18, 1e18, 1.0)
    last = 16 * 13 * 4
    assert cycles(layer, mapping, slow) == pytest.approx(passes(layer, mapping) * (sums + last))


def test_dram_words_are_compulsory_at_least() -> None:
    for layer, mapping in ALEXNET:
        stored = layer.batch * layer.channels * layer.groups * layer.input_size**2
        words = dram_words(layer, mapping, stored)
        assert words.inputs >= stored
        assert words.filters >= layer.filter_words
        assert words.outputs == layer.output_words
    # CONV3: six blocks of 64 filters read the input six times, the filters once.
    layer, mapping = ALEXNET[2]
    words = dram_words(layer, mapping, 173056)
    assert (words.inputs, words.filters) == (6 * 173056, 884736)
    # CONV1: seven strips of seven rows and one of six take 7 x 35 + 31 of 227 input rows, and
    # each of the eight, for each of four images, streams the filters.
    words = dram_words(*ALEXNET[0], 618348)
    assert words.inputs == pytest.approx(618348 * 276 / 227)
    assert words.filters == 32 * 34848


def test_run_length_coding() -> None:
    assert run_length_ratio(0.0) == 1.0  # it would grow by a third, so it stays plain
    assert run_length_ratio(0.5) == pytest.approx(0.5 * 4 / 3, rel=1e-6)
    assert run_length_ratio(1.0) == pytest.approx(64 / 3 / 16 / 32)
    ratios = [run_length_ratio(step / 50) for step in range(51)]
    assert ratios == sorted(ratios, reverse=True)


@pytest.mark.parametrize("index", range(5))
def test_the_searched_mapping_fits_and_is_no_slower_than_the_published_one(index: int) -> None:
    layer, published = replace(ALEXNET[index][0], batch=1), replace(ALEXNET[index][1], n=1)
    found = best_mapping(GRID, layer)
    assert found is not None
    assert active_elements(layer, found) <= 168
    assert found.q * layer.kernel_width <= GRID.input_words
    assert found.p * found.q * layer.kernel_width <= GRID.filter_words
    assert found.p <= GRID.sum_words
    assert input_bytes(layer, found) + sum_bytes(layer, found) <= GRID.buffer_bytes
    ours = cycles(layer, found, GRID.links)
    assert ours <= cycles(layer, published, GRID.links)
    assert ours >= layer.macs / 168


@pytest.mark.parametrize("kib", [1, 4, 16, 50])
def test_a_mapping_fits_a_small_buffer(kib: int) -> None:
    grid = replace(GRID, buffer_bytes=1024 * kib)
    found = best_mapping(grid, ALEXNET[2][0])
    assert found is not None
    layer = replace(ALEXNET[2][0], batch=1)
    assert input_bytes(layer, found) + sum_bytes(layer, found) <= grid.buffer_bytes
    large = best_mapping(GRID, layer)
    assert large is not None
    assert cycles(layer, found, GRID.links) >= cycles(layer, large, GRID.links)
    assert best_mapping(replace(GRID, buffer_bytes=100), layer) is None


def test_a_filter_higher_than_the_array_is_refused() -> None:
    layer = Layer("c", Work.CONV, 169 * 8, 1, 8, 1, 169, (13, 13), (1, 2, 4, 1), 169, 0)
    unit = Unit("c", (layer,), (Tensor("x", 400, 1, 1),), None)
    with pytest.raises(PlatformError) as caught:
        cost([unit], EYERISS, Option(16, 16), [])
    assert str(caught.value) == (
        "eyeriss: unit 'c': filter height must be at most 12 and one pass must fit 102400 bytes "
        "of buffer, not 13 rows over an input 16 wide"
    )


def test_power_constants_are_the_fit_of_the_shipped_layers() -> None:
    samples = read_samples(text_of("eyeriss_power.csv"))
    power = fit(samples)
    assert EYERISS.static_power.si == pytest.approx(power.fixed_w, abs=5e-5)
    assert EYERISS.precision[0].energy_per_mac.si == pytest.approx(power.energy_j, abs=5e-16)
    left_out = [fit(without(samples, sample.layer)) for sample in samples]
    quantity = EYERISS.static_power
    assert quantity.low == pytest.approx(min(line.fixed_w for line in left_out), abs=5e-5)
    assert quantity.high == pytest.approx(max(line.fixed_w for line in left_out), abs=5e-5)


def test_a_fit_finds_a_line() -> None:
    line = [Sample(str(x), x * 1e9, 0.1 + 5e-12 * x * 1e9) for x in (1, 2, 5)]
    power = fit(line)
    assert power.fixed_w == pytest.approx(0.1)
    assert power.energy_j == pytest.approx(5e-12)
    assert power.at(3e9) == pytest.approx(0.115)
    assert [sample.layer for sample in without(line, "2")] == ["1", "5"]


def test_the_tpu_papers_600_by_600_example() -> None:
    # Jouppi et al., ISCA 2017, section 7: nine tiles in 18 us; the array of 512 x 512 needs four
    # in 32 us.
    assert isinstance(TPU.array, SystolicArray)
    found = folds(systolic(TPU.array), Gemm(1, 600, 600))
    assert found.row_folds * found.column_folds == 9
    row = cost([dense(1, 600, 600)], TPU, W8A8, []).rows[0]
    assert row.bound_by == "ddr3"
    assert row.latency_s == pytest.approx(18e-6, rel=1e-12)
    four = cost([dense(1, 512, 2048)], TPU, W8A8, []).rows[0]  # the bytes of four 512 x 512 tiles
    assert four.latency_s == pytest.approx(32e-6, rel=1e-12)


def test_the_tpu_reaches_its_peak_on_large_batches_only() -> None:
    peak = 65536 * 700e6
    busy = cost([dense(4096, 2048, 2048)], TPU, W8A8, []).rows[0]
    assert busy.latency_s is not None and busy.bound_by == "compute"
    assert 0.9 < busy.macs / busy.latency_s / peak <= 1
    half = cost([dense(4096, 2048, 2048)], TPU, W8A16, []).rows[0]
    assert half.latency_s == pytest.approx(2 * busy.latency_s, rel=0.02)
    idle = cost([dense(1, 2048, 2048)], TPU, W8A8, []).rows[0]
    assert idle.bound_by == "ddr3"
    assert idle.latency_s is not None and idle.macs / idle.latency_s / peak < 0.001
    # Idle power dominates: energy is nearly time.
    assert idle.energy_static_j > 0.8 * idle.energy_j


def test_a_grid_without_double_buffers_follows_the_closed_form() -> None:
    table = TPU.model_dump(mode="python")
    table["array"]["double_buffered"] = False
    table["array"]["whole_weight_tiles"] = False
    plain = parse_platform(table, "plain.toml")
    row = cost([dense(1000, 512, 600)], plain, W8A8, []).rows[0]
    assert row.latency_s == pytest.approx(3 * 2 * (2 * 256 + 256 + 1000 - 2) / 700e6, rel=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("dataflow", "xs", "array.dataflow must be 'os', 'ws' or 'is', not 'xs'"),
        ("rows", None, "array.rows must be given, not missing"),
        ("widow", 1, "array.widow must be a key that the schema knows, not 'widow'"),
    ],
)
def test_a_broken_array_is_refused_in_one_sentence(key: str, value: object, sentence: str) -> None:
    table = TPU.model_dump(mode="python")
    if value is None:
        del table["array"][key]
    else:
        table["array"][key] = value
    with pytest.raises(PlatformError) as caught:
        parse_platform(table, "mine.toml")
    assert str(caught.value) == f"mine.toml: {sentence}"
