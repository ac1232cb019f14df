"""HAWQ-V3's published bit allocations (arXiv:2011.10680), recomputed from its own inputs.

The inputs are not part of the project: HWSIM_REFERENCE_DATA names the folder with hawq_ilp.json.
"""

import json
import os
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from hwsim.allocation import allocate
from hwsim.tables import CostTable, Option, SensitivityTable
from tests.allocation_tables import row

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("HWSIM_REFERENCE_DATA", ROOT.parent / "shared/reference/data"))
FILE = FOLDER / "hawq_ilp.json"
NETWORKS = ("resnet18", "resnet50")
KINDS = ("size", "bops", "latency")
FRACTIONS = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))
PROBLEMS = list(product(NETWORKS, KINDS, FRACTIONS))
PUBLISHED = 9  # of the paper's 18 allocations, those in the file

pytestmark = pytest.mark.skipif(
    not FILE.is_file(),
    reason=f"{PUBLISHED} published allocations and {len(PROBLEMS)} problems: no hawq_ilp.json",
)


def numbers():
    return json.loads(FILE.read_text("utf-8"), parse_float=Fraction)


def layer_cost(layer, kind, bits):
    """Return a layer's cost as an integer, whatever the paper's unit."""
    if kind == "latency":
        cost = layer[f"latency_int{bits}"] * 10**8
    else:
        cost = Fraction(layer["params"] * bits if kind == "size" else layer["macs"] * bits**2)
    assert cost.denominator == 1
    return int(cost)


def loss(layer, bits):
    """Return a layer's score times 10**24, an integer."""
    score = layer["hessian_trace_avg"] * layer[f"dw2_{bits}bit"] * 10**24
    assert score.denominator == 1
    return int(score)


def problem(network, kind, fraction):
    """Return (members of each unit, sensitivity, costs, integer budget)."""
    layers = network["layers"]
    head = {index: index for index in range(len(layers))}
    for left, right in network["ties"]:
        head[right] = left
    members = {}
    for index in range(len(layers)):
        members.setdefault(f"layer{head[index]}", []).append(layers[index])
    scores, rows = {}, []
    for unit, tied in members.items():
        for bits in (4, 8):
            option = Option(bits, bits)
            scores[unit, option] = sum(loss(layer, bits) for layer in tied)
            cost = sum(layer_cost(layer, kind, bits) for layer in tied)
            rows.append(row(unit, option, weight_bytes=cost))
    costs = CostTable("t4", tuple(rows), dict.fromkeys(members, Option(4, 4)))
    low, high = (sum(layer_cost(layer, kind, bits) for layer in layers) for bits in (4, 8))
    return members, SensitivityTable("hawq", scores), costs, low + int(fraction * (high - low))


def solved(network, kind, fraction):
    """Return (one bit-width per layer, objective as a fraction, the allocation)."""
    members, sensitivity, costs, budget = problem(network, kind, fraction)
    found = allocate(sensitivity, costs, max_weight_bytes=budget)
    bits = {
        layer["index"]: found.bits[unit].weight_bits for unit in members for layer in members[unit]
    }
    digits = "".join(str(bits[index]) for index in range(len(network["layers"])))
    objective = sum(loss(layer, bits[layer["index"]]) for layer in network["layers"])
    spent = sum(layer_cost(layer, kind, bits[layer["index"]]) for layer in network["layers"])
    assert spent <= budget
    return digits, Fraction(objective, 10**24), found


def test_the_published_allocations_are_reproduced_or_beaten():
    data = numbers()
    same, better = [], []
    for case in data["allocations"]:
        network = data["networks"][case["network"]]
        digits, objective, _ = solved(network, case["budget_kind"], case["budget_fraction"])
        assert digits == case["optimal_weight_bits"]
        assert abs(objective - case["optimal_objective"]) < Fraction(1, 10**11)
        if digits == case["weight_bits"]:
            same.append(case["case"])
        else:
            assert objective < case["published_objective"]
            better.append(case["case"])
    assert len(same) == PUBLISHED - 1
    assert better == ["resnet50/size/0.25"]


def staircase(members, sensitivity, costs):
    """Return the least score by cost: the plain dynamic program, over Python's integers."""
    states = {0: 0}
    for unit in members:
        sums = {}
        for option in costs.options(unit):
            for cost, score in states.items():
                total = cost + costs.row(unit, option).weight_bytes
                value = score + sensitivity.values[unit, option]
                sums[total] = min(value, sums.get(total, value))
        states, least = {}, None
        for cost in sorted(sums):
            if least is None or sums[cost] < least:
                states[cost] = least = sums[cost]
    return states


@pytest.mark.parametrize(
    ("name", "kind", "fraction"), PROBLEMS, ids=["-".join(map(str, p)) for p in PROBLEMS]
)
def test_all_eighteen_problems_equal_a_plain_dynamic_program(name, kind, fraction):
    network = numbers()["networks"][name]
    members, sensitivity, costs, budget = problem(network, kind, fraction)
    states = staircase(members, sensitivity, costs)
    expected = min(score for cost, score in states.items() if cost <= budget)
    _, objective, found = solved(network, kind, fraction)
    assert objective == Fraction(expected, 10**24)
    assert found.gap == 0
