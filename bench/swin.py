"""Swin on the default accelerator: what is run, and the figures that it must reach."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from bench import networks, page
from bench.runs import CLOCK, DEVICE, TARGET, Case, Result, Row, model_of, utilisation
from firmware.architectures import architecture
from firmware.compiler import compile_model
from firmware.device import Accelerator
from firmware.make_model import images, make_model
from firmware.preprocess import to_int8
from hw.spec.isa import Region
from sim import golden
from sim.cycles import predict

__all__ = [
    "BLOCKS", "CASES", "MODELS", "BlockResult", "Blocks", "Estimate", "estimate", "register", "rows", "run_blocks",
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
    with Accelerator.open(DEVICE) as device:
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
    program = compile_model(model, TARGET.config, batch=case.batch)
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


def _blocks(results: Sequence[BlockResult]) -> str:
    """Blocks alone on the simulated gateware, as Markdown."""
    body = [
        (
            r.blocks.name, r.blocks.text, "yes" if r.bit_exact else "NO", f"{r.cycles:,}",
            f"{r.predicted / r.cycles - 1:+.2%}",
        )
        for r in results
    ]  # fmt: skip
    return page.table(("case", "embedding, a plain and a shifted block", "bit-exact", "cycles", "cycle model"), body)


def _estimates(found: Sequence[Estimate]) -> str:
    """Whole networks by the cycle model, as Markdown."""
    head = (
        "case",
        "what",
        "cycles",
        "utilisation",
        "array busy",
        f"images/s at {CLOCK / 1e6:g} MHz",
        "instructions",
        "compiled in",
    )
    body = [
        (
            e.case.name, e.case.text, f"{e.cycles:,}", f"{e.utilisation:.4f}", f"{e.occupancy:.4f}", f"{e.frames:.2f}",
            f"{e.instructions:,}", f"{e.seconds:.0f} s",
        )
        for e in found
    ]  # fmt: skip
    return page.table(head, body)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    text = "Swin-T, blocks of it, and by the cycle model Swin-S and Swin-B"
    networks.add_command(commands, "swin", text, (*CASES, *BLOCKS, *MODELS), _command)


def _command(arguments: argparse.Namespace) -> int:
    """1 if any number differs from the golden model's."""
    results = networks.run(networks.chosen(CASES, arguments), arguments.seed)
    blocks = []
    for name, case in BLOCKS.items():
        if name in (arguments.only or BLOCKS):
            networks.say(f"{name}: {case.text} ...")
            blocks.append(run_blocks(case, arguments.seed))
    estimates = []
    for model in networks.chosen(MODELS, arguments):
        networks.say(f"{model.name}: {model.text}, cycle model ...")
        estimates.append(estimate(model, arguments.seed))
    table = rows(results, blocks)
    parts = [networks.figures(table), networks.runs(results), _blocks(blocks), _estimates(estimates)]
    content = {
        "figures": networks.figures_json(table), "runs": [asdict(result) for result in results],
        "blocks": [asdict(block) for block in blocks], "estimates": [asdict(found) for found in estimates],
    }  # fmt: skip
    page.publish(arguments, "\n\n".join(parts), content)
    return 0 if all(result.bit_exact for result in [*results, *blocks]) else 1
