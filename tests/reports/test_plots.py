import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from hwsim.errors import InputError
from hwsim.reports.names import shorten
from hwsim.reports.plots import Mark, Panel, front_marks, pareto_figure, platforms_figure, png, save
from hwsim.reports.unit_plots import bits_figure, energy_figure
from hwsim.tables import Allocation, Option
from tests.reports.samples import costs, front, unit_names

UNIFORM = [
    Mark(20e-6 * share, value, f"W{bits}A{bits}", "uniform", value - 0.012, value + 0.011)
    for bits, share, value in (
        (2, 0.14, 0.50), (3, 0.22, 0.70), (4, 0.30, 0.80), (5, 0.42, 0.86),
        (6, 0.55, 0.88), (7, 0.75, 0.893), (8, 1.0, 0.896),
    )
]  # fmt: skip
FRONT = [Mark(20e-6 * (i + 30) / 330, 0.9 - 6 / (i + 30), "", "front") for i in range(300)]
FLOAT = Mark(None, 0.9, "fp32", "float", 0.89, 0.91)


def pareto(points: list[Mark], *, log_x: bool = False) -> Figure:
    return pareto_figure(
        points, objective_label="energy per inference", value_label="top-1 accuracy",
        title="ResNet8", objective_unit="J", value_unit="%", log_x=log_x,
    )  # fmt: skip


def platforms() -> Figure:
    panels = [
        Panel([*FRONT, *UNIFORM], "energy", "accuracy", title, "J", "%", log_x)
        for title, log_x in (("npu", True), ("gpu", False))
    ]
    return platforms_figure(panels)


def bits(count: int = 20) -> Figure:
    points = front(3, count).points
    return bits_figure(dict(zip(("uniform 8", "exact at most 12 µJ", "rule"), points, strict=True)))


FIGURES = {
    "pareto": lambda: pareto([*FRONT, *UNIFORM, FLOAT]),
    "pareto log": lambda: pareto([*FRONT[::20], *UNIFORM, FLOAT], log_x=True),
    "platforms": platforms,
    "energy 1": lambda: energy_figure(costs(1)),
    "energy 60": lambda: energy_figure(costs(60)),
    "bits 1": lambda: bits(1),
    "bits 60": lambda: bits(60),
}


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return FIGURES[request.param]()


def visible_texts(figure: Figure) -> list[Text]:
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in found if isinstance(text, Text) and text.get_text().strip()]


def test_every_text_is_readable_and_inside(figure: Figure) -> None:
    figure.draw_without_rendering()
    texts = visible_texts(figure)
    assert min(text.get_fontsize() for text in texts) >= 8
    whole = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert whole.x0 >= 0 and whole.x1 <= figure.bbox.x1  # nothing is clipped
    assert whole.y0 >= 0 and whole.y1 <= figure.bbox.y1


