"""Sums of int16 tokens by the array: equal to the law for any tokens, in any cut and with any room for bytes."""

from types import SimpleNamespace

import numpy as np
import pytest

from firmware.planner.allocator import Arena
from firmware.planner.image import ModelImage
from firmware.planner.limits import MOST_PASSES
from firmware.planner.program import CompileError, Layer
from firmware.planner.scheduler import Item, Scheduler
from firmware.planner.steps import Slot, Worker
from firmware.planner.tasks import Tasks
from firmware.planner.wide_summing import TokenBytes, store_bytes, sum_up, wide_summing_constants
from hw.boards.memory import Memory
from hw.boards.registry import BOARDS
from hw.spec import arith, isa
from hw.spec.config import Config
from hw.spec.model import Node
from hw.spec.operators import evaluate
from sim.machine import Machine

ARTY, TINY = (BOARDS[name].config for name in ("arty_a7", "tiny"))
POOL, QUANT = Node("pool", "pool", ("x",), {"first": 1}), Node("quant", "requantize", ("pool",), {"bits": 16})


class Sums:
    """A program that sums up int16 [tokens, channels], cut at `cut`, with `spare` words beside a tile of tokens."""

    def __init__(self, config, tokens, channels, first, factor, cut, spare):
        model = SimpleNamespace(name="sums", tensor=lambda _node, name: np.array([factor[name]]))
        image = ModelImage(model, config)
        wide_summing_constants(image, tokens, config, first)
        tasks, self.row = Tasks(model, config, Memory(), image), 2 * channels // config.word_bytes
        self.waiting = TokenBytes(config=config, start=3, tokens=tokens, channels=channels)
        self.image, self.config, self.tokens, self.stores = image, config, tokens, 0
        room = cut * self.row + spare
        assert room <= config.scratch_words
        worker = Worker(tasks, Slot(Arena(5, 5 + room), 0))

        def steps(_slot):
            for start in range(0, tokens, cut):
                count = min(cut, tokens - start)
                rows = worker.rows("tokens", count, channels, wide=1)
                yield tasks.load(POOL, isa.Region.INPUT, start * self.row, rows, count, ())
                for task in store_bytes(worker, POOL, rows, count, start, self.waiting):
                    self.stores += task.op is isa.Op.STORE
                    yield task
                worker.arena.free(rows)
            into = worker.rows("mean", 1, channels, wide=1)
            yield from sum_up(worker, POOL, QUANT, self.waiting, into)
            yield tasks.store(POOL, isa.Region.OUTPUT, 0, into, 1, ())
            worker.arena.free(into)

        scheduler = Scheduler(1, {"pool": Layer("pool", "pool", 0)})
        scheduler.run([Item(0, (), frozenset({0}), steps)])
        self.code = scheduler.code

    def run(self, x):
        word = self.config.word_bytes
        regions = {
            isa.Region.MODEL: self.image.data,
            isa.Region.WORK: np.full((self.waiting.start + self.waiting.words) * word, 0x5A, np.uint8),
            isa.Region.INPUT: x.astype("<i2").view(np.uint8).reshape(-1).copy(),
            isa.Region.OUTPUT: np.zeros(self.row * word, np.uint8),
        }
        machine = Machine(self.config, regions, check=True)
        machine.run(self.code)
        assert not machine.hazards
        return machine.regions[isa.Region.OUTPUT].reshape(-1).view("<i2")


@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize(
    ("config", "tokens", "channels", "cut", "spare", "stores"),
    [
        (TINY, 9, 16, 8, 400, 2),
        (TINY, 70, 24, 16, 60, 9),  # two parts of the bytes of each whole tile
        (ARTY, 17, 64, 16, 40, 5),  # four, and one of the last tile, a token
        (ARTY, 197, 48, 64, 300, 7),
        (Config(rows=32, cols=24, array="portable"), 65, 32, 64, 140, 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["random", "least", "most", "alternating", "low bytes"])
def test_equals_the_law(config, tokens, channels, cut, spare, stores, first, kind):
    """Also of numbers at the ends of int16, and of low bytes that would be negative as int8."""
    x = {
        "random": np.random.default_rng(tokens).integers(-(1 << 15), 1 << 15, (tokens, channels)),
        "least": np.full((tokens, channels), -(1 << 15)),
        "most": np.full((tokens, channels), (1 << 15) - 1),
        "alternating": np.where(np.arange(tokens * channels).reshape(tokens, channels) % 2, -(1 << 15), (1 << 15) - 1),
        "low bytes": np.full((tokens, channels), 0x00FF),
    }[kind].astype(np.int16)
    factor = {"mult": 0x55555555, "shift": 34}
    sums = Sums(config, tokens, channels, first, factor, cut, spare)
    assert sums.stores == stores
    total = evaluate({}, Node("pool", "pool", ("x",), {"first": first}), [x[None]])
    assert np.abs(total).max() < 1 << 31
    np.testing.assert_array_equal(sums.run(x), arith.requantize(total, factor["mult"], factor["shift"], 16)[0])


def test_more_tokens_than_a_matmul_reduces():
    image = ModelImage(SimpleNamespace(name="sums"), TINY)
    with pytest.raises(CompileError, match=f"the mean is of at most {8 * MOST_PASSES} tokens, not of 4097"):
        wide_summing_constants(image, 4097, TINY, 0)
