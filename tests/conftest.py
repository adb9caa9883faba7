"""Set before any test imports NumPy: small products on many BLAS threads are an order of magnitude slower.

A run of all tests, or of all proofs, fails if a proof that docs/trust.md lists was skipped or is not there; one that -k
or -m chooses from is no such run.
"""

import os
from pathlib import Path

__all__: list[str] = []

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_TESTS = Path(__file__).parent
_proved: set[str] = set()  # names of proofs that held in this run


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed and "::test_holds[" in report.nodeid:
        _proved.add(report.nodeid.split("::test_holds[", 1)[1].removesuffix("]"))


def pytest_sessionfinish(session):
    config = session.config
    chosen = config.option.keyword or config.option.markexpr or config.option.collectonly
    if session.exitstatus or chosen or hasattr(config, "workerinput"):
        return
    asked = {Path(str(config.invocation_params.dir), argument).resolve() for argument in config.args}
    if not asked & {_TESTS, _TESTS.parent, _TESTS / "formal"}:
        return
    from tests.support.formal import listed  # not before pytest has begun

    if missing := [name for name, _, _ in listed() if name not in _proved]:
        config.get_terminal_writer().line(f"\nnot proved, but listed by docs/trust.md: {'; '.join(missing)}", red=True)
        session.exitstatus = 1
