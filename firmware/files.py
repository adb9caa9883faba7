"""Everything a command writes goes through here: checked before the work begins, and written whole or not at all.

A regular file is replaced by a new one with its name when that is complete; symbolic links are written through. What is
there and is no regular file (a terminal, a pipe, /dev/null) is written into, never replaced or removed. Names are taken
as they are given. What cannot be written is told by UserError, in one sentence with the name that the user gave.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firmware.errors import UserError

__all__ = ["Outputs", "array", "check", "check_directory", "write", "writing"]

_LINKS = 40  # of a chain of symbolic links, as Linux follows them
_OWN = re.compile(r"/dev/(?:std(?:in|out|err)|fd/\d+)|/proc/(?:self|thread-self)/fd/\d+")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_BUSY = {errno.EBUSY, errno.EXDEV}  # a file mounted into a container cannot be replaced, only written


def check(path: str | Path) -> None:
    """Raises UserError if a file `path` could not be written now. Leaves everything as it is."""
    with _told(path):
        target = _target(path)
        if isinstance(target, int):
            if fcntl.fcntl(target, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        elif _replaceable(path, target):
            handle, temporary = _temporary(target)
            os.close(handle)
            temporary.unlink()


def check_directory(path: str | Path, what: str) -> None:
    """Makes directory `path` if it is not there. Raises UserError if that fails or no file could be written into it.

    `what` names the option in messages.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{what} must be a directory, and {path} is a file") from None
    except NotADirectoryError:
        raise UserError(f"{what} must be a directory, and a part of {path} is a file") from None
    except OSError as error:
        raise UserError(f"{what}: cannot make the directory {path}: {error.strerror}") from None
    check(path / "report.json")


@contextmanager
def writing(path: str | Path) -> Generator[BinaryIO, None, None]:
    """The file `path` to write to, whole when the block ends; if it raises, a regular file is as it was before."""
    with _told(path):
        target = _target(path)
        if isinstance(target, int) or not _replaceable(path, target):
            with suppress(ValueError, AttributeError):
                sys.stdout.flush()  # what was printed before comes before
            with os.fdopen(os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY), "wb") as file:
                yield file
            return
        handle, temporary = _temporary(target)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(handle)
            _replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def write(path: str | Path, content: str | bytes) -> None:
    """Writes the file `path`, text as UTF-8, as `writing` does."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def array(values: NDArray[Any]) -> Callable[[BinaryIO], object]:
    """What writes `values` as .npy, even into a pipe."""

    def give(file: BinaryIO) -> None:
        whole = BytesIO()
        np.save(whole, values)
        file.write(whole.getbuffer())

    return give


class Outputs:
    """The files that a command has been asked to write: all checked at once, then each written when it is known.

    A None among `paths` is a file that was not asked for. Where one cannot be written after all, the others are;
    `finish` then raises UserError with everything that failed.
    """

    def __init__(self, *paths: str | Path | None) -> None:
        self._failures: list[str] = []
        seen: dict[str, str | Path] = {}
        for path in paths:
            if path is None:
                continue
            check(path)
            target = _target(path)
            if not isinstance(target, int) and _replaceable(path, target):
                real = os.path.realpath(target)
                if real in seen:
                    raise UserError(f"{seen[real]} and {path} are one file: every output needs a file of its own")
                seen[real] = path

    def write(self, path: str | Path | None, give: Callable[[BinaryIO], object]) -> None:
        """`give` writes to the file `path`, if that was asked for."""
        if path is not None:
            self.attempt(lambda: _give(path, give))

    def attempt(self, action: Callable[[], object]) -> None:
        """Keeps what `action` raises as UserError for `finish`."""
        try:
            action()
        except UserError as error:
            self._failures.append(str(error))

    def finish(self) -> None:
        """Raises UserError if anything could not be written."""
        if self._failures:
            raise UserError("; ".join(self._failures))


def _give(path: str | Path, give: Callable[[BinaryIO], object]) -> None:
    with writing(path) as file:
        give(file)


@contextmanager
def _told(path: str | Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _target(path: str | Path) -> Path | int:
    """Where `path` leads: past symbolic links, or the descriptor of this process that it is."""
    if not str(path) or "\0" in str(path):
        raise UserError(f"{str(path)!r} is no name of a file")
    if str(path).endswith("/"):
        raise UserError(f"cannot write {path}: it names a directory")
    path = Path(path)
    for _ in range(_LINKS):
        name = str(path)
        if _OWN.fullmatch(name):
            return _STANDARD[name] if name in _STANDARD else int(path.name)
        if not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _replaceable(path: str | Path, target: Path) -> bool:
    """Is there a regular file, or nothing yet? False: something to write into. Raises UserError for all else."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise UserError(f"cannot write {path}: there is no directory {target.parent}") from None
        return True
    if stat.S_ISDIR(mode):
        raise UserError(f"cannot write {path}: it is a directory")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise UserError(f"cannot write {path}: it is a {'disk' if stat.S_ISBLK(mode) else 'socket'}, not a file")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return stat.S_ISREG(mode)


def _temporary(target: Path) -> tuple[int, Path]:
    """A new file beside `target`: its descriptor and name."""
    name = target.parent / f".{secrets.token_hex(8)}.part"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    return handle, name


def _replace(temporary: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.copymode(target, temporary)
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno not in _BUSY:
            raise
        shutil.copyfile(temporary, target)
