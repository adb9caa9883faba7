"""PatchNet, a family of its own: embeds one row of patches, bends it by LEAKY, and classifies by the first patch."""

from dataclasses import dataclass

from firmware.families import Family
from firmware.planner.allocator import Arena
from firmware.planner.image import ModelImage
from firmware.planner.limits import check_patch, check_whole_words
from firmware.planner.pattern import READ, Nodes, role
from firmware.planner.placed import Placed
from firmware.planner.program import CompileError
from firmware.planner.scheduler import Item, Scheduler
from firmware.planner.steps import Slot, Worker
from firmware.planner.tasks import Tasks
from hw.spec.isa import Kind, Op, Region
from hw.spec.memory import align

__all__ = ["PatchNet"]

_ROLES = (
    role("input", "input"),
    role("embed", "patch_embed", "input", patch=READ),
    role("quant", "requantize", "embed", bits=8),
    role("leaky", "leaky", "quant", by=READ),
    role("first", "class_token", "leaky"),
    role("head", "linear", "first"),
)


@dataclass(frozen=True)
class _Plan:
    """The steps of one image, whose patches fit the accumulators."""

    model: object
    roles: dict
    image: ModelImage
    tasks: Tasks
    worker: Worker

    def steps(self, number):
        worker, tasks, roles, model = self.worker, self.tasks, self.roles, self.model
        patches = model.image[1] * model.image[2] // model.patch**2
        dim, row = len(model.tensor(roles["embed"], "weight")), model.image[0] * model.patch**2
        source = worker.rows("patches", patches, align(row, worker.word))
        yield tasks.load(roles["embed"], Region.INPUT, number * source.words, source, patches, ())
        tokens = worker.rows("tokens", patches, dim)
        yield tasks.linear(roles["embed"], source, patches, tokens, dim, Kind.INT8)
        by = roles["leaky"].attributes["by"]
        yield tasks.rows_through(Op.LEAKY, roles["leaky"], tokens, tokens, patches, dim, by=by)
        logits = worker.rows("logits", 1, align(4 * model.classes, worker.word))
        yield tasks.linear(roles["head"], tokens, 1, logits, model.classes, Kind.INT32)
        yield tasks.store(roles["head"], Region.OUTPUT, number * logits.words, logits, 1, ())
        worker.arena.free(source, tokens, logits)


class PatchNet(Family):
    """One row of patches, LEAKY, and a linear classifier of the first."""

    name = "patchnet"
    titles = ("PatchNet",)

    def has_graph(self, model):
        return any(node.op == "leaky" for node in model.nodes)

    def place(self, job):
        model, config = job.model, job.config
        nodes = Nodes(model, "a PatchNet")
        roles = nodes.take(_ROLES)
        nodes.end()
        check_patch(model, config)
        check_whole_words("the width", len(model.tensor(roles["embed"], "weight")), config)
        patches = model.image[1] * model.image[2] // model.patch**2
        if patches > config.tokens:
            raise CompileError(f"{patches} patches exceed tokens ({config.tokens})")
        image = ModelImage(model, config)
        image.linear(roles["embed"], roles["quant"])
        image.linear(roles["head"], None)
        tasks = Tasks(model, config, job.memory, image)
        plan = _Plan(model, roles, image, tasks, Worker(tasks, Slot(Arena(0, config.scratch_words), 0)))
        scheduler = Scheduler(1, job.layers())
        scheduler.run([
            Item(number, (), frozenset({0}), lambda _slot, n=number: plan.steps(n)) for number in range(job.images)
        ])
        return Placed(scheduler, image, config.word_bytes, (patches,), 1, ())
