"""Answers kept on disk while an evaluation runs: a header, then one line of JSON per finished batch.

Lines are appended and flushed to the disk, so that whatever happens only the batches in flight are lost. Each ends with
a check of itself, and of the header it stands under: a line that was changed, or is of another file, is not believed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError
from firmware.evaluate.batch import Batch
from firmware.files import check

__all__ = ["Store"]


_CHECKED = re.compile(rb'(\{.*),"check":"([0-9a-f]{16})"\}')


def _check_of(text: bytes, salt: str) -> str:
    return hashlib.sha256(salt.encode() + text).hexdigest()[:16]


def _line(value: Mapping[str, Any], salt: str) -> bytes:
    """`value` as JSON whose last key is a check of the rest."""
    text = json.dumps(value, separators=(",", ":")).encode()[:-1]
    return text + f',"check":"{_check_of(text, salt)}"}}'.encode()


def _content(line: bytes, salt: str) -> dict[str, Any] | None:
    """What `_line` made a line of, with the same salt; else None."""
    found = _CHECKED.fullmatch(line)
    if found is None or _check_of(found[1], salt) != found[2].decode():
        return None
    content: dict[str, Any] = json.loads(found[1] + b"}")
    return content


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
        check(self.path)
        if self.path.exists() and not self.path.is_file():
            raise UserError(f"the results go to a file, and {self.path} is none")
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
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
        first = _line(header, "")
        self._salt = first.decode()
        *lines, rest = [b""] if restart else self._file.read().split(b"\n")  # rest: nothing, or half a line
        if not lines:
            if not first.startswith(rest):
                self._compare(rest, header)
            self._rewrite([first])
            return
        self._compare(lines[0], header)
        good = [lines[0], *(line for number, line in enumerate(lines[1:], 2) if self._recall(number, line))]
        self._rewrite(good)

    def _compare(self, line: bytes, header: Mapping[str, Any]) -> None:
        """Raises UserError unless `line` is this header."""
        found = _content(line, "")
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
        answer = _content(line, self._salt)
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

    def _rewrite(self, lines: Sequence[bytes]) -> None:
        """The file is these lines: without what was damaged, or half-written by a killed run."""
        self._file.seek(0)
        if self._file.read() != (whole := b"".join(line + b"\n" for line in lines)):
            self._file.seek(0)
            self._flush(whole)
            self._file.truncate()
        self._file.seek(len(whole))

    def _flush(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from None

    def add(self, batch: Batch, classes: list[list[int]]) -> None:
        """Keeps a batch's answers, on the disk when this returns."""
        self._flush(_line({"start": batch.start, "classes": classes}, self._salt) + b"\n")
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
