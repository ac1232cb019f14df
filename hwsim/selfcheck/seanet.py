"""TFLite Micro's own golden outputs of single int16 operators, cut from a SEANet network.

Vectors: tensorflow/lite/micro/integration_tests/seanet of tflite-micro, Apache-2.0. `cases.json`
says of each case its operator and graph inputs; `seanet.npz` holds its model, inputs and output.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.api import run
from hwsim.archives import read_arrays
from hwsim.errors import HwsimError, InputError
from hwsim.formats.tflite import read_tflite
from hwsim.selfcheck.check import Check, Places, Progress

CASES = 76  # of the public set; counted as skipped where the folder is absent
_AREA, _PROFILE, _AGAINST = "SEANet int16 vectors", "tflite_ref", "TFLite Micro golden"


def seanet(places: Places, progress: Progress) -> Iterator[Check]:
    """Run every case of the folder, one line per operator."""
    folder = places.vectors / "seanet"
    if not (folder / "seanet.npz").is_file() or not (folder / "cases.json").is_file():
        yield Check(
            _AREA, "all operators", _PROFILE, _AGAINST, 0, CASES, 0, 0, f"{folder} is absent"
        )
        return
    arrays = read_arrays(folder / "seanet.npz")
    by_operator: dict[str, list[str]] = defaultdict(list)
    cases = _cases(folder / "cases.json")
    for name, case in cases.items():
        by_operator[str(case["operator"])].append(name)
    for operator, names in sorted(by_operator.items()):
        progress(f"{_AREA}: {operator}")
        yield _check(operator, names, cases, arrays)


def _cases(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path.name}: file must be JSON; it cannot be read") from error
    if not isinstance(content, dict) or not all(
        isinstance(case, dict) and {"operator", "graph_inputs"} <= set(case)
        for case in content.values()
    ):
        raise InputError(f"{path.name}: every case must have operator and graph_inputs")
    return content


def _check(
    operator: str,
    names: list[str],
    cases: Mapping[str, Mapping[str, Any]],
    arrays: Mapping[str, NDArray[Any]],
) -> Check:
    """Compare the cases of one operator."""
    done = wrong = elements = skipped = 0
    note = ""
    for name in names:
        try:
            made, golden = outputs(name, len(cases[name]["graph_inputs"]), arrays, _PROFILE)
        except HwsimError as error:
            skipped += 1
            note = note or str(error)
            continue
        done += 1
        elements += golden.size
        if made.shape != golden.shape:
            wrong += 1
            note = note or f"{name}: shape is {made.shape}, not {golden.shape}"
        elif differing := int(np.count_nonzero(made != golden)):
            wrong += 1
            note = note or f"{name}: {differing} of {golden.size} elements differ"
    return Check(_AREA, operator, _PROFILE, _AGAINST, done, skipped, wrong, elements, note)


def outputs(
    name: str, inputs: int, arrays: Mapping[str, NDArray[Any]], profile: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what we compute for a case, and its golden output."""
    wanted = (f"{name}/model", f"{name}/golden", *(f"{name}/input{i}" for i in range(inputs)))
    for key in wanted:
        if key not in arrays:
            raise InputError(f"seanet.npz must hold {key!r}; it is missing")
    graph = read_tflite(arrays[wanted[0]].tobytes(), Path(f"{name}.tflite"))
    if len(graph.input_names) != inputs or len(graph.output_names) != 1:
        raise InputError(
            f"{name}.tflite must have {inputs} inputs and 1 output, "
            f"not {len(graph.input_names)} and {len(graph.output_names)}"
        )
    feed = dict(zip(graph.input_names, (arrays[key] for key in wanted[2:]), strict=True))
    (made,) = run(graph, feed, profile=profile).values()
    return made, arrays[wanted[1]]
