"""One mutant in a private copy of the tree, through its rings of tests."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.mutants.operators import Mutant
from bench.mutants.rings import rings
from bench.mutants.witness import FILE
from firmware.errors import UserError

__all__ = ["Copy", "Verdict", "digest"]

_FOLDERS = ("hw", "sim", "firmware", "bench", "tests", "examples")
_FILES = ("pyproject.toml", "shiftwork.py")
_TIMES = 5  # a mutant's tests may take so many times the processor seconds of the unchanged, and some more
_WALL = 20  # and of the clock, so many times that
_LONGEST = 3600  # processor seconds of the tests of a unit


@dataclass(frozen=True)
class Verdict:
    """What came of a mutant: "killed" by a failing `test`, "timeout", "survived", or "invalid": no hardware at all."""

    outcome: str
    ring: str  # the last one it went through
    made_from: str  # digest of the unit, and of the test that failed or of all that it went through
    test: str = ""
    error: str = ""


def digest(root: Path, unit: str, ring: str, test: str = "") -> str:
    """Of the file of tree `root`, and of the test that failed, or of all tests up to `ring`."""
    parts = [(root / unit).read_bytes()]
    if test:
        parts.append(_source(root, test))
        return _hex(parts)
    for name, modules in rings(root, unit):
        parts += [(root / module).read_bytes() for module in modules]
        if name == ring:
            break
    return _hex(parts)


def _hex(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _source(root: Path, test: str) -> bytes:
    """The text of the function of a node of pytest; of its module, if it is none, or of what is no longer there."""
    module, _, name = test.partition("::")
    text = (root / module).read_text(encoding="utf-8") if (root / module).is_file() else ""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name.partition("[")[0]:
            return (ast.get_source_segment(text, node) or "").encode()
    return text.encode()


class Copy:
    """A copy of the tree `root` in directory `place`, with caches of its own; `more`: processor seconds of patience."""

    def __init__(self, root: Path, place: Path, more: float = 60) -> None:
        self.place, self._more, self._seconds = place, more, dict[tuple[str, ...], float]()
        rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in _FOLDERS:
            shutil.copytree(root / name, place / name, ignore=rubbish)
        for name in _FILES:
            shutil.copy2(root / name, place / name)

    def judge(self, mutant: Mutant, outermost: str) -> Verdict:
        """Puts `mutant` through its rings, up to that of the name `outermost`, until one of its tests fails."""
        for name, modules in rings(self.place, mutant.unit):
            limit = self._limit(modules)
            with self._mutated(mutant):
                found = self._run(modules, limit)
            made_from = digest(self.place, mutant.unit, name, (found or {}).get("test", ""))
            if found is not None and "timeout" in found:
                return Verdict("timeout", name, made_from)
            if found is not None:
                return Verdict("killed" if found["made"] else "invalid", name, made_from, found["test"], found["error"])
            if name == outermost:
                break
        return Verdict("survived", name, made_from)

    def _limit(self, modules: tuple[str, ...]) -> float:
        """Processor seconds that tests of a mutant may take. Raises UserError if they fail without one."""
        if modules not in self._seconds:
            before = _seconds()
            found = self._run(modules, _LONGEST)
            if found is not None:
                raise UserError(f"{' '.join(modules)} fail without a mutant: {found}")
            self._seconds[modules] = _seconds() - before
        return _TIMES * self._seconds[modules] + self._more

    @contextmanager
    def _mutated(self, mutant: Mutant) -> Generator[None]:
        path = self.place / mutant.unit
        source, times = path.read_bytes(), path.stat()
        try:
            path.write_bytes(mutant.applied(source))
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # what is compiled of it is right again

    def _run(self, modules: Sequence[str], limit: float) -> dict[str, str] | None:
        """None if all pass, else what the witness says."""
        witness, cache = self.place / "witness.json", self.place / "cache"
        witness.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        environment = os.environ | {
            FILE: str(witness), "SHIFTWORK_CACHE": str(cache), "PYTHONPATH": str(self.place),
            "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "bench.mutants.witness", "-p", "no:cacheprovider"]
        before = _seconds()
        with (self.place / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *modules], cwd=self.place, env=environment, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 10))  # its children's, too
            try:
                status = process.wait(timeout=_WALL * limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
        if status == 0:
            return None
        ended = status in {-signal.SIGXCPU, -signal.SIGKILL}
        if ended or _seconds() - before > limit:  # or what a test has started was ended
            return {"timeout": ""}
        if witness.exists():
            return dict(json.loads(witness.read_text()))
        text = (self.place / "log").read_text(errors="replace")[-2000:]
        raise UserError(f"{' '.join(modules)} ended with {status} and no test failed:\n{text}")


def _seconds() -> float:
    """Of the processor, of all processes started from here and ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
