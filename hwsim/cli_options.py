"""Options and output that the verbs of the command line share."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="A .tflite or .onnx file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", "--input", "-d", help="An .npz or .npy with inputs (and labels 'y')."),
]
Key = Annotated[str | None, typer.Option(help="Array of the archive to feed; found by shape.")]
Divide = Annotated[float, typer.Option(help="Divide inputs by this first.")]
Mean = Annotated[str | None, typer.Option(help="Then subtract, per channel: 0.5 or 0.4,0.5,0.6.")]
Std = Annotated[str | None, typer.Option(help="Then divide, per channel.")]
Limit = Annotated[int | None, typer.Option(help="Use only the first inputs.")]
Threads = Annotated[int, typer.Option(help="Parts of the batch computed at a time.")]
PlatformName = Annotated[
    str, typer.Option("--platform", "-p", help="A shipped name or a .toml file.")
]
BitsOption = Annotated[
    str | None, typer.Option("--bits", "-b", help="8, W4A8, or a JSON file of an allocation.")
]
FirstLast = Annotated[str | None, typer.Option(help="Bits of the first and last layers.")]
Calibration = Annotated[
    Path | None, typer.Option(help="Calibration inputs; the first of --data unless given.")
]
CalibrationCount = Annotated[int, typer.Option(help="Calibration inputs used.")]
Method = Annotated[str, typer.Option(help="Range of an activation: minmax or percentile.")]
ScoreMethod = Annotated[
    str, typer.Option("--method", help="Score: output_l2, jsd, top1 or sqnr_delta.")
]
ScoreEngine = Annotated[
    str,
    typer.Option("--engine", help="float: fake quantization; integer: bit-exact, rest at 8 bits."),
]
Percentile = Annotated[float, typer.Option(help="Share of |x| kept by percentile, in percent.")]
Options = Annotated[
    str, typer.Option(help="Options to score: widths (8,6,4) or pairs (W8A8,W4A8).")
]


def tail(name: str) -> str:
    """Return the end of a long name: converters join the names of all that they fused."""
    last = name.rsplit(";", 1)[-1]
    return last if len(last) <= 32 else f"…{last[-31:]}"


def print_json(data: Any) -> None:
    """Print strict JSON with sorted keys."""
    print(json.dumps(data, indent=2, sort_keys=True, allow_nan=False))


def progress_bar(total: int | None, what: str) -> Any:
    """Return a progress bar on the error stream; it hides where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    bar.add_task(what, total=total)
    return bar


def strict(data: Any) -> Any:
    """Return plain data with its infinite and undefined numbers as null: JSON has none."""
    if isinstance(data, dict):
        return {key: strict(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [strict(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
