"""What the units of I-ViT's operators and of their rivals take, each alone: area, latency, rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import data

from bench.kept import Kept
from firmware.caches import digest
from hw.boards.fabric import ECP5, SERIES7
from hw.build import liberty, opensta, sram, yosys
from hw.build.synthesis import Counts, synthesise
from hw.spec.config import Config
from hw.spec.isa import Op
from hw.spec.vector import VectorOp, row_of
from hw.vector.row_units import make_unit, unit_timing
from hw.vector.unpacker import beat_layout

__all__ = ["OPERATORS", "Gates", "Operator", "Process", "UnitFigures", "gates", "passes", "unit_figures"]

FAMILIES = {"series7": SERIES7, "ecp5": ECP5}


@dataclass(frozen=True)
class Operator:
    """An operator: whose it is, and the opcodes that it takes, one pass over its rows each."""

    name: str
    of: str
    kind: str  # softmax, gelu or norm
    law: str  # of that kind, as a recipe calls it
    opcodes: tuple[str, ...]


OPERATORS = (
    Operator("Shiftmax", "I-ViT", "softmax", "shiftmax", ("SHIFTMAX_SUM", "SHIFTMAX")),
    Operator("IntSoftmax", "I-BERT", "softmax", "int_softmax", ("INT_SOFTMAX_SUM", "INT_SOFTMAX")),
    Operator("Log-Int-Softmax", "FQ-ViT", "softmax", "log_int_softmax",
             ("LOG_SOFTMAX_SUM", "LOG_SOFTMAX")),
    Operator("ShiftGELU", "I-ViT", "gelu", "shift", ("SHIFT_GELU",)),
    Operator("IntGELU", "I-BERT", "gelu", "int_gelu", ("INT_GELU",)),
    Operator("a table", "this house", "gelu", "table", ("TABLE",)),
    Operator("I-LayerNorm", "I-ViT", "norm", "layer_norm", ("MOMENTS", "LAYER_NORM")),
    Operator("IntLayerNorm", "I-BERT", "norm", "int_layer_norm", ("ROW_MEAN", "INT_DEVIATION", "LAYER_NORM")),
    Operator("L1 LayerNorm", "Fully-8bit", "norm", "l1_layer_norm",
             ("ROW_MEAN", "L1_DEVIATION", "LAYER_NORM")),
    Operator("I-LayerNorm behind PTF", "FQ-ViT", "norm", "ptf_layer_norm",
             ("POWER_FACTORS", "MOMENTS", "LAYER_NORM")),
)  # fmt: skip


@dataclass(frozen=True)
class UnitFigures:
    """A unit of `lanes` elements per cycle."""

    opcode: str
    elements: int  # per cycle
    latency: int  # cycles
    interval: int  # least from row to row
    used: dict[str, Counts]  # by family


@dataclass(frozen=True)
class Process:
    """What a library is called in tables, and its Liberty files."""

    name: str
    library: liberty.Library

    @property
    def content(self) -> str:
        """Digest."""
        return digest(self.name, *self.library.texts.values())


@dataclass(frozen=True)
class Gates:
    """A unit mapped to the cells of a process for `period`, its memories as those of a core."""

    opcode: str
    process: str
    period: float  # ns
    kge: float  # without macros
    memory: int  # bytes of macros
    delay: float | None  # ns of the longest path, register to register, without wires; None without OpenSTA


def passes(operator: Operator) -> list[VectorOp]:
    """The rows of the table of an operator's opcodes."""
    found = [row_of(getattr(Op, name)) for name in operator.opcodes]
    return [row for row in found if row is not None]


def unit_figures(row: VectorOp, config: Config, folder: Path) -> UnitFigures:
    """Synthesises the unit of `row` alone, as it is in a machine of `config`. Raises YosysError.

    Results that are kept in `folder` are taken where Verilog, commands and yosys are the same.
    """
    name, used = row.name.lower(), {}
    timing = unit_timing(row, lanes=config.lanes, max_row=config.max_row)
    for family, fabric in FAMILIES.items():
        place = folder / family / name
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.il").write_text(_text(row, config))
        used[family] = synthesise([f"{name}.il"], name, fabric, place)[0].used
    return UnitFigures(row.name, config.lanes, timing.latency, timing.interval, used)


def gates(row: VectorOp, config: Config, process: Process, kept: Kept, *, period: float) -> Gates:
    """Maps the unit of `row` alone to `process`."""
    name, memories = row.name.lower(), sram.SRAMs()
    text = _text(row, config, memories)

    def made() -> dict[str, Any]:
        place, library = kept.folder / "processes" / process.content / name, process.library
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.il").write_text(text)
        (place / sram.STUB_FILE).write_text(sram.STUB)
        library.put(place)
        family = liberty.family(library, sram.NAME.__eq__, period=period)
        area = synthesise([sram.STUB_FILE, f"{name}.il"], name, family, place)[0].used["area"]
        path = opensta.longest_path(library, name, place, period=period)
        size = sum(one["data_bits"] << one["address_bits"] for one in memories.used) // 8
        found = Gates(row.name, process.name, period, area / library.nand2 / 1000, size, path and path["ns"])
        return asdict(found)

    made_from = digest(text, process.content, f"{period:g} {opensta.tool()}", yosys.tool())
    return Gates(**kept.figure("gates", f"{process.name} {name}", made_from, made))


def _text(row: VectorOp, config: Config, memories: sram.SRAMs | None = None) -> str:
    """RTLIL of the unit, its module named as the opcode."""
    return rtlil.convert(_unit(row, config), name=row.name.lower(), platform=memories, emit_src=False)


def _unit(row: VectorOp, config: Config) -> Any:
    index = beat_layout(rows=config.rows, lanes=config.lanes)["index"].width
    tag = data.StructLayout({"index": index, "group_last": 1})
    return make_unit(row, lanes=config.lanes, max_row=config.max_row, tag=tag, word_bits=config.word_bits)
