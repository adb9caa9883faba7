"""Compiled C++ kept between runs: how it is compiled, and opened."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path

from firmware.caches import cache_directory, digest, kept

__all__ = ["BuildError", "library", "load", "run", "stop"]

_running: set[subprocess.Popen[str]] = set()


class BuildError(RuntimeError):
    """A library that could not be compiled; the message says what is missing or which step failed."""


def run(command: Sequence[str], directory: Path, what: str, environment: dict[str, str] | None = None) -> str:
    """The command's standard output. Raises BuildError with its last lines if it fails."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=directory, env={**os.environ, **(environment or {})}, stdout=pipe, stderr=pipe, text=True,
        process_group=0,
    ) as process:  # fmt: skip
        _running.add(process)
        try:
            output, errors = process.communicate()
        except BaseException:
            _kill(process)
            raise
        finally:
            _running.discard(process)
    if process.returncode:
        tail = "\n".join((output + errors).strip().splitlines()[-12:])
        raise BuildError(f"{what} failed with status {process.returncode}:\n{tail}")
    return output


def stop(threads: Iterable[Future[str]]) -> None:
    """Ends every command that these threads are running, and those that wait for a thread: for who was interrupted."""
    left = {thread for thread in threads if not thread.cancel()}
    while left:  # again and again: a thread may be about to start its command
        for process in tuple(_running):
            _kill(process)
        left = wait(left, timeout=0.02).not_done


def _kill(process: subprocess.Popen[str]) -> None:
    """With its children: g++ is only the driver of compilers, which hold its pipes open while they live."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile, and its own thread saw it first
            os.killpg(process.pid, signal.SIGKILL)


def library(
    kind: str,
    parts: Sequence[str],
    make: Callable[[Path], Path],
    purpose: str,
    override: str | os.PathLike[str] | None = None,
) -> tuple[Path, bool]:
    """The shared library that everything in `parts` decides, and whether it had to be made: by `make`, see `kept`.

    Raises BuildError without a compiler for `purpose`, without a place to keep libraries, or from `make`.
    """
    path = cache_directory(kind, override) / f"{digest(*parts, platform.machine())}.so"

    def compiled(directory: Path) -> Path:
        if shutil.which("g++") is None:
            raise BuildError(f"{purpose} needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++)")
        return make(directory)

    try:
        return path, kept(path, compiled)
    except OSError as error:
        raise BuildError(
            f"compiled code cannot be kept in {path.parent}: {error.strerror}; SHIFTWORK_CACHE names another directory"
        ) from None


def load(path: Path) -> ctypes.CDLL:
    """The functions of a library. Raises BuildError if this system cannot run it."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled code cannot be used here: {error}") from None
