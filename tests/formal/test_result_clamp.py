# amaranth: UnusedElaboratable=no
"""The clamp: every sum saturated to its type, in order, with every stall."""

from amaranth.hdl import Assert, Cover, Module, Mux, Signal, Value, signed

from hw.vector.result_clamp import ResultClamp
from tests.support.formal import Proof, inputs, inside, pipelined, proved

CLAMPS = ((27, 1), (27, 2), (27, 4))  # bits of a value and lanes, of the boards' cores


def clamp(bits, lanes):
    def make(unit):
        m = Module()
        m.submodules.dut = dut = unit(bits=bits, lanes=lanes)
        own = inside(dut)
        wide = Signal()  # stable while beats are in the pipeline, and free before
        m.d.comb += dut.wide.eq(wide)
        choice = Signal()
        with m.If(~own.pipe.valid.any() & ~dut.i.valid):
            m.d.sync += wide.eq(choice)
        ends = [Signal.like(Value.cast(dut.i.p.mask)), Signal.like(Value.cast(dut.i.p.mask))]
        lasts = Signal(2)
        with m.If(own.pipe.step):
            m.d.sync += [ends[0].eq(dut.i.p.mask), ends[1].eq(ends[0]), lasts.eq((lasts << 1) | dut.i.p.last)]
        limit = Mux(wide, 1 << 15, 1 << 7)
        for lane in range(lanes):
            sums = [Signal(signed(bits + 1), name=f"sum{lane}_{k}") for k in range(2)]
            with m.If(own.pipe.step):
                m.d.sync += [sums[0].eq(dut.i.p.value[lane] + dut.i.p.other[lane]), sums[1].eq(sums[0])]
            low, high = Signal(signed(bits + 1)), Signal(signed(bits + 1))
            m.d.comb += [low.eq(-limit), high.eq(limit - 1)]
            clamped = Mux(sums[1] > high, high, Mux(sums[1] < low, low, sums[1]))
            m.d.comb += [
                Assert(~own.pipe.valid[0] | (own.sums[lane] == sums[0])),
                Assert(~dut.o.valid | (dut.o.p.x[lane] == clamped[:16])),
                Cover(dut.o.valid & (sums[1] > high)),
                Cover(dut.o.valid & (sums[1] < low)),
            ]
        m.d.comb += [
            Assert(~own.pipe.valid[0] | ((own.ends.mask == ends[0]) & (own.ends.last == lasts[0]))),
            Assert(~dut.o.valid | ((dut.o.p.mask == ends[1]) & (dut.o.p.last == lasts[1]))),
        ]
        pipelined(m, dut)
        return m, [*(port for port in inputs(dut) if port is not dut.wide), choice]

    return make


PROOFS = [
    *(
        Proof(
            name=f"clamp of {lanes} sums of {bits} bits",
            what="saturated to int8 or int16, in order, with every stall",
            make=clamp(bits, lanes), unit=ResultClamp, depth=2, forever=True,
            mutant=("total[7:16] == sign.replicate(9)", "total[8:16] == sign.replicate(8)"),
        )
        for bits, lanes in CLAMPS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
