"""From a float network to measured Pareto points: the whole road, on the public door.

Every chosen configuration is quantized and run bit-exactly on the integer engine; its accuracy is
counted on labeled inputs, never predicted.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.allocation import price_selection, uniform_allocations
from hwsim.api import cost, pareto, run
from hwsim.calibration import Ranges
from hwsim.errors import BudgetError, InputError, PlatformError
from hwsim.graph import Graph
from hwsim.kernels.sweeping import plan_sweep
from hwsim.partition import Bits, partition
from hwsim.percentiles import percentile_allocation
from hwsim.platform import Platform
from hwsim.profiles.dyadic import HAWQ
from hwsim.quantizer import quantize_all
from hwsim.tables import Allocation, CostTable, Front, Option, SensitivityTable

# 95 % of a normal distribution lies within this many deviations.
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Correct answers among labeled inputs."""

    correct: int
    total: int

    def __add__(self, other: "Accuracy") -> "Accuracy":
        """Return the count over both sets of inputs."""
        return Accuracy(self.correct + other.correct, self.total + other.total)

    @property
    def share(self) -> float:
        """The share of correct answers."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval (Wilson 1927) of the share."""
        z2 = _Z_95**2
        center = (self.share + z2 / (2 * self.total)) / (1 + z2 / self.total)
        spread = math.sqrt(
            self.share * (1 - self.share) / self.total + z2 / (4 * self.total**2)
        ) * (_Z_95 / (1 + z2 / self.total))
        # Rounding must not push the interval off the share at 0 and 1.
        return min(center - spread, self.share), max(center + spread, self.share)


