"""ResNet-20's accuracy at uniform and mixed bits, counted on the integer engine.

Usage: python -m tests.bench.measure_resnet20. Models and images are those of tests/shared.py.
"""

from collections.abc import Mapping

import numpy as np

import hwsim
from hwsim.partition import partition
from tests.shared import model_file
from tests.test_cifar import images

PINNED = hwsim.Option(8, 8)


def configurations(
    scores: hwsim.SensitivityTable, border: frozenset[str]
) -> dict[str, Mapping[str, hwsim.Option]]:
    """Return the table's rows: bits by unit."""

    def uniform(text: str, first_last: bool = False) -> dict[str, hwsim.Option]:
        option = hwsim.Option.parse(text)
        pinned = border if first_last else frozenset()
        return {unit: PINNED if unit in pinned else option for unit in scores.units}

    return {
        "W8A8": uniform("W8A8"),
        "W6A6": uniform("W6A6"),
        "W4A8": uniform("W4A8"),
        "W4A4": uniform("W4A4"),
        "W4A4, first and last layer W8A8": uniform("W4A4", first_last=True),
        "P75/P25 rule 8/6/4": hwsim.percentile_allocation(scores),
        "P75/P25 rule 8/6/4, first and last layer W8A8": hwsim.percentile_allocation(
            scores, pinned=dict.fromkeys(border, PINNED)
        ),
    }


def main() -> None:
    """Print one line per configuration: correct of 1,000 with min-max and percentile ranges."""
    graph = hwsim.load(model_file("cifar10/resnet20.onnx", "nothing is measured"))
    x, y = images("test_1000.npz", 1000)
    calibration = images("train_20000.npz", 256)[0]
    border = partition(graph).border
    counts: dict[str, list[int]] = {}
    for method in ("minmax", "percentile"):
        ranges = hwsim.calibrate(graph, calibration, method=method, percentile=99.9)
        scores = hwsim.sensitivity(graph, calibration[:128], options=(8, 6, 4), ranges=ranges)
        for name, bits in configurations(scores, border).items():
            made = hwsim.run(hwsim.quantize(graph, ranges, bits), x, threads=2)["logits"]
            counts.setdefault(name, []).append(int((made.argmax(axis=1) == y).sum()))
    floats = hwsim.run(graph, np.asarray(x), profile="float")["logits"]
    print(f"| configuration (float32: {(floats.argmax(axis=1) == y).sum()}) | min-max | 99.9 % |")
    print("|---|---|---|")
    for name, (minmax, percentile) in counts.items():
        print(f"| {name} | {minmax} | {percentile} |")


if __name__ == "__main__":
    main()
