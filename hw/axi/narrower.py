"""An AXI4 manager's wide words over a narrower memory port."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from hw.axi.pins import axi_pins

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

    Members
    -------
    ``s_axi_*``: AXI4 subordinate with wide words. ``m_axi_*``: AXI4 manager with narrow words.
    See :func:`hw.axi.pins.axi_pins`.
    """

    def __init__(self, *, wide_bits, narrow_bits):
        if wide_bits % narrow_bits:
            raise ValueError(f"wide_bits must be a multiple of narrow_bits ({narrow_bits}), not {wide_bits}")
        self.ratio = wide_bits // narrow_bits
        self._shift = exact_log2(self.ratio)
        self._narrow_bits = narrow_bits
        wide = {name.replace("m_axi_", "s_axi_"): member for name, member in axi_pins(wide_bits).items()}
        super().__init__({
            **{name: member.flip() for name, member in wide.items()},
            **axi_pins(narrow_bits),
        })

    def elaborate(self, _platform):
        m = Module()
        for name, member in axi_pins(self._narrow_bits).items():
            if name.startswith(("m_axi_aw", "m_axi_ar", "m_axi_b")):
                narrow, wide = getattr(self, name), getattr(self, name.replace("m_axi_", "s_axi_"))
                m.d.comb += wide.eq(narrow) if member.flow is In else narrow.eq(wide)
        size = exact_log2(self._narrow_bits // 8)
        for channel in ("aw", "ar"):  # len counts beats minus one; what exceeds a burst's limit is cut off
            beats = Cat(Const(-1, self._shift), getattr(self, f"s_axi_{channel}len"))
            m.d.comb += [
                getattr(self, f"m_axi_{channel}len").eq(beats),
                getattr(self, f"m_axi_{channel}size").eq(size),
            ]
        self._write(m)
        self._read(m)
        return m

    def _write(self, m):
        """A word is held while its parts leave; the next one is taken when the last part goes."""
        data, strobe = Signal.like(self.s_axi_wdata, reset_less=True), Signal.like(self.s_axi_wstrb, reset_less=True)
        last, left = Signal(reset_less=True), Signal(range(self.ratio + 1))
        step, final = Signal(), Signal()
        m.d.comb += [
            final.eq(left == 1),
            self.m_axi_wvalid.eq(left != 0),
            self.m_axi_wdata.eq(data),
            self.m_axi_wstrb.eq(strobe),
            self.m_axi_wlast.eq(last & final),
            step.eq(self.m_axi_wvalid & self.m_axi_wready),
            self.s_axi_wready.eq((left == 0) | (final & self.m_axi_wready)),
        ]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [
                data.eq(self.s_axi_wdata),
                strobe.eq(self.s_axi_wstrb),
                last.eq(self.s_axi_wlast),
                left.eq(self.ratio),
            ]
        with m.Elif(step):
            m.d.sync += [
                data.eq(data >> self._narrow_bits),
                strobe.eq(strobe >> (self._narrow_bits // 8)),
                left.eq(left - 1),
            ]

    def _read(self, m):
        """Parts shift in from the top until the word is whole; the first part of the next one may come as it leaves."""
        count = Signal(range(self.ratio + 1))
        take, full = Signal(), Signal()
        m.d.comb += [
            full.eq(count == self.ratio),
            self.s_axi_rvalid.eq(full),
            self.m_axi_rready.eq(~full | self.s_axi_rready),
            take.eq(self.m_axi_rvalid & self.m_axi_rready),
        ]
        with m.If(full & self.s_axi_rready):
            m.d.sync += count.eq(take)
        with m.Elif(take):
            m.d.sync += count.eq(count + 1)
        fresh = full | (count == 0)
        with m.If(take):
            m.d.sync += [
                self.s_axi_rdata.eq(Cat(self.s_axi_rdata, self.m_axi_rdata)[self._narrow_bits :]),
                self.s_axi_rresp.eq(self.m_axi_rresp | self.s_axi_rresp & ~fresh.replicate(2)),
                self.s_axi_rid.eq(self.m_axi_rid),
                self.s_axi_rlast.eq(self.m_axi_rlast),
            ]
