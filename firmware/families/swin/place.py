"""Finds out how many slots each stage of a Swin runs best with, and schedules the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TypeVar

from firmware.families.swin.constants import constants
from firmware.families.swin.pattern import SwinTransformer, recognise
from firmware.families.swin.plan import Plan
from firmware.planner.limits import check_patch, check_row, check_whole_words
from firmware.planner.padded import padded
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Item, most_slots
from firmware.planner.search import ranked
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["place"]

_Way = TypeVar("_Way")


def place(job: Job) -> Placed:
    """A short schedule. Raises CompileError if there is none."""
    config = job.config
    blocks = [block for stage in recognise(job.model).stages for block in stage.blocks]
    model = padded(job.model, blocks, config.word_bytes)
    roles, work = recognise(model), replace(job, model=model)
    _check(model, roles, config)
    image = constants(model, roles, config)
    stages, single = range(len(roles.stages)), replace(work, images=1)

    counts = range(most_slots(config), 0, -1)

    def best(ways: Iterable[_Way], plan_of: Callable[[_Way], Plan], items_of: Callable[[Plan], list[Item]]) -> _Way:
        """The way whose items take the fewest cycles."""

        def makespan(way: _Way, limit: float) -> int | None:
            plan = plan_of(way)
            scheduler = plan.scheduler(job.layers())
            return scheduler.makespan if scheduler.run(items_of(plan), limit) else None

        return ranked(ways, makespan)[0]

    def of_block(way: tuple[int, int]) -> Plan:
        """Slots, and the most rows of a slice in a projection, the same in every stage."""
        count, most = ([each] * len(stages) for each in way)
        return Plan(single, roles, image, count, count, most)

    ways = list(product(counts, _heights(config)))
    slots, rows = zip(*(best(ways, of_block, partial(Plan.trial, stage=stage)) for stage in stages), strict=True)

    def of_merging(count: int) -> Plan:
        return Plan(single, roles, image, slots, [count] * len(stages), rows)

    merging = [best(counts, of_merging, partial(Plan.merging_trial, stage=stage)) for stage in stages[:-1]]
    whole = Plan(work, roles, image, slots, merging, rows)
    scheduler = whole.scheduler(job.layers())
    scheduler.run(whole.items())
    tokens = sorted({count for stage in stages for _, count in whole.runs(stage)})
    checkpoints = whole.checkpoints(scheduler.emitted)
    return Placed(scheduler, image, whole.work_bytes, tuple(tokens), max(slots), checkpoints)


def _heights(config: Config) -> tuple[int, ...]:
    """Rows of a slice in a projection that are tried: of one rectangle, or of as many as fit all, a half or a quarter.

    A single slice has few rows of more than one, and gains nothing by a quarter.
    """
    heights = (config.tokens, config.tokens // 2, config.tokens // 4, 1)
    return heights if config.slices > 1 else (heights[0], heights[1], 1)


def _check(model: Model, roles: SwinTransformer, config: Config) -> None:
    for number, stage in enumerate(roles.stages):
        check_whole_words(f"dim of stage {number}", stage.dim, config)
        check_row(max(4 * stage.dim if stage.merge else stage.dim, stage.hidden), config)
        for block in stage.blocks:
            check_row(block.side**2, config)
            most = config.slices * config.tokens
            if block.side**2 > most < config.rows:
                raise CompileError(
                    f"a {block.side} x {block.side} window of {block.partition.name} must be cut at multiples of rows "
                    f"({config.rows}), but tokens ({most}) is less"
                )
    check_patch(model, config)
