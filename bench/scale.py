"""Whole networks on every board: cycles by the cycle model, and on the simulated gateware where that is asked for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench import networks, page
from bench.runs import on_gateware
from firmware.architectures import architecture
from firmware.caches import digest, sources
from firmware.compiler import compile_model
from firmware.estimate import estimate
from firmware.files import write
from firmware.make_model import make_model
from firmware.planner.program import CompileError, Program
from firmware.preprocess import to_int8
from firmware.transport import DeviceError
from hw.boards.registry import BOARDS
from hw.spec.model import Model

__all__ = ["BOARDS_SHOWN", "NETWORKS", "Figure", "register", "table"]

_HW = Path(__file__).parents[1] / "hw"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A published architecture, with random weights."""

    title: str
    arch: str
    bits: int = 16  # of attention probabilities
    sizes: tuple[tuple[str, Any], ...] = ()


NETWORKS = {
    "deit-t": Network(title="DeiT-T", arch="deit_tiny_patch16_224"),
    "deit-s": Network(title="DeiT-S", arch="deit_small_patch16_224"),
    "vit-s14": Network(
        title="ViT-S/14 (DINOv2's sizes)", arch="deit_small_patch16_224", sizes=(("patch", 14),)
    ),
    "swin-t": Network(title="Swin-T", arch="swin_tiny_patch4_window7_224", bits=8),
}  # fmt: skip
BOARDS_SHOWN = (("arty_a7", 1), ("arty_a7_100", 1), ("genesys2", 1), ("genesys2", 2), ("ulx3s_85f", 1))
"""Boards, and images per program."""


@dataclass(frozen=True)
class Figure:
    """Of one network on one board; `simulated` and `bit_exact` are None where the gateware was not simulated."""

    network: str
    board: str
    batch: int
    predicted: int  # cycles of a run, by the cycle model
    macs: int  # executed in a run
    peak: int  # MACs per cycle
    clock_hz: int
    simulated: int | None = None
    bit_exact: bool | None = None

    @property
    def cycles(self) -> float:
        """Per image: simulated where that was done."""
        return (self.simulated or self.predicted) / self.batch

    @property
    def row(self) -> tuple[str, ...]:
        """Of the table."""
        error = f"{self.predicted / self.simulated - 1:+.2%}" if self.simulated else ""
        stage = (
            "cycle model" if self.simulated is None else "simulated, " + ("bit-exact" if self.bit_exact else "WRONG")
        )
        board = f"`{self.board}`" + (f", batch of {self.batch}" if self.batch > 1 else "")
        used = self.macs / (self.batch * self.cycles * self.peak)
        return (
            NETWORKS[self.network].title, board, f"{self.cycles:,.0f}", f"{used:.4f}",
            f"{self.clock_hz / self.cycles:.2f}", stage, error,
        )  # fmt: skip


def table(found: Sequence[Figure]) -> str:
    """Markdown."""
    head = ("network", "board", "cycles per image", "utilisation", "images/s", "stage", "cycle model")
    return page.table(head, [figure.row for figure in found])


@cache
def _model(network: str) -> Model:
    chosen = NETWORKS[network]
    return make_model(architecture(chosen.arch, **dict(chosen.sizes)), seed=0, attention_bits=chosen.bits)


def _simulated(program: Program, board: str, batch: int) -> tuple[int, bool]:
    """Cycles of a run on the gateware, and whether every logit is the golden model's."""
    model = program.model
    pixels = np.random.default_rng(1000).integers(0, 256, (batch, *model.image), np.uint8)
    return on_gateware(program, to_int8(pixels, model), f"sim:{board}")


class _Results:
    """Figures in a file, a line each, under a digest of all that decides them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        self._lines: dict[str, dict[str, Any]] = {}
        for line in text.splitlines():
            entry = json.loads(line)
            self._lines[entry.pop("key")] = entry

    def find(self, key: str) -> Mapping[str, Any] | None:
        return self._lines.get(key)

    def keep(self, key: str, figure: Figure) -> None:
        self._lines[key] = asdict(figure)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write(self._path, "".join(json.dumps({"key": key, **entry}) + "\n" for key, entry in self._lines.items()))


def _figure(network: str, board: str, batch: int, results: _Results, *, simulate: bool) -> Figure | None:
    """None where the network does not run there."""
    target = BOARDS[board]
    try:
        program = compile_model(_model(network), target, batch=batch)
        gateware = sources(_HW) if simulate else ""
        key = digest(program.code.hex(), str(target.config), str(target.clock_hz), gateware)
        if kept := results.find(key):
            return Figure(**kept)
        predicted = estimate(program, target)
    except (CompileError, DeviceError) as error:
        networks.say(f"{network} on {board}: {error}")
        return None
    simulated = _simulated(program, board, batch) if simulate else (None, None)
    figure = Figure(
        network, board, batch, predicted.cycles, program.macs, target.config.macs_per_cycle, target.clock_hz, *simulated
    )
    results.keep(key, figure)
    return figure


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(
        commands, "scale", "whole networks on every board, by the cycle model and simulated", _run
    )
    command.add_argument(
        "--only", nargs="+", choices=NETWORKS, metavar="NETWORK", help=f"some of {', '.join(NETWORKS)}"
    )
    command.add_argument("--boards", nargs="+", choices=dict(BOARDS_SHOWN), metavar="BOARD", help="some of the boards")
    command.add_argument(
        "--simulate", nargs="+", default=[], metavar="NETWORK:BOARD",
        choices=[f"{network}:{board}" for network in NETWORKS for board in dict(BOARDS_SHOWN)],
        help="those that are simulated, too: minutes to an hour each",
    )  # fmt: skip
    command.add_argument(
        "--results", type=Path, default=Path("build/scale.jsonl"), metavar="FILE",
        help="what was found is kept there and not found again (default build/scale.jsonl)",
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    """1 if a simulation was wrong."""
    results, found = _Results(arguments.results), []
    for network in arguments.only or NETWORKS:
        for board, batch in BOARDS_SHOWN:
            if board not in (arguments.boards or dict(BOARDS_SHOWN)):
                continue
            networks.say(f"{network} on {board} ...")
            simulate = batch == 1 and f"{network}:{board}" in arguments.simulate
            figure = _figure(network, board, batch, results, simulate=simulate)
            if figure is not None:
                found.append(figure)
    page.publish(arguments, table(found), {"figures": [asdict(figure) for figure in found]})
    return int(any(figure.bit_exact is False for figure in found))
