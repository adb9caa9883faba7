"""A family from outside the tree: perceptrons, whose only patch is the whole image. This file is all there is of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from firmware.families import Architecture, Family, Wanted
from firmware.families.tensors import LINEAR, examine_ends
from firmware.families.weights import Weights
from firmware.graph.builder import Builder
from firmware.planner.allocator import Arena
from firmware.planner.image import ModelImage
from firmware.planner.limits import check_patch, check_row, check_whole_words
from firmware.planner.mlp import Activation
from firmware.planner.placed import Job, Placed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Item, Scheduler
from firmware.planner.steps import Slot, Steps, Worker
from firmware.planner.tasks import Tasks
from hw.spec.isa import Kind, Region
from hw.spec.memory import align
from hw.spec.model import Model, Node

__all__ = ["Perceptron"]

_LAYER = ("requantize", "shift_gelu", "requantize")  # behind patch_embed or linear


@dataclass(frozen=True, kw_only=True)
class PerceptronShape(Architecture):
    """`depths[0]` hidden layers behind the first."""

    family: ClassVar[str] = "perceptron"


class Perceptron(Family):
    name = "perceptron"
    titles = ("perceptron",)
    architectures = (
        PerceptronShape(name="perceptron_tiny_16", dim=64, depths=(2,), patch=16, img_size=16, classes=10),
    )
    tensor = re.compile(rf"(patch_embed\.proj|hidden\.\d+|head)\.{LINEAR}|.*\.act_scaling_factor")

    # Compiler

    def has_graph(self, model: Model) -> bool:
        return [node.op for node in model.nodes[1:5]] == ["patch_embed", *_LAYER]

    def place(self, job: Job) -> Placed:
        model, config = job.model, job.config
        hidden, head = _recognise(model)
        for first, *_ in hidden:
            check_whole_words(f"outputs of {first.name}", len(model.tensor(first, "weight")), config)
            check_row(len(model.tensor(first, "weight")), config)
        check_patch(model, config)
        image = ModelImage(model, config)
        for first, quant, *_ in hidden:
            image.linear(first, quant)
        image.linear(head, None)
        slot, scheduler = Slot(Arena(0, config.scratch_words), 0), Scheduler(1, job.layers())
        steps = Worker(Tasks(model, config, job.memory, image), slot)
        scheduler.run([Item(i, (), frozenset({0}), partial(_run, steps, model, i)) for i in range(job.images)])
        return Placed(scheduler, image, 0, (1,), 1, ())

    # Checkpoints and weights

    def has_tensors(self, names: Collection[str]) -> bool:
        return "hidden.0.weight" in names

    def examine(self, state: Mapping[str, Any], size: tuple[int, int] | None = None) -> PerceptronShape:
        del size  # of its only patch
        ends = examine_ends(state)
        return PerceptronShape(depths=(_depth(state),), img_size=ends["patch"], **ends)

    def build(self, build: Builder, wanted: Wanted) -> Any:
        scale, _ = build.patch_embed(build.input(), wanted.image, wanted.patch)
        at, width = _activation(build, "patch_embed.proj", scale)
        for name in (f"hidden.{i}" for i in range(_depth(wanted.names))):
            scale = build.linear(name, at, build.state.scale(at), width)
            at, width = _activation(build, name, scale)
        build.node("row", "class_token", at)
        return build.linear("head", "row", build.state.scale(at), width)

    def random_weights(self, shape: Architecture, make: Weights) -> None:
        make.patch_embed(shape.dim, shape.patch, 1.0)
        for i in range(shape.depths[0]):
            make.linear(f"hidden.{i}", shape.dim, (shape.dim,), 0.42 * shape.dim, 1.0)
        make.linear("head", shape.classes, (shape.dim,), 0.42 * shape.dim, 1.0)


def _activation(build: Builder, name: str, scale: Any) -> tuple[str, int]:
    """ShiftGELU behind `name`, whose scales are `scale`. Returns the last node and how many channels it has."""
    quantized = build.requantize(f"{name}.qact", name, scale, use="gelu")
    quantized = build.shift_gelu(f"{name}.act", f"{name}.qact", quantized)
    build.requantize(f"{name}.qact_act", f"{name}.act", quantized)
    return f"{name}.qact_act", len(scale)


def _depth(names: Collection[str]) -> int:
    return sum(bool(re.fullmatch(r"hidden\.\d+\.weight(_integer)?", name)) for name in names)


def _recognise(model: Model) -> tuple[list[tuple[Node, ...]], Node]:
    """(linear or patch_embed, its quantizer, ShiftGELU, its quantizer) of every layer, and the head."""
    _, *body, _, head = model.nodes
    layers = [tuple(body[i : i + 4]) for i in range(0, len(body), 4)]
    for number, layer in enumerate(layers):
        if [node.op for node in layer] != ["linear" if number else "patch_embed", *_LAYER]:
            raise CompileError(f"node {layer[0].name} and those behind it are no layer of a perceptron")
    return layers, head


def _run(steps: Worker, model: Model, number: int, _slot: int) -> Steps:
    """One image: everything stays in the scratchpad."""
    layers, head = _recognise(model)
    row = align(model.image[0] * model.patch**2, steps.word) // steps.word
    x = steps.arena.allocate("patch", 1, row)
    yield steps.tasks.load(layers[0][0], Region.INPUT, number * row, x, 1, ())
    for first, _, gelu, quant in layers:
        hidden = steps.rows("hidden", 1, len(model.tensor(first, "weight")))
        yield from steps.expand(first, Activation(gelu, quant), x, 1, hidden)
        x = hidden
    size = align(4 * model.classes, steps.word) // steps.word
    logits = steps.arena.allocate("logits", 1, size)
    yield steps.tasks.linear(head, x, 1, logits, model.classes, Kind.INT32)
    yield steps.tasks.store(head, Region.OUTPUT, number * size, logits, 1, ())
    steps.arena.free(x, logits)
