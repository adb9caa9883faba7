# amaranth: UnusedElaboratable=no
"""Division: every result is that of the operands it took."""

from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from hw.units.divider import Divider
from tests.support.formal import Proof, inputs, proved, waits


def division(unit):
    m = Module()
    m.submodules.dut = dut = unit(dividend_bits=7, divisor_bits=4, quotient_bits=4, bits_per_cycle=2)
    a, b = Signal(7), Signal(4)
    q, r = dut.o.p.quotient, dut.o.p.remainder
    m.d.comb += Assume(dut.i.p.dividend < dut.i.p.divisor << 4)
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += [a.eq(dut.i.p.dividend), b.eq(dut.i.p.divisor)]
    with m.If(dut.o.valid):
        m.d.comb += [Assert(q * b + r == a), Assert(r < b), Cover((q == 11) & (r == 6))]
    waits(m, dut.o, "o")
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="division, 7 bits by 4",
        what="quotient and remainder, twice in a row, with every stall",
        make=division, unit=Divider, depth=9, covers=9, mutant=("Mux(difference[-1], shifted, difference)", "shifted"),
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
