"""Generated single-operator models and sweeps of every code, against LiteRT's reference kernels.

The writer of the models belongs to the tests, so these areas need a source checkout.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hwsim
from hwsim.errors import OracleError
from hwsim.selfcheck.check import Check, Places, Progress

GENERATED_CASES = 2000
_ROOT = Path(hwsim.__file__).resolve().parent.parent
_PROFILE, _AGAINST = "tflite_ref", "LiteRT reference"


def generated(places: Places, progress: Progress) -> Iterator[Check]:
    """Draw single-operator models: shapes, strides, dilation, zero points, multipliers."""
    yield from _run("generated models", ["generated", str(GENERATED_CASES)], progress)


def sweeps(places: Places, progress: Progress) -> Iterator[Check]:
    """Feed every code to every table operator."""
    yield from _run("all codes of table operators", ["sweeps"], progress)


def _run(area: str, arguments: list[str], progress: Progress) -> Iterator[Check]:
    missing = _missing()
    if missing:
        count = int(arguments[-1]) if arguments[-1].isdigit() else 1
        yield Check(area, "all operators", _PROFILE, _AGAINST, 0, count, 0, 0, missing)
        return
    command = [sys.executable, "-m", "tests.selfcheck_cases", *arguments]
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None and worker.stderr is not None
        for line in worker.stdout:
            row = json.loads(line)
            progress(f"{area}: {row['operator']}")
            yield Check(
                area, row["operator"], _PROFILE, _AGAINST, row["run"], row["skipped"],
                row["wrong"], row["elements"], row["note"],
            )  # fmt: skip
        said = worker.stderr.read().strip()
    if worker.returncode != 0:
        last = (said.splitlines() or ["no message"])[-1]
        raise OracleError(f"{area}: the cases' process ended with {worker.returncode}: {last}")


def _missing() -> str:
    """Return what the areas need and do not have."""
    if not (_ROOT / "tests" / "selfcheck_cases.py").is_file():
        return "needs a source checkout: the writer of the models is in its tests"
    for module, package in (("ai_edge_litert", "ai-edge-litert"), ("hypothesis", "hypothesis")):
        if importlib.util.find_spec(module) is None:
            return f"needs {package}"
    return ""
