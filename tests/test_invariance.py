"""Under every profile: the same bits compiled or interpreted, whatever batch and threads."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hwsim
from hwsim.errors import GraphError
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph
from hwsim.ops import Op
from hwsim.profiles import PROFILES
from tests.strategies import GENERATORS, generate

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 2
BATCHES = (1, 7, 64)


@cache
def graphs() -> dict[str, Graph]:
    """Return generated single-operator graphs of constant weights."""
    made = {}
    for operator in GENERATORS:
        for seed in range(SEEDS):
            case = generate(operator, seed)
            name = f"{operator} {seed}"
            made[name] = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
    return made


def accepted(graph: Graph, profile: str) -> bool:
    """Tell whether the profile has an arithmetic for the graph."""
    try:
        hwsim.run(graph, feed_of(graph, 1), profile=profile)
    except GraphError as error:
        assert str(error)
        return False
    return True


def feed_of(graph: Graph, count: int) -> dict[str, np.ndarray]:
    """Return random inputs of `count` of the graph's batches; roots have no negative operands."""
    feed = hwsim.random_inputs(graph, count, seed=len(graph.name))
    for node in graph.nodes:
        quant = graph.values[node.inputs[0]].quant
        if node.op is Op.RSQRT and quant is not None:
            feed[node.inputs[0]] = np.maximum(feed[node.inputs[0]], quant.zero_point[0])
    return feed


def activations() -> dict[str, np.ndarray]:
    """Return every activation under every profile that accepts the graph."""
    made = {}
    for profile in PROFILES:
        for name, graph in graphs().items():
            if not accepted(graph, profile):
                made[f"{profile} {name} refused"] = np.zeros(0)
                continue
            values = hwsim.trace(graph, feed_of(graph, 1), profile=profile).values()
            for position, array in enumerate(values):
                made[f"{profile} {name} {position}"] = array
    return made


def test_the_compiler_changes_no_bit(tmp_path: Path) -> None:
    out = tmp_path / "interpreted.npz"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment |= {"PYTHONPATH": paths, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-m", "tests.test_invariance", str(out)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled = activations()
    with np.load(out, allow_pickle=False) as archive:
        assert set(archive.files) == set(compiled)
        for name, array in compiled.items():
            assert archive[name].dtype == array.dtype, name
            assert archive[name].tobytes() == array.tobytes(), name
    for profile in PROFILES:
        ran = {name.rsplit(" ", 1)[0] for name in compiled if name.startswith(f"{profile} ")}
        refused = {
            name for name in compiled if name.startswith(f"{profile} ") and "refused" in name
        }
        assert len(ran) > len(refused), f"{profile} accepted nothing"


@pytest.mark.parametrize("profile", PROFILES)
def test_batches_and_threads_change_no_bit(profile: str) -> None:
    compared = 0
    for name, graph in graphs().items():
        entries = graph.outputs[0].shape[:1]
        if not accepted(graph, profile) or entries != graph.inputs[0].shape[:1]:
            continue
        feed = feed_of(graph, max(BATCHES))
        own = entries[0] if entries else 0
        if own == 0 or any(array.shape[0] != own * max(BATCHES) for array in feed.values()):
            continue
        singles = []
        for start in range(0, own * max(BATCHES), own):
            one = {key: array[start : start + own] for key, array in feed.items()}
            singles.append(hwsim.run(graph, one, profile=profile))
        for batch in BATCHES:
            part = {key: array[: batch * own] for key, array in feed.items()}
            for threads in (1, 2):
                made = hwsim.run(graph, part, profile=profile, threads=threads)
                for output, array in made.items():
                    expected = np.concatenate([one[output] for one in singles[:batch]])
                    assert np.array_equal(array, expected), (name, output, batch, threads)
                    compared += array.size
    assert compared > 10_000


if __name__ == "__main__":
    np.savez(sys.argv[1], **activations())
