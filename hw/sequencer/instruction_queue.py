"""Instructions waiting for their engines: one memory, a queue and a prefetched head per engine."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.spec import isa
from hw.spec.timing import Timing
from hw.units.carry_chain import up_down
from hw.units.memory_attributes import NEVER_TOGETHER
from hw.units.ports import INDEX_BITS

__all__ = ["HEAD", "WAITS", "InstructionQueue"]

HEAD = data.StructLayout({"word": isa.word_layout(), "index": INDEX_BITS})

WAITS = data.ArrayLayout(isa.WAIT_BITS, len(isa.WAITED))


class InstructionQueue(wiring.Component):
    """Keeps each engine's instructions in order and shows the first one of each.

    An instruction is written in ``beats`` words; the last one makes it part of its engine's queue. There is no
    back-pressure: write only what ``room`` promised. An instruction written to an empty queue is at its head
    :meth:`timing` cycles after its last word; so is the next one after a head was taken. One head is filled at a
    time, the lowest engine first.

    Parameters
    ----------
    engines, depth : int
        Queues, and instructions in each beside its head.
    word_bits : int
        Bits of a written word, a divisor of 256.
    burst : int
        Instructions that ``room`` is about.

    Members
    -------
    ``write``: word ``beat`` of instruction ``index`` for ``engine``; with ``last`` the instruction is complete.
    ``room``: every queue has room for ``burst`` instructions. ``empty``: no queue or head holds anything.
    ``clear``: forget all. ``heads``: the first instruction of each engine. ``newest``: in the first cycle of a head,
    ``valid`` with its ``engine`` and its ``waits`` (thresholds in the order of `isa.WAITED`).
    """

    @staticmethod
    def timing(*, word_bits):
        """Timing of an instruction, from its last word to the head of its queue."""
        return Timing(latency=isa.INSTRUCTION_BITS // word_bits + 3)

    def __init__(self, *, engines, depth, word_bits, burst):
        self.engines, self.depth, self.word_bits, self.burst = engines, depth, word_bits, burst
        self.beats = isa.INSTRUCTION_BITS // word_bits
        self.tag_bits = -(-INDEX_BITS // self.beats)  # of the index, kept with each word
        super().__init__({
            "write": In(
                data.StructLayout({
                    "valid": 1, "engine": range(engines), "beat": range(self.beats), "last": 1,
                    "data": word_bits, "index": INDEX_BITS,
                })
            ),
            "room": Out(1),
            "empty": Out(1),
            "clear": In(1),
            "heads": Out(stream.Signature(HEAD)).array(engines),
            "newest": Out(data.StructLayout({"valid": 1, "engine": range(engines), "waits": WAITS})),
        })  # fmt: skip

    def elaborate(self, _platform):
        m = Module()
        rows = (1 << ceil_log2(self.engines)) * self.depth * self.beats
        m.submodules.memory = memory = Memory(
            shape=self.word_bits + self.tag_bits, depth=rows, init=[], attrs=NEVER_TOGETHER
        )
        write, read = memory.write_port(), memory.read_port()

        queued = Array(Signal(range(self.depth + 1), name=f"queued_{e}") for e in range(self.engines))
        tails = Array(Signal(range(self.depth), name=f"tail_{e}") for e in range(self.engines))
        w = self.write
        tag = w.index.word_select(w.beat, self.tag_bits)
        pushed = Signal()
        m.d.comb += [
            pushed.eq(w.valid & w.last),
            write.en.eq(w.valid),
            write.addr.eq(self._row(w.beat, tails[w.engine], w.engine)),
            write.data.eq(Cat(w.data, tag)),
        ]
        with m.If(pushed):
            m.d.sync += tails[w.engine].eq(tails[w.engine] + 1)

        claimed = Signal(self.engines)  # its head is valid or on the way
        picked = self._fill_heads(m, read, queued, claimed)
        for engine in range(self.engines):
            push = pushed & (w.engine == engine)
            m.d.sync += queued[engine].eq(up_down(queued[engine], up=push, down=picked[engine]))
        m.d.comb += [
            self.empty.eq(~claimed.any() & ~Cat(queued).any()),
            self.room.eq(Cat(level <= self.depth - self.burst for level in queued).all()),
        ]
        with m.If(self.clear):
            m.d.sync += [*(level.eq(0) for level in queued), *(tail.eq(0) for tail in tails)]
        return m

    def _row(self, beat, position, engine):
        return Cat(beat, position, engine) if self.beats > 1 else Cat(position, engine)

    def _fill_heads(self, m, read, queued, claimed):
        """Copies from the memory into the head registers; returns which queue gives one away now."""
        filling = Signal()
        engine = Signal(range(self.engines), reset_less=True)
        beat = Signal(range(self.beats))
        fronts = Array(Signal(range(self.depth), name=f"front_{e}") for e in range(self.engines))
        last = beat == self.beats - 1
        arrived, arrived_engine, arrived_beat = Signal(), Signal.like(engine), Signal.like(beat)
        picked = Signal(self.engines)
        wanted = Cat(~claimed[e] & queued[e].any() for e in range(self.engines))
        m.d.comb += [
            read.addr.eq(self._row(beat, fronts[engine], engine)),
            read.en.eq(filling),
        ]
        m.d.sync += [arrived.eq(filling), arrived_engine.eq(engine), arrived_beat.eq(beat)]
        with m.If(filling):
            m.d.sync += beat.eq(0 if self.beats == 1 else beat + 1)
            with m.If(last):
                m.d.sync += [filling.eq(0), fronts[engine].eq(fronts[engine] + 1)]
        with m.Elif(wanted.any()):
            m.d.comb += picked.eq(Cat(bit & ~wanted[:number].any() for number, bit in enumerate(wanted)))
            m.d.sync += filling.eq(1)
            for number in reversed(range(self.engines)):
                with m.If(wanted[number]):
                    m.d.sync += engine.eq(number)
        m.d.sync += claimed.eq(claimed & ~Cat(head.valid & head.ready for head in self.heads) | picked)

        complete = arrived & (arrived_beat == self.beats - 1)
        m.d.sync += [self.newest.valid.eq(complete & ~self.clear), self.newest.engine.eq(arrived_engine)]
        newest = self._keep(m, "newest", read.data, arrived, arrived_beat)[0]
        m.d.comb += self.newest.waits.eq(Cat(newest[f"wait_{other.name.lower()}"] for other in isa.WAITED))
        for number, head in enumerate(self.heads):
            with m.If(head.ready):
                m.d.sync += head.valid.eq(0)
            mine = arrived & (arrived_engine == number)
            word, index = self._keep(m, f"head_{number}", read.data, mine, arrived_beat)
            m.d.comb += [head.payload.word.eq(word), head.payload.index.eq(index)]
            with m.If(mine & complete):
                m.d.sync += head.valid.eq(1)
        with m.If(self.clear):
            m.d.sync += [filling.eq(0), beat.eq(0), arrived.eq(0), claimed.eq(0)]
            m.d.sync += [front.eq(0) for front in fronts] + [head.valid.eq(0) for head in self.heads]
        return picked

    def _keep(self, m, name, words, enable, beat):
        """Registers that put the words of an instruction together."""
        word = Signal(isa.word_layout(), name=f"{name}_word", reset_less=True)
        index = Signal(self.beats * self.tag_bits, name=f"{name}_index", reset_less=True)
        for number in range(self.beats):
            with m.If(enable & (beat == number)):
                m.d.sync += [
                    word.as_value().word_select(number, self.word_bits).eq(words[: self.word_bits]),
                    index.word_select(number, self.tag_bits).eq(words[self.word_bits :]),
                ]
        return word, index
