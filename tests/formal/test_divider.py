# amaranth: UnusedElaboratable=no
"""Division: every result is that of the operands it took; at the cores' widths by the step of long division."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal

from hw.units.divider import Divider
from tests.support.formal import Proof, in_state, inputs, inside, proved, waits

DIVISIONS = ((28, 13, 16, 1), (31, 31, 16, 1))  # bits of dividend, divisor, quotient, per cycle, of the boards' cores


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


def step(dividend_bits, divisor_bits, quotient_bits, bits_per_cycle):
    """What has been taken of the dividend is `product` plus the remainder, which is less than the divisor.

    `product` is the quotient so far times the divisor by Horner's rule: doubled with each digit, and a divisor more
    where the digit is one. So no multiplication has to be understood, and no width is too large.
    """

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(
            dividend_bits=dividend_bits, divisor_bits=divisor_bits, quotient_bits=quotient_bits,
            bits_per_cycle=bits_per_cycle,
        )  # fmt: skip
        own = inside(dut)
        size = len(own.low)
        begins, divides, delivers = dut.i.valid & dut.i.ready, in_state(own.m, "Divide"), in_state(own.m, "Deliver")
        a, b, product = Signal(dividend_bits), Signal(divisor_bits), Signal(dividend_bits + 1)
        digits, taken = Signal(size), Signal(range(size + 1))  # of the quotient, how many
        following, more = product, digits
        for digit in reversed(own.digits):
            following = ((following << 1) + Mux(digit, b, 0))[: len(product)]
            more = Cat(digit, more)
        m.d.comb += Assume(dut.i.p.dividend < dut.i.p.divisor << quotient_bits)
        with m.If(begins):
            m.d.sync += [a.eq(dut.i.p.dividend), b.eq(dut.i.p.divisor), product.eq(0), digits.eq(0), taken.eq(0)]
        with m.Elif(divides):
            m.d.sync += [product.eq(following), digits.eq(more), taken.eq(taken + bits_per_cycle)]
        seen, untaken = Signal(dividend_bits), Signal.like(taken)
        m.d.comb += [untaken.eq(size - taken), seen.eq(a >> untaken)]
        with m.If(divides | delivers):
            m.d.comb += [
                Assert(own.divisor == b),
                Assert(own.remainder < b),
                Assert(product + own.remainder == seen),
                Assert(own.low == ((a << taken)[:size] | digits)),
                Assert(Mux(delivers, untaken == 0, untaken == (own.left + 1) * bits_per_cycle)),
                Assert(~(digits >> taken).any()),
            ]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(product + dut.o.p.remainder == a),
                Assert(dut.o.p.remainder < b),
                Assert(dut.o.p.quotient == digits),
                Cover((dut.o.p.quotient == 11) & (dut.o.p.remainder == 6)),
            ]
        told = Signal(init=1)
        m.d.sync += told.eq(dut.soon)
        m.d.comb += Assert((dut.i.ready == in_state(own.m, "Wait")) & (dut.i.ready == told))
        waits(m, dut.o, "o")
        return m, inputs(dut)

    return make


PROOFS = [
    Proof(
        name="division, 7 bits by 4",
        what="quotient and remainder, twice in a row, with every stall",
        make=division, unit=Divider, depth=9, covers=9, mutant=("Mux(difference[-1], shifted, difference)", "shifted"),
    ),
    *(
        Proof(
            name=f"division, {sizes[0]} bits by {sizes[1]}",
            what="quotient and remainder, by the step of long division, with every stall",
            make=step(*sizes), unit=Divider, depth=2, forever=True, covers=sizes[2] + 3,
            mutant=("Mux(difference[-1], shifted, difference)", "shifted"),
        )
        for sizes in DIVISIONS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
