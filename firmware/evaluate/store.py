"""Answers kept on disk while an evaluation runs: a header, then one line of JSON per finished batch.

Lines are appended and flushed to the disk, so that whatever happens only the batches in flight are lost.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.evaluate.batch import Batch

__all__ = ["Store"]


class Store:
    """The answers in file `path`, for `count` images; `header` says of what, and must be what the file says.

    Raises UserError, naming what differs, for a file of another evaluation, or none such at all, unless `restart`; also
    for a file that another evaluation has open.
    """

    def __init__(self, path: str | Path, header: Mapping[str, Any], count: int, *, restart: bool = False) -> None:
        self.path, self._classes = Path(path), np.full((count, 0), -1, np.int64)
        self._done = np.zeros(count, bool)
        if self.path.is_dir():
            raise UserError(f"the results go to a file, and {self.path} is a directory")
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            self._begin(header, restart)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, header: Mapping[str, Any], restart: bool) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another evaluation is writing to {self.path}") from None
        lines = [] if restart else self._file.read().split(b"\n")[:-1]  # the last has no end: nothing, or half a line
        if lines:
            self._check(lines[0], header)
            self._recall(lines[1:])
        size = sum(len(line) + 1 for line in lines)
        self._file.seek(size)
        self._file.truncate()  # what a killed run left half-written
        if not lines:
            self._append(header)

    def _check(self, line: bytes, header: Mapping[str, Any]) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "evaluation" not in found:
            raise UserError(f"{self.path} is there and does not hold results of an evaluation")
        for key in {**header, **found}:
            if found.get(key) != header.get(key):
                raise UserError(
                    f"{self.path} holds results of another evaluation, {key} {found.get(key)} instead of "
                    f"{header.get(key)}: name another file with --results, or begin anew with --restart"
                )

    def _recall(self, lines: Sequence[bytes]) -> None:
        for number, line in enumerate(lines, 2):
            try:
                answer = json.loads(line)
                self._take(Batch(answer["start"], answer["start"] + len(answer["classes"])), answer["classes"])
            except (ValueError, KeyError, TypeError, IndexError):
                raise UserError(f"line {number} of {self.path} is no answer; begin anew with --restart") from None

    def _take(self, batch: Batch, classes: list[list[int]]) -> None:
        if not 0 <= batch.start < batch.stop <= len(self._done):
            raise ValueError(f"images {batch.start} to {batch.stop} of {len(self._done)}")
        if not self._classes.shape[1]:
            self._classes = np.full((len(self._done), len(classes[0])), -1, np.int64)
        self._classes[batch.start : batch.stop] = classes
        self._done[batch.start : batch.stop] = True

    def _append(self, value: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def add(self, batch: Batch, classes: list[list[int]]) -> None:
        """Keeps a batch's answers, on the disk when this returns."""
        self._append({"start": batch.start, "classes": classes})
        self._take(batch, classes)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

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
