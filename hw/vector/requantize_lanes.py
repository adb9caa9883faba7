"""Several requantizers in lockstep, the residual addition and the clamp behind them."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.vector_ops import ADDEND_BITS
from hw.units.ports import lanes_of
from hw.units.requantizer import Requantizer
from hw.vector.packer import result_layout
from hw.vector.result_clamp import ResultClamp

__all__ = ["RequantizeLanes"]

VALUE_BITS, MULT_BITS, SHIFT_BITS = 35, 33, 6  # of I-LayerNorm, the widest user

# A requantized value saturates here: its clamp to int16 is right, and so is the clamp of the sum of two, provided that
# not both saturate; x * m/2^e of an int16 x does not while m/2^e < 2^11.
RESULT_BITS = ADDEND_BITS


class RequantizeLanes(wiring.Component):
    """clamp(RNE(value * mult / 2^shift)) per lane; with ``add``, lane 0 is clamp(RNE(lane 0) + RNE(lane 1)).

    Rate: one beat per cycle. Latency: ``latency`` cycles. A stall holds the pipeline.

    Parameters
    ----------
    lanes : int
        Results of a beat.
    adds : bool
        There are at least two values, for ``add``.

    Members
    -------
    wide, add : In(1)
        int16 results; stable while beats are in the pipeline.
    i : In(stream of {"value", "mult", "shift", "mask", "last"}), the first three per lane
    o : Out(stream of result_layout)
    """

    latency = Requantizer.latency + ResultClamp.latency

    def __init__(self, *, lanes, adds=True):
        self.lanes = lanes
        values = max(2, lanes) if adds else lanes
        self._ends = data.StructLayout({"mask": lanes, "last": 1})
        self._units = [
            Requantizer(
                value_bits=VALUE_BITS,
                mult_bits=MULT_BITS,
                shift_bits=SHIFT_BITS,
                out_bits=RESULT_BITS,
                mult_signed=True,
                tag=self._ends if lane == 0 else None,
            )
            for lane in range(values)
        ]
        beat = data.StructLayout({
            "value": lanes_of(values, signed(VALUE_BITS)),
            "mult": lanes_of(values, signed(MULT_BITS)),
            "shift": lanes_of(values, unsigned(SHIFT_BITS)),
            "mask": lanes,
            "last": 1,
        })
        super().__init__({
            "wide": In(1),
            "add": In(1),
            "i": In(stream.Signature(beat)),
            "o": Out(stream.Signature(result_layout(lanes=lanes))),
        })

    def elaborate(self, _platform):
        m = Module()
        beat = self.i.payload
        m.submodules.clamp = clamp = ResultClamp(bits=RESULT_BITS, lanes=self.lanes, values=len(self._units))
        for lane, unit in enumerate(self._units):
            m.submodules[f"unit{lane}"] = unit
            m.d.comb += [
                unit.i.valid.eq(self.i.valid),
                unit.i.payload.value.eq(beat.value[lane]),
                unit.i.payload.mult.eq(beat.mult[lane]),
                unit.i.payload.shift.eq(beat.shift[lane]),
                clamp.i.payload.value[lane].eq(unit.o.payload.value),
                unit.o.ready.eq(clamp.i.ready),
            ]
        lead = self._units[0]
        m.d.comb += [
            self.i.ready.eq(lead.i.ready),
            lead.i.payload.tag.mask.eq(beat.mask),
            lead.i.payload.tag.last.eq(beat.last),
            clamp.i.valid.eq(lead.o.valid),
            clamp.i.payload.mask.eq(lead.o.payload.tag.mask),
            clamp.i.payload.last.eq(lead.o.payload.tag.last),
            clamp.wide.eq(self.wide),
            clamp.add.eq(self.add),
        ]
        wiring.connect(m, clamp.o, wiring.flipped(self.o))
        return m
