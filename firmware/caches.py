"""Things made once and kept: known by a digest of all they are made from, and believed only while they are whole.

Beside a file or folder lies its seal: the digest of what it was made from, and that of its contents. What was cut off,
changed, emptied or put there by others does not match, and is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

__all__ = ["cache_directory", "digest", "is_whole", "kept", "seal", "sources"]

_DIGITS = 24  # hexadecimal, of a name: no two of 2^40 things have the same one


def cache_directory(kind: str, override: str | os.PathLike[str] | None = None) -> Path:
    """Where things of a kind are kept: in `override`, else SHIFTWORK_CACHE, else the user's cache directory."""
    chosen = override or os.environ.get("SHIFTWORK_CACHE") or platformdirs.user_cache_dir("shiftwork")
    return Path(chosen) / kind


def digest(*parts: str) -> str:
    """Hexadecimal digits of everything that decides what a thing contains."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


def sources(package: Path, without: str = "") -> str:
    """Names and texts of the Python files of a package, `without` the one of its folders that decides nothing."""
    names = (path.relative_to(package) for path in sorted(package.rglob("*.py")))
    return "".join(f"{name}\n{(package / name).read_text()}" for name in names if name.parts[0] != without)


def is_whole(path: Path, made_from: str, mark: Path) -> bool:
    """Is the file or folder `path` what `seal` sealed in file `mark`, made from the same?"""
    try:
        return mark.read_bytes() == _seal(path, made_from)
    except OSError:
        return False


def seal(path: Path, made_from: str, mark: Path) -> None:
    """Writes into `mark` that `path`, as it is, was made from what has the digest `made_from`."""
    mark.write_bytes(_seal(path, made_from))


def kept(path: Path, make: Callable[[Path], Path]) -> bool:
    """Whether `path`, whose name tells what it is made from, had to be made: by `make`, which returns what it made.

    `make` gets an empty directory to work in. Safe to call from several processes at once: whoever comes second waits
    and finds it. Raises OSError if nothing can be kept there.
    """
    mark, lock_name = path.with_name(f"{path.name}.seal"), path.with_name(f"{path.name}.lock")
    if is_whole(path, path.name, mark):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_name.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_whole(path, path.name, mark):
            return False
        with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as name:
            made, sealed = make(Path(name)), Path(name, "seal")
            seal(made, path.name, sealed)
            for found in (path, mark):  # of another kind, it would not be replaced
                if found.is_dir() and not found.is_symlink():
                    shutil.rmtree(found)
                elif made.is_dir():
                    found.unlink(missing_ok=True)
            os.replace(made, path)  # who has opened what was there keeps it
            os.replace(sealed, mark)
    return True


def _seal(path: Path, made_from: str) -> bytes:
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.is_file())
        listing = "".join(f"{found.relative_to(path)}\0{_sha256(found)}\n" for found in files)
        return f"{made_from} {hashlib.sha256(listing.encode()).hexdigest()}\n".encode()
    return f"{made_from} {_sha256(path)}\n".encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
