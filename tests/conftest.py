"""Set before any test imports NumPy: small products on many BLAS threads are an order of magnitude slower.

And what fails a run whose tests passed: a skip for a reason that is not on the list, since a test that runs nowhere
shows nothing; and, of a run of all tests or of all proofs, a proof that docs/trust.md lists and that was skipped or is
not there. A run that -k or -m chooses from is no such run.
"""

import os
import re
from pathlib import Path

import pytest

from tests.support.optional import ALLOWED

__all__: list[str] = []

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_TESTS = Path(__file__).parent
_proved: set[str] = set()  # names of proofs that held in this run
_wrong: list[str] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a module's skip."""
    _note_skip(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a skip, and a proof that held."""
    _note_skip(report)
    if report.when == "call" and report.passed and "::test_holds[" in report.nodeid:
        _proved.add(report.nodeid.split("::test_holds[", 1)[1].removesuffix("]"))


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(re.search(allowed, reason) for allowed in ALLOWED):
            _wrong.append(f"skipped for a reason that is not in tests/support/optional.py: {report.nodeid}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails a run that was well but for them."""
    if exitstatus != pytest.ExitCode.OK or hasattr(session.config, "workerinput"):
        return
    _wrong.extend(_not_proved(session.config))
    if _wrong:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _not_proved(config: pytest.Config) -> list[str]:
    if config.option.keyword or config.option.markexpr or config.option.collectonly:
        return []
    asked = {Path(str(config.invocation_params.dir), argument).resolve() for argument in config.args}
    if not asked & {_TESTS, _TESTS.parent, _TESTS / "formal"}:
        return []
    from tests.support.formal import listed  # not before pytest has begun

    return [f"not proved, but listed by docs/trust.md: {name}" for name, _, _ in listed() if name not in _proved]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says them."""
    for line in _wrong:
        terminalreporter.write_line(line, red=True)
