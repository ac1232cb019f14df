"""Whole networks: every value of every profile that has a runtime, element for element."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.api import trace
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.oracles import TFLITE_MICRO, run_litert, run_tflite_micro
from hwsim.selfcheck.check import Check, Places, Progress
from hwsim.selfcheck.tiny import FOLDER, Inputs, images, mixed, quantized_networks

AREA = "networks"
# Elements of all values of one network and side; a network of more gets fewer inputs.
BUDGET = 24_000_000
MOST_INPUTS = 400

Run = Callable[[Graph, Inputs, Sequence[str]], Mapping[str, NDArray[Any]]]


def _reference(graph: Graph, inputs: Inputs, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    return run_litert(graph, inputs, "litert_ref", names)


def _default(graph: Graph, inputs: Inputs, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    return run_litert(graph, inputs, "litert", names)


SIDES: tuple[tuple[str, str, Run], ...] = (
    ("tflite_ref", "litert_ref", _reference),
    ("xnnpack", "litert", _default),
    ("tflm", TFLITE_MICRO, run_tflite_micro),
)


def networks(places: Places, progress: Progress) -> Iterator[Check]:
    """Run every quantized network under every profile whose runtime is there."""
    shown = images(places)
    found = False
    for profile, against, run in SIDES:
        for name, graph, problem in quantized_networks(places):
            found = True
            progress(f"{AREA}: {name}, {profile}")
            if graph is None:
                yield Check(AREA, name, profile, against, 0, 1, 0, 0, problem)
                continue
            values = sum(value.elements for value in graph.activations)
            inputs = mixed(graph, shown, min(MOST_INPUTS, BUDGET // values + 1))
            yield _checked(graph, profile, against, run, inputs)
    if not found:
        missing = f"needs {FOLDER} in the folder of models"
        yield Check(AREA, "all networks", "tflite_ref", "litert_ref", 0, 1, 0, 0, missing)


def _checked(graph: Graph, profile: str, against: str, run: Run, inputs: Inputs) -> Check:
    """Compare every value, then the outputs of the network as it is, where runtimes may fuse."""
    count = len(next(iter(inputs.values())))
    computed = [name for node in graph.nodes for name in node.outputs]
    try:
        ours = trace(graph, inputs, profile=profile)
        theirs = run(graph, inputs, computed)
        ends = run(graph, inputs, graph.output_names)
    except HwsimError as error:
        return Check(AREA, graph.name, profile, against, 0, count, 0, 0, str(error))
    bad = np.zeros(count, np.bool_)
    elements, note = 0, ""
    for shown in (theirs, ends):
        for name in (name for name in computed if name in shown):
            mine, other = ours[name].reshape(count, -1), shown[name].reshape(count, -1)
            differ = mine != other
            if differ.any() and not note:
                note = f"first {name}: {np.count_nonzero(differ)} of {mine.size} elements"
            bad |= differ.any(axis=1)
            elements += mine.size
    hidden = [name for name in computed if name not in theirs]
    if hidden:
        note = f"not shown: {', '.join(hidden)}; {note}".removesuffix("; ")
    wrong = int(np.count_nonzero(bad))
    return Check(AREA, graph.name, profile, against, count, 0, wrong, elements, note)
