# amaranth: UnusedElaboratable=no
"""SquareRoot: Newton's ten steps, every quotient by the step of `tests.formal.test_non_restoring`, which fits."""

import pytest
import z3
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.utils import exact_log2

from hw.units.square_root import FACTOR_BITS, ROUNDS, START, SquareRoot
from tests.support.formal import Proof, follows, in_state, inputs, inside, proved, waits

ROOTS = ((42, 2),)  # bits of the value and digits per cycle, of the boards' cores
_NUMERATOR = (1 << 31) - 1


@pytest.mark.parametrize(("value_bits", "bits_per_cycle"), ROOTS)
def test_every_quotient_fits(value_bits, bits_per_cycle):
    """From the first step on k >= isqrt(value), so that value // k has no more digits than the divider takes."""
    digits = SquareRoot(value_bits=value_bits, bits_per_cycle=bits_per_cycle).root_steps * bits_per_cycle
    value, k, quotient, rest, following, root = z3.Ints("value k quotient rest following root")
    divided = (k >= 1, quotient >= 0, rest >= 0, rest < k, value == quotient * k + rest)
    is_root = (root >= 0, root * root <= value, value < (root + 1) * (root + 1), root < 1 << value_bits // 2)
    stepped = (2 * following <= k + quotient, k + quotient <= 2 * following + 1)
    assert follows(following >= root, *divided, *is_root, *stepped)
    assert follows(quotient <= root + 2, *divided, *is_root, k >= root)
    assert (1 << value_bits // 2) - 1 + 2 < 1 << digits
    assert _NUMERATOR >> FACTOR_BITS < START >> ROUNDS  # and the factor, of a k that no step more than halves


def root(value_bits, bits_per_cycle):
    """Beside it goes the law: `k`, and the divisions by `k` in steps; `digits` of `taken` bits are the quotient's."""

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(value_bits=value_bits, bits_per_cycle=bits_per_cycle)
        own = inside(dut)
        size = len(own.low)
        wait, update, divide, deliver = (in_state(own.m, s) for s in ("Wait", "Update", "Divide", "Deliver"))
        value, k = Signal(value_bits), Signal(dut.root_bits)
        rest = Signal(signed(dut.root_bits + 2))
        bits, digits = Signal(size), Signal(size)  # of the dividend still to come, at the top; of the quotient
        taken, steps = Signal(range(size + 1)), Signal(range(ROUNDS + 1))  # digits; values of k so far
        final = steps == ROUNDS
        first = steps == 0
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [value.eq(dut.i.p), steps.eq(0), digits.eq(0)]
        with m.Elif(update):
            m.d.sync += [
                k.eq(Mux(first, START + (value >> 16), k + digits) >> 1),
                rest.eq(Mux(steps == ROUNDS - 1, _NUMERATOR >> own.factor_digits, value >> own.root_digits)),
                bits.eq(Mux(steps == ROUNDS - 1, ~0, value << size - own.root_digits)),
                steps.eq(steps + 1), digits.eq(0), taken.eq(0),
            ]  # fmt: skip
        with m.Elif(divide):
            after, more = rest, digits
            for bit in range(bits_per_cycle):
                following = Signal(rest.shape(), name=f"rest_{bit}")
                m.d.comb += following.eq(2 * after + bits[-1 - bit] + Mux(after < 0, k, -k))
                after, more = following, Cat(following >= 0, more)
            m.d.sync += [rest.eq(after), digits.eq(more), bits.eq(bits << bits_per_cycle)]
            m.d.sync += taken.eq(taken + bits_per_cycle)
        every, untaken = Mux(final, own.factor_digits, own.root_digits), Signal.like(taken)
        m.d.comb += [
            untaken.eq(every - taken),
            Assume(~divide | (taken != 0) | final | (rest < k)),  # test_every_quotient_fits
            Assert(wait | update | divide | deliver),
            Assert(dut.i.ready == wait),
            Assert(dut.o.valid == deliver),
        ]
        with m.If(~wait):
            m.d.comb += Assert(own.value == value)
        with m.If(update):
            m.d.comb += [Assert(own.rounds == steps), Assert(steps < ROUNDS), Assert(first | (own.low == digits))]
            m.d.comb += Cover((steps == 1) & (digits == 11))
        with m.If(update & ~first | divide | deliver):
            m.d.comb += [Assert(own.root == k), Assert(((k << steps) >> exact_log2(START)).any())]
        with m.If(divide | deliver):
            m.d.comb += [
                Assert(Cat(own.rest[:-1], ~own.rest[-1]).as_signed() == rest),
                Assert((rest >= -k) & (rest < k)),
                Assert(own.low == bits | digits),
                Assert((steps != 0) & (steps <= ROUNDS)),
                Assert(taken <= every),
                Assert(~(digits >> taken).any()),
                Assert(~(bits << untaken)[:size].any()),
            ]
        with m.If(divide):
            m.d.comb += [Assert(own.rounds + 1 == steps), Assert(taken + (own.left + 1) * bits_per_cycle == every)]
        with m.If(deliver):
            m.d.comb += [Assert(final), Assert(taken == every), Assert(dut.o.p.root == k)]
            m.d.comb += Assert(dut.o.p.factor == digits[:FACTOR_BITS])
        waits(m, dut.o, "o")
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"root and factor of {value_bits} bits, {bits_per_cycle} digits at once",
            what="ten steps of Newton's, every quotient by the step of non-restoring division, with every stall",
            make=root(value_bits, bits_per_cycle), unit=SquareRoot, depth=1, forever=True, covers=15,
            mutant=("plus(shifted, operand, positive)", "plus(shifted, operand, 0)"),
        )
        for value_bits, bits_per_cycle in ROOTS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
