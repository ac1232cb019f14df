"""The operator table is complete: each row has a float rule, a kernel and an oracle."""

from pathlib import Path

import pytest

from hwsim.floats import RULES
from hwsim.kernels.plan import KERNELS
from hwsim.ops import OPS, Op, OpSpec
from tests.strategies import GENERATORS

# TFLite's name where ours differs.
NAMES = {Op.MATMUL: "BATCH_MATMUL"}
ORACLES = Path(__file__).parent / "oracle"
HAWQ_ORACLE = (ORACLES / "hawq.py").read_text("utf-8")
CONVERSIONS = {Op.QUANTIZE, Op.DEQUANTIZE}


@pytest.mark.parametrize("spec", OPS.values(), ids=lambda spec: spec.op.value)
def test_an_operator_is_complete(spec: OpSpec) -> None:
    assert (spec.op in RULES) != (spec.op in CONVERSIONS)
    assert (spec.op in KERNELS) != spec.float_only
    if spec.op in KERNELS:
        generated = NAMES.get(spec.op, spec.op.name) in GENERATORS
        in_hawq = f'"{spec.op.value}": self.' in HAWQ_ORACLE
        assert generated or in_hawq or (ORACLES / f"{spec.op.value}.py").is_file()


def test_no_row_is_missing() -> None:
    assert set(OPS) == set(Op)
