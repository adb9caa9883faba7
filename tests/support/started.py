"""Blocks that begin their work with a ``start`` pulse, made drivable by `tests.support.streams`."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import stream

__all__ = ["Started"]


class Started(Elaboratable):
    """`dut` with one ``start`` pulse in the first cycle, before which its input streams `gated` accept nothing."""

    def __init__(self, dut, *gated):
        self.dut = dut
        self.gated = gated
        for name in gated:
            setattr(self, name, stream.Signature(getattr(dut, name).payload.shape()).create())

    def __getattr__(self, name):
        return getattr(self.dut, name)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.dut = self.dut
        first = Signal(init=1)
        m.d.sync += first.eq(0)
        m.d.comb += self.dut.start.eq(first)
        for name in self.gated:
            outer, inner = getattr(self, name), getattr(self.dut, name)
            m.d.comb += [
                inner.payload.eq(outer.payload),
                inner.valid.eq(outer.valid & ~first),
                outer.ready.eq(inner.ready & ~first),
            ]
        return m
