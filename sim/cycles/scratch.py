"""Who reads which bank of the scratchpad, and what that costs MATMUL, which has the lowest priority there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hw.spec.config import Config
from hw.spec.memory import param_words
from hw.spec.vector import Second, VectorOp
from hw.units.lockstep import Lockstep

__all__ = ["Conflicts", "Share", "handed", "matmul_share", "store_share", "together", "vector_share"]

Share = tuple[float, ...]  # reads per bank


def together(config: Config) -> int:
    """Cycles from the last slice's retirement of an instruction to that of the instruction; and from its being ready
    for the next one to that of the engine."""
    return Lockstep.latency if config.slices > 1 else 0


def handed(config: Config) -> int:
    """Cycles from an instruction's issue to that to the slices."""
    return Lockstep.issue_latency if config.slices > 1 else 0


def _spread(config: Config, parts: Iterable[tuple[int, int, float]]) -> Share:
    """Reads per bank of parts (first word, span in words, reads), whose reads are spread evenly over their span."""
    shares = [0.0] * config.banks
    for first, span, reads in parts:
        last = min(config.banks - 1, (first + span - 1) // config.bank_words)
        for bank in range(first // config.bank_words, last + 1):
            low, high = bank * config.bank_words, (bank + 1) * config.bank_words
            shares[bank] += reads * (min(high, first + span) - max(low, first)) / span
    return tuple(shares)


def _rows(o: Mapping[str, int], name: str, wide: int, config: Config) -> tuple[int, int, float]:
    words = -(-(o["length"] << wide) // config.word_bytes)
    return o[name], (o["rows"] - 1) * o[f"{name}_row"] + words, o["rows"] * words


def vector_share(config: Config, row: VectorOp, o: Mapping[str, int]) -> Share:
    """What a VECTOR instruction reads."""
    parts = [_rows(o, "source", o.get("wide_source", 0), config)]
    if row.second is Second.IDENTITY:
        parts.append(_rows(o, "identity", o.get("wide_identity", 0), config))
    if row.second is Second.PARAMETERS:
        words = o["length"] * param_words(config)
        parts.append((o["params"], words, words))
    return _spread(config, parts)


def store_share(config: Config, o: Mapping[str, int]) -> Share:
    """What a STORE reads."""
    steps = sum((o[f"count{k}" if k else "run"] - 1) * o[f"scratch{k}"] for k in range(3))
    return _spread(config, [(o["scratch"], steps + 1, o["run"] * o["count1"] * o["count2"])])


def matmul_share(config: Config, o: Mapping[str, int]) -> Share:
    """Which part of a MATMUL's reads is in each bank."""
    span = (o["rows"] - 1) * o["source_row"] + o["passes"]
    parts = [(o["source"], span, 1.0)]
    if o["two_planes"]:
        parts = [(o["source"], span, 0.5), (o["source"] + o["source_plane"], span, 0.5)]
    return _spread(config, parts)


class Conflicts:
    """Cycles that MATMUL loses to the reads of others; which cycle exactly is left to chance."""

    def __init__(self) -> None:
        self._readers: list[tuple[int, int, Share]] = []
        self.debt = 0.0  # cycles already lost in time that MATMUL has planned
        self.share: Share = ()
        self.planned = 0  # MATMUL's reads are known up to here

    def add(self, start: int, end: int, share: Share) -> None:
        """Someone reads `share` from `start` to `end`."""
        self.debt += self._lost(start, end, share, start, min(end, self.planned))
        self._readers = [reader for reader in self._readers if reader[1] > self.planned]
        self._readers.append((start, end, share))

    def lost(self, first: int, last: int) -> int:
        """Cycles that a MATMUL that reads all the time from `first` to `last` loses."""
        for start, end, share in self._readers:
            if end > first and start < last:
                self.debt += self._lost(start, end, share, max(first, start), min(last, end))
        whole = int(self.debt)
        self.debt -= whole
        self.planned = last + whole
        return whole

    def _lost(self, start: int, end: int, share: Share, first: int, last: int) -> float:
        if last <= first or not self.share:
            return 0.0
        return (last - first) / (end - start) * sum(a * b for a, b in zip(share, self.share, strict=True))
