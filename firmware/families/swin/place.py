"""Finds out how many slots each stage of a Swin runs best with, and schedules the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from math import inf
from typing import TypeVar

from firmware.families.swin.constants import constants
from firmware.families.swin.pattern import SwinTransformer, recognise
from firmware.families.swin.plan import Plan
from firmware.planner.image import ModelImage
from firmware.planner.limits import check_patch, check_row, check_whole_words
from firmware.planner.padded import padded
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Item, Scheduler, most_slots
from firmware.planner.search import code_cycles, fewest, ranked
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["place"]

_Way = TypeVar("_Way")
_Block = tuple[int, int]  # slots, and the most rows of a slice in a projection
_ItemsOf = Callable[[Plan], list[Item]]
# One block's schedule misjudges a way by a few per cent, two blocks' cycles by less, and neither is always right.
_NEAR = 1.04
_FINALISTS = 6


def place(job: Job) -> Placed:
    """A short schedule. Raises CompileError if there is none."""
    config = job.config
    blocks = [block for stage in recognise(job.model).stages for block in stage.blocks]
    model = padded(job.model, blocks, config.word_bytes)
    roles = recognise(model)
    _check(model, roles, config)
    search = _Search(job, replace(job, model=model), roles, constants(model, roles, config))
    ways = list(product(search.counts, _heights(config)))
    near = [search.near(ways, search.of_block, partial(Plan.trial, stage=stage)) for stage in search.stages]
    judged = [
        search.judged(near[stage], search.of_block, partial(Plan.trial, stage=stage, blocks=2))
        for stage in search.stages
    ]
    wholes = search.whole([found[0] for found in near], by_model=False), search.whole(judged, by_model=True)
    plans = {(plan.slots, plan.merging, plan.stacks): plan for plan in wholes}.values()  # the same one once
    scheduled = [(plan, search.scheduled(plan, Plan.items)[0]) for plan in plans]
    plan, scheduler = fewest(scheduled, lambda each: search.cycles(each[1]))
    tokens = sorted({count for stage in search.stages for _, count in plan.runs(stage)})
    checkpoints = plan.checkpoints(scheduler.emitted)
    return Placed(scheduler, search.image, plan.work_bytes, tuple(tokens), max(plan.slots), checkpoints)


class _Search:
    """Plans of `work`, which is `job` padded, or of a part of it for a single image, and what they cost."""

    def __init__(self, job: Job, work: Job, roles: SwinTransformer, image: ModelImage) -> None:
        self.image, self.stages = image, range(len(roles.stages))
        self.counts = range(most_slots(work.config), 0, -1)
        self._job, self._work, self._single, self._roles = job, work, replace(work, images=1), roles

    def near(self, ways: Iterable[_Way], plan_of: Callable[[_Way], Plan], items_of: _ItemsOf) -> list[_Way]:
        """The ways whose items have the shortest schedules, shortest first."""

        def makespan(way: _Way, limit: float) -> int | None:
            scheduler, whole = self.scheduled(plan_of(way), items_of, limit)
            return scheduler.makespan if whole else None

        return ranked(ways, makespan, _NEAR)[:_FINALISTS]

    def judged(self, ways: Sequence[_Way], plan_of: Callable[[_Way], Plan], items_of: _ItemsOf) -> _Way:
        """The way whose items take the fewest cycles, by the cycle model."""
        return fewest(ways, lambda way: self.cycles(self.scheduled(plan_of(way), items_of)[0]))

    def of_block(self, way: _Block) -> Plan:
        """The same way in every stage."""
        count, most = ([each] * len(self.stages) for each in way)
        return Plan(self._single, self._roles, self.image, count, count, most)

    def whole(self, ways: Sequence[_Block], *, by_model: bool) -> Plan:
        """Everything with a way for each stage, and the best mergings for them."""
        slots, rows = zip(*ways, strict=True)

        def of_merging(count: int) -> Plan:
            return Plan(self._single, self._roles, self.image, slots, [count] * len(slots), rows)

        merging = []
        for stage in self.stages[:-1]:
            trial = partial(Plan.merging_trial, stage=stage)
            found = self.near(self.counts, of_merging, trial)
            merging.append(self.judged(found, of_merging, trial) if by_model else found[0])
        return Plan(self._work, self._roles, self.image, slots, merging, rows)

    def cycles(self, scheduler: Scheduler) -> int:
        """Of what it has scheduled, by the cycle model."""
        return code_cycles(scheduler.code, self._work.config, self._work.memory)

    def scheduled(self, plan: Plan, items_of: _ItemsOf, limit: float = inf) -> tuple[Scheduler, bool]:
        """With whether all items were, in no more than `limit` cycles."""
        scheduler = plan.scheduler(self._job.layers())
        return scheduler, scheduler.run(items_of(plan), limit)


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
