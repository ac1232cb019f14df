"""How long a cost table takes, and how many configurations are summed a second.

    python -m tests.bench.bench_pricing [--rounds 15] [--out reports/bench]

No model is needed: ResNet-50's 53 convolutions are written down in `bench_npu`. It exceeds the
chips of some platforms; those are priced with memories without bounds or a part so many times as
large, and the table says so.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hwsim
from hwsim.energy import cost
from hwsim.platform import FpgaPlatform, Platform
from hwsim.platform_mcu import McuPlatform
from hwsim.platforms import load_platform
from hwsim.tables import CostTable, Option
from hwsim.workload import Unit
from tests.bench.bench_npu import resnet50
from tests.bench.machine import circumstances, load_average

PLATFORMS = (
    "ethos_u55_128", "tpu_v1", "eyeriss", "gap9", "nvidia_t4", "zcu104", "horowitz_ratio",
)  # fmt: skip
TARGET_MS, TARGET_PER_S = 50.0, 1e6
UNITS, CONFIGURATIONS = 20, 1_000_000
PART = 32  # times the FPGA, to hold 23.5 million weights
W8A8 = Option(8, 8)
NOTES = (
    "Warm: the same network was priced on the same platform before, so searched blocks, mappings "
    "and foldings are at hand. The clock is CPU time of the calling thread.",
    "One configuration: every unit at W8A8. All pairs: every unit at every pair of widths that the "
    "platform offers (225 on eyeriss, 81 on horowitz_ratio), the table that an allocator takes.",
    "Configurations: random mixed bits of the network's first 20 units on nvidia_t4, 49 pairs "
    "each; `hwsim.configuration_totals`, all resources (energy, latency, weight and activation "
    "bytes and FPGA counts), each total the exactly rounded one.",
)


def roomy(platform: Platform) -> tuple[Platform, str]:
    """Return a platform that holds ResNet-50, and what was changed for it."""
    if isinstance(platform, McuPlatform):
        memory = [level.model_copy(update={"capacity": None}) for level in platform.memory]
        return platform.model_copy(update={"memory": memory}), "memories without bounds"
    if isinstance(platform, FpgaPlatform):
        fabric = platform.fabric
        more = {
            name: count.model_copy(update={"value": count.value * PART})
            for name in ("lut", "dsp", "bram_18k")
            for count in (getattr(fabric, name),)
        }
        changed = fabric.model_copy(update=more)
        return platform.model_copy(update={"fabric": changed}), f"{PART} times the part"
    return platform, ""


def seconds(call: Any, rounds: int) -> list[float]:
    """Return the seconds of every round, after one that is not counted."""
    call()
    spent = []
    for _ in range(rounds):
        start = time.thread_time()
        call()
        spent.append(time.thread_time() - start)
    return spent


def price(name: str, units: Sequence[Unit], rounds: int) -> dict[str, Any]:
    """Return the figures of one platform."""
    platform, changed = roomy(load_platform(name))
    start = time.thread_time()
    table = cost(units, platform, W8A8)
    cold = time.thread_time() - start
    one = seconds(lambda: cost(units, platform, W8A8, []), rounds)
    full = seconds(lambda: cost(units, platform, W8A8), rounds)
    return {
        "kind": platform.kind,
        "changed": changed,
        "rows": len(table.rows),
        "first_ms": 1e3 * cold,
        "one_configuration_ms": 1e3 * statistics.median(one),
        "all_pairs_ms": 1e3 * statistics.median(full),
        "rounds_ms": {"one": [1e3 * s for s in one], "all": [1e3 * s for s in full]},
    }


def configurations(table: CostTable, count: int, rounds: int) -> dict[str, Any]:
    """Return how many random configurations of a table are summed a second.

    Raises:
        ValueError: If the first totals differ from the table's own.
    """
    draw = np.random.default_rng(2026)
    options = [table.options(unit) for unit in table.units]
    choices = draw.integers(0, [len(offered) for offered in options], (count, len(options)))
    made = hwsim.configuration_totals(table, choices)
    for line in range(min(count, 100)):
        picked = zip(table.units, options, choices[line], strict=True)
        total = table.select({unit: offered[pick] for unit, offered, pick in picked}).total
        for resource, values in made.items():
            if values[line] != getattr(total, resource):
                raise ValueError(f"{resource} of configuration {line} must be the exact total")
    spent = seconds(lambda: hwsim.configuration_totals(table, choices), rounds)
    return {
        "units": len(options),
        "configurations": count,
        "resources": sorted(made),
        "per_second": count / statistics.median(spent),
        "rounds_s": spent,
    }


def page(results: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown page."""
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("numpy", "numba"))
    mixed = results["configurations"]
    lines = [
        "# Speed of pricing",
        "",
        "Written by `python -m tests.bench.bench_pricing`. ResNet-50's 53 convolutions, medians of "
        f"{results['rounds']} rounds in ms; goal {TARGET_MS:.0f} ms.",
        "",
        "| platform | kind | rows of all pairs | one configuration | all pairs | all pairs, first "
        "time | changed |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
        *(
            f"| {name} | {row['kind']} | {row['rows']:,} | {row['one_configuration_ms']:.3g} | "
            f"{row['all_pairs_ms']:.3g} | {row['first_ms']:.3g} | {row['changed']} |"
            for name, row in results["platforms"].items()
        ),
        "",
        f"Mixed configurations of {mixed['units']} units, one core: "
        f"{mixed['per_second'] / 1e6:.3g} million a second (goal {TARGET_PER_S / 1e6:.0f}).",
        "",
        f"{results['cpu']}, {results['logical_cpus']} logical CPUs, load average "
        f"{results['load_average_before']} before and {results['load_average_after']} after; "
        f"{results['date_utc']}; Python {results['python']}, {versions}.",
        "",
        *(f"- {note}" for note in results["notes"]),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write `pricing.json` and `pricing.md`; return the exit status."""
    parser = argparse.ArgumentParser(description="Measure the speed of pricing.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--configurations", type=int, default=CONFIGURATIONS)
    parser.add_argument("--out", type=Path, default=Path("reports/bench"))
    asked = parser.parse_args(arguments)
    if min(asked.rounds, asked.configurations) < 1:
        parser.error("--rounds and --configurations must be 1 or more")
    units = resnet50()
    results = circumstances() | {"rounds": asked.rounds, "notes": list(NOTES)}
    results["load_average_before"] = load_average()
    results["platforms"] = {name: price(name, units, asked.rounds) for name in PLATFORMS}
    table = cost(units[:UNITS], load_platform("nvidia_t4"), W8A8)
    results["configurations"] = configurations(table, asked.configurations, asked.rounds)
    results["load_average_after"] = load_average()
    asked.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    (asked.out / "pricing.json").write_text(text + "\n", encoding="utf-8")
    (asked.out / "pricing.md").write_text(page(results), encoding="utf-8")
    print(page(results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
