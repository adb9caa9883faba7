# amaranth: UnusedElaboratable=no
"""The registers: AXI4-Lite is kept to, every request is answered once, and what is read is what is held."""

from amaranth.hdl import Assert, Cover, Module, Signal

from hw.csr import COUNTERS, Csr
from hw.spec.regs import REGS, Access
from tests.support.formal import Proof, inputs, inside, proved

WRITABLE = {n: reg for n, reg in enumerate(REGS) if reg.access is Access.RW}
WIDE = next(n for n, reg in WRITABLE.items() if reg.bits == 32)


def held(m, name, valid, ready, *payload):
    """Asserts that an answer that is not taken is given unchanged in the next cycle."""
    waiting = Signal(name=f"{name}_waiting")
    m.d.sync += waiting.eq(valid & ~ready)
    for number, value in enumerate(payload):
        before = Signal.like(value, name=f"{name}_before{number}", reset_less=True)
        m.d.sync += before.eq(value)
        m.d.comb += Assert(~waiting | (valid & (value == before)))


def registers(unit):
    m = Module()
    m.submodules.dut = dut = unit(fingerprint=0x12345678)
    own, bus = inside(dut), dut.bus
    writes, reads = Signal(2), Signal(2)  # taken, and not yet answered
    waited = Signal(2)  # cycles since a read was taken, three at most
    index = Signal(len(bus.araddr) - 2)  # of the read
    write, read = bus.awvalid & bus.awready, bus.arvalid & bus.arready
    written, was_read = bus.bvalid & bus.bready, bus.rvalid & bus.rready
    m.d.sync += [writes.eq(writes + write - written), reads.eq(reads + read - was_read)]
    with m.If(read):
        m.d.sync += [index.eq(bus.araddr[2:]), waited.eq(0)]
    with m.Elif(waited != 3):
        m.d.sync += waited.eq(waited + 1)
    counter = (index >= len(REGS) - len(COUNTERS)) & (index < len(REGS))
    m.d.comb += [
        Assert(bus.awready == bus.wready),
        Assert(~bus.awready | (bus.awvalid & bus.wvalid)),
        Assert(bus.bvalid == (writes == 1)),
        Assert((own.pending | bus.rvalid) == (reads == 1)),
        Assert(~(own.pending & bus.rvalid)),
        Assert((writes <= 1) & (reads <= 1)),
        Assert(~own.pending | ((own.index == index) & (own.counter == (index >= len(REGS) - len(COUNTERS))))),
        Assert(~own.pending | (own.beyond == (index >= len(REGS)))),
        Assert(~own.pending | counter | (waited == 0)),
        Assert(~bus.rvalid | (bus.rresp[1] == (index >= len(REGS)))),
        Cover(written & (bus.bresp == 2)),
        Cover(was_read & (index == WIDE) & (bus.rdata == 0xA5)),
    ]
    held(m, "b", bus.bvalid, bus.bready, bus.bresp)
    held(m, "r", bus.rvalid, bus.rready, bus.rresp, bus.rdata)
    copy = own.m.submodules.copy
    for number, reg in WRITABLE.items():
        line = copy.read_port(domain="comb")
        target = getattr(dut, reg.name)
        m.d.comb += [line.addr.eq(number), Assert(line.data[: reg.bits] == target)]
        with m.If(own.pending & (index == number)):
            m.d.comb += Assert(own.value == target)
    return m, inputs(dut)


PROOFS = [
    Proof(
        name="registers",
        what="one answer for each request, unchanged while it waits, at once unless it is a counter's; an error for "
        "what is not there; a writable register reads as it is",
        make=registers, unit=Csr, depth=2, forever=True, covers=8,
        mutant=("bus.arready.eq(~pending & ~bus.rvalid)", "bus.arready.eq(~pending)"),
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
