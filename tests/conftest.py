import os
import tempfile

import pytest
from hypothesis import settings

# Kernels compiled by a test run are its own; set before Numba is imported.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="hwsim-test-cache-")

# A first call compiles; a run of CI must be repeatable.
settings.register_profile("hwsim", deadline=None, derandomize=True)
settings.load_profile("hwsim")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped and why, so that an absent model is never silent."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"not run: {report.nodeid}: {reason}")
