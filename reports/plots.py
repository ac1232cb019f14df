"""Pareto plots as Matplotlib figures, and saving a figure.

Figures are made without pyplot: nothing here reads or changes a global state.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.errors import InputError
from hwsim.tables import Front

from .annotate import place_labels
from .look import GRID, LARGE, MEDIUM, SMALL, STYLES, Scale, new_figure, require, scale_of
from .run_folder import write_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Mark", "Panel", "front_marks", "pareto_figure", "platforms_figure", "png", "save"]

_STEPS = 6  # points that stand for one stretch of a front when labels are placed
_CROWD = 60  # a front of more points is drawn with small dots


@dataclass(frozen=True, slots=True)
class Mark:
    """One configuration in a Pareto plot.

    Args:
        x: The resource, SI; None for a float reference without a cost: a level line.
        y: The score or the accuracy.
        label: Written beside the mark; "" for none.
        kind: One of "front", "uniform", "percentile", "random", "measured", "chosen", "float".
        low: Lower end of the interval of y, where y was measured.
        high: Upper end of the interval of y.
    """

    x: float | None
    y: float
    label: str
    kind: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Refuse unknown kinds and numbers that have no place in a plot."""
        if self.kind not in STYLES:
            known = ", ".join(sorted(STYLES))
            raise InputError(f"kind of a mark must be one of {known}, not {self.kind!r}")
        if self.x is None and self.kind != "float":
            raise InputError(f"x of mark {self.label!r} must be a number, not None")
        for name, value in (("x", self.x), ("y", self.y), ("low", self.low), ("high", self.high)):
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} of mark {self.label!r} must be finite, not {value}")
        if (self.low is None) != (self.high is None):
            raise InputError(f"low and high of mark {self.label!r} must be given together")
        if self.low is not None and self.high is not None and not self.low <= self.y <= self.high:
            raise InputError(
                f"y of mark {self.label!r} must be in [{self.low}, {self.high}], not {self.y}"
            )


@dataclass(frozen=True, slots=True)
class Panel:
    """The contents of one Pareto plot.

    Args:
        points: The marks.
        objective_label: What x is, without its unit.
        value_label: What y is, without its unit.
        title: Title of the panel.
        objective_unit: SI unit of x ("J", "s", "B"); "" for a count.
        value_unit: "%" where y is a fraction; "" for a score.
        log_x: Whether x is logarithmic.
    """

    points: Sequence[Mark]
    objective_label: str
    value_label: str
    title: str
    objective_unit: str = ""
    value_unit: str = ""
    log_x: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty panel, and a logarithm of what has none."""
        xs = [mark.x for mark in self.points if mark.x is not None]
        require(bool(xs), f"points of {self.title!r}", "at least one with an x")
        require(not self.log_x or min(xs) > 0, f"x of {self.title!r}", "positive on a log axis")


def front_marks(front: Front) -> tuple[Mark, ...]:
    """Return the points of a front as marks without labels."""
    resource = front.objectives[0]
    return tuple(Mark(p.resources[resource], p.score, "", "front") for p in front.points)


def pareto_figure(
    points: Sequence[Mark],
    *,
    objective_label: str,
    value_label: str,
    title: str,
    objective_unit: str = "",
    value_unit: str = "",
    log_x: bool = False,
) -> "Figure":
    """Return one Pareto plot; the arguments are those of `Panel`."""
    panel = Panel(points, objective_label, value_label, title, objective_unit, value_unit, log_x)
    return _draw((panel,), width=6.4, height=4.4)


def platforms_figure(panels: Sequence[Panel]) -> "Figure":
    """Return Pareto plots in a row, one per platform, with one legend below them."""
    require(bool(panels), "panels", "at least one")
    return _draw(panels, width=max(4.0 * len(panels), 6.0), height=4.2)


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG at 150 dpi; equal figures give equal bytes."""
    buffer = BytesIO()
    # Matplotlib would write its version into the file.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, in one step."""
    write_file(path, png(figure))


def _draw(panels: Sequence[Panel], *, width: float, height: float) -> "Figure":
    """Return a row of panels with a legend of the kinds in all of them."""
    figure = new_figure(width, height)
    shared = len({(panel.value_label, panel.value_unit) for panel in panels}) == 1
    row: list[Axes] = list(figure.subplots(1, len(panels), squeeze=False, sharey=shared)[0])
    handles: dict[str, Artist] = {}
    for axes, panel in zip(row, panels, strict=True):
        handles |= _draw_panel(axes, panel)
        if shared:
            axes.label_outer()
    for axes, panel in zip(row, panels, strict=True):
        if panel.log_x:
            _log_axis(axes)
    kinds = [kind for kind in STYLES if kind in handles]
    kinds.sort(key=lambda kind: kind != "front")
    figure.legend(
        [handles[kind] for kind in kinds],
        [STYLES[kind].legend for kind in kinds],
        loc="outside lower center", ncols=len(kinds) if len(kinds) <= 5 else 4,
        fontsize=SMALL, frameon=False,
    )  # fmt: skip
    for axes, panel in zip(row, panels, strict=True):
        place_labels(axes, _anchors(panel), _obstacles(panel))
    return figure


