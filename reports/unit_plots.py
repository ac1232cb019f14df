"""Plots with one line per unit: where the energy goes, and which bits were chosen."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hwsim.tables import Allocation, CostTable
from hwsim.units import format_quantity

from .look import (
    GRAY,
    GRID,
    LARGE,
    LEVEL_COLORS,
    MAC_COLOR,
    MEDIUM,
    SMALL,
    STATIC_COLOR,
    new_figure,
    require,
    scale_of,
)
from .names import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME_WIDTH = 34  # characters


def energy_figure(table: CostTable) -> "Figure":
    """Return the energy of every selected row as a stacked bar: MACs, memory levels, static."""
    rows = table.selected_rows
    require(bool(rows), f"rows of {table.platform!r}", "at least one")
    total = table.total
    levels = tuple(total.energy_memory_j)
    parts = {
        "MAC": ([row.energy_mac_j for row in rows], MAC_COLOR),
        **{
            level: (
                [row.energy_memory_j.get(level, 0.0) for row in rows],
                LEVEL_COLORS[index % len(LEVEL_COLORS)],
            )
            for index, level in enumerate(levels)
        },
        "static": ([row.energy_static_j for row in rows], STATIC_COLOR),
    }
    scale = scale_of((row.energy_j for row in rows), "J")
    short = shorten((row.unit for row in rows), _NAME_WIDTH)
    figure = new_figure(7.4, 1.5 + 0.2 * len(rows))
    axes = figure.add_subplot()
    left = [0.0] * len(rows)
    for name, (energies, color) in parts.items():
        widths = [energy / scale.factor for energy in energies]
        axes.barh(range(len(rows)), widths, left=left, height=0.72, color=color, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    options = [str(row.option or "") for row in rows]
    widest = max(map(len, options))
    labels = [f"{short[row.unit]}  {o:<{widest}}" for row, o in zip(rows, options, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=SMALL, family="monospace")
    axes.set_ylim(len(rows) - 0.4, -0.6)  # graph order from the top
    axes.set_xlabel(scale.label("energy per inference"), fontsize=MEDIUM)
    axes.set_title(
        f"{table.platform}: {format_quantity(total.energy_j, 'J')} per inference", fontsize=LARGE
    )
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(
        loc="outside lower center", ncols=min(len(parts), 6), fontsize=SMALL, frameon=False
    )
    return figure


def bits_figure(allocations: Mapping[str, Allocation]) -> "Figure":
    """Return the chosen widths as a heat map: a line per unit, two columns per allocation."""
    from matplotlib import colormaps

    require(bool(allocations), "allocations", "at least one")
    units = tuple(dict.fromkeys(unit for a in allocations.values() for unit in a.bits))
    require(bool(units), "units of the allocations", "at least one")
    short = shorten(units, _NAME_WIDTH)
    titles = [textwrap.fill(name, 15) for name in allocations]
    top = 0.16 * max(title.count("\n") + 1 for title in titles)
    figure = new_figure(3.2 + 1.25 * len(allocations), 0.8 + top + 0.2 * len(units))
    axes = figure.add_subplot()
    colors = colormaps["viridis"]
    ticks: list[float] = []
    for group, allocation in enumerate(allocations.values()):
        for side in (0, 1):
            x = group * 2.3 + side
            ticks.append(x)
            for line, unit in enumerate(units):
                option = allocation.bits.get(unit)
                if option is None:
                    axes.text(x, line, "–", ha="center", va="center", fontsize=SMALL, color=GRAY)
                    continue
                bits = option.activation_bits if side else option.weight_bits
                shade = _shade(bits)
                axes.barh(line, 0.96, left=x - 0.48, height=0.92, color=colors(shade), linewidth=0)
                axes.text(
                    x, line, str(bits), ha="center", va="center", fontsize=SMALL,
                    color="white" if shade < 0.6 else "black",
                )  # fmt: skip
        axes.annotate(
            titles[group], (group * 2.3 + 0.5, 1.0), (0.0, 18.0),  # above the letters W and A
            xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            va="bottom", fontsize=SMALL, fontweight="bold",
        )  # fmt: skip
    axes.set_xlim(-0.6, max(ticks) + 0.6)
    axes.set_ylim(len(units) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.set_xticks(ticks, ["W", "A"] * len(allocations), fontsize=SMALL)
    axes.set_yticks(
        range(len(units)), [short[unit] for unit in units], fontsize=SMALL, family="monospace"
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("bits of weights (W) and activations (A)", fontsize=MEDIUM)
    return figure


def _shade(bits: int) -> float:
    """Return the place of a width on the color scale: 1 to 8 bits evenly, more at its end."""
    return (bits - 1) / 9 if bits <= 8 else 1.0
