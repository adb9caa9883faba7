"""Memories as instances of one module, ``shiftwork_sram``, to be replaced by the macros of a process."""

from __future__ import annotations

from amaranth.hdl import ClockSignal, Instance, Module, Shape, Signal
from amaranth.utils import ceil_log2

__all__ = ["MODEL", "NAME", "STUB", "STUB_FILE", "SRAMs"]

NAME = "shiftwork_sram"

MODEL = f"""\
// One clocked memory of the accelerator: {NAME}.v describes it, for simulation and for tools that infer memories;
// give your macros this name and these ports instead.
//   write: at an edge with write_enable[k], bits [k*DATA_BITS/MASK_BITS +: DATA_BITS/MASK_BITS] of write_data go to
//     write_address.
//   read: at an edge with read_enable, read_data becomes the word at read_address, as it was before a write at the same
//     edge; without read_enable it stays.
// Contents are not reset and need not be.
module {NAME} #(parameter ADDRESS_BITS = 8, parameter DATA_BITS = 8, parameter MASK_BITS = 1) (
    input clk,
    input [MASK_BITS-1:0] write_enable,
    input [ADDRESS_BITS-1:0] write_address,
    input [DATA_BITS-1:0] write_data,
    input read_enable,
    input [ADDRESS_BITS-1:0] read_address,
    output reg [DATA_BITS-1:0] read_data
);
    localparam PART = DATA_BITS / MASK_BITS;
    reg [DATA_BITS-1:0] words [0:(1 << ADDRESS_BITS)-1];
    integer k;
    always @(posedge clk) begin
        if (read_enable) read_data <= words[read_address];
        for (k = 0; k < MASK_BITS; k = k + 1)
            if (write_enable[k]) words[write_address][k*PART +: PART] <= write_data[k*PART +: PART];
    end
endmodule
"""
"""Behaviour and contract of the module."""

STUB_FILE = f"{NAME}_stub.v"
STUB = "(* blackbox *)\n" + MODEL[MODEL.index("module") : MODEL.index("    localparam")] + "endmodule\n"
"""Its ports alone, for synthesis around macros."""


class SRAMs:
    """An Amaranth platform that makes instances of `NAME` of large memories and leaves the others as they are.

    A memory becomes one if it holds `least_bits`, has one write and one clocked read port in `sync` and does not have
    to forward what is being written.

    Parameters
    ----------
    least_bits : int

    Attributes
    ----------
    used : list of dict
        ``name``-less sizes of the instances: address_bits, data_bits, mask_bits.
    """

    def __init__(self, *, least_bits: int = 4096) -> None:
        self.least_bits = least_bits
        self.used: list[dict[str, int]] = []

    def get_memory(self, memory):
        """Called by Amaranth in place of its own elaboration."""
        width = Shape.cast(memory.shape).width
        reads, writes = memory.read_ports, memory.write_ports
        if (
            memory.depth * width < self.least_bits
            or (len(reads), len(writes)) != (1, 1)
            or {reads[0].domain, writes[0].domain} != {"sync"}
            or reads[0].transparent_for
        ):
            return memory.elaborate(None)
        return self._instance(reads[0], writes[0], ceil_log2(memory.depth), width)

    def _instance(self, read, write, address_bits, width):
        size = {"address_bits": address_bits, "data_bits": width, "mask_bits": len(write.en)}
        self.used.append(size)
        m = Module()
        data = Signal(width)
        m.submodules.sram = Instance(
            NAME,
            **{f"p_{name.upper()}": value for name, value in size.items()},
            i_clk=ClockSignal(),
            i_write_enable=write.en,
            i_write_address=write.addr,
            i_write_data=write.data,
            i_read_enable=read.en,
            i_read_address=read.addr,
            o_read_data=data,
        )
        m.d.comb += read.data.eq(data)
        return m
