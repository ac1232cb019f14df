from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from hwsim.errors import InputError
from hwsim.reports.terminal import cost_table, front_table, sensitivity_table
from hwsim.tables import Option, SensitivityTable
from hwsim.units import format_quantity
from tests.reports.samples import costs, front, scores


def shown(renderable: RenderableType, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    text = capture.get()
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    return text


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(start)).split()


def test_cost_table_shows_every_row_and_the_total() -> None:
    table = costs(6)
    text = shown(cost_table(table))
    total = table.total
    wanted = [format_quantity(total.energy_j, "J"), format_quantity(total.latency_s, "s")]
    assert all(item in " ".join(line_of(text, "total")) for item in wanted)
    assert all(str(row.option) in text for row in table.selected_rows if row.option)
    assert "• Weights stay [on] chip." in text  # a bracket is no markup
    assert "LUT" not in text and "dram" in text


def test_cost_table_shows_fabric_where_there_is_some() -> None:
    text = shown(cost_table(costs(3, lut=1200)))
    assert "LUT" in text and "3,600" in text and "DSP" not in text


def test_cost_table_without_times() -> None:
    assert "n/a" in line_of(shown(cost_table(costs(3, timed=False))), "total")


def test_a_pipelined_total_is_explained() -> None:
    table = replace(costs(3), pipelined=True)
    assert "• Units work at once: the total latency is the interval" in shown(cost_table(table))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_is_told_what_is_left_out(width: int) -> None:
    text = shown(cost_table(costs(6)), width)
    assert "columns that did not fit: MAC, sram, dram, static" in text
    lines = [line for line in text.splitlines() if "/layer" in line]
    assert len(lines) == 6 and all("/conv" in line and " nJ " in line for line in lines)


def test_front_table_keeps_both_ends() -> None:
    text = shown(front_table(front(300), limit=10))
    assert "10 of 300 points; every nondominated point, proved" in text
    assert "333 nJ" in text and "100 µJ" in text
    assert text.count("exact") == 10
    assert "W2A8 × 2" in text
    assert "30 of 30 points" in shown(front_table(front(30), limit=30))
    assert "0 of 0 points" in shown(front_table(replace(front(1), points=())))
    with pytest.raises(InputError, match="^limit must be at least 2, not 1$"):
        front_table(front(3), limit=1)


def test_sensitivity_table_shows_what_is_missing() -> None:
    table = scores(3)
    values = dict(table.values) | {("extra", Option(8, 8)): float("nan")}
    text = shown(sensitivity_table(SensitivityTable("jsd", values, 10)))
    assert line_of(text, "extra") == ["extra", "n/a", "n/a", "n/a", "n/a"]
    assert "0.0125" in text and "measured on 10 inputs" in text
