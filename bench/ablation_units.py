"""What the units of I-ViT's operators and of their rivals take, each alone: area, latency, rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import data

from hw.boards.fabric import ECP5, SERIES7
from hw.build.synthesis import Counts, synthesise
from hw.spec.config import Config
from hw.spec.isa import Op
from hw.spec.vector import VectorOp, row_of
from hw.vector.row_units import make_unit, unit_timing
from hw.vector.unpacker import beat_layout

__all__ = ["OPERATORS", "Operator", "UnitFigures", "passes", "unit_figures"]

FAMILIES = {"series7": SERIES7, "ecp5": ECP5}


@dataclass(frozen=True)
class Operator:
    """An operator: whose it is, and the opcodes that it takes, one pass over its rows each."""

    name: str
    of: str
    kind: str  # softmax, gelu or norm
    recipe: dict[str, str]  # what it changes in a recipe
    opcodes: tuple[str, ...]


OPERATORS = (
    Operator("Shiftmax", "I-ViT", "softmax", {}, ("SHIFTMAX_SUM", "SHIFTMAX")),
    Operator("IntSoftmax", "I-BERT", "softmax", {"softmax": "int_softmax"}, ("INT_SOFTMAX_SUM", "INT_SOFTMAX")),
    Operator("Log-Int-Softmax", "FQ-ViT", "softmax", {"softmax": "log_int_softmax"},
             ("LOG_SOFTMAX_SUM", "LOG_SOFTMAX")),
    Operator("ShiftGELU", "I-ViT", "gelu", {"gelu": "shift"}, ("SHIFT_GELU",)),
    Operator("IntGELU", "I-BERT", "gelu", {"gelu": "int_gelu"}, ("INT_GELU",)),
    Operator("a table", "this house", "gelu", {"gelu": "table"}, ("TABLE",)),
    Operator("I-LayerNorm", "I-ViT", "norm", {}, ("MOMENTS", "LAYER_NORM")),
    Operator("IntLayerNorm", "I-BERT", "norm", {"norm": "int_layer_norm"}, ("ROW_MEAN", "INT_DEVIATION", "LAYER_NORM")),
    Operator("L1 LayerNorm", "Fully-8bit", "norm", {"norm": "l1_layer_norm"},
             ("ROW_MEAN", "L1_DEVIATION", "LAYER_NORM")),
)  # fmt: skip


@dataclass(frozen=True)
class UnitFigures:
    """A unit of `lanes` elements per cycle."""

    opcode: str
    elements: int  # per cycle
    latency: int  # cycles
    interval: int  # least from row to row
    used: dict[str, Counts]  # by family


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
        place = folder / family
        place.mkdir(parents=True, exist_ok=True)
        text = rtlil.convert(_unit(row, config), name=name, emit_src=False)
        (place / f"{name}.il").write_text(text)
        used[family] = synthesise([f"{name}.il"], name, fabric, place)[0].used
    return UnitFigures(row.name, config.lanes, timing.latency, timing.interval, used)


def _unit(row: VectorOp, config: Config) -> Any:
    index = beat_layout(rows=config.rows, lanes=config.lanes)["index"].width
    tag = data.StructLayout({"index": index, "group_last": 1})
    return make_unit(row, lanes=config.lanes, max_row=config.max_row, tag=tag, word_bits=config.word_bits)
