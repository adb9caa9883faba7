"""Swin on the default accelerator: what is run, and the figures that it must reach."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.runs import BOARD, CLOCK, Case, Result, Row, model_of, utilisation
from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.make_model import images, make_model
from firmware.preprocess import to_int8
from hw.spec.config import PRESETS
from hw.spec.isa import Region
from sim import golden
from sim.cycles import predict

__all__ = [
    "BLOCKS", "CASES", "MODELS", "BlockResult", "Blocks", "Estimate", "estimate", "rows", "run_blocks",
]  # fmt: skip

_TINY = "swin_tiny_patch4_window7_224"

CASES = {"tiny": Case(name="tiny", model=_TINY, attention_bits=8)}
"""Simulated whole on the RTL."""

MODELS = {
    name: Case(name=name, model=f"swin_{name.split('-')[0]}_patch4_window7_224", attention_bits=8)
    for name in ("small", "base")
}
"""By the cycle model only."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A plain and a shifted block of a stage at full size: the residual stream behind them is compared."""

    name: str
    text: str
    dim: int
    heads: tuple[int, ...]
    depth: tuple[int, ...]
    img_size: int

    checkpoint: ClassVar[str] = "layers.0.blocks.1.qact4"


BLOCKS = {
    blocks.name: blocks
    for blocks in (
        Blocks(name="stage-1", text="56 x 56 tokens of 96 channels", dim=96, heads=(3, 6, 12, 24), depth=(2, 1, 1, 1),
               img_size=224),
        Blocks(name="stage-3", text="14 x 14 tokens of 384 channels", dim=384, heads=(12, 24), depth=(2, 1),
               img_size=56),
    )
}  # fmt: skip


@dataclass(frozen=True)
class BlockResult:
    """What the RTL and the cycle model say about `blocks`, with the patch embedding before them."""

    blocks: Blocks
    bit_exact: bool
    cycles: int
    predicted: int


@dataclass(frozen=True)
class Estimate:
    """The cycle model's answer for a whole network, without simulation."""

    case: Case
    cycles: int
    utilisation: float
    occupancy: float
    instructions: int
    seconds: float  # to compile

    @property
    def frames(self) -> float:
        """Images per second at CLOCK."""
        return self.case.batch * CLOCK / self.cycles


def run_blocks(blocks: Blocks, seed: int = 0) -> BlockResult:
    """Simulates a program cut behind the blocks and compares every number of the residual stream."""
    shape = architecture(
        _TINY, dim=blocks.dim, heads=blocks.heads, depth=blocks.depth, img_size=blocks.img_size, classes=10
    )
    model = make_model(shape, seed=seed, attention_bits=8)
    pixels = to_int8(images(shape, 1, seed + 1000), model)
    trace: dict[str, np.ndarray] = {}
    golden.run(model, pixels, trace)
    expected = trace[blocks.checkpoint]
    with Accelerator.open(f"sim:{BOARD}") as device:
        program = compile_model(model, device.config)
        checkpoint = next(c for c in program.checkpoints if c.tensor == blocks.checkpoint)
        cut = device.load(program.until(checkpoint))
        device.run(pixels)
        raw = device.read_region(Region.WORK, checkpoint.offset, 2 * expected.size)
        cycles = device.profile().cycles
    exact = np.array_equal(raw.view("<i2").reshape(expected.shape), expected)
    return BlockResult(blocks, bool(exact), cycles, int(predict(cut).cycles))


def estimate(case: Case, seed: int = 0) -> Estimate:
    """Compiles `case` and asks the cycle model."""
    _, model = model_of(case, seed)
    start = time.perf_counter()
    program = compile_model(model, PRESETS[BOARD], batch=case.batch)
    seconds = time.perf_counter() - start
    found = predict(program)
    return Estimate(case, found.cycles, found.utilisation, found.occupancy, program.instructions, seconds)


def rows(results: Sequence[Result], blocks: Sequence[BlockResult] = ()) -> list[Row]:
    """The table: every figure asked for, measured or not."""
    errors = [abs(r.predicted / r.cycles - 1) for r in results if r.predicted is not None]
    block_errors = [abs(b.predicted / b.cycles - 1) for b in blocks]

    def error(text: str, found: list[float]) -> Row:
        value = max(found, default=None)
        return Row(text, value, 0.02, 0.005, lambda value: f"{value:.2%}", more_is_better=False)

    return [
        utilisation("utilisation, Swin-T, 8-bit attention", "tiny", results, 0.85, 0.90),
        error("cycle model against RTL, total", errors),
        error("cycle model against RTL, blocks alone, worst case", block_errors),
    ]
