"""MLPerf Tiny: energy of four reference networks on boards, and at a second voltage.

Closed division and its reference models only; resubmitted identical numbers count once. Every
prediction leaves its own task out: what is fitted, is fitted on the other tasks of the system.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

from hwsim.energy.dvfs import Measured, energy_at, energy_at_supply, leakage_amperes
from hwsim.energy.mcu_fit import Prior, Vector, fit_costs, fit_power, macs_by_kind
from hwsim.energy.mcu_rates import RATES
from hwsim.workload import Layer, Work

from .row import Row, Target

DISTRUSTED = {("1.1", "STMicroelectronics", "NUCLEO_L4R5ZI", "ic")}
"""Its power is 35 mW where the other three tasks of the same system draw 43 to 47."""

SECOND_VOLTAGE = "Energy at the second voltage"
SECOND_VOLTAGE_CV2 = "Energy at the second voltage, by C V^2"
SUPPLY = "Energy at another supply voltage"
RATE_GIVEN = "MLPerf Tiny energy, rate given"
CONSTANT_POWER = "MLPerf Tiny energy, baseline P t"
WORKLOAD_ALONE = "MLPerf Tiny energy, workload alone"
BY_MACS = "MLPerf Tiny energy, baseline by MACs"

_TINY = "each task within 25 % on 5 chips or more, order right on 4"
_UNSEEN = "only ad is fully connected: its cost cannot be seen from the other tasks"
TARGETS = (
    Target(SECOND_VOLTAGE, "each within 2.5 %, task left out", worst=0.025),
    Target(RATE_GIVEN, _TINY, worst=0.25, groups=5, ranked=4),
    Target(WORKLOAD_ALONE, f"{_TINY} ({_UNSEEN})", worst=0.25, groups=5, ranked=4),
)

_WORK = {
    "CONV_2D": Work.CONV,
    "DEPTHWISE_CONV_2D": Work.DEPTHWISE,
    "FULLY_CONNECTED": Work.FULLY_CONNECTED,
}
_LEAST_TASKS = 3
_SAME_TIME = 0.05


@dataclass(frozen=True, slots=True)
class Task:
    """One published run of a system: joules and seconds of an inference."""

    joules: float
    seconds: float


@dataclass(frozen=True, slots=True)
class System:
    """What one submitter measured on one configuration of a board.

    Args:
        version: Of the benchmark.
        submitter: Who measured.
        name: The configuration.
        chip: The hardware column.
        clock_hz: Of the processor, None where not stated.
        volts: Of the core, None where not stated.
        supply: Voltage of the board's supply, None where not stated.
        library: The framework column.
        switching: Whether the notes name a switching regulator (SMPS).
        tasks: Its energy runs.
    """

    version: str
    submitter: str
    name: str
    chip: str
    clock_hz: float | None
    volts: float | None
    supply: float | None
    library: str
    switching: bool
    tasks: dict[str, Task]

    @property
    def series(self) -> str:
        """The name of all its rows together."""
        return f"{self.chip} v{self.version} {self.submitter} {self.name}"

    def case(self, task: str) -> str:
        """Return the name of one row."""
        return f"{self.chip} {task} v{self.version} {self.name}"


def systems(data: Path) -> tuple[System, ...]:
    """Return the systems of `mlperf_tiny.csv` that state energy and rate; none without it."""
    path = data / "mlperf_tiny.csv"
    if not path.is_file():
        return ()
    found: dict[tuple[str, ...], System] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["division"] != "closed" or row["model"] != "reference" or row["same_as_version"]:
                continue
            name = (row["version"], row["submitter"], row["system"])
            rate = row["throughput_performance_run_inf_per_s"]
            rate = rate or row["throughput_energy_run_inf_per_s"]
            energy = row["energy_uj_per_inference"]
            if not rate or not energy or (*name, row["task"]) in DISTRUSTED:
                continue
            key = (*name, row["hardware"], row["cpu_clock_mhz"], row["core_voltage_v"])
            system = found.setdefault(key, _system(row))
            system.tasks[row["task"]] = Task(float(energy) * 1e-6, 1 / float(rate))
    return tuple(found.values())


def _system(row: Mapping[str, str]) -> System:
    """Return the system of a row, without its tasks."""
    clock, volts = row["cpu_clock_mhz"], row["core_voltage_v"]
    supply = row["supply_voltage_v"]
    return System(
        version=row["version"],
        submitter=row["submitter"],
        name=row["system"],
        chip=row["hardware"],
        clock_hz=float(clock) * 1e6 if clock else None,
        volts=float(volts) if volts else None,
        supply=float(supply) if supply else None,
        library=row["framework"],
        switching="SMPS" in row["hardware_notes"],
        tasks={},
    )


def supply_voltage(data: Path) -> Iterator[Row]:
    """Yield energies of boards with a linear regulator, from another supply voltage: E ~ V.

    Two systems count as one board if chip, clock and library agree and a task takes the same time
    within 5 %. Nothing is fitted.
    """
    linear = [s for s in systems(data) if s.supply is not None and not s.switching]
    for low in linear:
        for high in linear:
            same = (low.chip, low.clock_hz, low.library) == (high.chip, high.clock_hz, high.library)
            assert low.supply is not None and high.supply is not None
            if not same or low.volts is not None or low.supply >= high.supply:
                continue
            for task, run in high.tasks.items():
                other = low.tasks.get(task)
                if other is None or abs(other.seconds / run.seconds - 1) > _SAME_TIME:
                    continue
                predicted = energy_at_supply(other.joules, low.supply, high.supply)
                yield Row(SUPPLY, high.case(task), run.joules * 1e6, predicted * 1e6, "uJ")


def second_voltage(data: Path) -> Iterator[Row]:
    """Yield each task's energy at the higher of two voltages, from its energy at the lower.

    The leakage current and the ratio of the times are means over the *other* tasks: nothing that
    was measured for a task at the second voltage enters its prediction. Beside it, C V^2 alone.
    """
    boards: dict[tuple[str, str, str], list[System]] = {}
    for system in systems(data):
        if system.volts is not None:
            key = (system.version, system.submitter, system.chip)
            boards.setdefault(key, []).append(system)
    for board in boards.values():
        ordered = sorted(board, key=lambda system: system.volts or 0.0)
        for low, high in zip(ordered, ordered[1:], strict=False):
            if low.volts != high.volts:
                yield from _second_voltage(low, high)


def _second_voltage(low: System, high: System) -> Iterator[Row]:
    """Yield the rows of one pair of points."""
    assert low.volts is not None and high.volts is not None
    tasks = [task for task in low.tasks if task in high.tasks]
    if len(tasks) < 2:
        return
    known = {t: Measured(low.volts, low.tasks[t].seconds, low.tasks[t].joules) for t in tasks}
    truth = {t: Measured(high.volts, high.tasks[t].seconds, high.tasks[t].joules) for t in tasks}
    for left_out in tasks:
        others = [task for task in tasks if task != left_out]
        current = sum(leakage_amperes(known[t], truth[t]) for t in others) / len(others)
        ratio = sum(truth[t].seconds / known[t].seconds for t in others) / len(others)
        one = known[left_out]
        for against, leakage in ((SECOND_VOLTAGE, current), (SECOND_VOLTAGE_CV2, 0.0)):
            predicted = energy_at(one, high.volts, one.seconds * ratio, leakage)
            case = high.case(left_out)
            yield Row(
                against, case, truth[left_out].joules * 1e6, predicted * 1e6, "uJ",
                group=high.chip, series=high.series,
            )  # fmt: skip


def rate_given(data: Path) -> Iterator[Row]:
    """Yield E = P t: t the published time of the task, P from the other tasks of the system.

    Two coefficients per system: mean power, and how it rises with MACs per second. This says how
    well power is known, not how long a network takes.
    """
    macs = workloads(data)
    if macs is None:
        return

    def predict(system: System, left_out: str, others: list[str]) -> float | None:
        if any(t not in macs for t in (left_out, *others)):
            return None
        rate = {t: float(macs[t].sum()) / system.tasks[t].seconds for t in (left_out, *others)}
        watts = [system.tasks[t].joules / system.tasks[t].seconds for t in others]
        law = fit_power(watts, [rate[t] for t in others])
        return law.at(rate[left_out]) * system.tasks[left_out].seconds

    yield from _leave_one_out(data, RATE_GIVEN, predict)


def constant_power(data: Path) -> Iterator[Row]:
    """Yield the baseline: E = P t with the mean power of the other tasks."""

    def predict(system: System, left_out: str, others: list[str]) -> float:
        powers = [system.tasks[t].joules / system.tasks[t].seconds for t in others]
        return system.tasks[left_out].seconds * exp(_mean([log(power) for power in powers]))

    yield from _leave_one_out(data, CONSTANT_POWER, predict)


def workload_alone(data: Path) -> Iterator[Row]:
    """Yield energy from the network's layers: three energies per MAC, by kind of operator.

    Fitted on the other tasks of the system, with the population of other chips' cycles per MAC as
    prior (`mcu_rates`); power and clock turn cycles into energy.
    """
    macs = workloads(data)
    if macs is None:
        return

    def predict(system: System, left_out: str, others: list[str]) -> float | None:
        if system.clock_hz is None or any(t not in macs for t in (left_out, *others)):
            return None
        chips: dict[str, list[tuple[float, float, float]]] = {}
        for rate in RATES:
            if rate.chip != system.chip:
                chips.setdefault(rate.chip, []).append((rate.conv, rate.narrow, rate.matrix))
        logs = [log(system.tasks[t].joules / system.tasks[t].seconds) for t in others]
        per_cycle = exp(_mean(logs)) / system.clock_hz
        observed = [system.tasks[t].joules / per_cycle for t in others]
        costs = fit_costs([macs[t] for t in others], observed, Prior.of(chips))
        return float(macs[left_out] @ costs) * per_cycle

    yield from _leave_one_out(data, WORKLOAD_ALONE, predict)


def by_macs(data: Path) -> Iterator[Row]:
    """Yield the baseline: one energy per MAC, the mean of the other tasks."""
    macs = workloads(data)
    if macs is None:
        return

    def predict(system: System, left_out: str, others: list[str]) -> float | None:
        if any(t not in macs for t in (left_out, *others)):
            return None
        each = [log(system.tasks[t].joules / float(macs[t].sum())) for t in others]
        return float(macs[left_out].sum()) * exp(_mean(each))

    yield from _leave_one_out(data, BY_MACS, predict)


def workloads(data: Path) -> dict[str, Vector] | None:
    """Return MACs by kind of the networks in `mlperf_tiny_layers.csv`; None without it."""
    path = data / "mlperf_tiny_layers.csv"
    if not path.is_file():
        return None
    layers: dict[str, list[Layer]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["operator"] in _WORK:
                layers.setdefault(row["task"], []).append(_layer(row))
    return {task: macs_by_kind(own) for task, own in layers.items()}


def _layer(row: Mapping[str, str]) -> Layer:
    """Return one multiplying operator of the layer file."""
    return Layer(
        node=f"{row['task']}_{row['index']}",
        work=_WORK[row["operator"]],
        macs=int(row["macs"]),
        groups=1,
        m=int(row["gemm_m"]),
        n=int(row["gemm_n"]),
        k=int(row["gemm_k"]),
        kernel=(int(row["kernel_h"] or 1), int(row["kernel_w"] or 1)),
        out_shape=tuple(int(size) for size in row["out_shape"].split("x")),
        weight_elements=int(row["weights"]),
        bias_elements=int(row["biases"]),
    )


def _leave_one_out(
    data: Path, against: str, predict: Callable[[System, str, list[str]], float | None]
) -> Iterator[Row]:
    """Yield every task of every system with enough of them, predicted from the others."""
    for system in systems(data):
        if len(system.tasks) < _LEAST_TASKS:
            continue
        for left_out, task in system.tasks.items():
            others = [name for name in system.tasks if name != left_out]
            predicted = predict(system, left_out, others)
            if predicted is not None:
                yield Row(
                    against, system.case(left_out), task.joules * 1e6, predicted * 1e6, "uJ",
                    group=system.chip, series=system.series,
                )  # fmt: skip


def _mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
