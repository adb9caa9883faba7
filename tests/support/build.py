"""Stand-ins for what a build of a board takes long for, or needs installed."""

import stat

from hw.build import project
from hw.shell import generator

__all__ = ["CORE", "LINK", "SHELL", "install", "with_shell", "without_litex"]

CORE = {"lut": 13_000, "ff": 14_000, "dsp": 89, "bram36": 37.5}
SHELL = {"lut": 4_500, "ff": 2_600, "dsp": 0, "bram36": 0}
LINK = {"lut": 800, "ff": 900, "dsp": 0, "bram36": 0.5}


def without_litex(monkeypatch):
    monkeypatch.setattr(generator, "available", lambda **_options: False)


def with_shell(monkeypatch):
    """As if LiteX had made the shell."""

    def generate(board, directory, *, ethernet):
        (directory / "shell.v").write_text(
            project.empty_module("shell", board.shell.ports(ethernet=ethernet, crossed=board.crossed))
        )
        (directory / "csr.json").write_text("{}\n")

    monkeypatch.setattr(generator, "available", lambda **_options: True)
    monkeypatch.setattr(generator, "generate", generate)


def install(directory, name, script):
    """An executable that writes its arguments to NAME.called and does what `script` says."""
    tool = directory / name
    tool.write_text(f'#!/bin/sh\necho "$@" >> {directory / name}.called\n{script}\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
