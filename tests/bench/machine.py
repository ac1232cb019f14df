"""What the figures depend on: CPU, versions, compiler target, load. No host name, no path."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy", "numba", "llvmlite", "onnxruntime", "ai-edge-litert", "torch", "onnx")
ABSENT = "not installed"


def version_of(package: str) -> str:
    """Return the version of a package, or that it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    names = ("model name", "cpu family", "model")
    found: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in names:
                found.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    if "model name" not in found:
        return platform.processor() or platform.machine()
    number = ", ".join(f"{name} {found[name]}" for name in names[1:] if name in found)
    return f"{found['model name']} ({number})" if number else found["model name"]


def load_average() -> list[float] | None:
    """Return the load of 1, 5 and 15 minutes, where the system knows it."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def circumstances() -> dict[str, Any]:
    """Return what the figures depend on."""
    from numba.core.registry import cpu_target

    from hwsim.kernels.native.target import tier

    _, cpu, _ = cpu_target.target_context.codegen().magic_tuple()
    instructions = tier()
    return {
        "date_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "compiler_target": cpu,
        "tier": instructions.name if instructions else "none",
        "threads": "ours: Python threads in calls without the GIL; peers: their own pools, each "
        "set to the same number",
    }
