# amaranth: UnusedElaboratable=no
"""ShiftExp: a stage does what its step says, with every stall; the steps are the law, for every operand."""

import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import data

from hw.spec import arith
from hw.vector.shift_exp import FRACTION_BITS, I0_BITS, SHIFTED_BITS, T_BITS, ShiftExp
from tests.support.formal import Proof, driven, inputs, inside, pipelined, proved

TERMS = (15,)  # of the boards' cores


# The steps, of integers and of hardware: `choose(condition, one, other)` is NumPy's or Amaranth's.


def fall(d, fraction, choose):
    """16 times -p of the law, but for the shift: p = d + d/2 - d/16."""
    return 23 * -d + choose(fraction == 0, 8 * (d & 1), 0)


def shifted(t, fraction, choose):
    """What is to be divided; what 14 bits do not hold is made to, as it exceeds `terms` times any I0."""
    n = (t << fraction) >> 4
    return choose(n >> SHIFTED_BITS != 0, n & 1023 | 15 << I0_BITS, n & (1 << SHIFTED_BITS) - 1)


def divided(n, q, beyond, i0, bit, choose):
    """(rest, quotient, whether it is beyond `terms`) with the quotient's next digit, of weight 2**bit."""
    fits = (n >> bit) >= i0
    rest = n - choose(fits, i0 << bit, 0)
    return rest & (1 << bit + I0_BITS) - 1, q << 1 | fits, beyond | (rest >> bit > 1023)


def delivered(n, q, beyond, i0, terms, choose):
    """(mantissa, quotient)."""
    full = (q == terms) | (beyond != 0)
    return 2 * i0 - choose(full, 0, n), choose(full, terms, q)


@pytest.mark.parametrize("fraction", range(1 << FRACTION_BITS))
@pytest.mark.parametrize("terms", TERMS)
def test_the_steps_are_the_law(terms, fraction):
    """For every difference and I0."""
    d, i0 = np.arange(-255, 1)[:, None], np.arange(1, 1 << I0_BITS)
    n, q, beyond = shifted(fall(d, fraction, np.where), fraction, np.where), 0, 0
    for bit in reversed(range(terms.bit_length())):
        n, q, beyond = divided(n, q, beyond, i0, bit, np.where)
    for got, law in zip(
        delivered(n, q, beyond, i0, terms, np.where), arith.shift_exp_parts(d << fraction, i0, terms), strict=True
    ):
        np.testing.assert_array_equal(got, law)


def exponential(terms):
    """Beside the pipeline goes one of the steps, which moves when it moves; their registers are the same."""
    digits = terms.bit_length()
    fields = {
        "t": T_BITS, "fraction": FRACTION_BITS, "n": SHIFTED_BITS, "q": digits, "beyond": 1, "i0": I0_BITS,
        "mantissa": I0_BITS + 1, "tag": 2,
    }  # fmt: skip

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(terms=terms, tag=2)
        own = inside(dut)
        found = driven(own.m)
        i = dut.i.p
        m.d.comb += Assume(~dut.i.valid | ((i.d <= 0) & (i.d >= -255)))
        following = {"t": fall(i.d, i.fraction, Mux), "fraction": i.fraction, "i0": i.i0, "tag": i.tag}
        for stage in range(dut.latency):
            step = Signal(data.StructLayout(fields), name=f"step{stage}", reset_less=True)
            with m.If(own.pipe.step):
                m.d.sync += [step[name].eq(value) for name, value in following.items()]
            bit = digits - 1 - stage
            following = {name: step[name] for name in ("q", "beyond", "i0", "tag")}
            if stage == 0:
                same = {"t": "t_0", "fraction": "fraction_0", "i0": "i0_0"}
                n, q, beyond = shifted(step.t, step.fraction, Mux), 0, 0
            elif stage <= digits:
                last = bit + 1
                same = {"n": f"n{last}_0", "q": f"q{last}_0", "i0": f"i0_{last}_0", "beyond": f"beyond{last}_0"}
                n, q, beyond = step.n, step.q, step.beyond
            else:
                same = {"mantissa": "mantissa_0", "q": "q_out_0"}
            if bit >= 0:
                results = divided(n, q, beyond, step.i0, bit, Mux)
                following |= zip(("n", "q", "beyond"), results, strict=True)
            elif stage == digits:
                following |= zip(("mantissa", "q"), delivered(n, q, beyond, step.i0, terms, Mux), strict=True)
            with m.If(own.pipe.valid[stage]):
                m.d.comb += [Assert(step[name] == getattr(found, register)) for name, register in same.items()]
                m.d.comb += Assert(step.tag == getattr(found, f"tag_{stage}"))
        with m.If(dut.o.valid):
            m.d.comb += [
                *(Assert(dut.o.p[name] == step[name]) for name in ("mantissa", "q", "tag")),
                Cover((dut.o.p.q == 11) & (dut.o.p.mantissa == 1201)),
                Cover(dut.o.p.q == terms),
            ]
        pipelined(m, dut)
        return m, inputs(dut)

    return make


PROOFS = [
    *(
        Proof(
            name=f"ShiftExp, {terms} terms",
            what="every stage does its step, which is the law's for every difference, I0 and fraction; in order, with "
            "every stall",
            make=exponential(terms), unit=ShiftExp, depth=1, forever=True, covers=8,
            mutant=("difference[I0_BITS:width].any()", "difference[I0_BITS + 1:width].any()"),
        )
        for terms in TERMS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
