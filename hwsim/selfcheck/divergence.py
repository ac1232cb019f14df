"""Two arithmetics of one file: where LiteRT's two paths part, our two profiles must part alike."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.api import random_inputs, run
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.oracles import run_litert
from hwsim.selfcheck.check import Check, Places, Progress
from hwsim.selfcheck.tiny import FOLDER, IMAGES, Inputs, images, pixels, quantized_networks

AREA = "divergence"
PROFILE = "tflite_ref / xnnpack"
AGAINST = "litert_ref / litert"
RANDOM = 200


@dataclass(frozen=True)
class Parting:
    """Where two paths give an input different outputs.

    Args:
        differs: Whether any output code does, by input.
        flips: Whether the largest output is another.
    """

    differs: NDArray[np.bool_]
    flips: NDArray[np.bool_]

    @classmethod
    def of(cls, one: NDArray[np.integer], other: NDArray[np.integer]) -> "Parting":
        """Compare two outputs, inputs first."""
        left, right = one.reshape(len(one), -1), other.reshape(len(other), -1)
        return cls(np.any(left != right, axis=1), left.argmax(axis=1) != right.argmax(axis=1))

    def __str__(self) -> str:
        """Count."""
        count = len(self.differs)
        return f"{self.differs.sum()} of {count} outputs differ, {self.flips.sum()} change top-1"


def divergence(places: Places, progress: Progress) -> Iterator[Check]:
    """Run each network on both paths of each side.

    An input counts as wrong where the sides disagree: on whether its outputs differ, on whether
    the largest does, or on an output code. Inputs are the CIFAR-10 test images where they fit,
    else drawn codes.
    """
    shown = images(places)
    found = False
    for name, graph, problem in quantized_networks(places):
        found = True
        progress(f"{AREA}: {name}")
        if graph is None:
            yield Check(AREA, name, PROFILE, AGAINST, 0, 1, 0, 0, problem)
            continue
        real = None if shown is None else pixels(graph, shown)
        source = "drawn codes" if real is None else "CIFAR-10 test images"
        yield _checked(graph, real or random_inputs(graph, RANDOM), source)
    if not found:
        missing = f"needs {FOLDER} in the folder of models and {IMAGES} in that of data"
        yield Check(AREA, "all networks", PROFILE, AGAINST, 0, 1, 0, 0, missing)


def _checked(graph: Graph, inputs: Inputs, source: str) -> Check:
    (name, *_) = graph.output_names
    count = len(next(iter(inputs.values())))
    try:
        theirs = [
            run_litert(graph, inputs, path, [name])[name] for path in ("litert_ref", "litert")
        ]
        ours = [run(graph, inputs, profile=p)[name] for p in ("tflite_ref", "xnnpack")]
    except HwsimError as error:
        return Check(AREA, graph.name, PROFILE, AGAINST, 0, count, 0, 0, str(error))
    foreign, own = Parting.of(*theirs), Parting.of(*ours)
    same = [
        one.reshape(count, -1) == two.reshape(count, -1)
        for one, two in zip(ours, theirs, strict=True)
    ]
    wrong = ~np.all(np.concatenate(same, axis=1), axis=1)
    wrong |= (foreign.differs != own.differs) | (foreign.flips != own.flips)
    note = f"{foreign} between LiteRT's paths, {own} between our profiles; {source}"
    elements = 2 * theirs[0].size
    return Check(AREA, graph.name, PROFILE, AGAINST, count, 0, int(wrong.sum()), elements, note)
