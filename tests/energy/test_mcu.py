import json
import math
from pathlib import Path
from typing import Any

import pytest

import hwsim
from hwsim.cli import main
from hwsim.energy import cost, uncertainty
from hwsim.energy.mcu import at_point, kernel_work, layer_busy
from hwsim.energy.operation import operation
from hwsim.errors import BudgetError, InputError, PlatformError
from hwsim.platform import parse_platform
from hwsim.platform_mcu import McuPlatform
from hwsim.platforms import load_platform
from hwsim.tables import Option
from hwsim.workload import Layer, Tensor, Unit, Work
from tests.energy.reference import mlperf_tiny

W8A8 = Option(8, 8)
MCUS = ("gap9", "ndp120", "stm32l4r5", "stm32l4r5_tflm")


def mcu(name: str) -> McuPlatform:
    platform = load_platform(name)
    assert isinstance(platform, McuPlatform)
    return platform


def unit(
    work: Work, m: int, n: int, k: int, kernel: tuple[int, int] = (1, 1), groups: int = 1
) -> Unit:
    macs = m * n * k * groups
    shape = (1, 1, m, n * groups)
    layer = Layer("u", work, macs, groups, m, n, k, kernel, shape, n * k * groups, n * groups)
    return Unit("u", (layer,), (Tensor("u:in", m * k, 1, 1),), W8A8)


# (platform, point, task): published inferences/s and uJ, from the result logs that the platform
# file names. The rates are fitted on these times, so this is no validation: it holds the files to
# the residuals that their sources state.
PUBLISHED = [
    ("gap9", "650mv", "ad", 3689.707, 5.252),
    ("gap9", "650mv", "ic", 1053.364, 27.711),
    ("gap9", "650mv", "kws", 1365.785, 18.561),
    ("gap9", "650mv", "vww", 577.028, 40.801),
    ("gap9", "800mv", "ad", 5691.597, 7.294),
    ("gap9", "800mv", "ic", 1622.799, 40.356),
    ("gap9", "800mv", "kws", 2103.206, 26.659),
    ("gap9", "800mv", "vww", 889.048, 58.356),
    ("ndp120", "900mv", "ic", 62.598, 101.833),
    ("ndp120", "900mv", "kws", 228.982, 31.537),
    ("ndp120", "900mv", "vww", 78.6, 71.711),
    ("ndp120", "1100mv", "ic", 195.238, 139.367),
    ("ndp120", "1100mv", "kws", 675.024, 43.802),
    ("ndp120", "1100mv", "vww", 243.883, 97.164),
    ("stm32l4r5", "120mhz", "ad", 208.608, 160.4232),
    ("stm32l4r5", "120mhz", "ic", 6.036, 5495.915),
    ("stm32l4r5", "120mhz", "kws", 23.032, 1430.6681),
    ("stm32l4r5", "120mhz", "vww", 11.181, 3029.7521),
    ("stm32l4r5_tflm", "120mhz", "ad", 99.487, 416.312),
    ("stm32l4r5_tflm", "120mhz", "ic", 1.42, 29207.01),
    ("stm32l4r5_tflm", "120mhz", "kws", 5.497, 7373.704),
    ("stm32l4r5_tflm", "120mhz", "vww", 1.665, 24312.648),
]
STATED = {"gap9": (0.04, 0.09), "ndp120": (0.12, 0.2), "stm32l4r5": (0.18, 0.19),
          "stm32l4r5_tflm": (0.13, 0.16)}  # fmt: skip


@pytest.mark.parametrize(("name", "point", "task", "rate", "energy_uj"), PUBLISHED)
def test_platform_files_keep_their_stated_residuals(
    name: str, point: str, task: str, rate: float, energy_uj: float
) -> None:
    total = cost(mlperf_tiny(task), at_point(mcu(name), point), W8A8).total
    latency, energy = STATED[name]
    assert total.latency_s == pytest.approx(1 / rate, rel=latency)
    assert total.energy_j == pytest.approx(energy_uj * 1e-6, rel=energy)


def test_a_convolution_of_few_channels_is_narrow() -> None:
    def kind(built: Unit) -> str | None:
        return kernel_work(built.layers[0])

    assert kind(unit(Work.CONV, 4, 8, 27, (3, 3))) == "narrow_conv"
    assert kind(unit(Work.CONV, 4, 8, 36, (3, 3))) == "conv"
    assert kind(unit(Work.DEPTHWISE, 4, 1, 9, (3, 3), 8)) == "depthwise"
    assert kind(unit(Work.FULLY_CONNECTED, 1, 8, 3)) == "fully_connected"
    assert kind(unit(Work.POOL, 4, 8, 0, (2, 2))) is None


