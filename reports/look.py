"""How plots look: colors, markers, engineering scales. Matplotlib is imported when drawing."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL, MEDIUM, LARGE = 8.0, 9.0, 10.0  # points

# Okabe and Ito, "Color Universal Design", 2008: eight colors that color-blind readers tell apart.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GRAY = "#767676"
TEXT = "#262626"
GRID = "#D9D9D9"
MAC_COLOR, STATIC_COLOR = BLUE, GRAY
LEVEL_COLORS = (SKY, ORANGE, GREEN, YELLOW, PURPLE, VERMILION, BLACK)


@dataclass(frozen=True, slots=True)
class MarkStyle:
    """How one kind of mark is drawn; kinds differ by shape as well as by color."""

    legend: str
    color: str
    marker: str
    size: float
    zorder: float


STYLES = {
    "random": MarkStyle("random bits", GRAY, "x", 4.0, 2.0),
    "front": MarkStyle("Pareto front", BLUE, "o", 4.5, 3.0),
    "percentile": MarkStyle("percentile rule", GREEN, "^", 6.5, 4.0),
    "uniform": MarkStyle("uniform bits", VERMILION, "s", 6.0, 5.0),
    "measured": MarkStyle("exact front, measured", PURPLE, "v", 6.5, 6.0),
    "chosen": MarkStyle("chosen", ORANGE, "D", 7.5, 7.0),
    "float": MarkStyle("float reference", BLACK, "*", 10.0, 8.0),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis in a readable unit: shown = SI value / factor."""

    factor: float
    unit: str

    def label(self, text: str) -> str:
        """Return an axis label, as "energy per inference (µJ)"."""
        return f"{text} ({self.unit})" if self.unit else text


def scale_of(values: Iterable[float], unit: str) -> Scale:
    """Return the scale whose prefix suits the largest value; "%" shows a fraction in percent."""
    if unit == "%":
        return Scale(0.01, "%")
    top = max((abs(value) for value in values), default=0.0)
    if not unit or top == 0.0:
        return Scale(1.0, unit)
    power = min(max(math.floor(math.log10(top) / 3 + 1e-9), -4), 3)
    prefix = ("p", "n", "µ", "m", "", "k", "M", "G")[power + 4]
    return Scale(10.0 ** (3 * power), prefix + unit)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure with its own canvas, outside of pyplot's state; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def require(condition: bool, thing: str, rule: str) -> None:
    """Refuse to draw what cannot be drawn.

    Raises:
        InputError: If the condition does not hold.
    """
    if not condition:
        raise InputError(f"{thing} must be {rule}")
