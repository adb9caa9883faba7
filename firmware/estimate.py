"""What a model will cost on a board, before anything is synthesised or simulated: compiler and cycle model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from firmware.planner.program import Program
from firmware.profile import LayerProfile
from firmware.providers import PROVIDERS, provided
from firmware.roofline import Point, merged, roofline, total
from firmware.screen import show
from hw.boards.board import Board
from hw.spec.isa import Engine

__all__ = ["FIGURES", "Estimate", "cycle_model", "estimate", "memory_bytes", "print_estimate"]

FIGURES = "estimated by the cycle model"
_MEMORY = 256 << 20  # bytes, of a board that does not say


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One run of a program, `points` the layers and `whole` the run; figures per image are for a run's images alike."""

    model: str
    board: Board
    images: int  # per run
    macs: int  # executed, per image
    cycles: int  # of a run
    busy: Mapping[str, float]  # engine -> share of the cycles in which it moves data
    scratch_words: int  # used
    points: tuple[Point, ...]
    ops: Mapping[str, str]  # layer -> operator

    @property
    def cycles_per_image(self) -> float:
        return self.cycles / self.images

    @property
    def images_per_second(self) -> float:
        """At the board's clock."""
        return self.board.clock_hz / self.cycles_per_image

    @property
    def utilisation(self) -> float:
        """Executed MACs per cycle, as a fraction of the array's peak."""
        return self.macs / (self.cycles_per_image * self.board.config.macs_per_cycle)

    @property
    def bytes_per_image(self) -> float:
        """Moved by FETCH, LOAD and STORE."""
        return total(self.points).bytes / self.images

    def as_json(self) -> dict[str, Any]:
        """Everything; layers' figures are per image, and as layers overlap, their cycles add up to more than the run's.

        ``bound`` is the lowest of a layer's three roofs, see `firmware.roofline`.
        """
        config = self.board.config
        peak = config.macs_per_cycle
        return {
            "figures": FIGURES,
            "model": self.model,
            "board": self.board.name,
            "config": asdict(config),
            "memory": asdict(self.board.core_memory),
            "clock_mhz": self.board.clock_hz / 1e6,
            "system_mhz": self.board.system_hz / 1e6,
            "batch": self.images,
            "cycles_per_image": self.cycles_per_image,
            "images_per_second": self.images_per_second,
            "macs_per_image": self.macs,
            "macs_per_cycle": peak,
            "utilisation": self.utilisation,
            "bytes_per_image": self.bytes_per_image,
            "scratchpad_bytes": {"used": self.scratch_words * config.word_bytes, "there": config.scratch_bytes},
            "busy": dict(self.busy),
            "layers": [
                {
                    "name": point.name,
                    "op": self.ops[point.name],
                    "cycles": point.cycles / self.images,
                    "macs": point.macs // self.images,
                    "bytes": point.bytes / self.images,
                    "utilisation": point.attained / peak,
                    "bound": point.bound,
                }
                for point in self.points
            ],
        }


def cycle_model() -> Any:
    """What predicts a Program's cycles. Raises UserError if it is not installed."""
    return provided(PROVIDERS["cycles"], "an estimate")


def memory_bytes(board: Board) -> int:
    """Of the board's memory."""
    return board.shell.memory_bytes if board.shell else _MEMORY


def estimate(program: Program, board: Board) -> Estimate:
    """What a run of `program`, compiled for `board`, costs there.

    Raises DeviceError if the board's memory is too small for it, and UserError if the cycle model is not installed.
    """
    predicted = cycle_model()(program, memory_size=memory_bytes(board))
    layers: tuple[LayerProfile, ...] = predicted.layers
    return Estimate(
        model=program.model.name,
        board=board,
        images=program.images,
        macs=program.macs // program.images,
        cycles=predicted.cycles,
        busy={engine.name: predicted.busy[engine] / predicted.cycles for engine in Engine},
        scratch_words=program.scratch_words,
        points=tuple(roofline(program, layers)),
        ops={layer.name: layer.op for layer in layers},
    )


def _short(number: float) -> str:
    return f"{number:,.{0 if number >= 100 else 1}f}" if number else ""


def print_estimate(found: Estimate, console: Console) -> None:
    """A table, in which equal layers of the blocks are one row, and the totals."""
    config, images = found.board.config, found.images
    table = Table(
        title=f"{found.model} on {found.board.title}, per image ({FIGURES})", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for heading in ("layer", "k cycles", "M MACs", "used", "KB moved", "bound"):
        table.add_column(heading, justify="left" if heading in {"layer", "bound"} else "right", no_wrap=True)
    for point in merged(found.points):
        share = f"{point.attained / config.macs_per_cycle:.1%}" if point.macs else ""
        numbers = (_short(value / images) for value in (point.cycles / 1e3, point.macs / 1e6))
        name = point.name.replace("blocks.*.", "*.")
        table.add_row(name, *numbers, share, _short(point.bytes / images / 1e3), point.bound)
    show(table, console)
    console.print("busy: " + ", ".join(f"{name} {share:.1%}" for name, share in found.busy.items()))
    used, there = found.scratch_words * config.word_bytes, config.scratch_bytes
    console.print(
        f"{found.cycles_per_image:,.0f} cycles per image, {found.images_per_second:.2f} images/s at "
        f"{found.board.clock_hz / 1e6:g} MHz, utilisation {found.utilisation:.1%} of {config.macs_per_cycle} MACs per "
        f"cycle; {found.bytes_per_image / 1e6:,.2f} MB moved per image, {used / 1024:,.0f} of {there / 1024:,.0f} KiB "
        f"of scratchpad used ({FIGURES})",
        soft_wrap=True,
    )
