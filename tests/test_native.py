"""Machine code gives the very bits of the reference kernels."""

from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import HwsimError
from hwsim.formats.tflite import read_tflite
from hwsim.kernels.native.operators import NATIVE
from hwsim.kernels.plan import lower
from hwsim.ops import Op
from hwsim.profiles import PROFILES
from tests.strategies import GENERATORS, generate

SEEDS = 6
# Sums of 16-bit products, which leave 32 bits at once; codes of reals.
UNCOMPILED = ("BATCH_MATMUL_INT16", "QUANTIZE_REALS")
PROFILES_RUN = ("tflite_ref", "xnnpack", "tflm", "cmsis_single", "ort", "hawq", "tosa")


@pytest.mark.parametrize("operator", GENERATORS)
def test_plan_equals_reference_kernels(operator: str) -> None:
    native = 0
    operators = set()
    for seed in range(SEEDS):
        case = generate(operator, seed)
        graph = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
        feed = {name: case.feed[name] for name in graph.input_names}
        for name in PROFILES_RUN:
            try:
                plan = lower(graph, PROFILES[name])
            except HwsimError:
                continue  # the profile has no such arithmetic
            native += sum(call.native is not None for call in plan.calls)
            operators |= {node.op for node in graph.nodes}
            try:
                expected = plan._stepwise(feed, True)
            except HwsimError:
                continue  # such as reals that are not finite
            made = plan.run(feed, keep_all=True)
            assert made.keys() == expected.keys()
            for value, array in expected.items():
                assert np.array_equal(made[value], array), (operator, seed, name, value)
    assert native or operator in UNCOMPILED or not operators & NATIVE.keys(), "no machine code ran"


def test_table_holds_the_common_operators() -> None:
    assert {Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED, Op.MATMUL} <= NATIVE.keys()
