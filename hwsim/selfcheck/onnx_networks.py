"""MLPerf Tiny networks exported to ONNX, run by ONNX Runtime and by our reader and engine."""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hwsim
from hwsim.archives import write_bytes
from hwsim.formats.onnx_export import export_onnx
from hwsim.selfcheck.check import Check, Places, Progress

AREA = "MLPerf Tiny as ONNX"
NETWORKS = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8")
INPUTS = 25
# Unoptimized, ONNX Runtime computes QDQ models in float32, in an order of sums of its own.
RUNS = (
    ("qdq", "onnxruntime"),
    ("qoperator", "onnxruntime"),
    ("qoperator", "onnxruntime_unoptimized"),
)


def onnx_networks(places: Places, progress: Progress) -> Iterator[Check]:
    """Compare outputs and every intermediate of the four networks in each form."""
    missing = "" if importlib.util.find_spec("onnxruntime") else "needs onnxruntime"
    for network in NETWORKS:
        path = places.models / "mlperf_tiny" / f"{network}.tflite"
        absent = missing or ("" if path.is_file() else f"{path} is absent")
        if absent:
            runs = len(RUNS)
            yield Check(AREA, network, "ort", "ONNX Runtime", 0, runs, 0, 0, absent)
            continue
        progress(f"{AREA}: {network}")
        yield from _network(network, path)


def _network(network: str, path: Path) -> Iterator[Check]:
    """Export a network and compare every run of it; a case is a value over all inputs."""
    import onnxruntime

    source = hwsim.load(path)
    inputs = hwsim.random_inputs(source, INPUTS, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        for style, against in RUNS:
            target = Path(folder, f"{network}_{style}.onnx")
            write_bytes(target, export_onnx(source, style))
            found = hwsim.validate(hwsim.load(target), inputs, against)
            level = "unoptimized" if against.endswith("_unoptimized") else "optimized"
            wrong = sum(1 for row in found.rows if row.differing)
            first = found.first
            note = "" if first is None else f"first: {first.value}, {first.differing} elements"
            yield Check(
                AREA, f"{network}, {style}, {level}", "ort",
                f"ONNX Runtime {onnxruntime.__version__}", len(found.rows), len(found.missing),
                wrong, found.elements, note,
            )  # fmt: skip
