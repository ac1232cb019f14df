import re

import pytest

from hwsim.energy import cost
from hwsim.energy.roofline import roofs
from hwsim.errors import InputError
from hwsim.platforms import load_platform
from hwsim.reports.plots import png
from hwsim.reports.roof_plot import roofline_figure
from hwsim.roofs import Point, Roof
from hwsim.tables import Option
from tests.energy.test_cost import NET, W8A8


@pytest.mark.parametrize("name", ["ethos_u55_128", "tpu_v1", "eyeriss", "nvidia_t4", "gap9"])
def test_lines_come_from_the_platform_file_and_marks_from_the_table(name: str) -> None:
    platform = load_platform(name)
    table = cost(NET, platform, W8A8, [])
    found = roofs(platform, table)
    figure = roofline_figure("net", found)
    *panels, key = figure.axes
    assert len(panels) == len(found)
    assert platform.kind in ("npu", "gpu", "mcu")
    for axes, roof in zip(panels, found, strict=True):
        roof_line, *marks = axes.lines
        xs, ys = (list(map(float, data)) for data in roof_line.get_data())
        (peak,) = roof.peaks.values()
        assert ys[-1] == peak
        if platform.kind != "mcu":
            level = next(level for level in platform.memory if level.name == roof.level)
            assert level.bandwidth is not None
            assert ys[0] == pytest.approx(xs[0] * level.bandwidth.si)
            assert peak == platform.native(W8A8).macs_per_cycle.value * platform.clock.si
        drawn = {
            (float(x), float(y)) for mark in marks for x, y in zip(*mark.get_data(), strict=True)
        }
        assert drawn == {(p.macs_per_byte, p.macs_per_s) for p in roof.points} != set()
        numbers = re.findall(r"\d+", " ".join(note.get_text() for note in axes.texts))
        assert {int(number) for number in numbers} <= {1, 2, 3} and numbers
    assert [line.split()[-1] for line in key.texts[0].get_text().splitlines()] == ["a", "b", "c"]
    bounds = {f"bound by {row.bound_by}" for row in table.selected_rows if row.macs}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == bounds
    assert png(figure) == png(roofline_figure("net", found))


def test_mixed_bits_have_a_peak_for_each_native_precision() -> None:
    platform = load_platform("nvidia_t4")
    table = cost(NET, platform, {"a": W8A8, "b": Option(4, 4), "c": Option(3, 3)}, [])
    (roof,) = roofs(platform, table)
    assert list(roof.peaks) == ["W8A8", "W4A4"]
    assert roof.peaks["W4A4"] == pytest.approx(2 * roof.peaks["W8A8"])


def test_units_on_one_spot_share_a_label() -> None:
    points = tuple(Point(f"u{n}", 10.0, 1e9, "compute", 1e-6) for n in range(5))
    figure = roofline_figure("net", [Roof("dram", 1e9, {"W8A8": 1e10}, points)])
    assert [note.get_text() for note in figure.axes[0].texts] == ["1–5"]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match=r"^units of 'net' must be at least one that multiplies$"):
        roofline_figure("net", [Roof("dram", 1e9, {"W8A8": 1e10}, ())])
    with pytest.raises(InputError, match=r"^roofs of 'net' must be at least one$"):
        roofline_figure("net", [])
