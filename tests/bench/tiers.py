"""Lower tiers of instructions on this machine, as a share of the VNNI peak.

AVX2 and generic run in processes whose compiler target lacks the better instructions; the peak is
measured before and after, so a share is not of one round, and says less than in other rows.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from hwsim.kernels.native.target import tier

from . import peak
from .gemm import Work, ours
from .table import PEAK, Figure, Row
from .timing import Effort, interleave

SHAPE = (512, 512, 512)
ROUNDING = "double"


@dataclass(frozen=True)
class Setting:
    """A tier, the compiler target of a CPU that has it, and the share it must reach."""

    tier: str
    environment: dict[str, str]
    goal: float | None


SETTINGS = (
    # The host's target: a CPU with AVX-512 VNNI need not have the other encoding.
    Setting("avxvnni", {}, None),
    Setting("avx2", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}, 20.0),
    Setting("generic", {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}, 5.0),
)


def rates(effort: Effort, shape: tuple[int, int, int]) -> dict[str, list[float]]:
    """Return operations per second of this process's tier and of its own peak, if it has one."""
    work, instructions = Work.random(*shape), tier()
    assert instructions is not None
    field = {"gemm": ours(work, ROUNDING)}
    limit = peak.peak_call(instructions)
    if limit is not None:
        field["peak"] = limit
    seconds = interleave(field, effort)
    sizes = {"gemm": work.operations, "peak": peak.operations(instructions)}
    return {name: [sizes[name] / one for one in times] for name, times in seconds.items()}


def _process(
    effort: Effort, shape: tuple[int, int, int], environment: dict[str, str]
) -> dict[str, list[float]]:
    settings = [effort.rounds, effort.sample_s, effort.warm_up_s, *shape]
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.tiers", json.dumps(settings)],
        env=os.environ | environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, list[float]] = json.loads(made.stdout.splitlines()[-1])
    return found


def rows(effort: Effort, threads: int, shape: tuple[int, int, int]) -> list[Row]:
    """Return a row per tier below the best; nothing on a CPU of another kind."""
    best = tier()
    if best is None or best.name != "vnni512":
        return []
    limits = rates(effort, shape)["peak"]
    made = []
    for setting in SETTINGS:
        found = _process(effort, shape, setting.environment | {"HWSIM_TIER": setting.tier})
        again = rates(effort, shape)["peak"]
        limit = statistics.median(limits + again)
        limits = again
        shares = [100 * rate / limit for rate in found["gemm"]]
        rate = statistics.median(found["gemm"])
        figures = {PEAK: Figure(statistics.median(shares), min(shares), max(shares), setting.goal)}
        own = ""
        if "peak" in found:
            pairs = zip(found["gemm"], found["peak"], strict=True)
            own = f" ({100 * statistics.median(g / p for g, p in pairs):.0f} % of its own)"
        made.append(
            Row(
                "tiers",
                f"GEMM {' x '.join(map(str, shape))}, tier {setting.tier}, {ROUNDING} rounding",
                1,
                f"{rate / 1e9:.0f} GOP/s{own}",
                figures,
                "float64 sums and a step-by-step requantization in NumPy, byte for byte",
                {},
            )
        )
    return made


if __name__ == "__main__":
    rounds, sample_s, warm_up_s, *shape = json.loads(sys.argv[1])
    rows_of, depth, columns = shape
    print(json.dumps(rates(Effort(rounds, sample_s, warm_up_s), (rows_of, depth, columns))))
