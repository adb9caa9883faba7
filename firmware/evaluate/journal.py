"""A file of lines of JSON that grows while work is done: appended and flushed to the disk, one writer at a time.

Whatever happens, only what was in flight is lost. Each line ends with a check of itself, salted by what it belongs to:
a line that was changed, or is of another file, is not believed.
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

from firmware.errors import UserError
from firmware.files import check

__all__ = ["Journal", "content_of", "line_of"]

_CHECKED = re.compile(rb'(\{.*),"check":"([0-9a-f]{16})"\}')


def _check_of(text: bytes, salt: str) -> str:
    return hashlib.sha256(salt.encode() + text).hexdigest()[:16]


def line_of(value: Mapping[str, Any], salt: str) -> bytes:
    """`value` as JSON whose last key is a check of the rest."""
    text = json.dumps(value, separators=(",", ":")).encode()[:-1]
    return text + f',"check":"{_check_of(text, salt)}"}}'.encode()


def content_of(line: bytes, salt: str) -> dict[str, Any] | None:
    """What `line_of` made a line of, with the same salt; else None."""
    found = _CHECKED.fullmatch(line)
    if found is None or _check_of(found[1], salt) != found[2].decode():
        return None
    try:
        content: dict[str, Any] = json.loads(found[1] + b"}")
    except ValueError:  # the salt, with nothing between, and what belongs to it: the end of the line before was lost
        return None
    return content


class Journal:
    """The file `path`, opened for reading and appending.

    Raises UserError for what is no file or cannot be written, and where another `what` is writing to it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        check(path)
        if path.exists() and not path.is_file():
            raise UserError(f"the results go to a file, and {path} is none")
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UserError(f"another {what} is writing to {path}") from None

    def read(self) -> list[bytes]:
        """Its lines, and what comes behind the last one: nothing, or half a line."""
        self._file.seek(0)
        return self._file.read().split(b"\n")

    def rewrite(self, lines: Sequence[bytes]) -> None:
        """The file is these lines: without what was damaged, or half-written by a killed run."""
        self._file.seek(0)
        if self._file.read() != (whole := b"".join(line + b"\n" for line in lines)):
            self._file.seek(0)
            self._flush(whole)
            self._file.truncate()
        self._file.seek(len(whole))

    def append(self, line: bytes) -> None:
        """On the disk when this returns."""
        self._flush(line + b"\n")

    def _flush(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Closes the file; another may write to it."""
        self._file.close()