@pytest.mark.parametrize("name", MCUS)
def test_energy_is_power_times_time_and_the_peak_holds(name: str) -> None:
    platform = mcu(name)
    table = cost([unit(Work.CONV, 100, 16, 144, (3, 3))], platform, W8A8)
    row = table.row("u", W8A8)
    assert row.latency_s is not None
    peak = platform.precision[0].macs_per_cycle.value * platform.point[0].clock.si
    assert row.latency_s >= row.macs / peak
    ratio = platform.precision[0].power_ratio("conv")
    extra = 0 if platform.layer_overhead is None else platform.layer_overhead.value
    cycles = 100 * 16 * 144 * platform.precision[0].cycles_per_mac("conv", 8)
    point = platform.point[0]
    expected = point.active_power.si * (cycles * ratio + extra) / point.clock.si
    assert row.energy_j == pytest.approx(expected, rel=1e-12)
    assert row.energy_mac_j == 0 and not row.energy_memory_j


def test_a_rate_above_the_peak_is_held_to_it() -> None:
    table = mcu("stm32l4r5").model_dump()
    table["precision"][0]["kernel"][0]["cycles_per_mac"] |= {"value": 0.1, "low": 0.1}
    platform = parse_platform(table, "mine.toml")
    assert isinstance(platform, McuPlatform)
    assert platform.precision[0].cycles_per_mac("conv", 8) == 0.5


def test_four_bit_weights_save_flash_and_cost_unpacking() -> None:
    built = unit(Work.CONV, 100, 16, 144, (3, 3))
    table = cost([built], load_platform("stm32l4r5"), W8A8)
    wide, narrow = table.row("u", W8A8), table.row("u", Option(4, 8))
    assert wide.latency_s is not None and narrow.latency_s is not None
    assert narrow.memory_bytes["flash"] < wide.memory_bytes["flash"]
    added = 0.5 * built.macs / 120e6
    assert narrow.latency_s - wide.latency_s == pytest.approx(added, rel=1e-9)
    # GAP9's engine reads narrow weights itself; only its 8-bit time is published.
    engine = cost([built], load_platform("gap9"), W8A8)
    assert engine.row("u", Option(2, 8)).latency_s == engine.row("u", W8A8).latency_s


def test_points_scale_time_by_their_clock_and_stalls() -> None:
    built = [unit(Work.CONV, 100, 16, 144, (3, 3))]
    for name, point, ratio in (("gap9", "800mv", 370 / 240), ("ndp120", "1100mv", 98.7 / 30.7)):
        platform = mcu(name)
        stall = platform.point[1].cycle_ratio
        slow = cost(built, platform, W8A8).total.latency_s
        fast = cost(built, at_point(platform, point), W8A8).total.latency_s
        assert slow is not None and fast is not None
        assert slow / fast == pytest.approx(ratio / (stall.value if stall else 1))


def test_unknown_points_and_other_kinds_are_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        at_point(load_platform("gap9"), "700mv")
    assert str(caught.value) == "gap9: point must be one of 650mv, 800mv, not '700mv'"
    with pytest.raises(PlatformError, match="^nvidia_t4: kind must be mcu to run at point 'x'"):
        at_point(load_platform("nvidia_t4"), "x")
    with pytest.raises(PlatformError, match="^pynq_z2: kind must be mcu for operating points"):
        operation([], load_platform("pynq_z2"), {})


def test_what_does_not_fit_is_refused() -> None:
    heavy = unit(Work.FULLY_CONNECTED, 1, 2048, 2048)
    with pytest.raises(BudgetError) as caught:
        cost([heavy], load_platform("stm32l4r5"), W8A8, [])
    assert str(caught.value) == ("stm32l4r5: weights must fit 2097152 bytes of flash, not 4202496")
    assert cost([heavy], load_platform("stm32l4r5"), Option(3, 8), []).total.macs == 2048**2
    wide = unit(Work.CONV, 10**6, 1, 1)
    with pytest.raises(PlatformError, match=r"^stm32l4r5: unit 'u': its activation tensors must"):
        cost([wide], load_platform("stm32l4r5"), W8A8, [])


def test_moving_data_is_free_and_the_rest_is_not() -> None:
    platform = mcu("stm32l4r5")
    moved = layer_busy(platform, unit(Work.MOVE, 8, 8, 0).layers[0], W8A8)
    assert moved.cycles == 0
    added = layer_busy(platform, unit(Work.ELEMENTWISE, 8, 8, 0).layers[0], W8A8)
    assert (added.elements, added.overhead) == (4 * 64, 1000)


