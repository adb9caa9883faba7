"""An AXI4 manager's wide words over a narrower memory port."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.signature import AXI4

__all__ = ["BURST_BEATS", "AxiNarrower"]

BURST_BEATS = 256  # of AXI4, at most


class AxiNarrower(wiring.Component):
    """Makes of every burst of wide words one of `ratio` times as many narrow ones, lowest part first.

    Bursts are INCR, of full aligned words, at most `BURST_BEATS` / `ratio` long, and answered in the order of their
    requests, not interleaved. Addresses and write responses pass in the same cycle. A wide word takes `ratio` cycles;
    reads and writes do not wait for each other. A read word is an error if any of its parts is.

    Parameters
    ----------
    wide_bits, narrow_bits: data bits of the ports; their ratio is a power of two
    id_bits: of reads

    Members
    -------
    wide : In(AXI4(wide_bits)), narrow : Out(AXI4(narrow_bits))
    """

    def __init__(self, *, wide_bits, narrow_bits, id_bits=0):
        if wide_bits % narrow_bits:
            raise ValueError(f"wide_bits must be a multiple of narrow_bits ({narrow_bits}), not {wide_bits}")
        self.ratio = wide_bits // narrow_bits
        self._shift = exact_log2(self.ratio)
        self._narrow_bits = narrow_bits
        super().__init__({"wide": In(AXI4(wide_bits, id_bits)), "narrow": Out(AXI4(narrow_bits, id_bits))})

    def elaborate(self, _platform):
        m = Module()
        wide, narrow = self.wide, self.narrow
        m.d.comb += [
            wide.write.b.valid.eq(narrow.write.b.valid),
            wide.write.b.p.eq(narrow.write.b.p),
            narrow.write.b.ready.eq(wide.write.b.ready),
        ]
        for ours, theirs in ((wide.write.aw, narrow.write.aw), (wide.read.ar, narrow.read.ar)):
            m.d.comb += [
                theirs.valid.eq(ours.valid),
                theirs.p.eq(ours.p),
                # Counts beats minus one; what exceeds a burst's limit is cut off.
                theirs.p.last.eq(Cat(Const(-1, self._shift), ours.p.last)),
                ours.ready.eq(theirs.ready),
            ]
        self._write(m, wide.write.w, narrow.write.w)
        self._read(m, wide.read.r, narrow.read.r)
        return m

    def _write(self, m, wide, narrow):
        """A word is held while its parts leave; the next one is taken when the last part goes."""
        held = Signal.like(wide.p, reset_less=True)
        left = Signal(range(self.ratio + 1))
        final = Signal()
        m.d.comb += [
            final.eq(left == 1),
            narrow.valid.eq(left != 0),
            narrow.p.data.eq(held.data),
            narrow.p.strobe.eq(held.strobe),
            narrow.p.last.eq(held.last & final),
            wide.ready.eq((left == 0) | (final & narrow.ready)),
        ]
        with m.If(wide.valid & wide.ready):
            m.d.sync += [held.eq(wide.p), left.eq(self.ratio)]
        with m.Elif(narrow.valid & narrow.ready):
            m.d.sync += [
                held.data.eq(held.data >> self._narrow_bits),
                held.strobe.eq(held.strobe >> (self._narrow_bits // 8)),
                left.eq(left - 1),
            ]

    def _read(self, m, wide, narrow):
        """Parts shift in from the top until the word is whole; the first part of the next one may come as it leaves."""
        word = Signal.like(wide.p, reset_less=True)
        count = Signal(range(self.ratio + 1))
        take, full = Signal(), Signal()
        m.d.comb += [
            full.eq(count == self.ratio),
            wide.valid.eq(full),
            wide.p.eq(word),
            narrow.ready.eq(~full | wide.ready),
            take.eq(narrow.valid & narrow.ready),
        ]
        with m.If(full & wide.ready):
            m.d.sync += count.eq(take)
        with m.Elif(take):
            m.d.sync += count.eq(count + 1)
        fresh = full | (count == 0)
        with m.If(take):
            m.d.sync += [
                word.data.eq(Cat(word.data, narrow.p.data)[self._narrow_bits :]),
                word.error.eq(narrow.p.error | (word.error & ~fresh)),
                word.id.eq(narrow.p.id),
                word.last.eq(narrow.p.last),
            ]
