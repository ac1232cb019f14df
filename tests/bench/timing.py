"""Contenders that take turns, and the ratios of what they took.

A ratio is formed within a round, where both ran next to each other, and the median of the rounds
is told: drifting clocks and other work on the machine cancel.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: Samples of each contender.
        sample_s: Least seconds of a sample.
        warm_up_s: Seconds of running before the first sample.
    """

    rounds: int
    sample_s: float
    warm_up_s: float


FULL = Effort(11, 0.004, 0.02)
QUICK = Effort(1, 0.0001, 0.0001)

REST_S = 0.02
"""Pause before a sample of several threads: the last one's workers may still spin."""


@dataclass(frozen=True)
class Ratio:
    """Times that something is faster, or a share: over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Ratio":
        """Return the ratio of some rounds."""
        return cls(statistics.median(values), min(values), max(values))


def interleave(
    field: Mapping[str, Call], effort: Effort, threads: int = 1
) -> dict[str, list[float]]:
    """Return seconds per call of every round.

    One thread is timed by its own CPU time, which other work on the machine does not enter; several
    by the wall clock.

    Raises:
        RuntimeError: If a contender for one thread left work to others, which the clock misses.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    names = list(field)
    calls = {name: _calls(field[name], effort, clock, threads) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(effort.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call, count = field[name], calls[name]
            if threads > 1:
                time.sleep(min(REST_S, 5 * effort.sample_s))
                call()  # wakes the workers
            start = clock()
            for _ in range(count):
                call()
            spent = clock() - start
            seconds[name].append(spent / count)
            if spent < effort.sample_s:  # faster than in the warm-up: longer samples from now on
                calls[name] = math.ceil(1.25 * count * effort.sample_s / max(spent, 1e-9))
    return seconds


def _calls(call: Call, effort: Effort, clock: Callable[[], float], threads: int) -> int:
    """Run until warm; return the calls of a sample."""
    call()
    count, start, all_threads = 0, clock(), time.process_time()
    while count < 2 or clock() - start < effort.warm_up_s:
        call()
        count += 1
    seen, spent = clock() - start, time.process_time() - all_threads
    if threads == 1 and spent > 1.1 * seen + 0.01:
        raise RuntimeError(f"{spent - seen:.3f} s of {spent:.3f} s ran on other threads")
    return math.ceil(1.25 * effort.sample_s * count / seen)


def faster(seconds: Mapping[str, list[float]], ours: str) -> dict[str, Ratio]:
    """Return by contender: its time over ours, round by round."""
    own = seconds[ours]
    return {
        name: Ratio.of([peer / mine for peer, mine in zip(times, own, strict=True)])
        for name, times in seconds.items()
        if name != ours
    }


def best_of(seconds: Mapping[str, list[float]], names: Iterable[str]) -> str:
    """Return the contender with the least median."""
    return min(names, key=lambda name: statistics.median(seconds[name]))
