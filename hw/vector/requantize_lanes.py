"""Several requantizers in lockstep, the residual addition and the clamp behind them."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.vector_ops import ADDEND_BITS
from hw.units.limb_multiplier import LimbMultiplier
from hw.units.pair_multiplier import PairMultiplier
from hw.units.pipe import Pipe
from hw.units.ports import lanes_of
from hw.units.round_saturate import RoundSaturate
from hw.vector.packer import result_layout
from hw.vector.result_clamp import ResultClamp

__all__ = ["RequantizeLanes"]

VALUE_BITS, MULT_BITS, SHIFT_BITS = 35, 33, 6  # of I-LayerNorm, the widest user
OPERAND_BITS = 16  # of an addition

# A requantized value saturates here: its clamp to int16 is right, and so is the clamp of the sum of two, provided that
# not both saturate; x * m/2^e of an int16 x does not while m/2^e < 2^11.
RESULT_BITS = ADDEND_BITS


class RequantizeLanes(wiring.Component):
    """clamp(RNE(value * mult / 2^shift)) per lane; ``add`` adds RNE(other * mult_other / 2^shift_other) before it.

    A lane has four multipliers, for one wide product or for both narrow ones of an addition, whose values are int16 and
    whose factors have mantissas of at most 2^31, and rounds both.
    Rate: one beat per cycle. Latency: ``latency`` cycles. A stall holds the pipeline.

    Parameters
    ----------
    lanes : int
        Results of a beat.
    adds : bool
        Whether there is ``add``; without, it is 0.

    Members
    -------
    wide, add : In(1), mult_other : In(32), shift_other : In(6)
        int16 results; an addition and its second factor; stable while beats are in the pipeline.
    i : In(stream of {"value", "mult", "shift", "mask", "last", "other" if adds}), per lane but mask and last
    o : Out(stream of result_layout)
    """

    rounded = LimbMultiplier.latency + RoundSaturate.latency
    latency = rounded + ResultClamp.latency

    def __init__(self, *, lanes, adds=True):
        self.lanes, self.adds = lanes, adds
        beat = {
            "value": lanes_of(lanes, signed(VALUE_BITS)),
            "mult": lanes_of(lanes, signed(MULT_BITS)),
            "shift": lanes_of(lanes, unsigned(SHIFT_BITS)),
            "mask": lanes,
            "last": 1,
        }
        if adds:
            beat["other"] = lanes_of(lanes, signed(OPERAND_BITS))
        super().__init__({
            "wide": In(1),
            "add": In(1),
            "mult_other": In(MULT_BITS - 1),
            "shift_other": In(SHIFT_BITS),
            "i": In(stream.Signature(data.StructLayout(beat))),
            "o": Out(stream.Signature(result_layout(lanes=lanes))),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.clamp = clamp = ResultClamp(bits=RESULT_BITS, lanes=self.lanes)
        pipe = Pipe(m, self.i, clamp.i, self.rounded)
        for name in ("mask", "last"):
            pipe.carry(name)
        # An operand less than 2^15 in size times a mantissa up to 2^31 is at most half of 2^47
        nothing = self.shift_other >= OPERAND_BITS - 1 + 32
        shift_other = Signal(SHIFT_BITS)
        m.d.comb += [clamp.wide.eq(self.wide), shift_other.eq(self.shift_other + PairMultiplier.limb)]
        beat, result = self.i.p, clamp.i.p
        for lane in range(self.lanes):
            m.submodules[f"product{lane}"] = product = self._multiplier()
            m.d.comb += [
                product.step.eq(pipe.step),
                product.value.eq(beat.value[lane]),
                product.mult.eq(beat.mult[lane]),
            ]
            shift = beat.shift[lane]
            if self.adds:
                m.d.comb += [
                    product.apart.eq(self.add),
                    product.other.eq(Mux(nothing, 0, beat.other[lane])),
                    product.other_mult.eq(self.mult_other),
                ]
                self._round(m, f"own{lane}", pipe, product.own, shift, result.other[lane])
                shift = Mux(self.add, shift_other, shift)
            self._round(m, f"rounded{lane}", pipe, product.product, shift, result.value[lane])
        wiring.connect(m, clamp.o, wiring.flipped(self.o))
        return m

    def _multiplier(self):
        if self.adds:
            return PairMultiplier(value_bits=VALUE_BITS, mult_bits=MULT_BITS)
        return LimbMultiplier(value_bits=VALUE_BITS, mult_bits=MULT_BITS, mult_signed=True)

    def _round(self, m, name, pipe, value, shift, result):
        m.submodules[name] = rounding = RoundSaturate(
            value_bits=len(value), shift_bits=SHIFT_BITS, out_bits=RESULT_BITS
        )
        m.d.comb += [
            rounding.step.eq(pipe.step),
            rounding.i.eq(value),
            rounding.shift.eq(pipe.hold(shift, f"{name}_shift", steps=LimbMultiplier.latency)),
            result.eq(rounding.o),
        ]
