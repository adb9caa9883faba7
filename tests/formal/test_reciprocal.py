# amaranth: UnusedElaboratable=no
"""Reciprocal: a stage does the step of `tests.formal.test_non_restoring`, or takes one bit more, with every stall.

One query for all stages is too much, so some are proved at a time, and assume of the one before them what was proved
without them.
"""

from itertools import pairwise

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import data

from hw.units.reciprocal import QUOTIENT_BITS, Reciprocal
from tests.support.formal import Proof, driven, inputs, inside, pipelined, proved

RECIPROCALS = ((31, 1),)  # bits of the divisor, digits of a stage, of the boards' cores
PARTS = tuple(pairwise(range(0, QUOTIENT_BITS + 2, 4)))  # stages that are proved at a time; stage n has n digits


def reciprocal(divisor_bits, first, end):
    """Beside each stage stand its divisor s and, of the dividend's ones that it has taken, remainder R and digits."""
    layout = data.StructLayout({
        "s": divisor_bits, "rest": signed(divisor_bits + 2), "digits": QUOTIENT_BITS, "tag": 2,
    })  # fmt: skip

    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(divisor_bits=divisor_bits, bits_per_stage=1, tag=2)
        own = inside(dut)
        found = driven(own.m)
        m.d.comb += Assume(~dut.i.valid | (dut.i.p.divisor != 0))
        following = {"s": dut.i.p.divisor, "rest": 0, "digits": 0, "tag": dut.i.p.tag}
        for stage in range(end):
            here, valid = Signal(layout, name=f"step{stage}", reset_less=True), own.pipe.valid[stage]
            came = Signal(name=f"came{stage}")
            with m.If(own.pipe.step):
                m.d.sync += [here[name].eq(value) for name, value in following.items()]
                m.d.sync += came.eq(own.pipe.valid[stage - 1] if stage else dut.i.valid)
            s = here.s
            less = [~s[bit + 1 :].any() for bit in range(divisor_bits - 1)]  # than 2**(bit + 1)
            same = [
                s != 0,
                getattr(found, f"tag_{stage}") == here.tag,
                getattr(found, f"divisor{stage}_0") == s,
                getattr(found, f"short{stage}_0") == Cat(less),
                here.rest == 0
                if stage == 0
                else (getattr(found, f"rest{stage - 1}_0").as_signed() == here.rest)
                & (getattr(found, f"quotient{stage - 1}_0") == here.digits[:stage])
                & ((s >> stage == 0) | (here.rest == (1 << stage) - 1)),
            ]
            kind = Assert if stage >= first else Assume
            if stage >= first - 1:
                m.d.comb += [kind(valid == came), *(kind(~valid | fact) for fact in same)]
                if stage > 0:
                    m.d.comb += Assume(~valid | (here.rest >= -s) & (here.rest < s))  # test_the_step_divides
            divides = less[stage] if stage < divisor_bits - 1 else 1
            after = Signal(here.rest.shape(), name=f"after{stage}")
            m.d.comb += after.eq(2 * here.rest + 1 + Mux(divides, Mux(here.rest < 0, s, -s), 0))
            following = {"s": s, "rest": after, "digits": Cat(divides & (after >= 0), here.digits), "tag": here.tag}
        if end > QUOTIENT_BITS:
            with m.If(dut.o.valid):
                m.d.comb += [
                    Assert(dut.o.p.quotient == here.digits),
                    Assert(dut.o.p.tag == here.tag),
                    Cover(here.digits == 11),
                ]
            pipelined(m, dut)
        return m, inputs(dut)

    return make


PROOFS = [
    Proof(
        name=f"reciprocal of {divisor_bits} bits",
        what="every stage does the step of non-restoring division; in order, with every stall",
        make=reciprocal(divisor_bits, *PARTS[-1]), lemmas=tuple(reciprocal(divisor_bits, *part) for part in PARTS[:-1]),
        unit=Reciprocal, depth=1, forever=True, covers=QUOTIENT_BITS + 3,
        mutant=("carry = active & (positive | divisor[0])", "carry = active & positive"),
    )
    for divisor_bits, _ in RECIPROCALS
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