@dataclass(frozen=True, slots=True)
class Point:
    """One measured configuration.

    Args:
        kind: "measured" for a point of the exact front, "uniform" or "percentile".
        label: For people, as "W8A8".
        allocation: Its bits and what they cost.
        accuracy: Counted on the integer engine.
    """

    kind: str
    label: str
    allocation: Allocation
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class PlatformStudy:
    """One platform's share of a study.

    Args:
        platform: Its name.
        table: The cost table, the widest supported option selected.
        front: The exact front, score against `front.objectives[0]`.
        points: Measured configurations.
        skipped: Configurations that the platform does not take, with the reason.
    """

    platform: str
    table: CostTable
    front: Front
    points: tuple[Point, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """A network on several platforms.

    Args:
        graph: The float network.
        reference: Accuracy of the float engine.
        sensitivity: Scores of every unit and option.
        platforms: One entry per platform that can hold the network.
        refused: Why the other platforms cannot.
    """

    graph: Graph
    reference: Accuracy
    sensitivity: SensitivityTable
    platforms: tuple[PlatformStudy, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labeled:
    """Inputs of a classifier and their classes.

    Args:
        inputs: Float arrays by input name.
        labels: int, shape (inputs,).
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[np.integer]


def accuracy_of(
    outputs: Mapping[str, NDArray[Any]], graph: Graph, labels: NDArray[Any]
) -> Accuracy:
    """Count the largest output against the labels; ties go to the lower class.

    Raises:
        InputError: If the graph's first output is no (inputs, classes) array of as many rows.
    """
    scores = outputs[graph.output_names[0]]
    if scores.ndim != 2 or scores.shape[0] != labels.shape[0]:
        raise InputError(
            f"labels must be one per row of the output, not {labels.shape[0]} for {scores.shape}"
        )
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high >= scores.shape[1]:
        raise InputError(f"labels must be in [0, {scores.shape[1] - 1}], not [{low}, {high}]")
    return Accuracy(int((scores.argmax(axis=1) == labels).sum()), int(labels.shape[0]))


class Meter:
    """Measures configurations of one network, each only once, many together."""

    def __init__(
        self, graph: Graph, ranges: Ranges, data: Labeled, threads: int,
        progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Keep what every measurement needs."""
        self.graph, self.ranges, self.data = graph, ranges, data
        self.threads, self.progress = threads, progress
        self._known: dict[_Bits, Accuracy] = {}

    def measure(self, configurations: Iterable[Mapping[str, Option]]) -> None:
        """Measure configurations on the integer engine; what they share is computed once."""
        wanted = {_key(bits): bits for bits in configurations}
        names = {
            f"configuration {index}": key
            for index, key in enumerate(key for key in wanted if key not in self._known)
        }
        if not names:
            return
        bits = {name: wanted[key] for name, key in names.items()}
        quantized = quantize_all(self.graph, self.ranges, bits)
        planned = plan_sweep(quantized, HAWQ, self.data.inputs, threads=self.threads)
        found = dict.fromkeys(names, Accuracy(0, 0))
        for part in planned.run():
            labels = self.data.labels[part.start : part.stop]
            found[part.name] += accuracy_of(part.outputs, self.graph, labels)
            done, total = found[part.name].total, len(self.data.labels)
            self.progress(f"{len(names)} configurations, {done} of {total} inputs")
        self._known |= {key: found[name] for name, key in names.items()}

    def accuracy(self, bits: Mapping[str, Option]) -> Accuracy:
        """Return the accuracy of a configuration on the integer engine."""
        self.measure([bits])
        return self._known[_key(bits)]


_Bits = tuple[tuple[str, Option], ...]


def _key(bits: Mapping[str, Option]) -> _Bits:
    return tuple(sorted(bits.items()))


@dataclass(frozen=True, slots=True)
class _Priced:
    """A platform's configurations before they are measured: (kind, label, allocation)."""

    platform: str
    table: CostTable
    front: Front
    configurations: tuple[tuple[str, str, Allocation], ...]
    skipped: tuple[str, ...]


def _priced(
    graph: Graph, sensitivity: SensitivityTable, platform: Platform, points: int
) -> _Priced:
    """Return one platform's exact front and the configurations to measure.

    On an FPGA all units share one interval, so the front is drawn over look-up tables at the
    interval of the widest option that fits; every measured point is then folded again for its
    own bits.
    """
    offered = [option for option in platform.options if option in _scored(sensitivity)]
    if not offered:
        raise PlatformError(f"{platform.name}: no supported option was scored")
    table = _widest_table(graph, platform, offered)
    resource = "lut" if table.pipelined else "energy_j"
    front = pareto(sensitivity, table, objectives=(resource, "score"))
    priced, skipped = [], []
    candidates = [
        *(("measured", f"front {i + 1}", p.bits) for i, p in enumerate(spread(front, points))),
        *_references(sensitivity, table, partition(graph).border),
    ]
    for kind, label, bits in candidates:
        try:
            own = cost(graph, platform, bits, options=[])
        except (BudgetError, PlatformError) as error:
            skipped.append(f"{label}: {error}")
            continue
        allocation = price_selection(sensitivity, own, bits, method=_method(kind))
        priced.append((kind, label, allocation))
    return _Priced(platform.name, table, front, tuple(priced), tuple(skipped))


def _measured(meter: Meter, priced: _Priced) -> PlatformStudy:
    points = tuple(
        Point(kind, label, allocation, meter.accuracy(allocation.bits))
        for kind, label, allocation in priced.configurations
    )
    return PlatformStudy(priced.platform, priced.table, priced.front, points, priced.skipped)


def _widest_table(graph: Graph, platform: Platform, offered: Sequence[Option]) -> CostTable:
    """Return the table with the widest uniform option selected that the platform can hold.

    Raises:
        BudgetError: If it can hold none.
    """
    by_width = sorted(offered, key=lambda option: (option.activation_bits, option.weight_bits))
    for option in reversed(by_width[1:]):
        try:
            return cost(graph, platform, option, options=offered)
        except BudgetError:
            continue
    return cost(graph, platform, by_width[0], options=offered)


def _scored(sensitivity: SensitivityTable) -> frozenset[Option]:
    return frozenset(option for _, option in sensitivity.values)


def _method(kind: str) -> str:
    return "exact" if kind == "measured" else kind


def _references(
    sensitivity: SensitivityTable, table: CostTable, border: frozenset[str]
) -> list[tuple[str, str, Mapping[str, Option]]]:
    """Return uniform configurations, and the percentile rule's where the table offers 8/6/4.

    As in its paper, the rule keeps the first and the last layer at 8 bits.
    """
    uniform = uniform_allocations(sensitivity, table)
    shown = [o for o in uniform if o.activation_bits in (8, o.weight_bits) and o.weight_bits >= 4]
    found: list[tuple[str, str, Mapping[str, Option]]] = [
        ("uniform", str(option), uniform[option].bits)
        for option in sorted(shown, reverse=True)
        if option.weight_bits % 2 == 0
    ]
    if all(Option(width, width) in uniform for width in (8, 6, 4)):
        pinned = {unit: Option(8, 8) for unit in sensitivity.units if unit in border}
        bits = percentile_allocation(sensitivity, pinned=pinned)
        found.append(("percentile", "P75/P25 8/6/4", bits))
    return found


def spread(front: Front, count: int) -> tuple[Allocation, ...]:
    """Return up to `count` points of a front, both ends among them.

    They are evenly spaced along the curve that the front draws on two logarithmic axes.
    """
    points = [point for point in front.points if point.score > 0]
    if len(points) <= count:
        return tuple(points)
    resource = front.objectives[0]
    axes = np.log([[point.resources[resource], point.score] for point in points])
    axes /= np.maximum(np.ptp(axes, axis=0), 1e-12)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(axes, axis=0).T))])
    targets = np.linspace(0.0, along[-1], count)
    chosen = sorted({int(np.abs(along - target).argmin()) for target in targets})
    return tuple(points[index] for index in chosen)


