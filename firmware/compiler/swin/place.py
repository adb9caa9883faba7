"""Finds out how many slots each stage of a Swin runs best with, and schedules the whole."""

from __future__ import annotations

from firmware.compiler.image import ModelImage
from firmware.compiler.placed import Layers, Placed
from firmware.compiler.program import CompileError
from firmware.compiler.scheduler import Scheduler
from firmware.compiler.swin.constants import constants
from firmware.compiler.swin.pattern import SwinTransformer, recognise
from firmware.compiler.swin.plan import Plan
from hw.spec.config import Config
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["place"]


def place(model: Model, config: Config, batch: int, layers: Layers) -> Placed:
    """A short schedule. Raises CompileError if there is none."""
    roles = recognise(model)
    _check(model, roles, config)
    image = constants(model, roles, config)
    slots = [_slots(model, roles, image, config, layers, number) for number in range(len(roles.stages))]
    plan = Plan(model, roles, image, config, batch, slots)
    scheduler = Scheduler(len(plan.arenas), layers())
    scheduler.run(plan.items())
    runs = {tokens for number in range(len(slots)) for _, tokens in plan.runs(number)}
    return Placed(
        scheduler, image, plan.work_bytes, tuple(sorted(runs)), max(slots), plan.checkpoints(scheduler.emitted)
    )


def _slots(model: Model, roles: SwinTransformer, image: ModelImage, config: Config, layers: Layers, number: int) -> int:
    """How many slots make stage `number` shortest: its first two blocks are scheduled with each."""
    best: tuple[int, int] | None = None
    refused: CompileError | None = None
    for count in range(min(4, config.stat_banks, config.row_max_banks // 2), 0, -1):
        plan = Plan(model, roles, image, config, 1, [count] * len(roles.stages))
        scheduler = Scheduler(len(plan.arenas), layers())
        try:
            scheduler.run(plan.trial(number))
        except CompileError as error:
            refused = error
            continue
        if best is None or scheduler.makespan < best[0]:
            best = scheduler.makespan, count
    if best is None:
        assert refused is not None
        raise refused
    return best[1]


def _check(model: Model, roles: SwinTransformer, config: Config) -> None:
    for number, stage in enumerate(roles.stages):
        sizes = {"dim": stage.dim, "hidden size": stage.hidden, "head size dim/heads": stage.dim // stage.heads}
        for what, value in sizes.items():
            if value % config.rows:
                raise CompileError(f"{what} of stage {number} must be a multiple of rows ({config.rows}), not {value}")
        longest = max(4 * stage.dim if stage.merge else stage.dim, stage.hidden)
        if longest > config.max_row:
            raise CompileError(f"a row of {longest} elements exceeds max_row ({config.max_row})")
        for block in stage.blocks:
            if block.side**2 > config.tokens:
                raise CompileError(
                    f"a window of {block.side} x {block.side} of {block.partition.name} exceeds tokens ({config.tokens})"
                )
    if align(model.image[0] * model.patch**2, config.rows) // config.rows > 512:
        raise CompileError(f"a patch of {model.patch} x {model.patch} is deeper than 512 array passes")
