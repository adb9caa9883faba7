"""A skip that is not on the list fails the run, alone and on several processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).parents[1]
LISTED = "torch: No module named 'torch'"


@pytest.mark.parametrize("processes", [(), ("-n", "2")])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("reason", "status"), [("no reason", 1), (LISTED, 0)])
def test_skips_are_on_a_list(processes, whole, reason, status, tmp_path):
    hooks = [name for name in vars(conftest) if name.startswith("pytest_")]
    (tmp_path / "conftest.py").write_text(f"from tests.conftest import {', '.join(hooks)}\n")
    skip = f"pytest.skip({reason!r}, allow_module_level=True)"
    (tmp_path / "test_it.py").write_text("def test_one():\n    pass\n")
    (tmp_path / "test_skip.py").write_text(
        f"import pytest\n{skip}\n" if whole else f"import pytest\n\ndef test_two():\n    {skip}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("a reason that is not in" in done.stdout) == bool(status)
