import itertools
import random

import pytest

import hwsim
from hwsim import networks
from hwsim.energy import cost, uncertainty
from hwsim.energy.interval import _changed
from hwsim.errors import HwsimError, InputError
from hwsim.platform import quantities
from hwsim.platform_mcu import McuPlatform
from hwsim.platforms import load_platform, names
from tests.energy.test_cost import NET, W8A8

VERTICES = 300


@pytest.mark.parametrize("name", names())
def test_no_choice_of_ends_leaves_the_interval(name: str) -> None:
    platform = load_platform(name)
    found = uncertainty(NET, platform, W8A8, without_range=False)
    total = cost(NET, platform, W8A8, []).total
    assert (found.energy.value, found.latency and found.latency.value) == (
        total.energy_j, total.latency_s,
    )  # fmt: skip
    assert found.energy.low < found.energy.value <= found.energy.high
    ranged = {path: q for path, q in quantities(platform).items() if q.low is not None}
    sides = list(itertools.islice(itertools.product("lh", repeat=len(ranged)), VERTICES + 1))
    if len(sides) > VERTICES:  # too many to try all
        draw = random.Random(7)
        sides = [tuple(draw.choice("lvh") for _ in ranged) for _ in range(VERTICES)]
    seen = []
    for picks in sides:
        ends = {
            path: {"l": q.low, "v": q.value, "h": q.high}[pick] or q.value
            for (path, q), pick in zip(ranged.items(), picks, strict=True)
        }
        try:
            seen.append(cost(NET, _changed(platform, ends), W8A8, []).total)
        except HwsimError:  # a memory at its low end may be too small
            continue
    energies = [one.energy_j for one in seen]
    assert found.energy.low <= min(energies) and max(energies) <= found.energy.high
    if found.latency is not None:
        times = [one.latency_s for one in seen if one.latency_s is not None]
        assert found.latency.low <= min(times) and max(times) <= found.latency.high
    if len(sides) == 2 ** len(ranged):  # all of them: the corners are among them
        assert found.energy.high == max(energies)


@pytest.mark.parametrize("name", names())
def test_three_constants_with_sources_are_named(name: str) -> None:
    platform = load_platform(name)
    found = uncertainty(NET, platform, W8A8)
    totals = [found.energy] if found.latency is None else [found.energy, found.latency]
    assert (found.latency is None) == (name == "horowitz_ratio")
    known = quantities(platform)
    for total in totals:
        assert len(total.constants) >= (2 if name == "horowitz_ratio" else 3)
        order = [(-one.span, -one.weight) for one in total.constants]
        assert order == sorted(order)
        for one in total.constants:
            assert one.quantity is known[one.path] and one.quantity.source
            assert (one.span > 0) <= (one.quantity.low is not None)


def test_the_board_power_moves_an_fpga_most() -> None:
    platform = load_platform("pynq_z2")
    assert platform.kind == "fpga"
    energy = uncertainty(NET, platform, W8A8).energy
    assert [one.path for one in energy.constants if one.span] == ["board_power", "toggle_energy"]
    power, seconds = platform.board_power, cost(NET, platform, W8A8, []).total.latency_s
    assert power.low is not None and power.high is not None and seconds is not None
    assert energy.constants[0].span == pytest.approx((power.high - power.low) * seconds)


def test_a_clock_without_a_range_halves_a_fixed_count_of_cycles() -> None:
    found = uncertainty(NET, load_platform("pynq_z2"), W8A8)
    assert found.latency is not None and found.latency.low == found.latency.high
    clock = next(one for one in found.latency.constants if one.path == "clock")
    assert (clock.span, clock.doubled, clock.halved) == (0, 0.5, 2)


def test_a_range_of_a_bandwidth_turns_around() -> None:
    latency = uncertainty(NET, load_platform("tpu_v1"), W8A8).latency
    assert latency is not None
    bandwidth = next(one for one in latency.constants if one.path == "memory[1].bandwidth")
    assert bandwidth.span > 0 and bandwidth.doubled is not None and bandwidth.doubled < 1
    assert latency.low < latency.value == latency.high  # its range ends at the value, from above


def test_flash_moves_the_npu_most() -> None:
    energy = uncertainty(NET, load_platform("ethos_u55_128"), W8A8).energy
    assert energy.constants[0].path == "memory[1].energy_read"


def test_an_end_that_the_network_does_not_fit_is_named_and_left_out() -> None:
    platform = load_platform("gap9")
    assert isinstance(platform, McuPlatform)
    room = platform.memory[0].capacity
    assert room is not None
    tight = room.model_copy(update={"low": 1.0})
    memory = [platform.memory[0].model_copy(update={"capacity": tight}), *platform.memory[1:]]
    changed = platform.model_copy(update={"memory": memory})
    found = uncertainty(NET, changed, W8A8)
    assert [sentence.split(":")[0] for sentence in found.refused] == ["memory[0].capacity at 1 KiB"]
    assert found.energy == uncertainty(NET, platform, W8A8).energy


def test_one_unit_is_explained_by_itself() -> None:
    platform = load_platform("ethos_u55_128")
    table = cost(NET, platform, W8A8, [])
    found = uncertainty(NET, platform, W8A8, unit="b")
    row = table.row("b", W8A8)
    assert (found.energy.value, found.latency and found.latency.value) == (
        row.energy_j, row.latency_s,
    )  # fmt: skip
    with pytest.raises(
        InputError, match=r"^ethos_u55_128: unit must be one of a, b, p, c, not 'x'$"
    ):
        uncertainty(NET, platform, W8A8, unit="x")


def test_the_door_explains_a_graph() -> None:
    graph = hwsim.load(networks.path("digits_cnn"))
    found = hwsim.uncertainty(graph, "nvidia_t4", "W4A8")
    assert found.energy.value == hwsim.cost(graph, "nvidia_t4", "W4A8", options=[]).total.energy_j
    assert found.energy.low < found.energy.value < found.energy.high


def test_a_bandwidth_matters_in_the_corner_where_the_clock_is_fast() -> None:
    platform = load_platform("ethos_u55_128")
    assert platform.kind == "npu"
    flash = platform.memory[1]
    assert flash.bandwidth is not None
    clock = platform.clock.model_copy(update={"low": 250.0, "high": 50_000.0})
    rate = flash.bandwidth.model_copy(update={"low": 0.5, "high": 50.0})
    memory = [platform.memory[0], flash.model_copy(update={"bandwidth": rate})]
    changed = platform.model_copy(update={"clock": clock, "memory": memory})
    net = [NET[1]]
    latency = uncertainty(net, changed, W8A8).latency
    assert latency is not None

    def at(clock_mhz: float, gb_per_s: float) -> float | None:
        ends = {"clock": clock_mhz, "memory[1].bandwidth": gb_per_s}
        return cost(net, _changed(changed, ends), W8A8, []).total.latency_s

    # Alone, at the file's clock, a faster flash changes nothing: the array is busy longer.
    assert at(500, 0.5) == at(500, 50) == latency.value
    fastest, slower = at(50_000, 50), at(50_000, 0.5)
    assert fastest is not None and slower is not None and fastest < slower
    assert (latency.low, latency.high) == (fastest, at(250, 0.5))
