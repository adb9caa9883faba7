"""A plugin of pytest that says, in a file, which test failed and whether the gateware could be made at all.

Loaded with ``-p bench.mutants.witness``; the file's name is in the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["FILE", "pytest_exception_interact"]

FILE = "SHIFTWORK_WITNESS"

_MAKING = {"elaborate", "prepare", "_prepare_use_domain_statements"}  # functions that make hardware of a description


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    """Called at every failure; the first one counts."""
    path = Path(os.environ[FILE])
    if path.exists():
        return
    kind = call.excinfo.type
    made = issubclass(kind, AssertionError) or not any(entry.name in _MAKING for entry in call.excinfo.traceback)
    first = next(iter(str(call.excinfo.value).strip().splitlines()), "")[:160]
    found = {"test": node.nodeid, "made": made and report.when != "collect", "error": f"{kind.__name__}: {first}"}
    path.write_text(json.dumps(found), encoding="utf-8")
