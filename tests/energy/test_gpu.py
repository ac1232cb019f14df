"""The GPU model: native precisions, tiles and waves, unpacking, and HAWQ-V3's measurement."""

import pytest

from hwsim.energy import cost
from hwsim.energy.gpu import compute_s, kernel_s, padded_macs
from hwsim.energy.validation import TARGETS, gpu, judged
from hwsim.platform import GpuPlatform
from hwsim.platforms import load_platform
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work
from tests.energy.gpu_fit import fit
from tests.energy.reference import FOLDER, read_csv, read_json

W8, W4A8, W4 = Option(8, 8), Option(4, 8), Option(4, 4)
GPUS = {
    "nvidia_t4": "T4",
    "nvidia_a100": "A100-SXM4-40GB",
    "nvidia_h100": "H100-SXM5",
    "nvidia_jetson_orin_nano": "Jetson Orin Nano 8GB",
}


def gemm(m: int, n: int, k: int) -> Layer:
    return Layer("g", Work.CONV, m * n * k, 1, m, n, k, (1, 1), (1, 1, m, n), n * k, n)


def gpu_of(name: str) -> GpuPlatform:
    platform = load_platform(name)
    assert isinstance(platform, GpuPlatform)
    return platform


@pytest.mark.parametrize("name", GPUS)
def test_peaks_are_the_vendors_dense_ones(name: str) -> None:
    rows = [row for row in read_csv("gpu_peaks.csv", 12) if row["device"] == GPUS[name]]
    assert len(rows) == 1
    platform = gpu_of(name)
    # A sparse advertisement is twice the dense peak; the Orin Nano has no DLA in it.
    sparse = 2 if "sparse" in rows[0]["peaks_are"] else 1
    for row in platform.precision:
        stated = rows[0][f"int{row.native_bits}_tops"]
        tops = 2e-12 * row.macs_per_cycle.value * platform.clock.si
        assert tops == pytest.approx(float(stated) / sparse, rel=0.03)
    natives = {row.native_bits for row in platform.precision}
    assert (4 in natives) == bool(rows[0]["int4_tops"])
    bandwidth = platform.memory[-1].bandwidth
    assert bandwidth is not None
    top = bandwidth.value if bandwidth.high is None else bandwidth.high
    assert top == float(rows[0]["memory_bandwidth_gb_s"])


def test_waves_are_whole() -> None:
    t4 = gpu_of("nvidia_t4")
    tile = 64 * 64 * 32
    # 40 processors, one 64x64 tile each: 40 tiles are a wave, 41 are two.
    assert padded_macs(t4, gemm(64, 64, 32)) == 40 * tile
    assert padded_macs(t4, gemm(64 * 40, 64, 32)) == 40 * tile
    assert padded_macs(t4, gemm(64 * 40 + 1, 64, 32)) == 80 * tile


def test_narrow_weights_on_8_bit_cores_save_bytes_and_pay_for_unpacking() -> None:
    layer = gemm(64, 512, 512)
    unit = Unit("g", (layer,), (Tensor("x", 64 * 512, 1, 1),))
    for name in GPUS:
        platform = gpu_of(name)
        table = cost([unit], platform, W8, [W8, W4A8])
        wide, narrow = table.row("g", W8), table.row("g", W4A8)
        assert narrow.weight_bytes == wide.weight_bytes - 512 * 512 / 2
        assert compute_s(platform, layer, platform.native(W4A8)) == compute_s(
            platform, layer, platform.native(W8)
        )
        unpacked = kernel_s(platform, layer, W4A8) - kernel_s(platform, layer, W8)
        cycles = 512 * 512 * platform.cores.unpack.value
        assert unpacked == pytest.approx(cycles / platform.clock.si, rel=1e-6)


def test_four_bit_pairs_have_no_rate_of_their_own_on_hopper() -> None:
    layer = gemm(4096, 4096, 64)
    h100, a100 = gpu_of("nvidia_h100"), gpu_of("nvidia_a100")
    assert h100.native(W4) == h100.native(W8)
    ratio = compute_s(a100, layer, a100.native(W4)) / compute_s(a100, layer, a100.native(W8))
    assert ratio == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("network", ["resnet18", "resnet50"])
def test_the_constants_follow_from_the_layers_of_the_other_network(network: str) -> None:
    networks = read_json(gpu.FILE, 71)["networks"]
    other = [name for name in networks if name != network]
    eight, four, epilogue, chained = fit(networks, other)
    made = gpu.fitted_without(gpu.t4(), network)
    shipped = {row.native_bits: row.efficiency for row in made.precision}
    assert shipped[8] is not None and shipped[4] is not None
    assert shipped[8].value == pytest.approx(eight, rel=1e-3)
    assert shipped[4].value == pytest.approx(four, rel=1e-3)
    assert made.cores.epilogue.value == pytest.approx(epilogue, rel=1e-3)
    assert made.cores.chained.value == pytest.approx(chained, rel=1e-3)


def test_the_platforms_constants_follow_from_both_networks() -> None:
    networks = read_json(gpu.FILE, 71)["networks"]
    eight, four, epilogue, chained = fit(networks, list(networks))
    t4 = gpu.t4()
    shipped = {row.native_bits: row.efficiency for row in t4.precision}
    assert shipped[8] is not None and shipped[4] is not None
    found = (shipped[8].value, shipped[4].value, t4.cores.epilogue.value, t4.cores.chained.value)
    assert found == pytest.approx((eight, four, epilogue, chained), rel=1e-3)


def test_hawq_ratios_are_reached_and_beat_their_baselines() -> None:
    read_json(gpu.FILE, 71)
    verdicts = {v.against: v for v in judged(list(gpu.ratios(FOLDER)), TARGETS)}
    for network, count in (("resnet18", 19), ("resnet50", 52)):
        own = [v for name, v in verdicts.items() if network in name]
        model, *baselines = own
        assert (model.state, model.rows) == ("reached", count)
        assert len(baselines) == 2
        assert all(model.mean_difference < 0.75 * base.mean_difference for base in baselines)


def test_hawq_networks_by_the_other_networks_constants() -> None:
    read_json(gpu.FILE, 71)
    rows = list(gpu.end_to_end(FOLDER))
    assert len(rows) == 4
    assert all(abs(row.error) < 0.07 for row in rows)


def test_sums_of_lone_layers_are_no_network_time() -> None:
    # The affine map of the sum: a share below 1, and a part that does not shrink with the bits.
    networks = read_json(gpu.FILE, 71)["networks"]
    for name, network in networks.items():
        t4, rows = gpu.t4(), network["layers"]
        alone = {w: sum(kernel_s(t4, gpu.layer_of(name, row), w) for row in rows) for w in (W8, W4)}
        whole = {w: gpu.network_s(t4, name, rows, w) for w in (W8, W4)}
        share = (whole[W8] - whole[W4]) / (alone[W8] - alone[W4])
        constant = 1e3 * (whole[W8] - share * alone[W8])
        measured = network["end_to_end_ms_batch_8"]
        sums = network["sum_latency_int8"], network["sum_latency_int4"]
        slope = (measured["w8a8"] - measured["w4a4"]) / (sums[0] - sums[1])
        assert share == pytest.approx(slope, abs=0.1)
        # 0.62 and 0.88 ms measured: the map's constant is the difference of two like figures.
        assert 0.2 < constant < 2.5
        assert whole[W4] / whole[W8] > alone[W4] / alone[W8]
        assert whole[W4] / whole[W8] == pytest.approx(measured["w4a4"] / measured["w8a8"], abs=0.06)
