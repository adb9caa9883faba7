# amaranth: UnusedElaboratable=no
"""The sequencer's issue: no engine gets an instruction before its thresholds are reached, nor much later."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value

from hw.sequencer.instruction_queue import InstructionQueue
from hw.sequencer.sequencer import _IN_FLIGHT, Sequencer
from hw.spec import isa
from tests.formal.test_instruction_queue import filled
from tests.support.formal import Proof, driven, inside, proved

SEQUENCERS = ((64, 32, 4), (128, 32, 4), (256, 32, 4))  # bits of a word, depth of a queue, burst, of the boards' cores


def issue(word_bits, depth, burst):
    """The part that issues, with its queues of whatever is written to them; it is cleared and halted at any time."""

    def make(unit):
        m = Module()
        dut = unit(word_bits=word_bits, queue_depth=depth, burst=burst)
        engines = len(isa.Engine)
        m.submodules.queue = queue = InstructionQueue(engines=engines, depth=depth, word_bits=word_bits, burst=burst)
        own = inside(queue)
        idle = Signal()
        dut._queue, dut._reader = queue, SimpleNamespace(idle=idle)
        dut._drained, dut._synced, dut._unretired = Signal(), Signal(), Signal(engines)
        dut._issue(m)
        parts = driven(m)
        m.d.comb += [queue.clear.eq(dut.clear), Assume(~dut._synced | dut._drained)]

        filled(m, queue, own)
        heads, arrived, came, newest = queue.heads, own.arrived, own.arrived_engine, queue.newest
        met = [getattr(parts, f"met_{number}") for number in range(engines)]

        counts = []
        anew = Signal()  # they begin from zero
        m.d.sync += anew.eq(dut.clear | dut._synced)
        m.d.comb += Assert(~anew | ~own.claimed.any())
        for engine in isa.WAITED:
            count, before = getattr(parts, f"retired_{engine.name.lower()}"), Signal(isa.WAIT_BITS)
            retired = Signal(isa.WAIT_BITS + 8, name=f"retirements_{engine.name.lower()}")  # or more than that
            most = (1 << isa.WAIT_BITS) - 1
            m.d.sync += before.eq(count)
            with m.If(dut.clear | dut._synced):
                m.d.sync += retired.eq(0)
            with m.Elif(dut.engines[engine].retired & ~retired.all()):
                m.d.sync += retired.eq(retired + 1)
            m.d.comb += [
                Assert(count == Mux(retired > most, most, retired)),
                Assert(anew | (count == before) | (count == before + 1)),
            ]
            counts.append((count, before))
        for e, engine in enumerate(dut.engines):
            head, begun = heads[e], Signal(5, name=f"begun_{e}")  # issued and not retired
            fire = engine.issue.valid & engine.issue.ready
            m.d.comb += [
                Assume(~engine.retired | (begun != 0)),
                Assume(~engine.issue.ready | (begun != _IN_FLIGHT)),
                Assert(getattr(parts, f"in_flight_{e}") == begun),
                Assert(begun <= _IN_FLIGHT),
                Assert(dut._unretired[e] == (begun != 0)),
                Assert(~engine.issue.valid | head.valid & ~dut.halt),
                Assert(engine.issue.p.op == head.p.word.op),
                Assert(engine.issue.p.operands == head.p.word.operands),
                Assert(engine.issue.p.index == head.p.index),
                Assert(head.ready == fire),
            ]
            m.d.sync += begun.eq(Mux(dut.clear, 0, begun + fire - engine.retired))
            new = newest.valid & (newest.engine == e)
            comes = arrived & (came == e)
            m.d.comb += Assert(head.valid & ~new | (met[e] == 0))
            for bit, (other, (count, before)) in enumerate(zip(isa.WAITED, counts, strict=True)):
                wait = head.p.word[f"wait_{other.name.lower()}"]
                place = isa.word_layout()[f"wait_{other.name.lower()}"].offset
                inner = min(isa.WAIT_BITS, -place % word_bits or word_bits)  # bits of it in its first word
                for part, word in ((slice(inner), place // word_bits), (slice(inner, None), place // word_bits + 1)):
                    held = new | comes & (own.arrived_beat > word)
                    m.d.comb += Assert(~held | (newest.waits[bit][part] == wait[part]))
                m.d.comb += [
                    Assert(~engine.issue.valid | (count >= wait)),
                    Assert(~met[e][bit] | (count >= wait)),
                    Assert(~head.valid | new | met[e][bit] | (before < wait)),
                ]
        matmul = isa.Engine.MATMUL
        # What else there is to reach is many cycles away.
        m.d.comb += Cover(own.filling & (driven(own.m).engine == matmul))
        m.d.comb += Assert(~dut._drained | queue.empty & idle & ~dut._unretired.any())
        return m, [
            dut.clear, dut.halt, dut._synced, idle, *map(Value.cast, (queue.write,)),
            *(Value.cast(port) for engine in dut.engines for port in (engine.retired, engine.issue.ready)),
        ]  # fmt: skip

    return make


PROOFS = [
    *(
        Proof(
            name=f"issue, {word_bits} bits",
            what="an instruction only when its thresholds are reached, and from the next cycle on; retirements counted "
            "exactly up to the largest threshold, instructions on the way exactly",
            make=issue(word_bits, depth, burst), unit=Sequencer, depth=1, forever=True,
            covers=7,
            mutant=("bit.eq(count >= wait)", "bit.eq(count > wait)"),
        )
        for word_bits, depth, burst in SEQUENCERS
    ),
]  # fmt: skip

test_holds, test_says_something, test_finds_its_mutant = proved(PROOFS)
