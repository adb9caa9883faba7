"""Packed words to the scratchpad."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.units.ports import ScratchWrite
from hw.vector.packer import packed_layout

__all__ = ["RowWriter"]

ADDRESS_BITS = 17  # one more than an address: nothing is written after the first word outside


class RowWriter(wiring.Component):
    """Writes packed words at ``dest + row*dest_row + column``, and with ``planes`` the low ones ``dest_plane`` further.

    A row's words follow each other; a new group of segments begins again with row 0, in the column after the
    previous group's last one. Rate: one word in two cycles, one of two planes in three, while writes are granted.
    Latency: 1 cycle. A write not granted waits.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    scratch_words : int
        Addresses from here on raise ``outside`` and are not written; a power of two.

    Members
    -------
    start : In(1)
        Begins a tensor.
    dest, dest_row, dest_plane, planes : In
        Stable from ``start`` on.
    i : In(stream of packed_layout)
    port : Out(ScratchWrite)
    halt : In(1)
        No write from the next cycle on, until reset.
    outside, done : Out(1)
        An address is beyond the scratchpad (and the writer waits); the tensor's last word is granted.
    """

    latency = 1

    def __init__(self, *, rows, scratch_words):
        self.rows = rows
        self.scratch_words = scratch_words
        super().__init__({
            "start": In(1),
            "dest": In(16),
            "dest_row": In(12),
            "dest_plane": In(16),
            "planes": In(1),
            "i": In(stream.Signature(packed_layout(rows=rows))),
            "port": Out(ScratchWrite(8 * rows)),
            "halt": In(1),
            "outside": Out(1),
            "done": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        request = self.port.request
        packed = self.i.payload
        row_base = Signal(ADDRESS_BITS, reset_less=True)
        group_column = Signal(ADDRESS_BITS, reset_less=True)
        column = Signal(ADDRESS_BITS, reset_less=True)

        pending, second, final = Signal(), Signal(), Signal()  # a word waits, its low plane too, it is the last one
        address = Signal(ADDRESS_BITS, reset_less=True)
        word = Signal(8 * self.rows, reset_less=True)
        low = Signal.like(word, reset_less=True)
        mask = Signal(self.rows, reset_less=True)
        next_address = Signal(ADDRESS_BITS)
        over = Signal()
        asks, beyond = Signal(), Signal(reset_less=True)  # `address` is inside, and its word waits; it is not
        granted, accept = Signal(), Signal()
        m.d.comb += [
            request.valid.eq(asks),
            request.payload.address.eq(address),
            request.payload.data.eq(word),
            request.payload.mask.eq(mask),
            granted.eq(request.valid & request.ready),
            self.outside.eq(pending & beyond),
            self.done.eq(granted & ~second & final),
            self.i.ready.eq(~pending),  # not when granted: grants are late, and stalls reach far
            accept.eq(self.i.valid & self.i.ready),
            over.eq(next_address[exact_log2(self.scratch_words) :].any()),
            next_address.eq(Mux(pending, address, row_base) + Mux(pending, self.dest_plane, column)),
        ]
        with m.If(accept | granted):  # nothing is accepted while a second word waits
            m.d.sync += [address.eq(next_address), beyond.eq(over), word.eq(Mux(second, low, packed.word))]

        with m.If(accept):
            m.d.sync += [
                pending.eq(1),
                asks.eq(~over),
                second.eq(self.planes),
                final.eq(packed.final),
                low.eq(packed.low),
                mask.eq(packed.mask),
            ]
        with m.Elif(granted):
            m.d.sync += [pending.eq(second), asks.eq(second & ~over), second.eq(0)]
        with m.If(self.halt):
            m.d.sync += asks.eq(0)

        next_group = Signal(ADDRESS_BITS)
        m.d.comb += next_group.eq(column + packed.column)
        with m.If(accept):
            m.d.sync += column.eq(column + 1)
            with m.If(packed.last):
                m.d.sync += [column.eq(group_column), row_base.eq(row_base + self.dest_row)]
            with m.If(packed.group_last):
                m.d.sync += [column.eq(next_group), group_column.eq(next_group), row_base.eq(self.dest)]
        with m.If(self.start):
            m.d.sync += [row_base.eq(self.dest), column.eq(0), group_column.eq(0)]
        return m
