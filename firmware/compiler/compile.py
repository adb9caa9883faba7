"""`compile_model`: tries the ways to cut a model into super-tiles and keeps the one with the shortest schedule."""

from __future__ import annotations

from math import lcm

from firmware.compiler.image import ModelImage
from firmware.compiler.pattern import VisionTransformer, recognise
from firmware.compiler.plan import Plan
from firmware.compiler.program import CompileError, Layer, Program
from firmware.compiler.scheduler import Scheduler
from hw.spec.config import Config
from hw.spec.memory import align
from hw.spec.model import Model

__all__ = ["compile_model", "cuts"]


def compile_model(model: Model, config: Config, *, batch: int = 1) -> Program:
    """The device program that runs `batch` images of `model` on `config` per start.

    Raises CompileError, in one sentence, when the model cannot run there: a dimension the machine does not have, or a
    buffer larger than the scratchpad has room for.
    """
    if not 1 <= batch <= 64:
        raise CompileError(f"batch must be from 1 to 64, not {batch}")
    roles = recognise(model)
    _check(model, roles, config)
    image = ModelImage(model, roles, config)
    best: tuple[Scheduler, Plan] | None = None
    refused: CompileError | None = None
    for tiles in cuts(roles.tokens, config):
        for banks in _arenas(config, batch * len(tiles)):
            try:
                candidate = _schedule(model, roles, image, config, batch, tiles, banks)
            except CompileError as error:
                refused = error
                continue
            if best is None or candidate[0].makespan < best[0].makespan:
                best = candidate
    if best is None:
        assert refused is not None
        raise refused
    scheduler, plan = best
    return Program(
        config=config,
        model=model,
        code=b"".join(scheduler.code),
        images=batch,
        model_image=image.data,
        work_bytes=plan.work_bytes,
        layers=[layer for layer in scheduler.layers.values() if layer.instructions],
        counts=scheduler.counts,
        estimated_cycles=scheduler.makespan,
        tiles=tuple(plan.tiles),
        slots=plan.slots,
        checkpoints=plan.checkpoints(scheduler.emitted),
    )


def cuts(tokens: int, config: Config) -> list[tuple[int, ...]]:
    """Ways to cut `tokens` into super-tiles that start at whole words and whole tiles, largest tiles first.

    Tiles are equal but for the last, which takes the remainder, if that fits the accumulators, or is the remainder.
    """
    unit = lcm(config.rows, config.cols)
    choices: dict[tuple[int, ...], None] = {}
    for size in range(config.tokens // unit * unit, 0, -unit):
        count, rest = divmod(tokens, size)
        if not count:
            choices[tokens,] = None
            continue
        if rest and size + rest <= config.tokens:
            choices[*[size] * (count - 1), size + rest] = None
        choices[*[size] * count, *([rest] if rest else [])] = None
    return list(choices)


def _arenas(config: Config, items: int) -> list[tuple[int, ...]]:
    """Ways to give the scratchpad's banks to slots, in ascending sizes: (4,), (1, 3), (2, 2), (1, 1, 2) ..."""
    most = min(4, config.stat_banks, config.row_max_banks // 2, items)

    def split(banks: int, least: int, slots: int) -> list[tuple[int, ...]]:
        if slots == 1:
            return [(banks,)]
        return [
            (first, *rest)
            for first in range(least, banks // slots + 1)
            for rest in split(banks - first, first, slots - 1)
        ]

    return [way for slots in range(1, most + 1) for way in split(config.banks, 1, slots)]


def _schedule(
    model: Model, roles: VisionTransformer, image: ModelImage, config: Config, batch: int, tiles: tuple[int, ...],
    banks: tuple[int, ...],
) -> tuple[Scheduler, Plan]:  # fmt: skip
    plan = Plan(model, roles, image, config, batch, tiles, banks)
    scheduler = Scheduler(len(banks), _layers(model, batch))
    scheduler.run(plan.items())
    return scheduler, plan


def _layers(model: Model, batch: int) -> dict[str, Layer]:
    """The model's nodes, with the MACs of each for `batch` images."""
    return {node.name: Layer(node.name, node.op, model.layer_macs[node.name] * batch) for node in model.nodes}


def _check(model: Model, roles: VisionTransformer, config: Config) -> None:
    head_dim = roles.dim // roles.heads
    for what, value in (("dim", roles.dim), ("hidden", roles.hidden), ("head size dim/heads", head_dim)):
        if value % config.rows:
            raise CompileError(f"{what} must be a multiple of rows ({config.rows}), not {value}")
    longest = max(roles.tokens, roles.dim, roles.hidden)
    if longest > config.max_row:
        raise CompileError(f"a row of {longest} elements exceeds max_row ({config.max_row})")
    if align(model.image[0] * model.patch**2, config.rows) // config.rows > 512:
        raise CompileError(f"a patch of {model.patch} x {model.patch} is deeper than 512 array passes")