def test_unit_names_do_not_overlap() -> None:
    for drawn in (energy_figure(costs(60)), bits(60)):
        drawn.draw_without_rendering()
        boxes = [t.get_window_extent() for t in drawn.axes[0].get_yticklabels()]
        assert len(boxes) >= 60
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_equal_figures_are_equal_bytes(figure: Figure, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["figure"]
    data = png(figure)
    assert data == png(FIGURES[name]())
    assert data.startswith(b"\x89PNG") and b"tEXt" not in data and b"tIME" not in data


def test_a_figure_is_saved_in_one_step(tmp_path: Path) -> None:
    save(bits(2), tmp_path / "bits.png")
    assert os.listdir(tmp_path) == ["bits.png"]
    assert (tmp_path / "bits.png").read_bytes() == png(bits(2))


@pytest.mark.parametrize("log_x", [False, True])
def test_pareto_shows_its_numbers_in_its_units(log_x: bool) -> None:
    axes = pareto([*FRONT, *UNIFORM, FLOAT], log_x=log_x).axes[0]
    assert axes.get_xlabel() == "energy per inference (µJ)"
    assert axes.get_ylabel() == "top-1 accuracy (%)"
    assert axes.get_xscale() == ("log" if log_x else "linear")
    steps = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(steps.get_xdata()) == pytest.approx([m.x * 1e6 for m in FRONT if m.x])
    assert list(steps.get_ydata()) == pytest.approx([m.y * 100 for m in FRONT])
    intervals = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    assert len(intervals) == len(UNIFORM)


def test_pareto_names_every_kind_once() -> None:
    figure = pareto([*FRONT, *UNIFORM, FLOAT])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Pareto front", "uniform bits", "float reference"]
    markers = {line.get_marker() for line in figure.axes[0].lines}
    assert markers == {"o", "s", "_", "None"}  # "_" are an interval's caps, the float is a line


def test_labels_cover_neither_each_other_nor_marks() -> None:
    figure = pareto([*FRONT, *UNIFORM, FLOAT])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [t.get_window_extent() for t in axes.texts if isinstance(t, Annotation)]
    assert len(boxes) == len(UNIFORM)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    spots = axes.transData.transform([(m.x * 1e6, m.y * 100) for m in UNIFORM if m.x])
    assert not any(box.contains(*spot) for box in boxes for spot in spots)


def test_front_marks_take_the_objective() -> None:
    marks = front_marks(front(3))
    assert [(mark.x, mark.y) for mark in marks] == [
        (point.resources["energy_j"], point.score) for point in front(3).points
    ]


def test_platforms_stand_in_a_row() -> None:
    figure = platforms()
    assert [axes.get_title() for axes in figure.axes] == ["npu", "gpu"]
    assert len({axes.get_position().y0 for axes in figure.axes}) == 1
    assert len(figure.legends) == 1


def test_energy_bars_add_up_to_the_table() -> None:
    table = costs()
    figure = energy_figure(table)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "energy per inference (nJ)"
    bars = [bar for bar in axes.containers if isinstance(bar, BarContainer)]
    assert [bar.get_label() for bar in bars] == ["MAC", "sram", "dram", "static"]
    sums = [sum(p.get_width() for p in bar.patches) * 1e-9 for bar in bars]
    total = table.total
    parts = [total.energy_mac_j, *total.energy_memory_j.values(), total.energy_static_j]
    assert sums == pytest.approx(parts, rel=1e-12)
    ends = [patch.get_x() + patch.get_width() for patch in bars[-1].patches]
    energies = [row.energy_j * 1e9 for row in table.selected_rows]
    assert ends == pytest.approx(energies, rel=1e-12)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[0].split() == ["…/layer1.0/conv1/Conv_output_0", "W2A8"]
    assert labels[-1].split() == ["/pool"]


def test_bits_are_written_in_their_cells() -> None:
    allocations = {
        "a": Allocation({"u": Option(4, 8), "v": Option(16, 2)}, 0.0, {}),
        "b": Allocation({"u": Option(3, 5)}, 0.0, {}),
    }
    axes = bits_figure(allocations).axes[0]
    cells = {(round(t.get_position()[0], 1), t.get_position()[1]): t.get_text() for t in axes.texts}
    titles = {t.get_text(): round(t.xy[0], 1) for t in axes.texts if isinstance(t, Annotation)}
    assert titles == {"a": 0.5, "b": 2.8}
    lines = [[cells[x, y] for x in (0.0, 1.0, 2.3, 3.3)] for y in (0, 1)]
    assert lines == [["4", "8", "3", "5"], ["16", "2", "–", "–"]]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["W", "A", "W", "A"]


@pytest.mark.parametrize("width", [10, 20, 34])
def test_short_names_stay_distinct(width: int) -> None:
    names = (*unit_names(24), "/pool", "a/" + "x" * 40, "b/" + "x" * 40)
    short = shorten(names, width)
    assert list(short) == list(names) and len(set(short.values())) == len(names)
    assert all(s == name or name.endswith(s.removeprefix("…")) for name, s in short.items())
    assert shorten((), width) == {}


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        (lambda: Mark(None, 1.0, "a", "front"), "x of mark 'a' must be a number, not None"),
        (lambda: Mark(float("nan"), 1.0, "a", "front"), "x of mark 'a' must be finite, not nan"),
        (
            lambda: Mark(1.0, 1.0, "a", "b"),
            "kind of a mark must be one of chosen, float, front, measured, percentile, random, "
            "uniform, not 'b'",
        ),
        (
            lambda: Mark(1.0, 1.0, "a", "front", 2.0, 3.0),
            "y of mark 'a' must be in [2.0, 3.0], not 1.0",
        ),
        (
            lambda: Mark(1.0, 1.0, "a", "front", 0.5),
            "low and high of mark 'a' must be given together",
        ),
        (lambda: Panel([FLOAT], "x", "y", "net"), "points of 'net' must be at least one with an x"),
        (
            lambda: Panel([Mark(0.0, 1.0, "", "front")], "x", "y", "net", log_x=True),
            "x of 'net' must be positive on a log axis",
        ),
        (lambda: bits_figure({}), "allocations must be at least one"),
        (lambda: platforms_figure([]), "panels must be at least one"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(mark: object, sentence: str) -> None:
    assert callable(mark)
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        mark()


def test_importing_draws_in_nothing_heavy() -> None:
    modules = "plots, unit_plots, terminal, serialize, run_folder, manifest"
    code = f"import sys; from hwsim.reports import {modules}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"matplotlib", "pandas", "rich"} & set(loaded)
    draw = "from hwsim.reports.plots import *; png(pareto_figure([Mark(1.0, 1.0, 'a', 'front')], "
    draw += "objective_label='', value_label='', title='')); import sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", draw], text=True).split()
    assert "matplotlib.pyplot" not in loaded
