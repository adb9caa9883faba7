"""Tries the ways to cut a ViT's tokens into super-tiles, on a few blocks, and schedules the best for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from math import lcm

from firmware.families.vit.constants import constants
from firmware.families.vit.pattern import Block, VisionTransformer, recognise
from firmware.families.vit.plan import Plan
from firmware.planner.limits import check_patch, check_row, check_whole_words
from firmware.planner.padded import padded
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError, UnitError
from firmware.planner.scheduler import Scheduler, most_slots
from firmware.planner.search import code_cycles, fewest, ranked
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["cuts", "place"]

_Way = tuple[tuple[int, ...], tuple[int, ...]]  # tokens of each super-tile, banks of each slot
_LIKE = 2  # blocks of a kind in a trial: from one to the next, everything happens once
# How much longer than the shortest a schedule may be that the cycle model is asked about: the scheduler, which counts
# what engines take of memory and scratchpad from each other as shares, is wrong by up to 6 % where that is the limit.
_NEAR = 1.05
_FINALISTS = 2


def place(job: Job) -> Placed:
    """The shortest schedule that was found. Raises CompileError if there is none."""
    config = job.config
    model = padded(job.model, recognise(job.model).blocks, config.word_bytes)
    roles, work = recognise(model), replace(job, model=model)
    _check(model, roles, config)
    image, few = constants(model, roles, config), _few_blocks(roles)
    ways = [
        (tiles, banks) for tiles in cuts(roles.tokens, config) for banks in _arenas(config, job.images * len(tiles))
    ]
    found: dict[tuple[int, _Way], tuple[Scheduler, Plan]] = {}  # by depth

    def schedule(of: VisionTransformer, way: _Way, limit: float) -> int | None:
        plan, scheduler = Plan(work, of, image, *way), Scheduler(len(way[1]), job.layers())
        if not scheduler.run(plan.items(), limit):
            return None
        found[of.depth, way] = scheduler, plan
        return scheduler.makespan

    def on(of: VisionTransformer, among: Iterable[_Way]) -> list[_Way]:
        """The best few, of different super-tiles: about slots the scheduler is right."""
        near: dict[tuple[int, ...], _Way] = {}
        for way in ranked(among, partial(schedule, of), _NEAR):
            near.setdefault(way[0], way)
        return list(near.values())[:_FINALISTS]

    trial = few
    try:
        finalists = on(few, ways)
        if few.depth < roles.depth:
            finalists = on(roles, finalists)
    except UnitError:
        raise
    except CompileError:  # what fits a few blocks need not fit all
        trial, finalists = roles, on(roles, ways)

    def cycles(way: _Way) -> float:
        """Of all blocks, were the scheduler as wrong about them as about those of the trial."""
        tried = found[trial.depth, way][0]
        return found[roles.depth, way][0].makespan * code_cycles(tried.code, config, job.memory) / tried.makespan

    best = fewest(finalists, cycles)
    scheduler, plan = found[roles.depth, best]
    checkpoints = plan.checkpoints(scheduler.emitted)
    return Placed(scheduler, image, plan.work_bytes, tuple(plan.tiles), len(plan.slots), checkpoints)


def _few_blocks(roles: VisionTransformer) -> VisionTransformer:
    """The same with few blocks of each kind, by their wide inputs, and the last one, of which less may be computed."""
    seen: Counter[tuple[bool, ...]] = Counter()
    kept: list[Block] = []
    for block in roles.blocks[:-1]:
        kind = block.wide
        seen[kind] += 1
        if seen[kind] <= _LIKE:
            kept.append(block)
    return replace(roles, blocks=(*kept, roles.blocks[-1]))


def cuts(tokens: int, config: Config) -> list[tuple[int, ...]]:
    """Ways to cut `tokens` into super-tiles that start at whole words, largest tiles first.

    Of a single slice they start at whole tiles of keys, too, where a super-tile can hold a number of tokens that is
    both. Tiles are equal but for the last, which takes the remainder, if that fits the accumulators, or is the
    remainder. Raises CompileError where there is no way.
    """
    most, both = config.slices * config.tokens, lcm(config.rows, config.cols)
    unit = both if both <= most and config.slices == 1 else config.rows
    choices: dict[tuple[int, ...], None] = {(tokens,): None} if tokens <= most else {}
    for size in range(most // unit * unit, 0, -unit):
        count, rest = divmod(tokens, size)
        if not count:
            continue
        if rest and size + rest <= most:
            choices[*[size] * (count - 1), size + rest] = None
        choices[*[size] * count, *([rest] if rest else [])] = None
    if not choices:
        raise CompileError(
            f"{tokens} tokens must be cut at multiples of rows ({config.rows}), but tokens ({most}) is less"
        )
    return list(choices)


def _arenas(config: Config, items: int) -> list[tuple[int, ...]]:
    """Ways to give the scratchpad's banks to slots, in ascending sizes: (4,), (1, 3), (2, 2), (1, 1, 2) ..."""
    most = min(most_slots(config), items)

    def split(banks: int, least: int, slots: int) -> list[tuple[int, ...]]:
        if slots == 1:
            return [(banks,)]
        return [
            (first, *rest)
            for first in range(least, banks // slots + 1)
            for rest in split(banks - first, first, slots - 1)
        ]

    return [way for slots in range(1, most + 1) for way in split(config.banks, 1, slots)]


def _check(model: Model, roles: VisionTransformer, config: Config) -> None:
    check_whole_words("dim", roles.dim, config)
    check_row(max(roles.tokens, roles.dim, roles.hidden), config)
    check_patch(model, config)
