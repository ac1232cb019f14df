"""A one-layer-at-a-time sweep beside a full run of every configuration.

    python -m tests.bench.bench_sweep [--images 64] [--rounds 3] [--threads 1] [--out reports/bench]

The network is ResNet-20 (looked for as tests/shared.py says) or, where it is absent, the shipped
digits CNN. Both sides start from the calibrated float network and end with the outputs of every
configuration; the clock is the process's CPU time, both sides take turns, a ratio is taken within
a round. Kernels are compiled before the clock starts.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim import networks
from hwsim.graph import Graph
from hwsim.kernels.sweeping import plan_sweep
from hwsim.partition import partition
from hwsim.profiles import PROFILES
from hwsim.quantizer import quantize_all
from tests.bench.machine import circumstances, load_average
from tests.shared import model_file
from tests.test_cifar import images as cifar_images

OPTIONS = ("W4A8", "W8A4", "W4A4")
NOTES = (
    "Both sides quantize, prove, lower, pack and run every configuration of the calibrated float "
    "network; the sweep does what configurations share once. Kernels are compiled before.",
    "The clock is CPU time of the process, all threads; both sides take turns, and a ratio is "
    "taken within a round. The cores were shared with other work.",
    "Outputs of both sides are compared in every round; no element may differ.",
)
Outputs = Mapping[str, Mapping[str, np.ndarray]]


def network(images: int) -> tuple[Graph, np.ndarray, np.ndarray]:
    """Return a float network, inputs to sweep over, and inputs to calibrate with."""
    try:
        graph = hwsim.load(model_file("cifar10/resnet20.onnx", ""))
        return graph, cifar_images("test_1000.npz", images)[0], cifar_images(
            "train_20000.npz", 64
        )[0]  # fmt: skip
    except pytest.skip.Exception:
        digits = networks.digits_split()
        graph = hwsim.load(networks.path("digits_cnn"))
        return graph, digits.x_test[:images], digits.x_train[:64]


def one_at_a_time(graph: Graph, options: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the base, and every unit at every option."""
    units = partition(graph).units
    base = dict.fromkeys(units, "W8A8")
    bits = {f"{unit} {option}": {**base, unit: option} for unit in units for option in options}
    return {"base": base, **bits}


def cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def bench(images: int, rounds: int, threads: int, options: Sequence[str]) -> dict[str, Any]:
    """Measure; both sides' outputs are compared in every round."""
    graph, x, calibration = network(images)
    ranges = hwsim.calibrate(graph, calibration)
    bits = one_at_a_time(graph, options)
    rows: list[dict[str, float]] = []
    found: dict[str, Outputs] = {}

    def swept() -> None:
        found["sweep"] = hwsim.sweep(quantize_all(graph, ranges, bits), x, threads=threads).outputs

    def full() -> None:
        found["full"] = {
            name: hwsim.run(hwsim.quantize(graph, ranges, chosen), x, threads=threads)
            for name, chosen in bits.items()
        }

    base = hwsim.quantize(graph, ranges, bits["base"])
    hwsim.sweep({"base": base}, x[:9], threads=threads)  # compile
    planned = plan_sweep(quantize_all(graph, ranges, bits), PROFILES["hawq"], x, threads=threads)
    for _ in range(rounds):
        sweep_s, full_s = cpu_time(swept), cpu_time(full)
        one_s = cpu_time(lambda: hwsim.run(base, x, threads=threads))
        rows.append({"sweep_s": sweep_s, "full_s": full_s, "one_run_s": one_s})
        for name, outputs in found["full"].items():
            for key, array in outputs.items():
                assert np.array_equal(found["sweep"][name][key], array), (name, key)
    work = planned.work
    return {
        "network": graph.name,
        "units": len(partition(graph).units),
        "options": list(options),
        "configurations": len(bits),
        "images": images,
        "threads": threads,
        "rounds": rows,
        "sweep_over_full_runs": statistics.median(r["sweep_s"] / r["full_s"] for r in rows),
        "sweep_in_single_runs": statistics.median(r["sweep_s"] / r["one_run_s"] for r in rows),
        "pieces": work.pieces,
        "computed_pieces": work.computed,
        "plan_bytes": work.plan_bytes,
        "kept_bytes": work.kept_bytes,
        "working_bytes": work.working_bytes,
        "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def table(result: Mapping[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"One layer at a time: {result['network']}, {result['units']} units, "
        f"{result['configurations']} configurations, {result['images']} images, "
        f"{result['threads']} thread(s)",
        "",
        "| CPU time of the sweep over that of a full run of each configuration "
        "| in runs of one configuration | pieces computed | kept values | running values "
        "| packed weights |",
        "|---|---|---|---|---|---|",
        f"| {result['sweep_over_full_runs']:.3f} | {result['sweep_in_single_runs']:.1f} "
        f"for {result['configurations']} | {result['computed_pieces']:,} of {result['pieces']:,} "
        f"| {result['kept_bytes'] / 1024:,.0f} KiB | {result['working_bytes'] / 1024:,.0f} KiB "
        f"| {result['plan_bytes'] / 1024:,.0f} KiB |",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write `sweep.json` and `sweep.md`."""
    parser = argparse.ArgumentParser(description="Measure a one-layer-at-a-time sweep.")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--options", default=",".join(OPTIONS))
    parser.add_argument("--out", type=Path, default=Path("reports/bench"))
    given = parser.parse_args(arguments)
    result = bench(given.images, given.rounds, given.threads, given.options.split(","))
    about = {"notes": list(NOTES), "clock": "time.process_time"}
    result = circumstances() | {"load_average_before": load_average()} | about | result
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
    (given.out / "sweep.json").write_text(text + "\n", encoding="utf-8")
    (given.out / "sweep.md").write_text(table(result), encoding="utf-8")
    print(table(result), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
