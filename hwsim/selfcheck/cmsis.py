"""CMSIS-NN's unit-test vectors against both builds that hwsim has a profile of."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from hwsim.errors import HwsimError
from hwsim.kernels.plan import execute
from hwsim.profile import NumericProfile
from hwsim.profiles import PROFILES
from hwsim.selfcheck.check import Check, Places, Progress
from hwsim.selfcheck.cmsis_cases import Case, graph_of, read_cases, with_given_multipliers

AREA = "CMSIS-NN vectors"
AGAINST = "CMSIS-NN unit tests"
CASES = 126


def cmsis_nn(places: Places, progress: Progress) -> Iterator[Check]:
    """Run every case under profile cmsis_nn, one row per operator and data type."""
    folder = places.vectors / "cmsis_nn"
    if not (folder / "cases.json").is_file():
        missing = f"needs {folder.name} in the folder of vectors"
        yield Check(AREA, "all operators", "cmsis_nn", AGAINST, 0, CASES, 0, 0, missing)
        return
    by_kind: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in read_cases(folder):
        by_kind[case.operator, case.dtype].append(case)
    profile = with_given_multipliers(PROFILES["cmsis_nn"])
    for (operator, dtype), cases in by_kind.items():
        progress(f"{AREA}: {operator} {dtype}")
        yield row_of(f"{operator} {dtype}", cases, profile)


def row_of(subject: str, cases: list[Case], profile: NumericProfile) -> Check:
    """Return one row of the table: cases of one operator and data type."""
    run = skipped = wrong = elements = 0
    note = ""
    for case in cases:
        try:
            differ = differences(case, profile)
        except HwsimError as error:
            skipped += 1
            note = note or f"{case.name}: {error}"
            continue
        run += 1
        elements += case.arrays["output"].size
        if differ:
            wrong += 1
            note = note or f"{case.name}: {differ} of {case.arrays['output'].size} elements"
    return Check(AREA, subject, profile.name, AGAINST, run, skipped, wrong, elements, note)


def differences(case: Case, profile: NumericProfile) -> int:
    """Return how many elements of a case's output differ under a profile.

    Raises:
        HwsimError: If the case has no graph, or the graph does not run under the profile.
    """
    graph, feed = graph_of(case)
    (made,) = execute(graph, profile, feed).values()
    expected = case.arrays["output"]
    if made.shape != expected.shape:
        return expected.size
    return int(np.count_nonzero(made != expected))
