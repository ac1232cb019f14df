"""Cold starts and memory: what a process pays before and beside its first result.

Every sample is a new process that reads ResNet8 and runs one image. The first has an empty cache
of machine code, the following use what it left.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .networks import LARGE, found
from .table import Figure, Row
from .timing import Effort

MOST_PROCESSES = 7
START_GOAL_S, MEMORY_SLACK = 1.0, 64 << 20
MEGABYTE = 1 << 20

SCRIPT = """
import sys
import numpy as np
import hwsim
graph = hwsim.load(sys.argv[1])
value = graph.inputs[0]
batch = int(sys.argv[2])
codes = np.zeros((batch * value.shape[0], *value.shape[1:]), value.dtype.storage)
hwsim.run(graph, {value.name: codes})
"""
_PEAK = """
import sys
def high_water():
    import pathlib, re
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", text).group(1)) * 1024
bare = high_water()
"""
_IMPORTED = """
import numpy, hwsim, hwsim.formats.tflite, hwsim.kernels.plan
imported = high_water()
"""
_TOLD = """
import json
print(json.dumps([bare, imported, high_water()]))
"""


def _sample(script: str, arguments: Sequence[str], cache: Path) -> tuple[float, float, str]:
    """Return wall and CPU seconds of a process, and what it printed."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, made.stdout


def starts(path: Path, count: int, cache: Path) -> list[Row]:
    """Return the rows of the first process and of those after it."""
    wall, cpu, _ = _sample(SCRIPT, [str(path), "1"], cache)
    entries = list(cache.rglob("*.nbc"))
    size = sum(entry.stat().st_size for entry in entries) / 1e6
    samples = [_sample(SCRIPT, [str(path), "1"], cache)[:2] for _ in range(count)]
    alone = [_sample("import numpy", [], cache)[0] for _ in range(min(count, 3))]
    walls, cpus = zip(*samples, strict=True)
    later = {
        "wall s": Figure(
            statistics.median(walls), min(walls), max(walls), START_GOAL_S, at_most=True
        ),
        "CPU s": Figure(statistics.median(cpus), min(cpus), max(cpus), START_GOAL_S, at_most=True),
    }
    return [
        Row(
            "start", "ResNet8, first process: start to first result", 1,
            f"{wall:.2f} s ({cpu:.2f} s CPU)",
            {"wall s": Figure(wall, wall, wall), "CPU s": Figure(cpu, cpu, cpu)},
            f"compiles and keeps {len(entries)} entries, {size:.1f} MB",
        ),
        Row(
            "start", "ResNet8, later processes: start to first result", 1,
            f"{statistics.median(walls):.2f} s ({statistics.median(cpus):.2f} s CPU)",
            later,
            f"median of {count} processes; one that only imports NumPy takes "
            f"{statistics.median(alone):.2f} s",
        ),
    ]  # fmt: skip


def largest_cut(graph: Any, batch: int) -> tuple[int, int]:
    """Return bytes of weights, and of the most activations that are needed at one time."""
    own = graph.inputs[0].shape[0]
    sizes = {}
    weights = 0
    for name, value in graph.values.items():
        size = value.dtype.storage.itemsize
        for extent in value.shape:
            size *= extent
        if value.is_constant:
            weights += size
        else:
            sizes[name] = size * batch // own
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    last |= dict.fromkeys(graph.output_names, len(graph.nodes))
    alive = set(graph.input_names)
    cut = 0
    for index, node in enumerate(graph.nodes):
        alive |= set(node.outputs)
        cut = max(cut, sum(sizes[name] for name in alive if name in sizes))
        alive = {name for name in alive if last.get(name, -1) > index}
    return weights, cut


def memory(path: Path, batch: int, cache: Path) -> Row:
    """Return the row of the highest resident memory of a process."""
    import hwsim

    script = _PEAK + _IMPORTED + SCRIPT + _TOLD
    _sample(script, [str(path), str(batch)], cache)  # compiles what is missing
    bare, imported, most = json.loads(_sample(script, [str(path), str(batch)], cache)[2])
    weights, cut = largest_cut(hwsim.load(path), batch)
    limit = weights + 2 * cut + MEMORY_SLACK
    over, beyond = (most - bare) / MEGABYTE, (most - imported) / MEGABYTE
    return Row(
        "memory", f"{path.stem}, batch {batch}: memory over the interpreter", 1, f"{over:.0f} MB",
        {
            "MB": Figure(over, over, over, limit / MEGABYTE, at_most=True),
            "MB over imports": Figure(beyond, beyond, beyond),
        },
        f"highest resident memory; bare interpreter {bare / MEGABYTE:.0f} MB, with NumPy, Numba "
        f"and hwsim imported {imported / MEGABYTE:.0f} MB; weights {weights / MEGABYTE:.2f} MB, "
        f"largest cut {cut / MEGABYTE:.2f} MB",
    )  # fmt: skip


def rows(effort: Effort, threads: int, batches: Sequence[int]) -> list[Row]:
    """Return all rows; memory where the system tells it."""
    files = [path for network, path in found() if network.name == "ResNet8"]
    made: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for path in files:
            made += starts(path, min(MOST_PROCESSES, effort.rounds), cache)
            if Path("/proc/self/status").is_file():
                made += [memory(path, batch, cache) for batch in batches]
    return made


ALL_BATCHES = (1, LARGE)
