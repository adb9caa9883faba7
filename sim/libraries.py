"""Compiled C++ kept between runs: where, under what name, and how it is made exactly once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

__all__ = ["BuildError", "cache_directory", "cached", "digest", "run"]


class BuildError(RuntimeError):
    """A library that could not be compiled; the message says what is missing or which step failed."""


def cache_directory(kind: str, override: str | os.PathLike[str] | None = None) -> Path:
    """Where libraries of a kind are kept: in `override`, else SHIFTWORK_CACHE, else the user's cache directory."""
    chosen = override or os.environ.get("SHIFTWORK_CACHE") or platformdirs.user_cache_dir("shiftwork")
    return Path(chosen) / kind


def digest(*parts: str) -> str:
    """24 hexadecimal digits of everything that decides a library's contents."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def run(command: Sequence[str], directory: Path, what: str, environment: dict[str, str] | None = None) -> str:
    """The command's standard output. Raises BuildError with its last lines if it fails."""
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise BuildError(f"{what} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def cached(library: Path, make: Callable[[Path], Path], purpose: str) -> bool:
    """Whether `library` had to be made: by `make`, in a directory of its own, which returns the file it made.

    Safe to call from several processes at once. Raises BuildError without a compiler for `purpose`, or from `make`.
    """
    if library.exists():
        return False
    if shutil.which("g++") is None:
        raise BuildError(f"{purpose} needs a C++ compiler: install g++ (Debian, Ubuntu: apt install g++)")
    library.parent.mkdir(parents=True, exist_ok=True)
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits and finds the library
        if library.exists():
            return False
        with tempfile.TemporaryDirectory(prefix="build-", dir=library.parent) as name:
            os.replace(make(Path(name)), library)  # never half a library, whatever happens
    return True