def _draw_panel(axes: "Axes", panel: Panel) -> dict[str, "Artist"]:
    """Draw one panel; return a legend handle per kind."""
    across, up = _scales(panel)
    handles: dict[str, Artist] = {}
    for kind, style in STYLES.items():
        marks = [mark for mark in panel.points if mark.kind == kind]
        placed = sorted((m for m in marks if m.x is not None), key=lambda m: (m.x, m.y))
        for mark in marks:
            if mark.x is None:
                handles[kind] = _draw_level(axes, mark, up)
        if not placed:
            continue
        xs = [mark.x / across.factor for mark in placed if mark.x is not None]
        ys = [mark.y / up.factor for mark in placed]
        line = "-" if kind == "front" else ""
        crowd = kind == "front" and len(placed) > _CROWD
        outlined = crowd or style.marker == "x"  # too thin for a white rim
        handles[kind] = axes.plot(
            xs, ys, linestyle=line, linewidth=1.2, drawstyle="steps-post", marker=style.marker,
            color=style.color, zorder=style.zorder,
            markersize=2.2 if crowd else style.size,
            markeredgecolor=style.color if outlined else "white",
            markeredgewidth=1.2 if style.marker == "x" else 0.5,
        )[0]  # fmt: skip
        _draw_intervals(axes, placed, across, up)
    axes.set_xlabel(across.label(panel.objective_label), fontsize=MEDIUM)
    axes.set_ylabel(up.label(panel.value_label), fontsize=MEDIUM)
    axes.set_title(panel.title, fontsize=LARGE)
    axes.tick_params(which="both", labelsize=SMALL)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(0.08, 0.1)
    return handles


def _draw_level(axes: "Axes", mark: Mark, up: Scale) -> "Artist":
    """Draw a reference that has no cost as a level line, with its interval as a band."""
    style = STYLES[mark.kind]
    if mark.low is not None and mark.high is not None:
        axes.axhspan(
            mark.low / up.factor, mark.high / up.factor, color=style.color, alpha=0.08, linewidth=0
        )
    return axes.axhline(
        mark.y / up.factor, color=style.color, linestyle="--", linewidth=1.0, zorder=1.5
    )


def _draw_intervals(axes: "Axes", marks: Iterable[Mark], across: Scale, up: Scale) -> None:
    """Draw the interval of every mark that has one."""
    for mark in marks:
        if mark.x is not None and mark.low is not None and mark.high is not None:
            y = mark.y / up.factor
            axes.errorbar(
                [mark.x / across.factor], [y],
                yerr=[[y - mark.low / up.factor], [mark.high / up.factor - y]],
                color=STYLES[mark.kind].color, linewidth=1.0, capsize=2.5, fmt="none", zorder=2.5,
            )  # fmt: skip


def _log_axis(axes: "Axes") -> None:
    """Make x logarithmic, with plain numbers as close as they fit."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    if decades < 0.8:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axes.xaxis.set_major_locator(LogLocator(10.0, subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _scales(panel: Panel) -> tuple[Scale, Scale]:
    """Return the scales of x and y."""
    xs = sorted(mark.x for mark in panel.points if mark.x is not None)
    typical = xs[len(xs) // 2 :] if not panel.log_x else xs[len(xs) // 2 : len(xs) // 2 + 1]
    ys = [value for mark in panel.points for value in (mark.y, mark.high) if value is not None]
    return scale_of(typical, panel.objective_unit), scale_of(ys, panel.value_unit)


def _anchors(panel: Panel) -> tuple[tuple[float, float, str], ...]:
    """Return x, y and text of every labeled mark, as drawn."""
    across, up = _scales(panel)
    return tuple(
        (mark.x / across.factor, mark.y / up.factor, mark.label)
        for mark in panel.points
        if mark.label and mark.x is not None
    )


def _obstacles(panel: Panel) -> tuple[tuple[float, float], ...]:
    """Return what a label should not cover, as drawn: marks, intervals, lines."""
    across, up = _scales(panel)
    spots: list[tuple[float, float]] = []
    for mark in panel.points:
        if mark.x is not None:
            ends = (mark.y, mark.low, mark.high)
            spots += ((mark.x / across.factor, y / up.factor) for y in ends if y is not None)
    front = sorted((m.x, m.y) for m in panel.points if m.kind == "front" and m.x is not None)
    for (x, y), (next_x, next_y) in pairwise(front):
        for part in range(1, _STEPS):
            share = part / _STEPS
            spots.append(((x + share * (next_x - x)) / across.factor, y / up.factor))
            spots.append((next_x / across.factor, (y + share * (next_y - y)) / up.factor))
    xs = [mark.x for mark in panel.points if mark.x is not None]
    for mark in panel.points:
        if mark.x is None:  # a level line crosses the whole panel
            stops = (min(xs) + part / 99 * (max(xs) - min(xs)) for part in range(100))
            spots += ((x / across.factor, mark.y / up.factor) for x in stops)
    return tuple(spots)
