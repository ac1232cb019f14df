"""Tables for a terminal. Names are shown as they are: no character in them is markup."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsim.errors import InputError
from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable, Total, UnitCost

from .names import shorten, show, unit_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.table import Table

_NAME_WIDTHS = (36, 26, 18)  # characters; the first at which the table fits
_FABRIC = (("lut", "LUT"), ("dsp", "DSP"), ("bram_18k", "BRAM18"), ("ff", "FF ≥"))
_LABELS = {
    "energy_j": "energy", "latency_s": "latency", "weight_bytes": "weights",
    "activation_bytes": "activations", "lut": "LUT", "dsp": "DSP", "bram_18k": "BRAM18",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column of finished cells; of the columns that do not fit, the highest rank goes first."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class _FirstThatFits:
    """Tables from wide to narrow; a console shows the first that it has room for."""

    tables: Sequence["Table"]

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Yield the table."""
        room = options.update(width=100_000)
        for table in self.tables:
            if console.measure(table, options=room).maximum <= options.max_width:
                break
        yield table


def cost_table(table: CostTable, intervals: Sequence[str] = ()) -> "Group":
    """Return the selected rows of a cost table, their total, its intervals and notes below.

    Where the console is narrow, parts of the energy and sizes are left out, and it says so.
    """
    from rich.console import Group
    from rich.text import Text

    total = table.total
    rows: tuple[UnitCost | Total, ...] = (*table.selected_rows, total)
    energies = {
        "MAC": [row.energy_mac_j for row in rows],
        **{
            level: [row.energy_memory_j.get(level, 0.0) for row in rows]
            for level in total.energy_memory_j
        },
        "static": [row.energy_static_j for row in rows],
    }
    columns = [
        Column("bits", [*(str(r.option or "–") for r in table.selected_rows), ""], numeric=False),
        Column("MACs", [show(row.macs, "") for row in rows], 1),
        Column("energy", [show(row.energy_j, "J") for row in rows]),
        *(
            Column(name, [show(value, "J") for value in values], 3)
            for name, values in energies.items()
        ),
        Column("latency", [show(row.latency_s, "s") for row in rows]),
        Column("bound by", [*(r.bound_by or "–" for r in table.selected_rows), ""], 1),
        Column("weights", [show(row.weight_bytes, "B") for row in rows], 2),
        Column("activations", [show(row.activation_bytes, "B") for row in rows], 2),
        *(
            Column(label, [f"{getattr(row, field):,}" for row in rows], 2)
            for field, label in _FABRIC
            if getattr(total, field)
        ),
    ]
    names = [*(row.unit for row in table.selected_rows), "total"]
    notes = list(table.notes)
    if table.pipelined:
        notes.insert(0, "Units work at once: the total latency is the interval between results.")
    grid = fitting(table.platform, names, columns, has_total=True)
    return Group(grid, *map(Text, intervals), *(Text(f"• {note}", style="dim") for note in notes))


def front_table(front: Front, limit: int = 20) -> "Group":
    """Return the points of a front; of more than `limit`, evenly spread ones with both ends.

    Raises:
        InputError: If `limit` is less than 2.
    """
    from rich.console import Group
    from rich.text import Text

    if limit < 2:
        raise InputError(f"limit must be at least 2, not {limit}")
    objective = front.objectives[0]
    stated = dict.fromkeys(name for point in front.points for name in point.resources)
    resources = sorted(stated, key=lambda name: name != objective)
    points = _spread(front.points, limit)
    columns = [
        *(
            Column(
                _LABELS.get(name, name),
                [show(point.resources.get(name), unit_of(name)) for point in points],
            )
            for name in resources
        ),
        Column(front.objectives[1], [_score(point.score) for point in points]),
        Column("method", [point.method for point in points], numeric=False),
    ]
    title = f"{_LABELS.get(objective, objective)} against {front.objectives[1]}"
    grid = _grid(title, columns)
    grid.add_column(Text("bits"), overflow="fold")
    for line, point in enumerate(points):
        _add(grid, [*(column.cells[line] for column in columns), _summary(point.bits.values())])
    proof = "every nondominated point, proved" if front.exact else "not proved complete"
    return Group(grid, Text(f"{len(points)} of {len(front.points)} points; {proof}", style="dim"))


def sensitivity_table(table: SensitivityTable) -> "Group":
    """Return the score of every unit (lines) at every option (columns); smaller is better."""
    from rich.console import Group
    from rich.text import Text

    options = tuple(dict.fromkeys(option for _, option in table.values))
    columns = [
        Column(str(o), [_score(table.values.get((unit, o))) for unit in table.units])
        for o in options
    ]
    grid = fitting(table.metric, table.units, columns)
    samples = f"measured on {table.samples} inputs" if table.samples else "inputs not stated"
    return Group(grid, Text(f"smaller is better; {samples}", style="dim"))


def fitting(
    title: str,
    names: Sequence[str],
    columns: Sequence[Column],
    *,
    heading: str = "unit",
    has_total: bool = False,
) -> _FirstThatFits:
    """Return a table of names in several widths: shorter names first, then fewer columns."""
    from rich.text import Text

    ranks = range(max((column.rank for column in columns), default=0), -1, -1)
    tables = []
    for rank in ranks:
        kept = [column for column in columns if column.rank <= rank]
        left_out = ", ".join(column.heading for column in columns if column.rank > rank)
        for width in _NAME_WIDTHS:
            short = shorten(names, width)
            unit = Column(heading, [short[name] for name in names], numeric=False)
            grid = _grid(title, (unit, *kept))
            if left_out:
                grid.caption = Text(f"columns that did not fit: {left_out}")
            for line in range(len(names)):
                last = has_total and line == len(names) - 1
                if last:
                    grid.add_section()
                cells = [column.cells[line] for column in (unit, *kept)]
                _add(grid, cells, style="bold" if last else "")
            tables.append(grid)
    return _FirstThatFits(tables)


def _grid(title: str, columns: Sequence[Column]) -> "Table":
    """Return an empty table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        title=Text(title), title_justify="left", title_style="bold", caption_justify="left",
        caption_style="dim", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in columns:
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        grid.add_column(Text(column.heading), justify=side, no_wrap=True)
    return grid


def _add(grid: "Table", cells: Sequence[str], style: str = "") -> None:
    """Add a line of plain cells."""
    from rich.text import Text

    grid.add_row(*(Text(cell) for cell in cells), style=style)


def _score(value: float | None) -> str:
    """Return a score with four digits; None and NaN are "n/a"."""
    return "n/a" if value is None or value != value else f"{value:.4g}"


def _summary(options: Iterable[Option]) -> str:
    """Return how many units have which option, as "W4A8 × 3, W8A8 × 1"."""
    counts = sorted(Counter(options).items())
    return ", ".join(f"{option} × {count}" for option, count in counts)


def _spread(points: Sequence[Allocation], limit: int) -> tuple[Allocation, ...]:
    """Return at most `limit` points, evenly spread, both ends among them."""
    if len(points) <= limit:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[index * last // (limit - 1)] for index in range(limit))
