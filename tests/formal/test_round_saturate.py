# amaranth: UnusedElaboratable=no
"""Rounding half to even and saturation, for every product and shift at the widths of the boards' cores."""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cat, Cover, Module, Mux, Signal, signed

from hw.units.round_saturate import RoundSaturate
from tests.support.formal import Proof, proved

ROUNDINGS = ((51, 27), (66, 16), (68, 27))  # bits of the product and of the result, of the boards' cores


def rounding(value_bits, out_bits):
    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(value_bits=value_bits, shift_bits=6, out_bits=out_bits)
        value, shift = AnyConst(signed(value_bits)), AnyConst(6)
        floor = Signal(signed(value_bits))
        widest = max(value_bits, 1 << len(shift))  # what a shift may leave of a narrow product has more bits than it
        remainder, half = Signal(widest), Signal(widest)
        rounded = Signal(signed(value_bits + 1))
        limit = 1 << (out_bits - 1)
        tie = (shift != 0) & (remainder == half)
        m.d.comb += [
            floor.eq(value >> shift),
            remainder.eq(value - (floor << shift)),
            half.eq((1 << shift) >> 1),
            rounded.eq(floor + ((shift != 0) & ((remainder > half) | ((remainder == half) & floor[0])))),
            dut.i.eq(value),
            dut.shift.eq(shift),
            dut.step.eq(1),
        ]
        clamped = Mux(rounded >= limit, limit - 1, Mux(rounded < -limit, -limit, rounded))
        filled = Signal(dut.latency)
        m.d.sync += filled.eq(Cat(1, filled))
        with m.If(filled[-1]):
            m.d.comb += Assert(dut.o == clamped)
            m.d.comb += [Cover(tie & (dut.o == 6)), Cover(rounded >= limit), Cover(rounded < -limit)]
        return m, []

    return make


PROOFS = [
    *(
        Proof(
            name=f"rounding, {value_bits} to {out_bits} bits",
            what="half to even and saturated, for every product and shift",
            make=rounding(value_bits, out_bits),
            unit=RoundSaturate,
            depth=RoundSaturate.latency + 1,
            covers=RoundSaturate.latency + 1,
            mutant=("(sticky | floor[0])", "sticky"),
        )
        for value_bits, out_bits in ROUNDINGS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
