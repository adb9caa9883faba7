"""Files of texts, one a line."""

from __future__ import annotations

import sys
from pathlib import Path

from firmware.errors import UserError

__all__ = ["read_lines"]


def read_lines(path: str) -> list[str]:
    """The lines of the UTF-8 file `path`, of standard input if it is "-". Raises UserError where one is empty."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be text in UTF-8: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if not lines:
        raise UserError(f"there is no text in {path}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UserError(f"line {number} of {path} is empty: every line must be a text")
    return lines
