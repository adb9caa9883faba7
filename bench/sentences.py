"""What was found of a trained encoder of sentences: the figures that it must reach, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import networks, page
from bench.runs import CLOCK, Row
from firmware.quantizer.measure import cosines

__all__ = ["Length", "Quality", "Results", "groups", "markdown", "pairs", "quality", "rows", "spearman"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Quality:
    """A quantization, on texts that it was not calibrated with."""

    case: str
    options: str
    recipe: str
    mean: float  # cosine of features
    least: float
    worst: str  # the text that it is of
    spearman: float  # of the similarities of pairs
    seconds: float
    rate: float | None  # texts of 32 tokens a second by the cycle model, in a batch
    cycles: int | None  # of such a text


@dataclass(frozen=True)
class Length:
    """Texts of one length on the simulated RTL."""

    case: str
    tokens: int
    texts: int
    bit_exact: bool
    cycles: int
    predicted: int
    utilisation: float
    compiled: float  # processor seconds

    @property
    def rate(self) -> float:
        """Texts per second at CLOCK."""
        return self.texts * CLOCK / self.cycles

    @property
    def deviation(self) -> float:
        """Of the cycle model, relative."""
        return self.predicted / self.cycles - 1


@dataclass(frozen=True)
class Results:
    """Everything that was asked for. A `quick` run has few texts, which no bar is for."""

    texts: int = 0
    pairs: int = 0
    calibrated: int = 0
    apart: float | None = None  # largest difference of a feature from the quantizer's own float network
    quality: Sequence[Quality] = ()
    lengths: Sequence[Length] = ()
    quick: bool = False

    @property
    def right(self) -> bool:
        """Whether the RTL gave the golden model's integers."""
        return all(length.bit_exact for length in self.lengths)


def groups(lines: Sequence[str]) -> list[list[str]]:
    """Texts of a file: groups with blank lines between them, comments left out."""
    found: list[list[str]] = [[]]
    for line in lines:
        if not line.strip():
            found.append([])
        elif not line.startswith("#"):
            found[-1].append(line)
    return [group for group in found if group]


def pairs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers of texts to compare: all of a group of so many, and the first one with the next group's first."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    found = []
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        found += [(start + i, start + j) for j in range(size) for i in range(j)]
        found.append((start, starts[(number + 1) % len(starts)]))
    return found


def _ranks(values: Array) -> Array:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Array = (ends - (counts - 1) / 2)[inverse]
    return ranks


def spearman(x: Array, y: Array) -> float:
    """Rank correlation."""
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def quality(expected: Array, found: Array, compared: Sequence[tuple[int, int]]) -> tuple[Array, float]:
    """Cosines of features [n, width] with those expected, and the rank correlation of pairs' similarities."""
    first, second = np.array(compared).T
    similar = [cosines(values[first], values[second]) for values in (expected, found)]
    return cosines(expected, found), spearman(*similar)


def rows(results: Results) -> list[Row]:
    """The table: every figure asked for, measured or not."""
    found, whole = {quality.case: quality for quality in results.quality}, not results.quick
    plain, spent = found.get("8-bit"), found.get("budget-1.35")
    many = next((r for r in results.lengths if (r.tokens, r.case) == (32, "8-bit")), None)
    long = next((r for r in results.lengths if (r.tokens, r.case) == (128, "8-bit")), None)
    apart = max((abs(length.deviation) for length in results.lengths), default=None)

    def four(text: str, value: float | None, bar: float, stretch: float) -> Row:
        return Row(text, value, bar, stretch, lambda value: f"{value:.4f}", whole=whole)

    return [
        four("--budget 1.35: cosine of features, mean", spent and spent.mean, 0.995, 0.998),
        four("--budget 1.35: cosine of features, least", spent and spent.least, 0.985, 0.993),
        four("--budget 1.35: rank correlation of pairs' similarities", spent and spent.spearman, 0.99, 0.995),
        four("all inputs 8 bits: cosine of features, mean", plain and plain.mean, 0.985, 0.99),
        Row("32 tokens, all inputs 8 bits, batched: texts/s at 100 MHz, simulated RTL", many and many.rate, 28, 33,
            lambda value: f"{value:.1f}", whole=whole),
        four("128 tokens, all inputs 8 bits: utilisation, simulated RTL", long and long.utilisation, 0.85, 0.9),
        Row("cycle model against the simulated RTL, largest deviation", apart, 0.02, None,
            lambda value: f"{value:.2%}", more_is_better=False, whole=whole),
        Row("lengths whose integers all equal the golden model's, simulated RTL",
            float(sum(length.bit_exact for length in results.lengths)) if results.lengths else None,
            len(results.lengths), None, lambda value: f"{value:.0f}", whole=whole),
    ]  # fmt: skip


def markdown(results: Results) -> str:
    """Bars, then a table of what was quantized and one of what was simulated."""
    parts = [networks.figures(rows(results))]
    if results.quality:
        apart = "" if results.apart is None else (
            f" Float features differ from those of the quantizer's float network by at most {results.apart:.1e}."
        )  # fmt: skip
        parts += [
            f"{results.calibrated} texts calibrate; {results.texts} others, in {results.pairs} pairs, judge.{apart}",
            _quality(results.quality),
        ]
    if results.lengths:
        parts.append(_lengths(results.lengths))
    return "\n\n".join(parts)


def _quality(found: Sequence[Quality]) -> str:
    head = ("case", "how", "recipe", "cosine, mean", "least", "of the text", "rank correlation of pairs",
            "cycles for 32 tokens", "texts/s at 100 MHz", "quantized in")  # fmt: skip
    body = [
        (
            q.case, q.options, q.recipe, f"{q.mean:.4f}", f"{q.least:.4f}", q.worst, f"{q.spearman:.4f}",
            "" if q.cycles is None else f"{q.cycles:,}", "" if q.rate is None else f"{q.rate:.1f}",
            f"{q.seconds:.0f} s",
        )
        for q in found
    ]  # fmt: skip
    return page.table(head, body)


def _lengths(found: Sequence[Length]) -> str:
    head = ("case", "tokens", "texts together", "bit-exact", "cycles", "cycle model", "utilisation",
            "texts/s at 100 MHz", "compiled in, processor time")  # fmt: skip
    body = [
        (
            r.case, str(r.tokens), str(r.texts), "yes" if r.bit_exact else "NO", f"{r.cycles:,}",
            f"{r.deviation:+.2%}", f"{r.utilisation:.4f}", f"{r.rate:.1f}", f"{r.compiled:.2f} s",
        )
        for r in found
    ]  # fmt: skip
    return page.table(head, body)
