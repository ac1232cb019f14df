"""Run `.tflite` models on LiteRT's reference or default kernels, in a process of their own.

LiteRT ends its process on some inputs (a softmax row whose exponentials sum to 512), so the caller
keeps its distance: one worker serves many models, and its death is an exception, not a hang.

Messages are npz archives, each after its length in 8 bytes, on the worker's stdin and stdout.
"""

import io
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import BinaryIO

import numpy as np

LENGTH = struct.Struct("<q")


class LiteRTDied(RuntimeError):
    """The worker ended, or did not answer in time."""


class LiteRTRefused(RuntimeError):
    """LiteRT did not accept the model or an input."""


def available() -> bool:
    """Tell whether ai_edge_litert can be imported."""
    from importlib.util import find_spec

    return find_spec("ai_edge_litert") is not None


class LiteRT:
    """A worker process; use it as a context manager.

    Args:
        timeout_s: How long one model may take, its start included.
        kernels: "reference" (BUILTIN_REF), "default" (XNNPACK, and what it leaves to others), or
            "micro" (TFLite Micro).
    """

    def __init__(self, timeout_s: float = 60.0, kernels: str = "reference") -> None:
        self.timeout_s = timeout_s
        self.kernels = kernels
        self._worker: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()

    def __enter__(self) -> "LiteRT":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._log.close()

    def close(self) -> None:
        """End the worker; the next `run` starts another."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def run(
        self, model: bytes, feeds: Sequence[Mapping[str, np.ndarray]], label: str = "a model"
    ) -> list[dict[str, np.ndarray]]:
        """Return every tensor by name, for each feed of graph inputs.

        Default kernels show the graph's outputs alone.

        Args:
            model: A `.tflite` file.
            feeds: Name -> array of every graph input, for one inference each.
            label: What to call the model when LiteRT dies.

        Raises:
            LiteRTDied: If the worker ends or does not answer within `timeout_s`.
            LiteRTRefused: If LiteRT reports an error.
        """
        message = {"model": np.frombuffer(model, np.uint8), "kernels": np.array(self.kernels)}
        for position, feed in enumerate(feeds):
            message |= {f"{position}/{name}": np.asarray(array) for name, array in feed.items()}
        answer = self._ask(message, label)
        results: list[dict[str, np.ndarray]] = [{} for _ in feeds]
        for key, array in answer.items():
            position, name = key.split("/", 1)
            results[int(position)][name] = array
        return results

    def operators(self, model: bytes, label: str = "a model") -> tuple[str, ...]:
        """Return the operators that LiteRT makes of a model; the last may be "DELEGATE"."""
        message = {"model": np.frombuffer(model, np.uint8), "kernels": np.array("operators")}
        return tuple(self._ask(message, label)["operators"].tolist())

    def _ask(self, message: Mapping[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
        if self._worker is None:
            self._worker = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        assert self._worker.stdin is not None and self._worker.stdout is not None
        start = self._log.seek(0, os.SEEK_END)
        try:
            send(self._worker.stdin, message)
            answer = self._receive(self._worker.stdout.fileno())
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            code = self._worker.poll()
            if code is None and not isinstance(error, TimeoutError):
                code = self._worker.wait(timeout=5)
            self.close()
            self._log.seek(start)
            said = self._log.read().decode("utf-8", "replace").strip()[-500:]
            why = f"no answer in {self.timeout_s} s" if code is None else f"exit status {code}"
            raise LiteRTDied(f"LiteRT died on {label} ({why}): {said or 'nothing said'}") from error
        if "error" in answer:
            raise LiteRTRefused(f"LiteRT refused {label}: {answer['error']}")
        return answer

    def _receive(self, descriptor: int) -> dict[str, np.ndarray]:
        """Read one message, or fail after `timeout_s`."""
        deadline = time.monotonic() + self.timeout_s

        def read(count: int) -> bytes:
            parts = bytearray()
            while len(parts) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                    raise TimeoutError
                part = os.read(descriptor, min(count - len(parts), 1 << 20))
                if not part:
                    raise EOFError
                parts += part
            return bytes(parts)

        (count,) = LENGTH.unpack(read(LENGTH.size))
        return unpack(read(count))


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the bytes of an npz archive."""
    stream = io.BytesIO()
    np.savez(stream, **{name.replace("/", "|"): array for name, array in arrays.items()})
    return stream.getvalue()


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an npz archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name.replace("|", "/"): archive[name] for name in archive.files}


def send(pipe: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one message."""
    content = pack(arrays)
    pipe.write(LENGTH.pack(len(content)) + content)
    pipe.flush()


def evaluate(message: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one model in this process."""
    if str(message["kernels"]) == "micro":
        return evaluate_micro(message)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    reference = str(message["kernels"]) == "reference"
    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(
        model_content=message["model"].tobytes(),
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=reference,
    )
    interpreter.allocate_tensors()
    if str(message["kernels"]) == "operators":
        details = interpreter._get_ops_details()
        return {"operators": np.array([detail["op_name"] for detail in details])}
    inputs = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    feeds: dict[str, dict[str, np.ndarray]] = {}
    for key, array in message.items():
        if key not in ("model", "kernels"):
            position, name = key.split("/", 1)
            feeds.setdefault(position, {})[name] = array
    results = {}
    for position, feed in feeds.items():
        for name, array in feed.items():
            interpreter.set_tensor(inputs[name], array)
        interpreter.invoke()
        shown = interpreter.get_tensor_details() if reference else interpreter.get_output_details()
        for detail in shown:
            try:
                array = interpreter.get_tensor(detail["index"])
            except ValueError:  # a temporary of a kernel
                continue
            results[f"{position}/{detail['name']}"] = array
    return results


def evaluate_micro(message: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one model on TFLite Micro, in this process; outputs alone."""
    from ai_edge_litert import schema_py_generated as schema
    from tflite_micro.python.tflite_micro import runtime

    content = message["model"].tobytes()
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    inputs = [graph.Tensors(i).Name().decode() for i in graph.InputsAsNumpy()]
    outputs = [graph.Tensors(i).Name().decode() for i in graph.OutputsAsNumpy()]
    interpreter = runtime.Interpreter.from_bytes(content)
    positions = dict.fromkeys(key.split("/", 1)[0] for key in message if "/" in key)
    results = {}
    for position in positions:
        for slot, name in enumerate(inputs):
            interpreter.set_input(message[f"{position}/{name}"], slot)
        interpreter.invoke()
        for slot, name in enumerate(outputs):
            results[f"{position}/{name}"] = np.array(interpreter.get_output(slot))
    return results


def serve() -> None:
    """Answer messages until stdin ends. LiteRT's own prints go to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while header := sys.stdin.buffer.read(LENGTH.size):
        (count,) = LENGTH.unpack(header)
        message = unpack(sys.stdin.buffer.read(count))
        try:
            answer = evaluate(message)
        except (RuntimeError, ValueError, KeyError) as error:
            answer = {"error": np.array(f"{type(error).__name__}: {error}")}
        send(answers, answer)


if __name__ == "__main__":
    serve()
