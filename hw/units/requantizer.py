"""Scales an integer by a dyadic number and clamps it: what stands between any two layers."""

from amaranth.hdl import Module, Shape, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.limb_multiplier import LimbMultiplier
from hw.units.pipe import Pipe
from hw.units.round_saturate import RoundSaturate

__all__ = ["Requantizer"]


class Requantizer(wiring.Component):
    """``arith.saturate(arith.rounded(value, mult, shift), out_bits)``, once per cycle: RNE(value * mult / 2^shift).

    A result leaves ``latency`` cycles after its operands enter. A stalled output stalls the whole pipe, so nothing is
    lost and nothing is reordered.

    Parameters
    ----------
    value_bits, mult_bits, shift_bits, out_bits: widths; ``value`` and the result are signed
    mult_signed: ``mult`` is signed too
    tag: shape carried along with a value, or None
    limb_bits: where the multiplier splits its operands; 17 suits DSP48E1

    Members
    -------
    i: In(stream of {value, mult, shift, tag})
    o: Out(stream of {value, tag}); without `tag`, both lack that field
    """

    latency = LimbMultiplier.latency + RoundSaturate.latency

    def __init__(self, *, value_bits, mult_bits, shift_bits=6, out_bits, mult_signed, tag=None, limb_bits=17):
        self.out_bits = out_bits
        self.limbs = {
            "value_bits": value_bits,
            "mult_bits": mult_bits,
            "mult_signed": mult_signed,
            "limb_bits": limb_bits,
        }
        carried = {} if tag is None else {"tag": tag}
        operands = {"value": signed(value_bits), "mult": Shape(mult_bits, mult_signed), "shift": shift_bits}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(operands | carried))),
            "o": Out(stream.Signature(data.StructLayout({"value": signed(out_bits)} | carried))),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.multiplier = multiplier = LimbMultiplier(**self.limbs)
        m.submodules.rounding = rounding = RoundSaturate(
            value_bits=multiplier.product_bits, shift_bits=len(self.i.p.shift), out_bits=self.out_bits
        )
        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("tag")
        m.d.comb += [
            multiplier.step.eq(pipe.step),
            multiplier.value.eq(self.i.p.value),
            multiplier.mult.eq(self.i.p.mult),
            rounding.step.eq(pipe.step),
            rounding.i.eq(multiplier.product),
            rounding.shift.eq(pipe.hold(self.i.p.shift, "shift", steps=multiplier.latency)),
            self.o.p.value.eq(rounding.o),
        ]
        return m
