"""A register between two streams that cuts every path, for streams that have no use for an item per cycle."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Holds one item; payload, ``valid`` and ``ready`` all come from registers.

    Rate: an item per two cycles. An item is offered ``latency`` cycles after it was taken; the next one is taken
    after it has left.

    Parameters
    ----------
    shape : ShapeLike

    Members
    -------
    i : In(stream), o : Out(stream)
    """

    latency = 1

    def __init__(self, *, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, _platform):
        m = Module()
        held = Signal(len(Value.cast(self.i.payload)), reset_less=True)
        full = Signal()
        m.d.comb += [
            self.i.ready.eq(~full),
            self.o.valid.eq(full),
            Value.cast(self.o.payload).eq(held),
        ]
        with m.If(~full):
            m.d.sync += [held.eq(Value.cast(self.i.payload)), full.eq(self.i.valid)]
        with m.Elif(self.o.ready):
            m.d.sync += full.eq(0)
        return m
