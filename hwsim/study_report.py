"""A study as files: tables, plots and the manifest of a run folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hwsim.reports.manifest import Manifest, current_environment
from hwsim.reports.plots import Mark, Panel, platforms_figure, png
from hwsim.reports.serialize import (
    allocation_json,
    cost_csv,
    cost_json,
    front_csv,
    front_json,
    sensitivity_csv,
)
from hwsim.reports.unit_plots import bits_figure, energy_figure
from hwsim.study import PlatformStudy, Study
from hwsim.tables import Allocation
from hwsim.units import format_quantity

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = (
    "platform", "kind", "label", "energy_j", "latency_s", "weight_bytes", "lut", "score",
    "correct", "total", "accuracy", "accuracy_low", "accuracy_high", "bits",
)  # fmt: skip


def study_files(study: Study) -> dict[str, bytes | str]:
    """Return every file of a run folder but its manifest, by relative path."""
    files: dict[str, bytes | str] = {
        "sensitivity.csv": sensitivity_csv(study.sensitivity),
        "measured.csv": _measured_csv(study),
        "pareto.png": png(platforms_figure([_panel(study, part) for part in study.platforms])),
    }
    for part in study.platforms:
        place = part.platform
        files[f"{place}/layers.csv"] = cost_csv(part.table)
        files[f"{place}/cost.csv"] = cost_csv(part.table, all_options=True)
        files[f"{place}/cost.json"] = cost_json(part.table)
        files[f"{place}/front.csv"] = front_csv(part.front)
        files[f"{place}/front.json"] = front_json(part.front)
        files[f"{place}/energy.png"] = png(energy_figure(part.table))
        files[f"{place}/bits.png"] = png(bits_figure(_shown(part)))
        for point in part.points:
            name = f"{place}/allocations/{_file_name(point.label)}.json"
            files[name] = allocation_json(point.allocation)
    return files


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in label).lower()


def _shown(part: PlatformStudy) -> Mapping[str, Allocation]:
    return {
        point.label: point.allocation
        for point in part.points
        if point.kind in ("measured", "percentile")
    }


def _panel(study: Study, part: PlatformStudy) -> Panel:
    marks = [
        Mark(
            point.allocation.resources["energy_j"],
            point.accuracy.share,
            "" if point.kind == "measured" else point.label,
            point.kind,
            *point.accuracy.interval,
        )
        for point in part.points
    ]
    marks.append(Mark(None, study.reference.share, "float32", "float"))
    return Panel(
        marks, "Energy per inference (modeled)", "Held-out accuracy (measured)", part.platform,
        "J", "%", log_x=True,
    )  # fmt: skip


def _measured_csv(study: Study) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for part in study.platforms:
        for point in part.points:
            low, high = point.accuracy.interval
            resources = point.allocation.resources
            writer.writerow(
                {
                    "platform": part.platform,
                    "kind": point.kind,
                    "label": point.label,
                    "energy_j": resources["energy_j"],
                    "latency_s": resources.get("latency_s"),
                    "weight_bytes": resources["weight_bytes"],
                    "lut": resources.get("lut"),
                    "score": point.allocation.score,
                    "correct": point.accuracy.correct,
                    "total": point.accuracy.total,
                    "accuracy": point.accuracy.share,
                    "accuracy_low": low,
                    "accuracy_high": high,
                    "bits": " ".join(str(option) for option in point.allocation.bits.values()),
                }
            )
    return stream.getvalue()


def study_manifest(
    study: Study, command: Sequence[str], data_sha256: str, settings: Mapping[str, object]
) -> Manifest:
    """Return the manifest of a study's run folder."""
    origin = study.graph.origin
    return Manifest(
        command=tuple(command),
        environment=current_environment(),
        model=study.graph.name,
        model_sha256=origin.sha256 if origin else "",
        data_sha256=data_sha256,
        platform=", ".join(part.platform for part in study.platforms),
        settings=settings,
    )


def study_table(study: Study) -> "Table":
    """Return one terminal table of every measured point."""
    from rich.table import Table

    reference = study.reference
    table = Table(
        title=f"{study.graph.name}: correct of {reference.total} held-out inputs, measured on the "
        f"integer engine (float32: {reference.correct}); energy and latency are modeled"
    )
    for name in ("platform", "configuration", "energy", "latency", "LUT", "correct"):
        right = name not in ("platform", "configuration")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for part in study.platforms:
        for point in part.points:
            resources = point.allocation.resources
            lut = resources.get("lut")
            table.add_row(
                part.platform,
                point.label,
                format_quantity(resources["energy_j"], "J"),
                format_quantity(resources.get("latency_s"), "s"),
                f"{lut:,.0f}" if lut else "",
                str(point.accuracy.correct),
            )
        table.add_section()
    return table
