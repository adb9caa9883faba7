"""Saturation of requantized values to the result's type, after the residual addition."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.vector.packer import result_layout

__all__ = ["ResultClamp"]


class ResultClamp(wiring.Component):
    """Clamps each value to int8, or int16 with ``wide``; with ``add``, lane 0 is the sum of lanes 0 and 1.

    Rate: one beat per cycle. Latency: 2 cycles. A stall holds both stages.

    Parameters
    ----------
    bits : int
        Bits of a value, signed; more than 16.
    lanes, values : int
        Results of a beat, and values that they come from: with ``add`` at least two.

    Members
    -------
    wide, add : In(1)
        Stable while beats are in the pipeline.
    i : In(stream of {value, mask, last}), o : Out(stream of result_layout)
    """

    latency = 2

    def __init__(self, *, bits, lanes, values):
        self.bits = bits
        self.lanes = lanes
        self.values = values
        beat = data.StructLayout({"value": lanes_of(values, signed(bits)), "mask": lanes, "last": 1})
        super().__init__({
            "wide": In(1),
            "add": In(1),
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
            value = self.i.payload.value
            for lane, total in enumerate(sums):
                other = Mux(self.add, value[1], 0) if lane == 0 and self.values > 1 else 0
                m.d.sync += [total.eq(value[lane] + other), out.x[lane].eq(self._clamp(m, lane, total))]
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
