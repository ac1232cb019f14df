"""The same bits with a fresh and a warm cache, and with none to write to."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwsim.formats.tflite import read_tflite
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from tests.strategies import generate

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 3
OPERATORS = ["CONV_2D", "ADD", "MEAN", "SOFTMAX"]


def activations() -> dict[str, np.ndarray]:
    """Return every activation of the generated models, by operator, seed and position."""
    made = {}
    for operator in OPERATORS:
        for seed in range(SEEDS):
            case = generate(operator, seed)
            graph = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
            feed = {name: case.feed[name] for name in graph.input_names}
            values = execute(graph, PROFILES["tflite_ref"], feed, keep_all=True).values()
            for position, array in enumerate(values):
                made[f"{operator} {seed} {position}"] = array
    return made


def elsewhere(out: Path, **environment: str) -> dict[str, np.ndarray]:
    """Return the activations that another process computes; its warnings are errors."""
    command = [sys.executable, "-W", "error", "-m", "tests.test_cache", str(out)]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        command,
        env=inherited | {"PYTHONPATH": paths} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(out, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.dtype == b[name].dtype, name
        assert array.tobytes() == b[name].tobytes(), name


def test_cache_changes_no_bit(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fresh = elsewhere(tmp_path / "fresh.npz", NUMBA_CACHE_DIR=str(cache))
    written = {entry: entry.stat().st_mtime_ns for entry in cache.rglob("*.nbc")}
    assert written
    warm = elsewhere(tmp_path / "warm.npz", NUMBA_CACHE_DIR=str(cache))
    assert {entry: entry.stat().st_mtime_ns for entry in cache.rglob("*.nbc")} == written
    same(fresh, warm)
    same(fresh, activations())


@pytest.mark.parametrize("blocked", ["read_only", "a_file"])
def test_no_cache_folder_changes_no_bit(tmp_path: Path, blocked: str) -> None:
    """A folder that cannot be written; a file in its place stops even the super-user."""
    cache = tmp_path / "cache"
    if blocked == "a_file":
        cache.write_bytes(b"")
    else:
        cache.mkdir(mode=0o555)
    try:
        made = elsewhere(tmp_path / "made.npz", NUMBA_CACHE_DIR=str(cache))
    finally:
        cache.chmod(0o755)
    if blocked == "a_file" or os.geteuid() != 0:
        assert not list(tmp_path.rglob("*.nbc"))
    same(made, activations())


if __name__ == "__main__":
    np.savez(sys.argv[1], **activations())
