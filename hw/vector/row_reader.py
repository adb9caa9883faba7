"""Addresses of the words that an instruction reads from the scratchpad."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.carry_chain import count_down

__all__ = ["WALK", "WALK_ADDRESS_BITS", "RowReader"]

WALK_ADDRESS_BITS = 17  # one more than an address: a walk stops at the first word outside, at most 4095 beyond

WALK = data.StructLayout({"base": 16, "stride": 12, "words_m1": 13, "rows_m1": 8, "groups_m1": 12})


class RowReader(wiring.Component):
    """Walks over rows of words: for group, for row, for word: ``base + group + row*stride + word``.

    A tensor row after row is one group of ``words`` words per row; the same tensor column of words after
    column is ``groups`` groups of one word per row. Rate: one address per cycle, the first one in the cycle after
    ``start``; a stall holds everything. Counts are stored minus one.

    Members
    -------
    start : In(1)
        Begins a walk; the previous one must be over.
    walk : In(WALK)
        What to walk over; stable from ``start`` until the last address is taken.
    o : Out(stream of 17 bits)
        Addresses, exact up to and including the first one beyond 16 bits.
    """

    def __init__(self):
        super().__init__({
            "start": In(1),
            "walk": In(WALK),
            "o": Out(stream.Signature(WALK_ADDRESS_BITS)),
        })

    def elaborate(self, _platform):
        m = Module()
        walk = self.walk
        group_base = Signal(WALK_ADDRESS_BITS, reset_less=True)
        row_base = Signal.like(group_base)
        address = Signal.like(group_base)
        words = Signal.like(walk.words_m1, reset_less=True)  # left of the row, minus one
        rows = Signal.like(walk.rows_m1, reset_less=True)
        groups = Signal.like(walk.groups_m1, reset_less=True)
        row_end, last_row = Signal(reset_less=True), Signal(reset_less=True)  # none is left: not in series with the sum
        active = Signal()
        advance = Signal()
        group_end = Signal()

        next_row = Signal(WALK_ADDRESS_BITS)
        m.d.comb += [
            self.o.valid.eq(active),
            self.o.payload.eq(address),
            advance.eq(active & self.o.ready),
            group_end.eq(row_end & last_row),
            next_row.eq(Mux(group_end, group_base, row_base) + Mux(group_end, 1, walk.stride)),
        ]
        with m.If(advance):
            m.d.sync += [row_end.eq(words == 1), address.eq(address + 1)]
            with m.If(row_end):
                m.d.sync += [last_row.eq(rows == 1), address.eq(next_row), row_base.eq(next_row)]
            with m.If(group_end):
                m.d.sync += [group_base.eq(next_row), active.eq(groups != 0)]
        with m.If(self.start):
            m.d.sync += active.eq(1)
        with m.If(self.start | (advance & row_end)):
            m.d.sync += row_end.eq(walk.words_m1 == 0)
        with m.If(self.start | (advance & group_end)):
            m.d.sync += last_row.eq(walk.rows_m1 == 0)
        with m.If(self.start | advance):
            m.d.sync += words.eq(count_down(words, load=self.start | row_end, value=walk.words_m1))
        with m.If(self.start | (advance & row_end)):
            m.d.sync += rows.eq(count_down(rows, load=self.start | group_end, value=walk.rows_m1))
        with m.If(self.start | (advance & group_end)):
            m.d.sync += groups.eq(count_down(groups, load=self.start, value=walk.groups_m1))
        with m.If(self.start):
            m.d.sync += [
                group_base.eq(walk.base),
                row_base.eq(walk.base),
                address.eq(walk.base),
            ]
        return m
