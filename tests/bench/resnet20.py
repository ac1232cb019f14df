"""ResNet-20 at 4 bits on 1,000 CIFAR-10 images, from float32 images to logits, beside torch.

torch runs the same network in float32, batch norms folded, channels last, in the better of eager
and frozen form and at the best of several batch sizes.
"""

import os
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import hwsim
from hwsim.fuse import fold_batch_norm
from hwsim.graph import Graph
from hwsim.inputs import checked_inputs
from hwsim.kernels.plan import lower
from hwsim.ops import Op
from hwsim.profiles import find_profile

from .machine import ROOT
from .networks import models_folder
from .table import TORCH, Figure, Row, seconds_in_words
from .timing import Call, Effort, best_of, faster, interleave

BATCHES = (100, 25)
CALIBRATION, MOST_ROUNDS = 64, 3
GOAL = 1.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNet20(nn.Module):
    """The network of the ONNX file; shortcuts drop pixels and pad channels."""

    def __init__(self, graph: Graph) -> None:
        """Take the weights of a float graph.

        Args:
            graph: Batch norms folded.
        """
        super().__init__()
        self.convolutions = nn.ModuleList()
        for node in graph.nodes:
            if node.op is Op.CONV_2D:
                self.convolutions.append(_convolution(graph, node.inputs, node.attrs.stride))
            if node.op is Op.FULLY_CONNECTED:
                weights, bias = (torch.from_numpy(_data(graph, name)) for name in node.inputs[1:])
                self.head = nn.Linear(*reversed(weights.shape))
                self.head.weight.data, self.head.bias.data = weights, bias

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of images (N, 3, 32, 32)."""
        x = functional.relu(self.convolutions[0](x))
        for first, second in zip(self.convolutions[1::2], self.convolutions[2::2], strict=True):
            made = second(functional.relu(first(x)))
            if made.shape != x.shape:
                border = (made.shape[1] - x.shape[1]) // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, border, border))
            x = functional.relu(made + x)
        y: Tensor = self.head(functional.avg_pool2d(x, 8).flatten(1))
        return y


def _data(graph: Graph, name: str) -> NDArray[np.float32]:
    data = graph.values[name].data
    assert data is not None
    return np.array(data, np.float32)


def _convolution(graph: Graph, inputs: Sequence[str], stride: tuple[int, int]) -> nn.Conv2d:
    weights = torch.from_numpy(_data(graph, inputs[1])).permute(0, 3, 1, 2)
    made = nn.Conv2d(weights.shape[1], weights.shape[0], 3, stride, 1)
    made.weight.data = weights.contiguous(memory_format=torch.channels_last)
    assert made.bias is not None
    made.bias.data = torch.from_numpy(_data(graph, inputs[2]))
    return made


def images(file: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return normalized images (N, 3, 32, 32) and labels."""
    given = os.environ.get("HWSIM_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    with np.load(folder / "cifar10" / file) as archive:
        codes, labels = archive["x"][:count], archive["y"][:count]
    x = (codes.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), labels


def fastest_torch(
    module: nn.Module, x: NDArray[np.float32], threads: int
) -> tuple[Call, list[Tensor], str]:
    """Return the fastest call over all images, what it leaves, and what it is.

    The forms are compared on the first images alone, by wall time.
    """
    source = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    made: list[Tensor] = []

    def call_of(run: Any, batch: int, images: Tensor) -> Call:
        @torch.inference_mode()
        def call() -> None:
            torch.set_num_threads(threads)
            made[:] = [run(part) for part in images.split(batch)]

        return call

    found: dict[str, tuple[float, Call]] = {}
    first = source[: BATCHES[0]]
    for batch in BATCHES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the shapes that tracing fixes are fixed
            traced = torch.jit.trace(module, first[:batch])
            frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        for form, run in (("eager", module), ("frozen", frozen)):
            times = []
            for _ in range(3):
                start = time.perf_counter()
                call_of(run, batch, first)()
                times.append(time.perf_counter() - start)
            name = f"{form}, batch {batch}, threads {threads}"
            found[name] = min(times), call_of(run, batch, source)
    best = min(found, key=lambda name: found[name][0])
    return found[best][1], made, best


def quantized(graph: Graph, bits: str, images_seen: int) -> Graph:
    """Return the network at uniform bits, percentile ranges."""
    calibration = images("train_20000.npz", images_seen)[0]
    ranges = hwsim.calibrate(graph, calibration, method="percentile", percentile=99.9)
    return hwsim.quantize(graph, ranges, hwsim.Option.parse(bits))


def reference(graph: Graph, x: NDArray[np.float32]) -> NDArray[Any]:
    """Return what the reference kernels compute, one image at a time."""
    profile = find_profile(graph.profile)
    plan = lower(graph, profile)
    ((name, codes),) = checked_inputs(graph, x, profile.input_rounding).items()
    (output,) = graph.output_names
    made = [plan.reference({name: codes[i : i + 1]})[output] for i in range(len(x))]
    return np.concatenate(made)


def rows(effort: Effort, threads: int, count: int) -> list[Row]:
    """Return the row of W4A4, or nothing where the file is absent."""
    path = models_folder() / "cifar10" / "resnet20.onnx"
    if not path.is_file():
        return []
    torch.set_num_threads(threads)
    graph = hwsim.load(path)
    x, labels = images("test_1000.npz", count)
    module = ResNet20(fold_batch_norm(graph)).eval()
    floats = hwsim.run(graph, x[:8], profile="float")["logits"]
    field: dict[str, Call] = {}
    for pool in {1, threads}:  # where other work holds a core, torch is faster on one
        call, made, form = fastest_torch(module, x, pool)
        call()
        if not np.allclose(torch.cat(made)[:8], floats, rtol=1e-3, atol=1e-3):
            raise ValueError("torch must compute the same network")
        field[f"{TORCH}: {form}"] = call
    codes = quantized(graph, "W4A4", min(CALIBRATION, count))
    logits: list[Any] = []

    def ours() -> None:
        logits[:] = [hwsim.run(codes, x, threads=threads)["logits"]]

    ours()
    part = x[:4]
    if not np.array_equal(reference(codes, part), logits[0][: len(part)]):
        raise ValueError("logits must equal those of the reference kernels")
    field["hwsim"] = ours
    seconds = interleave(field, Effort(min(effort.rounds, MOST_ROUNDS), 1e-3, 0.0), threads)
    best = best_of(seconds, [name for name in field if name.startswith(TORCH)])
    ratio = faster(seconds, "hwsim")[best]
    median = statistics.median(seconds["hwsim"])
    right = int((logits[0].argmax(axis=1) == labels).sum())
    return [
        Row(
            "resnet20",
            f"ResNet-20 W4A4, {count} images, {right} right",
            threads,
            f"{seconds_in_words(median)}, {seconds_in_words(median / count)} an image",
            {TORCH: Figure(ratio.median, ratio.least, ratio.most, GOAL if threads == 2 else None)},
            f"reference kernels on {len(part)} images, byte for byte; {best}",
            {name: statistics.median(times) for name, times in seconds.items()},
        )
    ]
