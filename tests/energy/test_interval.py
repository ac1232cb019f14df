import pytest

from hwsim.energy import cost, energy_interval
from hwsim.platforms import load_platform, names
from tests.energy.test_cost import NET, W8A8


@pytest.mark.parametrize("name", names())
def test_the_value_stands_inside_its_interval(name: str) -> None:
    platform = load_platform(name)
    interval = energy_interval(NET, platform, W8A8)
    assert interval.low_j < interval.value_j == cost(NET, platform, W8A8, []).total.energy_j
    assert interval.value_j <= interval.high_j
    spans = [span for _, span in interval.drivers]
    assert spans == sorted(spans, reverse=True)
    # Energy is a sum of products of constants that do not share a term, so spans add up; a
    # microcontroller's is power times cycles, where they add up to second order.
    exactly = 0.02 if platform.kind == "mcu" else 1e-6
    assert sum(spans) == pytest.approx(interval.high_j - interval.low_j, rel=exactly)


def test_the_board_power_moves_an_fpga_most() -> None:
    platform = load_platform("pynq_z2")
    assert platform.kind == "fpga"
    interval = energy_interval(NET, platform, W8A8)
    assert [path for path, _ in interval.drivers] == ["board_power", "toggle_energy"]
    power, seconds = platform.board_power, cost(NET, platform, W8A8, []).total.latency_s
    assert power.low is not None and power.high is not None and seconds is not None
    assert interval.drivers[0][1] == pytest.approx((power.high - power.low) * seconds)


def test_flash_moves_the_npu_most() -> None:
    interval = energy_interval(NET, load_platform("ethos_u55_128"), W8A8)
    assert interval.drivers[0][0] == "memory[1].energy_read"
