"""Own Verilog equals kernels and oracles in two simulators, and mutants do not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwsim.formats.tflite import read_tflite
from hwsim.kernels.plan import lower
from hwsim.profile import Requant
from hwsim.profiles import PROFILES
from tests.rtl import simulators
from tests.rtl.simulators import Library, cxxrtl, verilator
from tests.rtl.vectors import (
    COUNT,
    FIXED,
    Mutant,
    Proof,
    exponential_proofs,
    gemmlowp_proofs,
    linear_proofs,
    mac_proofs,
    norm_proof,
    requantize_proofs,
    root_proof,
    softmax_proof,
    table_proof,
)
from tests.strategies import generate

SIMULATORS = {"cxxrtl": cxxrtl, "verilator": verilator}
UNITS = (
    *(f"rq{int(rule)}" for rule in FIXED), "rqunsigned", "rqwide4", "rqwide1",
    "macss", "macus", "macuu", "macs4", "expneg", "recip", "softmax", "rom", "ibert", "ivit15",
    "ivit23", "lines1", "lines4", "lines16", "isqrt", "norm",
)  # fmt: skip
MUTANTS = (
    "macbad", "expbad", "recipbad", "rombad", "ibertbad", "ivitbad", "linesbad", "isqrtbad",
    "normbad",
)  # fmt: skip
EXHAUSTIVE = {"rom": 256, "lines1": 32769, "lines4": 32769, "lines16": 32769}

pytestmark = pytest.mark.skipif(
    bool(simulators.MISSING),
    reason=f"{len(SIMULATORS) * (len(UNITS) + len(MUTANTS))} proofs of RTL need "
    f"{', '.join(simulators.MISSING)}",
)


def engine_table() -> np.ndarray:
    """Return the table that the engine reads for a LOGISTIC layer."""
    graph = read_tflite(generate("LOGISTIC", 2).model.to_bytes(), Path("logistic.tflite"))
    (call,) = lower(graph, PROFILES["tflite_ref"]).calls
    return np.asarray(call.constants["table"])


@pytest.fixture(scope="module")
def work() -> tuple[dict[str, Proof], dict[str, Mutant]]:
    proofs, mutants = requantize_proofs(), []
    for made, wrong in (mac_proofs(), gemmlowp_proofs(), exponential_proofs(), linear_proofs()):
        proofs += made
        mutants += wrong
    for proof, mutant in (root_proof(), norm_proof(), table_proof(engine_table())):
        proofs.append(proof)
        mutants.append(mutant)
    proofs.append(softmax_proof())
    return {p.unit.name: p for p in proofs}, {m.unit.name: m for m in mutants}


@pytest.fixture(scope="module", params=SIMULATORS)
def library(
    request: pytest.FixtureRequest,
    work: tuple[dict[str, Proof], dict[str, Mutant]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Library]:
    units = [item.unit for items in work for item in items.values()]
    yield SIMULATORS[request.param](tmp_path_factory.mktemp("rtl") / request.param, units)


@pytest.mark.parametrize("name", UNITS)
def test_unit_equals_model(
    name: str, library: Library, work: tuple[dict[str, Proof], dict[str, Mutant]]
) -> None:
    proof = work[0][name]
    assert proof.words >= EXHAUSTIVE.get(name, COUNT)
    assert proof.wrong(library(proof.unit, proof.vectors)) == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_differs_as_its_model_says(
    name: str, library: Library, work: tuple[dict[str, Proof], dict[str, Mutant]]
) -> None:
    mutant = work[1][name]
    known = int((mutant.model != mutant.victim.expected).sum())
    assert known > 0
    assert mutant.victim.wrong(library(mutant.unit, mutant.victim.vectors)) == known


@pytest.mark.parametrize("rule", FIXED, ids=lambda rule: rule.name.lower())
def test_a_requantizer_of_another_rule_is_caught(
    rule: Requant, library: Library, work: tuple[dict[str, Proof], dict[str, Mutant]]
) -> None:
    own = work[0][f"rq{int(rule)}"]
    made = library(own.unit, own.vectors)
    for other in FIXED:
        if other is not rule:
            victim = work[0][f"rq{int(other)}"]
            known = int((own.expected != victim.expected).sum())
            assert known > 0
            assert victim.wrong(made) == known


def test_requantize_vectors_decide(work: tuple[dict[str, Proof], dict[str, Mutant]]) -> None:
    for name in ("rq0", "rqwide4"):
        proof = work[0][name]
        v = proof.vectors
        inside = (proof.expected > v["qmin"]) & (proof.expected < v["qmax"])
        fraction = 31 if name == "rq0" else 15
        # multiplier / 2**(fraction + shift) is 2**-(1 + shift) here: ties have an odd quotient.
        halves = v["acc"] % (1 << (v["right_shift"] + 1).clip(0)) == 1 << v["right_shift"].clip(0)
        tie = (v["multiplier"] == 1 << (fraction - 1)) & halves & (v["right_shift"] >= 0)
        assert inside.mean() > 0.3
        for sign in (v["acc"] > 0, v["acc"] < 0):
            assert (tie & inside & sign).sum() > COUNT // 50
        assert {-30 if name == "rq0" else -7, 31} <= set(v["right_shift"].tolist())
