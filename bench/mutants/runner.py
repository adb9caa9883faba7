"""Runs pytest in children of a process that has imported what all tests need, which costs more than most of them.

Started as a script in a copy of the tree. Of each line of stdin, what to run, it forks a child, and answers
with two lines: its process id, then its status (negative: the signal that ended it) and processor seconds. A child that
takes too long is ended, and so is one whose answer nobody waits for any more: stdin has ended.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
from typing import Any

__all__: list[str] = []

# Nothing of the tree, which a mutant is in.
_IMPORTED = ("numpy", "pytest", "amaranth.sim", "amaranth.back.rtlil", "amaranth.lib.wiring",
             "amaranth.lib.stream", "amaranth.lib.memory", "amaranth.lib.fifo")  # fmt: skip


def _main() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        call = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _child(**call)
        print(child, flush=True)
        ended = os.pidfd_open(child)
        found = select.select([ended, sys.stdin], [], [], call["wall"])[0]
        if found != [ended]:
            os.killpg(child, signal.SIGKILL)
        os.close(ended)
        _, status, used = os.wait4(child, 0)
        if sys.stdin in found:
            return
        print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]), flush=True)


def _child(*, arguments: list[str], environment: dict[str, str], log: str, seconds: int, **_: Any) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C comes from tests alone, and is for them
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 10))  # its children's, too
    null, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for file, number in ((null, 0), (out, 1), (out, 2)):
        os.dup2(file, number)
    os.environ.update(environment)
    sys.path.insert(0, os.getcwd())
    sys.dont_write_bytecode = True
    import pytest

    raise SystemExit(pytest.main(arguments))


if __name__ == "__main__":
    _main()
