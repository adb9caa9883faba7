"""Saturation of requantized values to the result's type, after the residual addition."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.vector.packer import result_layout

__all__ = ["ResultClamp"]


class ResultClamp(wiring.Component):
    """Clamps each sum of a value and another one to int8, or to int16 with ``wide``.

    Rate: one beat per cycle. Latency: 2 cycles. A stall holds both stages.

    Parameters
    ----------
    bits : int
        Bits of a value, signed; more than 16.
    lanes : int
        Results of a beat.

    Members
    -------
    wide : In(1)
        Stable while beats are in the pipeline.
    i : In(stream of {"value", "other", "mask", "last"}), o : Out(stream of result_layout)
    """

    latency = 2

    def __init__(self, *, bits, lanes):
        self.bits = bits
        self.lanes = lanes
        values = lanes_of(lanes, signed(bits))
        beat = data.StructLayout({"value": values, "other": values, "mask": lanes, "last": 1})
        super().__init__({
            "wide": In(1),
            "i": In(stream.Signature(beat)),
            "o": Out(stream.Signature(result_layout(lanes=lanes))),
        })

    def elaborate(self, _platform):
        m = Module()
        bits, lanes = self.bits, self.lanes
        pipe = Pipe(m, self.i, self.o, self.latency)
        sums = [Signal(signed(bits + 1), reset_less=True, name=f"sum{lane}") for lane in range(lanes)]
        ends = Signal(data.StructLayout({"mask": lanes, "last": 1}), reset_less=True)
        out = Signal.like(self.o.payload, reset_less=True)
        m.d.comb += self.o.payload.eq(out)
        with m.If(pipe.step):
            m.d.sync += [
                ends.mask.eq(self.i.payload.mask),
                ends.last.eq(self.i.payload.last),
                out.mask.eq(ends.mask),
                out.last.eq(ends.last),
            ]
            for lane, total in enumerate(sums):
                m.d.sync += [
                    total.eq(self.i.p.value[lane] + self.i.p.other[lane]),
                    out.x[lane].eq(self._clamp(m, lane, total)),
                ]
        return m

    def _clamp(self, m, lane, total):
        sign = total[-1]
        fits = Signal(name=f"fits{lane}")
        narrow_fits = total[7:16] == sign.replicate(9)
        wide_fits = total[15:] == sign.replicate(self.bits + 1 - 15)
        m.d.comb += fits.eq(wide_fits & (self.wide | narrow_fits))
        result = Signal(16, name=f"result{lane}")
        limit = Mux(self.wide, 0x7FFF, 0x7F) ^ sign.replicate(16)
        m.d.comb += result.eq(Mux(fits, total[:16], limit))
        return result
