"""Set before any test imports NumPy: small products on many BLAS threads are an order of magnitude slower.

And the rule that what is skipped is on a list: a test that runs nowhere shows nothing.
"""

import os
import re

import pytest

from tests.support.optional import ALLOWED

__all__: list[str] = []

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_unlisted: list[str] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a module's skip."""
    pytest_runtest_logreport(report)


def pytest_runtest_logreport(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Notes a skip for a reason that is not on the list."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(allowed, reason) for allowed in ALLOWED):
            _unlisted.append(f"{report.nodeid}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails a run that was well but for them."""
    if _unlisted and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says them."""
    for line in _unlisted:
        terminalreporter.write_line(f"skipped for a reason that is not in tests/support/optional.py: {line}")
