"""What parts are made of: how yosys maps to them, which cells count as what, and which arrays can be built there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hw.spec.config import ARRAY_MAPPINGS, Config

__all__ = ["ECP5", "GENERIC", "LUT6", "SERIES7", "Fabric", "Family"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """How yosys maps to a family of parts, and what its cells are made of."""

    columns: Mapping[str, str]  # resource -> what a table calls it
    commands: str  # from a design whose kept units are marked to mapped cells; {top} is the top
    resource: Callable[[str], tuple[str, float] | None]  # of a cell type: which, how many
    libraries: tuple[str, ...] = ()  # Liberty files in the design's directory that have the cells' areas
    netlist: str = ""  # Verilog file there that gets the mapped design, flat


@dataclass(frozen=True, kw_only=True)
class Fabric(Family):
    """A family of FPGAs, or none in particular."""

    name: str  # what the shell's generator knows it by
    title: str
    products: Mapping[str, int]  # array mapping that can be built -> products per multiplier, 0: yosys decides
    primitives: bool = False  # those multipliers are instances of the vendor's cells, not described
    memory: tuple[str, int] | None = None  # resource that the scratchpad is made of, bits in one
    xdc: bool = False  # its tools take Vivado's constraints

    def least(self, config: Config) -> dict[str, float]:
        """Resources that array and scratchpad of `config` take at the very least; the rest of the core comes on top."""
        least: dict[str, float] = {}
        if self.products[config.array]:
            least["dsp"] = config.macs_per_cycle / self.products[config.array]
        if self.memory:
            least[self.memory[0]] = 8 * config.slices * config.scratch_bytes / self.memory[1]
        return least


# 7-series cells in LUTs (Xilinx UG474): a RAM32M, RAM64M or RAM128X1D takes four LUTs of a SLICEM, and an inverter
# that nothing absorbs is a LUT1
_SERIES7_LUTS = {
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "INV": 1, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4,
}  # fmt: skip
_SERIES7_CELLS: dict[str, tuple[str, float]] = {
    **{cell: ("lut", number) for cell, number in _SERIES7_LUTS.items()},
    **{f"FD{kind}E{edge}": ("ff", 1) for kind in "RSCP" for edge in ("", "_1")},
    "DSP48E1": ("dsp", 1),
    "RAMB36E1": ("bram36", 1),
    "RAMB18E1": ("bram36", 0.5),
}


def _generic_cell(cell: str) -> tuple[str, float] | None:
    if cell == "$lut":
        return "lut", 1
    if cell.startswith("$_") and "DFF" in cell:
        return "ff", 1
    return ("multiplier", 1) if cell == "$__multiplier" else None


_STEPS = "strash;ifraig;scorr;dc2;dch,-f;if,-g;" + "strash;dch,-f;if;mfs2;" * 5 + "lutpack,-S,3"
LUT6 = f"abc -lut 6 -script +{_STEPS}\nopt_merge"
"""Logic into LUTs of six inputs, as yosys' commands: ABC gives each inverted enable or reset an inverter of its own."""

SERIES7 = Fabric(
    name="series7",
    title="7-series",
    products={"dsp48": 2, "portable": 0},
    primitives=True,
    memory=("bram36", 36_864),
    xdc=True,
    columns={"lut": "LUT", "ff": "FF", "dsp": "DSP48E1", "bram36": "BRAM36"},
    # synth_xilinx with ABC in place of ABC9, which in the WebAssembly build takes ten times as long to the same
    # number of LUTs within 3 % (measured on the accelerator: 607 s and 55 s). A LUT of any size costs one and MUXF7 and
    # MUXF8 are left out: synth_xilinx's own costs, which make small ones cheap, took 5 % more LUTs and longer chains of
    # them, and a placer puts wide multiplexers far from what they join. The logic is balanced (if -g) before it is
    # mapped, because ABC gives all of it the depth of what is deepest: five LUTs where it had six. Five mappings, each
    # of what the one before made, and the packing behind them take 4 % fewer LUTs, and lengthen no path. synth_xilinx
    # refuses a tristate without pads, such as a shell's to the Ethernet PHY, so those become logic first, and the
    # assertions that come with it go again. Clock enables stay what they are: xilinx_dffopt makes them inputs of the
    # LUTs before the registers, and so of late signals with few loads such with hundreds
    commands=f"""\
proc
tribuf -formal
chformal -remove
synth_xilinx -family xc7 -top {{top}} -flatten -noiopad -noclkbuf -run begin:map_luts
opt_expr -mux_undef -noclkinv
{LUT6}
clean
xilinx_srl -fixed -minlen 3
techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6
opt_lut_ins -tech xilinx
clean
""",
    resource=_SERIES7_CELLS.get,
)
"""Xilinx 7-series."""

# ECP5 cells in LUT4s (Lattice FPGA-DS-02012): a CCU2C is two with their carries; a 16 x 4 memory takes the four LUTs it
# is read from and the two of the slice that holds its write port
_ECP5_CELLS: dict[str, tuple[str, float]] = {
    "LUT4": ("lut", 1), "INV": ("lut", 1), "CCU2C": ("lut", 2), "TRELLIS_DPR16X4": ("lut", 6), "TRELLIS_FF": ("ff", 1),
    "MULT18X18D": ("dsp", 1), "DP16KD": ("ebr", 1), "PDPW16KD": ("ebr", 1),
}  # fmt: skip

ECP5 = Fabric(
    name="ecp5",
    title="ECP5",
    products={"ecp5": 1, "portable": 0},
    primitives=True,
    memory=("ebr", 18_432),
    columns={"lut": "LUT4", "ff": "FF", "dsp": "MULT18X18D", "ebr": "EBR"},
    commands="synth_ecp5 -noabc9 -noiopad -top {top}\n",
    resource=_ECP5_CELLS.get,
)
"""Lattice ECP5; EBRs are its 18 kbit memories."""

GENERIC = Fabric(
    name="generic",
    title="generic",
    products=dict.fromkeys(ARRAY_MAPPINGS, 0),  # each has a description without the vendor's cells
    columns={"lut": "LUT6", "ff": "FF", "multiplier": "multipliers", "memory": "memory bits"},
    commands="""\
proc
flatten
opt
wreduce
peepopt
opt_clean
tee -q -o memories.json stat -json
memory -nomap
chtype -set $__multiplier t:$mul
alumacc
share
opt -full
techmap
opt -fast
abc -lut 6
opt_clean
""",
    resource=_generic_cell,
)
"""No family: six-input LUTs; multipliers and memories as described."""
