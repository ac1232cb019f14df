"""The integer engine equals the oracles on generated single-operator models, element for element.

The oracles themselves are proved against LiteRT in test_oracle_vs_litert.py; engine and LiteRT are
compared directly on whole networks in test_mlperf_tiny.py.
"""

from pathlib import Path

import numpy as np
import pytest

from hwsim.formats.tflite import read_tflite
from hwsim.kernels.plan import execute
from hwsim.profiles import PROFILES
from tests.oracle import graph
from tests.strategies import GENERATORS, generate

SEEDS = 60


def differences(operator: str, seed: int) -> int:
    """Run one generated model; return how many elements were compared, all equal."""
    case = generate(operator, seed)
    loaded = read_tflite(case.model.to_bytes(), Path(f"{operator}_{seed}.tflite"))
    feed = {name: case.feed[name] for name in loaded.input_names}
    if operator == "QUANTIZE_REALS":
        # NaN and infinity are refused; beyond int32 the reference's cast is undefined in C.
        reach = 2.0**30 * case.model.tensors[-1].scale[0]
        feed = {name: np.clip(np.nan_to_num(array), -reach, reach) for name, array in feed.items()}
    made = execute(loaded, PROFILES["tflite_ref"], feed, keep_all=True)
    expected = graph.run(case.model, {**case.feed, **feed})
    compared = 0
    for name, array in made.items():
        if name in expected and name not in feed:
            assert np.array_equal(array, expected[name].reshape(array.shape)), (name, case)
            compared += array.size
    return compared


@pytest.mark.parametrize("operator", GENERATORS)
def test_engine_equals_oracle(operator: str) -> None:
    compared = [differences(operator, seed) for seed in range(SEEDS)]
    assert min(compared) > 0
