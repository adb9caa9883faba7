"""From an integer model to a device program: assembles what the planner of the model's family makes of it."""

from __future__ import annotations

from firmware.families import family_of_model
from firmware.planner.placed import Job
from firmware.planner.program import Checkpoint, CompileError, Layer, Program
from hw.boards.board import Board, config_and_memory
from hw.spec.config import Config
from hw.spec.model import Model

__all__ = ["Checkpoint", "CompileError", "Layer", "Program", "compile_model"]


def compile_model(model: Model, target: Board | Config, *, batch: int = 1, whole: bool = False) -> Program:
    """The device program that runs `batch` images of `model` on `target` per start.

    It computes of every tensor what reaches the outputs, or, with `whole`, everything, to be looked at.
    It is planned for the board's memory; for that of `Memory`'s defaults if the target is only a Config.
    Raises ModelError for a model that is not valid; CompileError, in one sentence, for one that cannot run there: a
    graph of no family, a dimension that the machine does not have, a buffer larger than the scratchpad has room for.
    """
    if not 1 <= batch <= 64:
        raise CompileError(f"batch must be from 1 to 64, not {batch}")

    config, memory = config_and_memory(target)
    job = Job(model=model, config=config, memory=memory, images=batch, whole=whole)
    placed = family_of_model(model).place(job)
    scheduler = placed.scheduler
    return Program(
        config=config,
        memory=memory,
        model=model,
        code=scheduler.code,
        images=batch,
        model_image=placed.image.data,
        work_bytes=placed.work_bytes,
        layers=[layer for layer in scheduler.layers.values() if layer.instructions],
        counts=scheduler.counts,
        estimated_cycles=scheduler.makespan,
        tiles=placed.tiles,
        slots=placed.slots,
        text=model.text,
        scratch_words=scheduler.scratch_words,
        checkpoints=placed.checkpoints,
    )
