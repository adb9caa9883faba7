"""What a campaign is: cases that a seed makes, each explained or not, and what they covered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import ClassVar

__all__ = ["Campaign", "Unexplained", "expect"]


class Unexplained(Exception):
    """A case did not end as it has to; the message says what was found and what was expected."""


def expect(condition: object, message: str) -> None:
    """Raises Unexplained with `message` unless `condition` holds."""
    if not condition:
        raise Unexplained(message)


class Campaign(ABC):
    """Made once in every process that runs cases of it. Cases count what they did in ``counts``.

    Counts whose name begins with ``cover`` are cover points: ``cover AREA: POINT``.
    """

    name: ClassVar[str]
    title: ClassVar[str]  # what its cases are, for the table
    counted: ClassVar[str]  # the count that the bar is of
    goal: ClassVar[int]  # the bar
    block: ClassVar[int]  # cases that one process runs: some seconds of them
    sources: ClassVar[tuple[str, ...]]  # files and folders whose contents a case depends on
    memory: ClassVar[int] = 0  # bytes that one process may have, 0: no limit

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @abstractmethod
    def case(self, seed: int) -> None:
        """Runs the case. Raises Unexplained, or whatever else nobody expects, if it ends as it should not."""

    def close(self) -> None:  # ruff: ignore[empty-method-without-abstract-decorator]  most have nothing to close
        """After the last case."""
