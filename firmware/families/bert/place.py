"""Cuts a BERT's tokens into super-tiles, several whole texts or parts of one, and gives the scratchpad to slots.

A new length of text is to be compiled in a moment, so the ways to do it are not scheduled one by one as a ViT's are:
they are ordered by an estimate, and the first whose super-tiles fit is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from firmware.families.bert.constants import constants
from firmware.families.bert.pattern import recognise
from firmware.families.bert.plan import Plan
from firmware.families.bert.super_tile import Share
from firmware.planner.costs import stream_cost
from firmware.planner.limits import check_row, check_whole_words
from firmware.planner.padded import padded
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Scheduler, most_slots
from firmware.planner.steps import is_wide
from hw.spec.config import Config
from hw.spec.memory import align, stream_words
from hw.spec.model import Model

__all__ = ["place"]

_BUSY = {1: 0.78, 2: 0.86, 4: 0.95}
"""Share of the time that the array is busy, by slots, as schedules of 1, 2 and 4 came out."""

Way = tuple[tuple[int, ...], tuple[Share, ...]]  # banks of each slot, and super-tiles


def place(job: Job) -> Placed:
    """The likeliest schedule that fits. Raises CompileError if there is none."""
    config = job.config
    prepared = _prepared(_Same(job.model), config)
    model = replace(prepared.model, image=job.model.image)
    roles = recognise(model)
    check_whole_words("dim", roles.dim, config)
    check_row(max(roles.tokens, roles.dim, roles.hidden), config)
    job = replace(job, whole=True)  # where the feature is the first token's, the others' last block is computed, too
    image, work = prepared.image, replace(job, model=model)
    refused: CompileError | None = None
    for banks, shares in sorted(_ways(roles.tokens, job.images, config), key=lambda way: prepared.cycles(work, *way)):
        plan = Plan(work, roles, image, shares, banks)
        try:
            items = plan.items()
        except CompileError as error:
            refused = error
            continue
        scheduler = Scheduler(len(banks), job.layers())
        scheduler.run(items)
        rows = tuple(share.rows for share in shares)
        return Placed(scheduler, image, plan.work_bytes, rows, len(plan.slots), plan.checkpoints(scheduler.emitted))
    assert refused is not None
    raise refused


def _ways(tokens: int, texts: int, config: Config) -> Iterator[Way]:
    """Ways to cut, each with equal slots: whole texts, or parts of them that start at whole words."""
    slots = [count for count in _BUSY if count <= min(most_slots(config), config.banks)]
    cuts = [
        tuple(Share(first, min(count, texts - first), 0, tokens) for first in range(0, texts, count))
        for count in range(1, min(texts, config.tokens // tokens) + 1)
    ]
    for most in range(config.rows, min(config.tokens, align(tokens, config.rows) - 1) + 1, config.rows):
        parts = -(-tokens // most)
        size = align(-(-tokens // parts), config.rows)
        starts = range(0, tokens, size)
        cuts.append(
            tuple(Share(text, 1, start, min(size, tokens - start)) for text in range(texts) for start in starts)
        )
    for shares in dict.fromkeys(cuts):
        for count in slots:
            yield (config.banks // count,) * count, shares


class _Same:
    """A model whose nodes and tensors are the same objects: of any length of text."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same)
            and self.model.tensors is other.model.tensors
            and self.model.nodes is other.model.nodes
        )

    def __hash__(self) -> int:
        return hash((id(self.model.tensors), id(self.model.nodes)))


class _Prepared:
    """What texts of every length have in common: padded constants, as the device reads them."""

    def __init__(self, model: Model, config: Config) -> None:
        self.model = padded(model, recognise(model).blocks, config.word_bytes)
        roles = recognise(self.model)
        self.image = constants(self.model, roles, config)
        self._words = self._beats = 0  # of all weights: their streaming, and the array's work for a token
        for block in roles.blocks:
            inputs = (block.norm1_quant, block.context_quant, block.norm2_quant, block.act.output)
            linears = (block.qkv, block.proj, block.fc1, block.fc2)
            for linear, reads in zip(linears, inputs, strict=True):
                outputs, depth = self.model.tensor(linear, "weight").shape
                self._words += stream_words(outputs, depth, config, params=True)
                self._beats += stream_words(outputs, depth, config, params=False) // config.cols * (1 + is_wide(reads))

    def cycles(self, job: Job, banks: Sequence[int], shares: Sequence[Share]) -> float:
        """About how many a schedule has: each super-tile multiplies by all weights, or waits for them."""
        streamed, _ = stream_cost(self._words, job.config, job.memory)
        busy = max(share for count, share in _BUSY.items() if count <= min(len(banks), len(shares)))
        return sum(max(self._beats * max(share.rows, job.config.cols), streamed) for share in shares) / busy


@lru_cache(maxsize=2)
def _prepared(same: _Same, config: Config) -> _Prepared:
    return _Prepared(same.model, config)
