"""What blocks came to, kept while they come: a file per campaign, a line of JSON per block."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import lines
from bench.kept import sources
from bench.trust.blocks import Block
from bench.trust.campaign import Campaign

__all__ = ["Ledger"]


class Ledger:
    """Of one campaign, in `folder`. Half a line, of a run cut off, is dropped; its cases run again.

    A block with failures runs again once the campaign's sources, whose digest is ``sources``, are others than those it
    ran on; the later line takes the place of the earlier one, which counts as found only.
    """

    def __init__(self, folder: Path, campaign: type[Campaign]) -> None:
        self.campaign = campaign
        self.sources = sources(*campaign.sources)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{campaign.name}.jsonl"
        self._lines = [Block(**line) for line in lines.read(self._path)]
        self._given: set[int] = set()

    @property
    def blocks(self) -> list[Block]:
        """The last line of each."""
        return list({block.first: block for block in self._lines}.values())

    def seeds(self) -> tuple[int, int]:
        """First seed and number of cases of the next block; every call gives other ones."""
        known = self._given | {block.first for block in self.blocks if not self._stale(block)}
        first = next(n for n in range(0, 1 << 62, self.campaign.block) if n not in known)
        self._given.add(first)
        return first, self.campaign.block

    def _stale(self, block: Block) -> bool:
        return bool(block.failures) and block.sources != self.sources

    def add(self, block: Block) -> None:
        """Appended, and on the disk."""
        self._lines.append(block)
        lines.append(self._path, asdict(block))

    @property
    def counts(self) -> Counter[str]:
        """Of all blocks."""
        total: Counter[str] = Counter()
        for block in self.blocks:
            total.update(block.counts)
        return total

    @property
    def failures(self) -> list[dict[str, Any]]:
        """That are left: cases which nobody has explained."""
        return [failure for block in self.blocks for failure in block.failures]

    @property
    def found(self) -> int:
        """Failures that there ever were."""
        return sum(len(block.failures) for block in self._lines)

    @property
    def cases(self) -> tuple[int, int]:
        """All, and those that ran on the present sources."""
        return (
            sum(block.cases for block in self.blocks),
            sum(block.cases for block in self.blocks if block.sources == self.sources),
        )
