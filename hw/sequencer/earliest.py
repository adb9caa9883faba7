"""The least of several program indices, found bit by bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from hw.units.ports import INDEX_BITS

__all__ = ["Earliest"]

_STEPS = 32  # of a counter that is there anyway; the first ones look at zeros above the indices


class Earliest(wiring.Component):
    """``index`` is the least of the indices that were chosen, once ``scan`` has been high for 32 cycles.

    In a cycle with ``choose`` the set is taken; the cycles with ``scan`` come later, while the indices stand still. A
    bit per cycle from the top: if any index still in the set has a zero there, the others leave it.

    Parameters
    ----------
    count : int
        Indices to choose from.

    Members
    -------
    ``indices``; ``chosen``: a bit per index, at least one; ``choose``, ``scan``, ``position``: 0 to 31 while scanning.
    ``clear``: ``index`` is zero from the next cycle on.
    """

    def __init__(self, *, count):
        self.count = count
        super().__init__({
            "indices": In(ArrayLayout(INDEX_BITS, count)),
            "chosen": In(count),
            "choose": In(1),
            "scan": In(1),
            "position": In(range(_STEPS)),
            "clear": In(1),
            "index": Out(INDEX_BITS),
        })

    def elaborate(self, _platform):
        m = Module()
        left = Signal(self.count, reset_less=True)
        zeros = Signal(self.count)
        for zero, index in zip(zeros, self.indices, strict=True):
            bits = Cat(Const(0, _STEPS - INDEX_BITS), index[::-1])
            m.d.comb += zero.eq(~bits.bit_select(self.position, 1))
        better = left & zeros
        with m.If(self.choose):
            m.d.sync += left.eq(self.chosen)
        with m.If(self.scan):
            m.d.sync += self.index.eq(Cat(~better.any(), self.index))
            with m.If(better.any()):
                m.d.sync += left.eq(better)
        with m.If(self.clear):
            m.d.sync += self.index.eq(0)
        return m
