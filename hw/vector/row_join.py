"""What is said once per row, said with every element of the row."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RowJoin"]


class RowJoin(wiring.Component):
    """Joins an item of `rows` to each item of `i` up to its row's `last`. Combinational, except for remembering it.

    Parameters
    ----------
    row, element : shape-like
        `element` is a structure with the field ``last``.

    Members
    -------
    rows
        Taken with the first element of the row.
    i
    o : {"row", "element"}
    """

    latency = 0

    def __init__(self, *, row, element):
        super().__init__({
            "rows": In(stream.Signature(row)),
            "i": In(stream.Signature(element)),
            "o": Out(stream.Signature(data.StructLayout({"row": row, "element": element}))),
        })

    def elaborate(self, _platform):
        m = Module()

        first = Signal(init=1)
        held = Signal(len(Value.cast(self.rows.p)), reset_less=True)
        known = self.rows.valid | ~first
        m.d.comb += [
            self.o.valid.eq(self.i.valid & known),
            self.i.ready.eq(self.o.ready & known),
            self.rows.ready.eq(self.o.ready & first & self.i.valid),
            Value.cast(self.o.p.row).eq(Mux(first, Value.cast(self.rows.p), held)),
            self.o.p.element.eq(self.i.p),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += first.eq(self.i.p.last)
            with m.If(first):
                m.d.sync += held.eq(Value.cast(self.rows.p))

        return m
