"""Rooflines as a Matplotlib figure: a panel per memory level, numbered units, and their key."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwsim.roofs import Point, Roof
from hwsim.units import format_quantity

from . import look
from .annotate import place_labels
from .names import shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME_WIDTH = 30  # characters
_KEY_LINES = 28  # of one column of the key
_KNOWN = {
    "compute": (look.BLUE, "o"),
    "output": (look.GREEN, "^"),
    "overhead": (look.VERMILION, "s"),
}
_MEMORIES = (
    (look.ORANGE, "v"), (look.PURPLE, "D"), (look.SKY, "P"), (look.BLACK, "X"), (look.GRAY, "*"),
)  # fmt: skip
_SAME = 0.03  # decades within which marks lie on each other


def roofline_figure(title: str, roofs: Sequence[Roof]) -> "Figure":
    """Return the rooflines of a platform with a network's units under them.

    Raises:
        InputError: If there is no roof, or no unit multiplies.
    """
    look.require(bool(roofs), f"roofs of {title!r}", "at least one")
    points = [point for roof in roofs for point in roof.points]
    look.require(bool(points), f"units of {title!r}", "at least one that multiplies")
    units = {point.unit: point for point in reversed(points)}
    numbers = {name: index + 1 for index, name in enumerate(dict.fromkeys(p.unit for p in points))}
    bounds = tuple(dict.fromkeys(point.bound_by for point in points))
    styles = _styles(bounds)
    columns = -(-len(numbers) // _KEY_LINES)
    figure = look.new_figure(4.4 * len(roofs) + 3.3 * columns, 4.6)
    *row, key = figure.subplots(
        1, len(roofs) + 1, squeeze=False, width_ratios=[*[4.4] * len(roofs), 3.3 * columns]
    )[0]
    handles: dict[str, Artist] = {}
    spots = [_draw(axes, roof, styles, handles) for axes, roof in zip(row, roofs, strict=True)]
    row[0].set_ylabel("rate (MAC/s)", fontsize=look.MEDIUM)
    _write_key(key, {number: units[name] for name, number in numbers.items()})
    figure.suptitle(title, fontsize=look.LARGE)
    figure.legend(
        [handles[bound] for bound in bounds], [f"bound by {bound}" for bound in bounds],
        loc="outside lower left", ncols=min(len(bounds), 4), fontsize=look.SMALL, frameon=False,
    )  # fmt: skip
    for axes, roof, taken in zip(row, roofs, spots, strict=True):
        place_labels(axes, _anchors(roof.points, numbers), taken)
    return figure


def _styles(bounds: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return color and marker of everything that bounds a unit."""
    memories = [bound for bound in bounds if bound not in _KNOWN]
    return {bound: _KNOWN[bound] for bound in bounds if bound in _KNOWN} | {
        bound: _MEMORIES[index % len(_MEMORIES)] for index, bound in enumerate(memories)
    }


def _draw(
    axes: "Axes",
    roof: Roof,
    styles: Mapping[str, tuple[str, str]],
    handles: dict[str, "Artist"],
) -> list[tuple[float, float]]:
    """Draw one level; return what labels should not cover."""
    left, right = _limits(roof)
    top = max(roof.peaks.values())
    lowest = min((point.macs_per_s for point in roof.points), default=top)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(10 ** math.floor(math.log10(lowest / 1.5)), top * 5)
    rate = roof.bandwidth_bytes_per_s
    spots: list[tuple[float, float]] = []
    for peak in roof.peaks.values():
        ridge = left if rate is None else min(max(peak / rate, left), right)
        xs = [left, ridge, right]
        ys = [peak if rate is None else min(peak, x * rate) for x in xs]
        axes.plot(xs, ys, color=look.BLACK, linewidth=1.2, zorder=1.5)
        dense = [left * (right / left) ** (part / 99) for part in range(100)]
        spots += [(x, peak if rate is None else min(peak, x * rate)) for x in dense]
    for bound, (color, marker) in styles.items():
        found = [point for point in roof.points if point.bound_by == bound]
        if found:
            handles[bound] = axes.plot(
                [p.macs_per_byte for p in found], [p.macs_per_s for p in found], linestyle="",
                marker=marker, color=color, markersize=6.0, markeredgecolor="white",
                markeredgewidth=0.5, zorder=3.0,
            )[0]  # fmt: skip
    speed = "no bandwidth stated" if rate is None else format_quantity(rate, "B/s")
    peaks = ", ".join(f"{_rate(peak)} ({option})" for option, peak in roof.peaks.items())
    axes.set_title(f"{roof.level}: {speed}\npeak {peaks}", fontsize=look.MEDIUM)
    axes.set_xlabel(f"MACs per byte through {roof.level}", fontsize=look.MEDIUM)
    axes.tick_params(which="both", labelsize=look.SMALL)
    axes.grid(visible=True, color=look.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return spots + [(point.macs_per_byte, point.macs_per_s) for point in roof.points]


def _limits(roof: Roof) -> tuple[float, float]:
    """Return whole decades that hold every unit and every ridge."""
    xs = [point.macs_per_byte for point in roof.points]
    if roof.bandwidth_bytes_per_s is not None:
        xs += [peak / roof.bandwidth_bytes_per_s for peak in roof.peaks.values()]
    low, high = math.log10(min(xs, default=1.0) / 1.5), math.log10(max(xs, default=1.0) * 3)
    return 10 ** math.floor(low), 10 ** math.ceil(high)


def _rate(macs_per_s: float) -> str:
    """Return a peak rate; tensor cores go beyond the prefixes of small quantities."""
    if macs_per_s >= 1e12:
        return f"{macs_per_s / 1e12:.3g} TMAC/s"
    return format_quantity(macs_per_s, "MAC/s")


def _anchors(
    points: Sequence[Point], numbers: Mapping[str, int]
) -> tuple[tuple[float, float, str], ...]:
    """Return one label for all units that lie on one spot, as "3-5, 9"."""
    groups: list[tuple[Point, list[int]]] = []
    for point in points:
        for first, members in groups:
            across = abs(math.log10(point.macs_per_byte / first.macs_per_byte))
            if max(across, abs(math.log10(point.macs_per_s / first.macs_per_s))) < _SAME:
                members.append(numbers[point.unit])
                break
        else:
            groups.append((point, [numbers[point.unit]]))
    return tuple(
        (first.macs_per_byte, first.macs_per_s, _spans(sorted(members)))
        for first, members in groups
    )


def _spans(numbers: Sequence[int]) -> str:
    """Return rising numbers with runs of three and more joined."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def _write_key(axes: "Axes", units: Mapping[int, Point]) -> None:
    """Write number, name, time and bound of every unit beside the panels."""
    axes.set_axis_off()
    names = shorten((point.unit for point in units.values()), _NAME_WIDTH)
    lines = [
        f"{number:3} {format_quantity(point.latency_s, 's'):>7}  {names[point.unit]}"
        for number, point in units.items()
    ]
    columns = [lines[start : start + _KEY_LINES] for start in range(0, len(lines), _KEY_LINES)]
    for index, column in enumerate(columns):
        axes.text(
            index / len(columns), 1.0, "\n".join(column), transform=axes.transAxes, va="top",
            ha="left", fontsize=6.5, family="monospace", linespacing=1.25,
        )  # fmt: skip