def test_operating_points_of_a_network() -> None:
    units = mlperf_tiny("vww")
    chosen = {u.name: W8A8 for u in units if u.has_choice}
    gap9 = load_platform("gap9")
    free = operation(units, gap9, chosen)
    assert [point.point for point in free.points] == ["650mv", "800mv"]
    assert free.chosen == "650mv"
    low, high = free.points
    assert low.leakage_j is not None and 0 < low.leakage_j < low.energy_j
    middle = (low.latency_s + high.latency_s) / 2
    assert operation(units, gap9, chosen, middle).chosen == "800mv"
    mixed = operation(units, gap9, chosen, middle, per_layer=True, switch_time=1e-6).schedule
    assert mixed is not None
    assert low.energy_j < mixed.joules < high.energy_j and mixed.seconds <= middle
    slow = operation(units, gap9, chosen, middle, per_layer=True, switch_time=1.0).schedule
    assert slow is not None and slow.switches == 0
    with pytest.raises(InputError, match="^max_latency must be given"):
        operation(units, gap9, chosen, per_layer=True)
    with pytest.raises(PlatformError, match="^ndp120: switch_time must be given"):
        operation(units, load_platform("ndp120"), chosen, 1.0, per_layer=True)


def edited(**changes: Any) -> dict[str, Any]:
    """Return GAP9's description with top-level fields replaced."""
    return mcu("gap9").model_dump() | changes


def test_contradictory_descriptions_are_refused() -> None:
    points = mcu("gap9").model_dump()["point"]
    swapped = [points[0] | {"clock": points[1]["clock"]}, points[1] | {"clock": points[0]["clock"]}]
    kernels = edited()
    kernels["precision"][0]["kernel"].pop()
    cases = [
        (
            edited(point=swapped),
            "point must be at least 370 MHz at 0.8 V, where the core runs at less, not 240.0",
        ),
        (edited(point=[points[0], points[0]]), "point must be unique names, not '650mv, 650mv'"),
        (edited(memory=[]), "memory must be a non-empty list, not []"),
        (
            edited(memory=[{"name": "l2", "holds": ["weights"]}]),
            "memory must be at least one memory that holds activations, not none",
        ),
        (kernels, "precision[0].kernel must be one rate for fully_connected, not 0"),
    ]
    for table, sentence in cases:
        with pytest.raises(PlatformError) as caught:
            parse_platform(table, "mine.toml")
        assert str(caught.value) == f"mine.toml: {sentence}"


def test_energy_has_the_interval_of_power_and_rates() -> None:
    platform = mcu("stm32l4r5")
    built = unit(Work.CONV, 100, 16, 144, (3, 3))
    interval = uncertainty([built], platform, W8A8).energy
    power, rate = platform.point[0].active_power, platform.precision[0].kernel[0].cycles_per_mac
    started = platform.layer_overhead
    assert started is not None
    for end, watts, cycles, start in (
        (interval.low, power.low, rate.low, started.low),
        (interval.high, power.high, rate.high, started.high),
    ):
        assert watts is not None and cycles is not None and start is not None
        assert end == pytest.approx(watts * (built.macs * cycles + start) / 120e6)
    assert interval.constants[0].path == "precision[0].kernel[0].cycles_per_mac"


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["hwsim", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_dvfs_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(sorted((Path(hwsim.__file__).parent / "networks").glob("*.onnx"))[0])
    assert run_cli(monkeypatch, "dvfs", model, "--bits", "8") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["point", "650mv", "800mv"]
    assert lines[1].endswith("<- least energy")
    found = ("--max-latency", "1s", "--per-layer", "--switch-time", "1us", "--json")
    assert run_cli(monkeypatch, "dvfs", model, "--bits", "8", *found) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == "650mv" and set(told["schedule"]["points"]) == {"650mv"}
    assert run_cli(monkeypatch, "dvfs", model, "--bits", "8", "--max-latency", "1ns") == 2
    assert capsys.readouterr().err.startswith("hwsim: max_latency must be at least")
    assert run_cli(monkeypatch, "cost", model, "-b", "8", "-p", "gap9", "--point", "1v") == 2
    assert "point must be one of 650mv, 800mv, not '1v'" in capsys.readouterr().err
    assert run_cli(monkeypatch, "cost", model, "-b", "8", "-p", "gap9", "--point", "800mv") == 0


def test_the_door_prices_a_shipped_network() -> None:
    folder = Path(hwsim.__file__).parent / "networks"
    graph = hwsim.load(sorted(folder.glob("*.onnx"))[0])
    found = hwsim.operating_points(graph, "gap9", 8)
    assert found.points[0].energy_j > 0 and math.isfinite(found.points[1].latency_s)
