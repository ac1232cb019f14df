import pytest

from hwsim.energy import cost
from hwsim.energy.roofline import ALL, points, roofline
from hwsim.errors import PlatformError
from hwsim.platforms import load_platform
from hwsim.tables import Option
from tests.energy.test_cost import NET, W8A8


def test_the_ridge_is_where_bandwidth_reaches_the_peak() -> None:
    roof = roofline(load_platform("ethos_u55_128"), W8A8)
    assert roof.peak_macs_per_s == 64e9
    ridge = roof.ridge_macs_per_byte("flash")
    assert ridge == 128
    assert roof.attainable_macs_per_s("flash", ridge / 2) == 32e9
    assert roof.attainable_macs_per_s("flash", ridge * 2) == 64e9


@pytest.mark.parametrize(("name", "level"), [("ethos_u55_128", "flash"), ("nvidia_t4", "dram")])
def test_no_unit_stands_above_the_roof(name: str, level: str) -> None:
    platform = load_platform(name)
    table = cost(NET, platform, W8A8, [])
    roof = roofline(platform, W8A8)
    found = points(table, level)
    assert [point.unit for point in found] == ["a", "b", "c"]
    for point in found:
        limit = roof.attainable_macs_per_s(level, point.macs_per_byte)
        assert point.macs_per_s <= limit * (1 + 1e-12)


def test_a_dataflow_design_has_no_roofline() -> None:
    with pytest.raises(PlatformError) as caught:
        roofline(load_platform("pynq_z2"), W8A8)
    assert str(caught.value) == "pynq_z2: kind must be npu, mcu or gpu for a roofline, not fpga"
    with pytest.raises(PlatformError) as caught:
        roofline(load_platform("ethos_u55_128"), Option(4, 4))
    assert str(caught.value) == (
        "ethos_u55_128: a roofline's option must be a supported one, not W4A4"
    )


def test_a_microcontroller_has_a_flat_roof_that_no_unit_exceeds() -> None:
    platform = load_platform("gap9")
    assert platform.kind == "mcu"
    roof = roofline(platform, W8A8)
    assert roof.bandwidth_bytes_per_s == {}
    peak = platform.precision[0].macs_per_cycle.value * platform.point[0].clock.si
    assert roof.peak_macs_per_s == peak
    found = points(cost(NET, platform, W8A8, []), ALL)
    assert [point.unit for point in found] == ["a", "b", "c"]
    assert all(point.macs_per_s <= peak for point in found)
