"""Voltage and frequency: energy at published points, and which point to run at.

E(V) = a V^2 + I_leak V t. A task has its own a, a chip one leakage current. Two measured points
give both; nothing is ever computed at a voltage or frequency that nobody published.

A choice per layer is a walk through the layers that may change its point between any two, at the
price of the switching time; it is found by a program over (layer, point, ticks of time).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import BudgetError, InputError

TICKS = 20_000
"""Steps into which a deadline is cut; times are rounded up to whole steps."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Energy and time of one task at one voltage, SI."""

    volts: float
    seconds: float
    joules: float


def leakage_amperes(low: Measured, high: Measured) -> float:
    """Return the leakage current that two measured points of one task imply.

    Solves E = a V^2 + I V t for a and I; a negative current means that the task's energy rose
    faster than V^2, and is returned as it is.

    Raises:
        InputError: If the points do not tell the two terms apart.
    """
    low_rate, high_rate = low.seconds / low.volts, high.seconds / high.volts
    if low_rate == high_rate:
        raise InputError("time over voltage must differ between two points, not be equal")
    charge = low.joules / low.volts**2 - high.joules / high.volts**2
    return charge / (low_rate - high_rate)


def energy_at(known: Measured, volts: float, seconds: float, leakage: float) -> float:
    """Return the energy of a task at another published point, from one that was measured.

    Args:
        known: The measured point.
        volts: Core voltage of the other point.
        seconds: Time of the task there.
        leakage: Leakage current in A; 0 is the law of C V^2 alone.

    Raises:
        InputError: If leakage alone exceeds the known energy.
    """
    static = leakage * known.volts * known.seconds
    dynamic = known.joules - static
    if dynamic < 0:
        raise InputError(f"leakage must be below the measured energy, not {leakage:g} A")
    return dynamic * (volts / known.volts) ** 2 + leakage * volts * seconds


def energy_at_supply(joules: float, supply: float, other: float) -> float:
    """Return the energy of a board with a linear regulator at another supply voltage.

    The chip draws the same current; the regulator burns the difference.

    Args:
        joules: Energy measured at `supply`.
        supply: Supply voltage of the measurement.
        other: Another supply voltage.
    """
    return joules * other / supply


@dataclass(frozen=True, slots=True)
class PointCost:
    """One task, or one layer, at one operating point.

    Args:
        point: Name of the point.
        seconds: Time.
        joules: Energy.
    """

    point: str
    seconds: float
    joules: float


