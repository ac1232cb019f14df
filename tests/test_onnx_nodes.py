"""The onnx package's node tests of quantized operators, exactly."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.selfcheck.check import Places
from hwsim.selfcheck.onnx_nodes import NodeTest, node_tests, onnx_nodes, run_node_test

TESTS = node_tests()
RUN = [test for test in TESTS if not test.left_out]


@pytest.mark.parametrize("test", RUN, ids=lambda test: test.name)
def test_node(test: NodeTest) -> None:
    elements, differing = run_node_test(test)
    assert elements == sum(array.size for array in test.expected.values()) > 0
    assert differing == 0


def test_another_expectation_is_found() -> None:
    for test in RUN:
        changed = {name: array.astype("int64") + 1 for name, array in test.expected.items()}
        _, differing = run_node_test(replace(test, expected=changed))
        assert differing == sum(array.size for array in changed.values())


def test_what_is_left_out_holds_no_integers() -> None:
    left = [test for test in TESTS if test.left_out]
    assert len(RUN) >= 28 and len(left) <= 11
    for test in left:
        assert "floats" in test.left_out or test.name.endswith("_expanded")


def test_the_area_tells_every_operator() -> None:
    nowhere = Places(Path("."), Path("."), Path("."))
    checks = list(onnx_nodes(nowhere, lambda text: None))
    assert sum(check.run for check in checks) == len(RUN)
    assert sum(check.skipped for check in checks) == len(TESTS) - len(RUN)
    assert not any(check.wrong for check in checks)
    assert all(check.note for check in checks if check.skipped)
