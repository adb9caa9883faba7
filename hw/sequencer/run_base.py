"""Base address of the present run: one full adder, one bit per cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RunBase"]


class RunBase(wiring.Component):
    """Holds ``base`` in the first run and ``base + k * step`` in run k.

    While ``shift`` is high, for `bits` cycles with ``position`` counting from zero, the value moves on: to ``base``
    with ``first``, else by one ``step``. It must not be used meanwhile.

    Parameters
    ----------
    bits : int
        Width of an address.

    Members
    -------
    ``base``, ``step``, ``first``, ``shift``, ``position``: in; ``value``: out.
    """

    def __init__(self, *, bits=32):
        self.bits = bits
        super().__init__({
            "base": In(bits),
            "step": In(bits),
            "first": In(1),
            "shift": In(1),
            "position": In(range(bits)),
            "value": Out(bits),
        })

    def elaborate(self, _platform):
        m = Module()
        carry = Signal()
        base, step = self.base.bit_select(self.position, 1), self.step.bit_select(self.position, 1)
        total = Signal(2)
        m.d.comb += total.eq(self.value[0] + step + carry)
        with m.If(self.shift):
            m.d.sync += [
                self.value.eq(self.value[1:]),
                self.value[-1].eq(Mux(self.first, base, total[0])),
                carry.eq(total[1]),
            ]
        with m.Else():
            m.d.sync += carry.eq(0)
        return m