def best_point(costs: Sequence[PointCost], deadline: float | None = None) -> PointCost:
    """Return the point of least energy, within a deadline if one is given.

    Raises:
        BudgetError: If every point is slower; the sentence names the fastest time.
    """
    timely = [c for c in costs if deadline is None or c.seconds <= deadline]
    if not timely:
        fastest = min(costs, key=lambda c: c.seconds)
        raise BudgetError(
            f"max_latency must be at least {fastest.seconds:g} s (point {fastest.point}), "
            f"not {deadline:g} s"
        )
    return min(timely, key=lambda c: (c.joules, c.seconds))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A point for every layer.

    Args:
        points: By layer, in order.
        seconds: All layers and switches.
        joules: The same.
        switches: How often the point changes.
    """

    points: tuple[str, ...]
    seconds: float
    joules: float
    switches: int


def best_schedule(
    layers: Sequence[Sequence[PointCost]],
    deadline: float,
    switch_seconds: float,
    switch_watts: Sequence[float],
    *,
    ticks: int = TICKS,
) -> Schedule:
    """Return the point of each layer that needs least energy within a deadline.

    A switch costs its time and, over it, the power of the point that it leaves or enters,
    whichever is larger: the conservative reading of what nobody publishes. Times are rounded up
    to `deadline / ticks`, so that the answer always keeps the deadline; among the choices whose
    rounded times fit it is exact, and it is never worse than one point for all layers.

    Args:
        layers: By layer, the cost at each point; the same points in the same order.
        deadline: Largest time of all layers and switches, in s.
        switch_seconds: Time of one change of point.
        switch_watts: Power of each point, for the time of a switch.
        ticks: Steps of the deadline.

    Raises:
        BudgetError: If no choice keeps the deadline.
        InputError: If layers disagree about the points, or a number is no time.
    """
    names = _checked(layers, deadline, switch_seconds, switch_watts, ticks)
    uniform = [
        PointCost(name, sum(row[k].seconds for row in layers), sum(row[k].joules for row in layers))
        for k, name in enumerate(names)
    ]
    found = _program(layers, deadline, switch_seconds, switch_watts, ticks)
    mixed = None if found is None else priced(layers, found, switch_seconds, switch_watts)
    try:
        whole = best_point(uniform, deadline)
    except BudgetError:
        if mixed is None:
            raise
        return mixed
    if mixed is not None and mixed.joules < whole.joules:
        return mixed
    return Schedule((whole.point,) * len(layers), whole.seconds, whole.joules, 0)


def priced(
    layers: Sequence[Sequence[PointCost]],
    choice: Sequence[int],
    switch_seconds: float,
    switch_watts: Sequence[float],
) -> Schedule:
    """Return time and energy of one point per layer, switches charged."""
    seconds = joules = 0.0
    switches = 0
    for index, (row, k) in enumerate(zip(layers, choice, strict=True)):
        if index and choice[index - 1] != k:
            switches += 1
            seconds += switch_seconds
            joules += switch_seconds * max(switch_watts[k], switch_watts[choice[index - 1]])
        seconds += row[k].seconds
        joules += row[k].joules
    names = tuple(row[k].point for row, k in zip(layers, choice, strict=True))
    return Schedule(names, seconds, joules, switches)


def _checked(
    layers: Sequence[Sequence[PointCost]],
    deadline: float,
    switch_seconds: float,
    switch_watts: Sequence[float],
    ticks: int,
) -> tuple[str, ...]:
    """Return the names of the points, or refuse the problem."""
    if not layers or not layers[0]:
        raise InputError("layers must hold at least one layer with one point, not none")
    names = tuple(cost.point for cost in layers[0])
    if any(tuple(cost.point for cost in row) != names for row in layers):
        raise InputError(f"every layer must have the points {', '.join(names)}, not others")
    if len(switch_watts) != len(names):
        raise InputError(f"switch_watts must have {len(names)} entries, not {len(switch_watts)}")
    if not (isfinite(deadline) and deadline > 0):
        raise InputError(f"max_latency must be a positive time, not {deadline:g} s")
    if not (isfinite(switch_seconds) and switch_seconds >= 0):
        raise InputError(f"switch time must be at least 0, not {switch_seconds:g} s")
    if ticks < 1:
        raise InputError(f"ticks must be 1 or more, not {ticks}")
    return names


def _program(
    layers: Sequence[Sequence[PointCost]],
    deadline: float,
    switch_seconds: float,
    switch_watts: Sequence[float],
    ticks: int,
) -> tuple[int, ...] | None:
    """Return the best choice over rounded times, None if none fits.

    State: least energy that ends the layers so far at point k in exactly t ticks.
    """
    step = deadline / ticks
    count = len(layers[0])
    hop = ceil(switch_seconds / step)
    best: NDArray[np.float64] = np.full((count, ticks + 1), np.inf)
    came: list[NDArray[np.int8]] = []
    for index, row in enumerate(layers):
        entered = np.full((count, ticks + 1), np.inf)
        source = np.zeros((count, ticks + 1), np.int8)
        for k in range(count):
            if index == 0:
                entered[k, 0] = 0.0
                continue
            for j in range(count):
                wait = 0 if j == k else hop
                price = 0.0 if j == k else switch_seconds * max(switch_watts[j], switch_watts[k])
                arrived = _later(best[j], wait) + price
                better = arrived < entered[k]
                entered[k][better] = arrived[better]
                source[k][better] = j
        for k, cost in enumerate(row):
            best[k] = _later(entered[k], ceil(cost.seconds / step)) + cost.joules
        came.append(source)
    k, t = (int(i) for i in np.unravel_index(int(np.argmin(best)), best.shape))
    if not isfinite(best[k, t]):
        return None
    choice = [k]
    for index in range(len(layers) - 1, 0, -1):
        t -= ceil(layers[index][k].seconds / step)
        j = int(came[index][k, t])
        t -= 0 if j == k else hop
        k = j
        choice.append(k)
    return tuple(reversed(choice))


def _later(energies: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """Return the states after a wait; what passes the deadline is lost."""
    moved = np.full_like(energies, np.inf)
    if ticks < len(energies):
        moved[ticks:] = energies[: len(energies) - ticks]
    return moved
