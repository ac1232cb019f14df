"""Quantized networks of a folder and inputs for them: pixels where they fit, else drawn codes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.api import load, random_inputs
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.quant import IntType
from hwsim.selfcheck.check import Places

FOLDER = "mlperf_tiny"
IMAGES = "cifar10/test_1000.npz"
_SIDE = 32

Inputs = dict[str, NDArray[Any]]


def quantized_networks(places: Places) -> Iterator[tuple[str, Graph | None, str]]:
    """Yield (name, graph, "") of each network of integer inputs, or (name, None, why it is none).

    Float networks, and those whose weights alone are quantized, are passed over.
    """
    for path in sorted((places.models / FOLDER).glob("*.tflite")):
        try:
            graph = load(path)
        except HwsimError as error:
            yield path.stem, None, str(error)
            continue
        if not any(value.is_float for value in graph.inputs):
            yield path.stem, graph, ""


def images(places: Places) -> NDArray[np.uint8] | None:
    """Return CIFAR-10 test images (n, 32, 32, 3), or None where they are absent."""
    path = places.data / IMAGES
    if not Path(path).is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        found: NDArray[np.uint8] = archive["x"]
    return found


def pixels(graph: Graph, shown: NDArray[np.uint8]) -> Inputs | None:
    """Return images as codes of a network's input, each pixel repeated to fill it.

    Pixel p is the p-th code, which is real p or p / 255 as networks of images are quantized. None
    where the input is no square image whose side is a multiple of 32.
    """
    (value, *others) = graph.inputs
    if others or len(value.shape) != 4 or not isinstance(value.dtype, IntType):
        return None
    _, height, width, channels = value.shape
    if value.dtype.bits != 8 or height != width or height % _SIDE or channels != shown.shape[3]:
        return None
    times = height // _SIDE
    larger = shown.repeat(times, axis=1).repeat(times, axis=2)
    return {value.name: (larger.astype(np.int16) + value.dtype.min).astype(value.dtype.storage)}


def mixed(graph: Graph, shown: NDArray[np.uint8] | None, count: int) -> Inputs:
    """Return `count` inputs, half of them pixels where these fit, the others drawn codes."""
    real = None if shown is None else pixels(graph, shown[: count - count // 2])
    if real is None:
        return random_inputs(graph, count)
    drawn = random_inputs(graph, count // 2)
    return {name: np.concatenate([array, drawn[name]]) for name, array in real.items()}
