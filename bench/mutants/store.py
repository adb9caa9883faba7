"""Verdicts kept on disk while they come: a line of JSON each, believed as long as what they say of is what it was."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from bench import lines
from bench.mutants.operators import Mutant
from bench.mutants.rings import rings
from bench.mutants.trial import Verdict, digest
from firmware.files import check

__all__ = ["Store"]


class Store:
    """The verdicts in file `path` on mutants of the tree `root`, up to the ring `outermost`.

    A later line takes the place of an earlier one on the same mutant; half a line, of a run cut off, is dropped.
    Raises UserError for a file that cannot be written.
    """

    def __init__(self, path: Path, root: Path, outermost: str) -> None:
        self._path, self._root, self._outermost = path, root, outermost
        path.parent.mkdir(parents=True, exist_ok=True)
        check(path)
        self._lines = {line["mutant"]: line for line in lines.read(path)}

    def verdict(self, mutant: Mutant) -> Verdict | None:
        """What is known of it and still true."""
        found = self._lines.get(mutant.name)
        if found is None:
            return None
        verdict = Verdict(**found["verdict"])
        if verdict.made_from != digest(self._root, mutant.unit, verdict.ring, verdict.test):
            return None
        names = [name for name, _ in rings(self._root, mutant.unit)]
        last = self._outermost if self._outermost in names else names[-1]
        further = verdict.outcome == "survived" and names.index(verdict.ring) < names.index(last)
        return None if further else verdict

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Appended, and on the disk."""
        line = {"mutant": mutant.name, "verdict": asdict(verdict)}
        self._lines[mutant.name] = line
        lines.append(self._path, line)
