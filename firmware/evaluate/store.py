"""Answers kept on disk while an evaluation runs: a header, then one line of JSON per finished batch.

Lines are salted by the header they stand under.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.evaluate.batch import Batch
from firmware.evaluate.journal import Journal, content_of, line_of

__all__ = ["Store"]


class Store:
    """The answers in file `path`, for `count` images; `header` says of what, and must be what the file says.

    Damaged lines are dropped, their images answered anew; `damaged` has their numbers. Raises UserError, naming what
    differs, for a file of another evaluation, or none such at all, unless `restart`; also for a file that another
    evaluation has open, or that cannot be written.
    """

    damaged: tuple[int, ...] = ()

    def __init__(self, path: str | Path, header: Mapping[str, Any], count: int, *, restart: bool = False) -> None:
        self.path, self._classes = Path(path), np.full((count, 0), -1, np.int64)
        self._done = np.zeros(count, bool)
        self._journal = Journal(self.path, "evaluation")
        try:
            self._begin(header, restart)
        except BaseException:
            self.close()
            raise

    def _begin(self, header: Mapping[str, Any], restart: bool) -> None:
        first = line_of(header, "")
        self._salt = first.decode()
        *lines, rest = [b""] if restart else self._journal.read()  # rest: nothing, or half a line
        if not lines:
            if not first.startswith(rest):
                self._compare(rest, header)
            self._journal.rewrite([first])
            return
        self._compare(lines[0], header)
        good = [lines[0], *(line for number, line in enumerate(lines[1:], 2) if self._recall(number, line))]
        self._journal.rewrite(good)

    def _compare(self, line: bytes, header: Mapping[str, Any]) -> None:
        """Raises UserError unless `line` is this header."""
        found = content_of(line, "")
        if found is None or "evaluation" not in found:
            text = "has a damaged first line" if b'"evaluation"' in line else "does not hold results of an evaluation"
            raise UserError(f"{self.path} {text}: name another file with --results, or begin anew with --restart")
        for key in {**header, **found}:
            if found.get(key) != header.get(key):
                raise UserError(
                    f"{self.path} holds results of another evaluation, {key} {found.get(key)} instead of "
                    f"{header.get(key)}: name another file with --results, or begin anew with --restart"
                )

    def _recall(self, number: int, line: bytes) -> bool:
        """Takes the answers in `line`, unless it is damaged."""
        answer = content_of(line, self._salt)
        if answer is None:
            self.damaged = (*self.damaged, number)
            return False
        self._take(Batch(answer["start"], answer["start"] + len(answer["classes"])), answer["classes"])
        return True

    def _take(self, batch: Batch, classes: list[list[int]]) -> None:
        if not self._classes.shape[1]:
            self._classes = np.full((len(self._done), len(classes[0])), -1, np.int64)
        self._classes[batch.start : batch.stop] = classes
        self._done[batch.start : batch.stop] = True

    def add(self, batch: Batch, classes: list[list[int]]) -> None:
        """Keeps a batch's answers, on the disk when this returns."""
        self._journal.append(line_of({"start": batch.start, "classes": classes}, self._salt))
        self._take(batch, classes)

    def close(self) -> None:
        """Closes the file."""
        self._journal.close()

    @property
    def done(self) -> int:
        """Images answered."""
        return int(self._done.sum())

    def missing(self, size: int) -> list[Batch]:
        """What remains, in batches of at most `size` images."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self._done, [True]]).astype(np.int8)))
        return [
            Batch(start, min(start + size, int(last)))
            for first, last in edges.reshape(-1, 2)
            for start in range(int(first), int(last), size)
        ]

    def correct(self, targets: NDArray[np.int64]) -> tuple[int, int]:
        """Images so far whose class is the first of the answers, and among them."""
        hits = (self._classes == targets[:, None]) & self._done[:, None]
        return int(hits[:, :1].sum()), int(hits.any(axis=1).sum())
