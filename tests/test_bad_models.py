"""Whatever a model file holds, hwsim runs it or refuses it in one sentence.

Mutants are read and run in a process of their own (tests/bad_model_worker.py): if it dies, or
needs too long, the mutant that killed it is the failing example.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import mutations
from tests.mutations import Choice, Damage

ROOT = Path(__file__).resolve().parent.parent
MUTANTS = 2200  # of each format
LONGEST = 4000  # characters: two names of 1024 each, or the list of operators, and the rest
PATIENCE_S = 20.0  # for one file of a few kilobytes, on a busy machine
FUZZ = settings(
    max_examples=MUTANTS,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class Worker:
    """The process that takes mutants; a new one is started where the last one died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.outcomes: dict[str, int] = {}

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.bad_model_worker"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def judge(self, suffix: str, data: bytes) -> None:
        """Fail unless the file runs, or is refused in one sentence, in time."""
        process = self.process = self.process or self.start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{suffix} {len(data)}\n".encode() + data)
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            pytest.fail("the worker died" if ready else f"no answer within {PATIENCE_S} s")
        outcome, sentence, _ = json.loads(line)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        assert outcome != "broke", sentence
        assert "\n" not in sentence and len(sentence) < LONGEST, sentence


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.stop()


def tflite_files() -> dict[str, bytes]:
    pytest.importorskip(
        "ai_edge_litert", reason=f"ai_edge_litert is missing: {MUTANTS} mutants need its schema"
    )
    return mutations.tflite_files()


def damaged(data: bytes, changes: list[Damage]) -> bytes:
    for change in changes:
        data = change.apply(data) if data else data
    return data


@FUZZ
@given(pick=st.integers(0, 2**16), changes=mutations.TFLITE_DAMAGE)
def test_damaged_tflite(worker: Worker, pick: int, changes: list[Damage]) -> None:
    files = tflite_files()
    names = [*files, *["network"] * len(files)]
    worker.judge(".tflite", damaged(files[names[pick % len(names)]], changes))


@FUZZ
@given(pick=st.integers(0, 2**16), edits=mutations.ONNX_EDITS)
def test_edited_onnx(worker: Worker, pick: int, edits: list[Choice]) -> None:
    names = ["image_net", "token_net"] * 5 + ["digits_cnn"]
    model = onnx.load_model_from_string(mutations.onnx_files()[names[pick % len(names)]])
    for edit in edits:
        edit.apply(model)
    worker.judge(".onnx", model.SerializeToString())


@settings(FUZZ, max_examples=MUTANTS // 4)
@given(pick=st.integers(0, 2**16), changes=mutations.ONNX_DAMAGE)
def test_damaged_onnx(worker: Worker, pick: int, changes: list[Damage]) -> None:
    files = mutations.onnx_files()
    names = ["image_net", "token_net"] * 5 + [*files]
    worker.judge(".onnx", damaged(files[names[pick % len(names)]], changes))


# Random codes are no input of theirs: indices out of range, roots of negative numbers.
PARTIAL = ("RSQRT", "GATHER", "EMBEDDING_LOOKUP")


def test_valid_files_run(worker: Worker) -> None:
    worker.outcomes.clear()
    for name, data in tflite_files().items():
        if not name.startswith(PARTIAL):
            worker.judge(".tflite", data)
    for name in ("image_net", "token_net"):
        worker.judge(".onnx", mutations.onnx_files()[name])
    assert set(worker.outcomes) <= {"ran", "loaded"}
    assert worker.outcomes["ran"] > len(tflite_files()) // 2
