# amaranth: UnusedElaboratable=no
"""The register slice: for ever, nothing is lost, invented, changed or withdrawn."""

from amaranth.hdl import Assert, Cover, Module, Signal

from hw.units.register_slice import RegisterSlice
from tests.support.formal import Proof, inputs, proved


def register_slice(unit):
    m = Module()
    m.submodules.dut = dut = unit(shape=4)
    held, full = Signal(4), Signal()  # the item taken and not yet given
    m.d.comb += [
        Assert(dut.o.valid == full),
        Assert(dut.i.ready == ~full),
        Assert(~full | (dut.o.payload == held)),
    ]
    taken = dut.o.valid & dut.o.ready
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += [held.eq(dut.i.payload), full.eq(1)]
    with m.If(taken):
        m.d.sync += full.eq(0)
    m.d.comb += Cover(taken & (held == 9))
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="register slice, 4 bits",
        what="what it took is offered until it is taken, and nothing else",
        make=register_slice, unit=RegisterSlice, depth=3, forever=True, mutant=("m.If(~full)", "m.If(1)"),
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
