"""One mutant in a private copy of the tree, through its rings of tests."""

from __future__ import annotations

import ast
import compileall
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
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
_FIRST = 5  # tests that come first: as many as have killed others


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
    return _functions(text).get(name.partition("[")[0], text).encode()


@cache
def _functions(text: str) -> dict[str, str]:
    """The functions of a module and their texts, of several of a name the first: many verdicts are of few modules."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, ast.get_source_segment(text, node) or "")
    return found


class Copy:
    """A copy of the tree `root` in directory `place`, with caches of its own; `more`: processor seconds of patience.

    `killers`: tests that have killed others, of the tree, in that order. The latest of a mutant's ring come before all.
    """

    def __init__(self, root: Path, place: Path, more: float = 60, killers: Sequence[str] = ()) -> None:
        self.place, self._more, self._seconds = place, more, dict[tuple[str, ...], float]()
        self._passed = set[str]()  # tests that pass without a mutant
        self._killers = [*killers]
        rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in _FOLDERS:
            shutil.copytree(root / name, place / name, ignore=rubbish)
        for name in _FILES:
            shutil.copy2(root / name, place / name)
        compileall.compile_dir(place, quiet=2)  # once: a mutant's tests write nothing beside the source
        self._runner = self._start()

    def close(self) -> None:
        """Ends the process that it runs tests in."""
        for pipe in (self._runner.stdin, self._runner.stdout):
            if pipe is not None:
                pipe.close()
        self._runner.kill()
        self._runner.wait()

    def judge(self, mutant: Mutant, outermost: str) -> Verdict:
        """Puts `mutant` through its rings, up to that of the name `outermost`, until one of its tests fails."""
        for name, modules in rings(self.place, mutant.unit):
            found = self._put(mutant, modules)
            made_from = digest(self.place, mutant.unit, name, (found or {}).get("test", ""))
            if found is not None and "timeout" in found:
                return Verdict("timeout", name, made_from)
            if found is not None:
                return Verdict("killed" if found["made"] else "invalid", name, made_from, found["test"], found["error"])
            if name == outermost:
                break
        return Verdict("survived", name, made_from)

    def _put(self, mutant: Mutant, modules: tuple[str, ...]) -> dict[str, str] | None:
        """What its tests say of it; those that take long are told how long they may only when they do.

        Raises UserError for a test that fails without the mutant.
        """
        found = None
        if first := self._first(modules):
            with self._mutated(mutant), suppress(UserError):  # of a test that is no more
                found, _ = self._run(first, self._more)
            if found is not None and "timeout" not in found:
                return self._kills(found)
        for known in (modules in self._seconds, True):
            limit = _TIMES * self._seconds.get(modules, 0) + self._more
            with self._mutated(mutant):
                found, _ = self._run(modules, limit)
            if known or found is None or "timeout" not in found:
                break
            self._seconds[modules] = self._unchanged(modules)
        return found if found is None or "timeout" in found else self._kills(found)

    def _first(self, modules: Sequence[str]) -> list[str]:
        """The latest killers of these modules."""
        mine = [test for test in reversed(self._killers) if test.partition("::")[0] in modules]
        return [*dict.fromkeys(mine)][:_FIRST]

    def _kills(self, found: dict[str, str]) -> dict[str, str]:
        """What the witness says of a failing test, which passes without the mutant. Raises UserError if it does not."""
        test = found["test"]
        if test not in self._passed:
            self._unchanged((test,))
            self._passed.add(test)
        self._killers.append(test)
        return found

    def _unchanged(self, tests: Sequence[str]) -> float:
        """Processor seconds that tests take without a mutant. Raises UserError if they fail."""
        found, seconds = self._run(tests, _LONGEST)
        if found is not None:
            raise UserError(f"{' '.join(tests)} fail without a mutant: {found}")
        return seconds

    @contextmanager
    def _mutated(self, mutant: Mutant) -> Generator[None]:
        path = self.place / mutant.unit
        source, times = path.read_bytes(), path.stat()
        try:
            path.write_bytes(mutant.applied(source))
            # Later than the source by more than the second that compiled files know: one of as many bytes is not it.
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 2 * 10**9))
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # what is compiled of it is right again

    def _start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-P", self.place / "bench/mutants/runner.py"], cwd=self.place, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def _run(self, tests: Sequence[str], limit: float) -> tuple[dict[str, str] | None, float]:
        """None if all pass, else what the witness says; processor seconds."""
        witness, cache = self.place / "witness.json", self.place / "cache"
        witness.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        environment = {
            FILE: str(witness), "SHIFTWORK_CACHE": str(cache), "PYTHONPATH": str(self.place),
            "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }  # fmt: skip
        arguments = ["-x", "-q", "-p", "bench.mutants.witness", "-p", "no:cacheprovider", *tests]
        call = {
            "arguments": arguments, "environment": environment, "log": str(self.place / "log"),
            "seconds": int(limit) + 1, "wall": int(_WALL * limit) + 1,
        }  # fmt: skip
        status, seconds = self._called(call)
        if status == 0:
            return None, seconds
        ended = status in {-signal.SIGXCPU, -signal.SIGKILL}
        if ended or seconds > limit:  # or what a test has started was ended
            return {"timeout": ""}, seconds
        if witness.exists():
            return dict(json.loads(witness.read_text())), seconds
        text = (self.place / "log").read_text(errors="replace")[-2000:]
        raise UserError(f"{' '.join(tests)} ended with {status} and no test failed:\n{text}")

    def _called(self, call: dict[str, object]) -> tuple[int, float]:
        """The status and the processor seconds of what the runner was asked for, which ends with us."""
        asked, told, child = self._runner.stdin, self._runner.stdout, 0
        if asked is None or told is None:
            raise RuntimeError("the runner has no pipes")
        try:
            asked.write(json.dumps(call) + "\n")
            asked.flush()
            child = int(told.readline())
            status, seconds = json.loads(told.readline())
        except BaseException:
            if child:
                os.killpg(child, signal.SIGKILL)
            self.close()
            raise
        return status, seconds