def study(
    graph: Graph,
    platforms: Sequence[Platform],
    ranges: Ranges,
    sensitivity: SensitivityTable,
    data: Labeled,
    *,
    points: int = 8,
    threads: int = 1,
    progress: Callable[[str], None] = lambda message: None,
) -> Study:
    """Return measured fronts of a float network on every platform.

    Args:
        graph: A float network whose first output is (inputs, classes).
        platforms: Where it may run.
        ranges: Its calibration.
        sensitivity: Its scores.
        data: Held-out inputs and labels.
        points: Front points to measure per platform.
        threads: Threads of the integer engine.
        progress: Called with what is measured, after each configuration on each block of inputs.
    """
    if points < 1:
        raise InputError(f"points must be 1 or more, not {points}")
    floats = run(graph, data.inputs, profile="float")
    reference = accuracy_of(floats, graph, data.labels)
    meter = Meter(graph, ranges, data, threads, progress)
    priced, refused = [], []
    for platform in platforms:
        try:
            priced.append(_priced(graph, sensitivity, platform, points))
        except BudgetError as error:
            refused.append(str(error))
    if not priced:
        raise BudgetError(refused[0])
    meter.measure(made.bits for part in priced for _, _, made in part.configurations)
    return Study(
        graph=graph,
        reference=reference,
        sensitivity=sensitivity,
        platforms=tuple(_measured(meter, part) for part in priced),
        refused=tuple(refused),
    )


def options_of(platforms: Sequence[Platform], widths: Sequence[int]) -> tuple[Bits, ...]:
    """Return every option that a platform offers at the given widths."""
    found = {
        option
        for platform in platforms
        for option in platform.options
        if {option.weight_bits, option.activation_bits} <= set(widths)
    }
    if not found:
        shown = ", ".join(map(str, widths))
        raise InputError(f"widths must hold a pair that a platform supports, not {shown}")
    return tuple(sorted(found, reverse=True))
