"""A process that reads and runs hostile model files, so that a crash kills it and not the tests.

It takes `<suffix> <length>` lines, each followed by that many bytes, and answers each with one
JSON line. Its memory may grow by 2 GiB; kernels run uncompiled, so that an index out of bounds is
an IndexError here instead of a read of foreign memory.
"""

import json
import math
import resource
import sys
import time
import warnings
from pathlib import Path

import onnx.reference  # noqa: F401  (imports count before the memory limit is set)
import torch

import hwsim
from hwsim.errors import HwsimError
from hwsim.formats.onnx import read_onnx
from hwsim.formats.tflite import read_tflite
from hwsim.graph import Graph

GROWTH = 2 << 30
MOST_WORK = 30_000  # products that uncompiled kernels may compute for one file


def work(graph: Graph) -> int:
    """Return about how many elements an inference touches."""
    total = 0
    for node in graph.nodes:
        weights = [graph.values[name] for name in node.inputs[1:2] if name]
        taps = max([1, *(value.elements // max(value.shape or (1,)) for value in weights)])
        area = math.prod(getattr(node.attrs, "kernel", (1,)))
        total += sum(graph.values[name].elements for name in node.outputs) * taps * area
        total += sum(graph.values[name].elements for name in node.inputs if name)
    return total


def attempt(suffix: str, data: bytes) -> tuple[str, str]:
    """Return what became of a file, and the sentence that refused it."""
    path = Path(f"mutant{suffix}")
    try:
        graph = read_tflite(data, path) if suffix == ".tflite" else read_onnx(data, path)
        if work(graph) > MOST_WORK:
            return "loaded", ""
        profile = "float" if graph.is_float else None
        batch = 2 if all(value.shape for value in graph.outputs) else 1
        hwsim.run(graph, hwsim.random_inputs(graph, batch), profile=profile)
    except HwsimError as error:
        return "refused", str(error)
    return "ran", ""


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    torch.nn.functional.conv2d(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 2, 2))
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("error")
    while header := sys.stdin.buffer.readline():
        suffix, length = header.decode("ascii").split()
        data = sys.stdin.buffer.read(int(length))
        start = time.perf_counter()
        try:
            outcome, sentence = attempt(suffix, data)
        except BaseException as error:  # what the tests are looking for
            outcome, sentence = "broke", f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - start
        print(json.dumps([outcome, sentence, seconds]), flush=True)


if __name__ == "__main__":
    main()
