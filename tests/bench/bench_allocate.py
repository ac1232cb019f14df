"""The allocator on a large synthetic network: 160 units at 12 options each."""

import random

import pytest

from hwsim.allocation import allocate
from hwsim.choices import Integers
from hwsim.fronts import pareto
from hwsim.mckp import Knapsack
from hwsim.tables import CostTable, Option, SensitivityTable, UnitCost

OPTIONS = [Option(w, a) for w in (2, 4, 6, 8) for a in (4, 8, 16)]


def network(units, count, seed=2026):
    """Return scores and energies by unit and option: log-normal work, error falling as 4**-bits."""
    rng = random.Random(seed)
    scores, energy = [], []
    for _ in range(units):
        work, pain = rng.lognormvariate(0, 1.2) * 1e-6, rng.lognormvariate(0, 1.5)
        jitter = [1 + rng.random() / 10 for _ in range(2 * count)]
        options = OPTIONS[:count]
        scores.append(
            [
                pain * (4.0**-o.weight_bits + 4.0**-o.activation_bits) * jitter[k]
                for k, o in enumerate(options)
            ]
        )
        energy.append(
            [
                work * (o.weight_bits * o.activation_bits / 64 + o.weight_bits / 30) * jitter[~k]
                for k, o in enumerate(options)
            ]
        )
    return scores, energy


def tables(scores, energy):
    rows = tuple(
        UnitCost(
            unit=f"u{u}",
            option=OPTIONS[k],
            macs=0,
            energy_mac_j=value,
            energy_memory_j={},
            energy_static_j=0.0,
            latency_s=value * 1e3 * (1 + (7 * u + 3 * k) % 5 / 10),
            bound_by="",
            weight_bytes=0.0,
            activation_bytes=0.0,
            memory_bytes={},
        )
        for u, row in enumerate(energy)
        for k, value in enumerate(row)
    )
    values = {
        (f"u{u}", OPTIONS[k]): value for u, row in enumerate(scores) for k, value in enumerate(row)
    }
    selection = {f"u{u}": OPTIONS[0] for u in range(len(energy))}
    return SensitivityTable("synthetic", values), CostTable("bench", rows, selection)


@pytest.mark.benchmark(group="160 units x 12 options, 100 budgets, exact floats")  # goal: 2 s
def test_hundred_budgets(benchmark):
    scores, energy = network(160, 12)
    sack = Knapsack.of(Integers.of(energy).rows, Integers.of(scores).rows)
    top = sack.base + sack.step * sum(map(max, sack.costs))

    def hundred():
        return [sack.solve(sack.base + (top - sack.base) * n // 100) for n in range(100)]

    assert len(benchmark.pedantic(hundred, rounds=3)) == 100


@pytest.mark.benchmark(group="160 units x 12 options, one budget")  # goal: 50 ms
def test_one_call(benchmark):
    sensitivity, costs = tables(*network(160, 12))
    limit = allocate(sensitivity, costs).resources["energy_j"] / 3
    assert benchmark(allocate, sensitivity, costs, max_energy_j=limit).gap == 0


@pytest.mark.benchmark(group="20 units x 9 options, whole front")  # goal: 1 s
def test_whole_front(benchmark):
    sensitivity, costs = tables(*network(20, 9))
    assert benchmark.pedantic(pareto, (sensitivity, costs), rounds=3).exact


@pytest.mark.benchmark(group="20 units x 9 options, two budgets")  # goal: 2 s
def test_two_budgets(benchmark):
    sensitivity, costs = tables(*network(20, 9))
    free = allocate(sensitivity, costs).resources
    limits = {
        "max_energy_j": free["energy_j"] / 3,
        "max_latency_s": free["latency_s"] / 3,
    }
    assert benchmark.pedantic(allocate, (sensitivity, costs), limits, rounds=3).gap == 0
