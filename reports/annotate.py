"""Labels beside marks, placed so that they cover neither each other nor the marks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .look import SMALL, TEXT

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox
    from numpy.typing import NDArray

_ABOVE, _BELOW, _BESIDE = "bottom", "top", "center"  # the edge of the text that faces the mark
_PLACES = (
    (0.0, 1.0, "center", _ABOVE), (0.0, -1.0, "center", _BELOW),
    (0.7, 0.7, "left", _ABOVE), (0.7, -0.7, "left", _BELOW),
    (-0.7, 0.7, "right", _ABOVE), (-0.7, -0.7, "right", _BELOW),
    (1.0, 0.0, "left", _BESIDE), (-1.0, 0.0, "right", _BESIDE),
)  # fmt: skip
_DISTANCES = (8.5, 14.0, 22.0, 34.0)  # points
_FAR = 14.0  # from here on a thin line ties the label to its mark


def place_labels(
    axes: "Axes",
    anchors: Sequence[tuple[float, float, str]],
    marks: Sequence[tuple[float, float]],
) -> None:
    """Write a label beside each anchor (x, y, text), in the first free place.

    Where no place is free the least covered one is taken. Call it when nothing else is left to
    be drawn: it measures the finished layout and then keeps it.
    """
    import numpy as np
    from matplotlib.patheffects import AbstractPathEffect, withStroke

    if not anchors:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    spots = axes.transData.transform(np.array(marks, dtype=float).reshape(-1, 2))
    halo: list[AbstractPathEffect] = [withStroke(linewidth=2.0, foreground="white")]
    taken: list[Bbox] = []
    for x, y, text in anchors:
        tried: list[tuple[float, int, Annotation, Bbox]] = []
        for distance in _DISTANCES:
            for across, up, side, edge in _PLACES:
                note = axes.annotate(
                    text, (x, y), (across * distance, up * distance), textcoords="offset points",
                    ha=side, va=edge, fontsize=SMALL, color=TEXT, zorder=9,
                    arrowprops={"arrowstyle": "-", "color": TEXT, "linewidth": 0.6}
                    if distance >= _FAR else None,
                )  # fmt: skip
                note.set_in_layout(False)
                note.set_path_effects(halo)
                box = note.get_window_extent()
                covered = sum(_overlap(box, other) for other in taken)
                covered += 60.0 * _held(box, spots)
                covered += 4.0 * (box.width * box.height - _overlap(box, frame))
                tried.append((covered, len(tried), note, box))
                if covered == 0:
                    break
            if tried[-1][0] == 0:
                break
        best = min(tried, key=lambda item: item[:2])
        for _, _, note, _ in tried:
            if note is not best[2]:
                note.remove()
        taken.append(best[3])


def _overlap(one: "Bbox", other: "Bbox") -> float:
    """Return the common area of two boxes, in square pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(width, 0.0) * max(height, 0.0))


def _held(box: "Bbox", spots: "NDArray[np.float64]", margin: float = 3.0) -> int:
    """Return how many marks touch a box."""
    import numpy as np

    inside = (spots >= (box.x0 - margin, box.y0 - margin)) & (
        spots <= (box.x1 + margin, box.y1 + margin)
    )
    return int(np.count_nonzero(inside.all(axis=1)))
