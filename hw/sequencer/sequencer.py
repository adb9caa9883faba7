"""The sequencer: reads the program, hands each engine its instructions in time, and ends the machine's runs."""

import functools
import operator

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, Signature

from hw.axi.signature import AXIRead
from hw.sequencer.earliest import Earliest
from hw.sequencer.instruction_queue import InstructionQueue
from hw.sequencer.program_reader import ProgramReader
from hw.sequencer.run_base import RunBase
from hw.spec import isa
from hw.spec.regs import State
from hw.units.ports import INDEX_BITS, engine_members

__all__ = ["SEQUENCER", "Sequencer"]

SEQUENCER = 7  # as fault_engine
_QUIET_CYCLES = 128  # before engines are cleared: more than any pipeline is long, as only valid bits have a reset
_IN_FLIGHT = 15  # most instructions of one engine issued but not retired


class Sequencer(wiring.Component):
    """Runs a program: architecture.md, "Sequencer".

    The program's first read is asked for ``prepare`` cycles after the start is seen. An engine's next instruction is
    offered ``latency`` cycles after the retirement that satisfied its last threshold.
    Program faults (illegal opcode, end of program, read error) are raised when everything before them has retired;
    engines' faults at once, the first one wins, of several in one cycle the lowest engine's. If for 2**`patience`
    cycles no engine is busy, no bus transfer is outstanding and nothing is issued or retired, the machine stops
    with DEADLOCK, at the first instruction that has not retired: whatever the program, it ends.

    Parameters
    ----------
    word_bits : int
        Bits of an AXI beat.
    queue_depth : int
        Instructions waiting per engine, beside the one prefetched. The program is read while each queue has room
        for a burst.
    burst : int
        Most instructions of a burst, a power of two.
    ops : collection of Op
        Legal opcodes.
    patience : int
        Logarithm of the cycles without progress that make a deadlock.

    Members
    -------
    ``start``, ``reset``: pulses. ``program_base`` to ``output_size`` of the registers: In, stable while running.
    ``status``, ``fault_code``, ``fault_engine``, ``fault_index``: the registers. ``running``: status is RUNNING.
    ``input``, ``output``: base addresses of the regions in the present run.
    ``restart``: counters restart from zero. ``bus``: program reads. ``engines``: one per `isa.Engine`.
    ``blocked``: engine e has an instruction that waits for others. ``halt``, ``clear``: to all engines.
    """

    latency = 2
    prepare = 33  # Clear, and a cycle per bit of a base address

    def __init__(self, *, word_bits, queue_depth, burst, ops=tuple(isa.Op), patience=16):
        self.word_bits, self.queue_depth, self.burst, self.patience = word_bits, queue_depth, burst, patience
        self.ops = ops
        super().__init__({
            "start": In(1),
            "reset": In(1),
            "program_base": In(32),
            "program_length": In(INDEX_BITS),
            "runs": In(16),
            **{f"{region}_{part}": In(32) for region in ("input", "output") for part in ("base", "step")},
            "input": Out(32),
            "output": Out(32),
            "status": Out(State),
            "fault_code": Out(4),
            "fault_engine": Out(3),
            "fault_index": Out(INDEX_BITS),
            "running": Out(1),
            "restart": Out(1),
            "bus": Out(AXIRead(word_bits)),
            "engines": In(Signature(engine_members())).array(len(isa.Engine)),
            "blocked": Out(len(isa.Engine)),
            "halt": Out(1),
            "clear": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.reader = self._reader = ProgramReader(word_bits=self.word_bits, burst=self.burst, ops=self.ops)
        m.submodules.queue = self._queue = InstructionQueue(
            engines=len(isa.Engine), depth=self.queue_depth, word_bits=self.word_bits, burst=self.burst
        )
        self._drained = Signal()  # every instruction read has retired
        self._synced = Signal()  # SYNC retires
        self._prepare = Signal()
        self._quiet = Signal()
        self._stuck = Signal()
        self._unretired = Signal(len(isa.Engine))  # issued instructions on the way, an engine each
        self._locate = Signal()
        self._position = Signal(5)
        self._run = Signal(16)
        wiring.connect(m, wiring.flipped(self.bus), self._reader.bus)
        m.d.comb += [
            self._reader.base.eq(self.program_base[len(self.program_base) - len(self._reader.base) :]),
            self._reader.length.eq(self.program_length),
            self._reader.room.eq(self._queue.room),
            self._reader.start.eq(self.clear),
            self._reader.resume.eq(self._synced),
            self._queue.write.eq(self._reader.write),
            self._queue.clear.eq(self.clear),
            self._quiet.eq(Cat(engine.quiet for engine in self.engines).all() & self._reader.idle),
            self.running.eq(self.status == State.RUNNING),
        ]
        self._issue(m)
        self._watch(m)
        self._bases(m)
        self._control(m)
        return m

    def _issue(self, m):
        """Offers each head when its thresholds are met; counts what is on the way."""
        counts = [self._retired(m, engine) for engine in isa.WAITED]
        reached = Signal(len(isa.WAITED))
        for bit, count, wait in zip(reached, counts, self._queue.newest.waits, strict=True):
            m.d.comb += bit.eq(count >= wait)
        for number, (engine, head) in enumerate(zip(self.engines, self._queue.heads, strict=True)):
            word = head.payload.word
            fire = Signal(name=f"fire_{number}")
            met = head.valid & self._thresholds(m, number, head, counts, reached).all()
            in_flight = Signal(range(_IN_FLIGHT + 1), name=f"in_flight_{number}")
            m.d.comb += [
                engine.issue.valid.eq(met & ~self.halt),
                engine.issue.p.op.eq(word.op),
                engine.issue.p.operands.eq(word.operands),
                engine.issue.p.index.eq(head.payload.index),
                fire.eq(engine.issue.valid & engine.issue.ready),
                head.ready.eq(fire),
                self.blocked[number].eq(head.valid & ~met),
            ]
            with m.If(self.clear):
                m.d.sync += in_flight.eq(0)
            with m.Elif(fire & ~engine.retired):
                m.d.sync += in_flight.eq(in_flight + 1)
            with m.Elif(~fire & engine.retired):
                m.d.sync += in_flight.eq(in_flight - 1)
            m.d.comb += self._unretired[number].eq(in_flight.any())
        m.d.comb += self._drained.eq(self._queue.empty & self._reader.idle & ~self._unretired.any())

    def _thresholds(self, m, number, head, counts, reached):
        """A bit per waited engine: compared once, when the head is new; from then on a count can only pass by."""
        newest = self._queue.newest
        met = Signal(len(isa.WAITED), name=f"met_{number}")
        for bit, (count, other) in enumerate(zip(counts, isa.WAITED, strict=True)):
            with m.If(newest.valid & (newest.engine == number)):
                m.d.sync += met[bit].eq(reached[bit])
            with m.Elif(head.valid & (count == head.payload.word[f"wait_{other.name.lower()}"])):
                m.d.sync += met[bit].eq(1)
        with m.If(head.ready | self.clear):
            m.d.sync += met.eq(0)
        return met

    def _retired(self, m, engine):
        count = Signal(isa.WAIT_BITS, name=f"retired_{engine.name.lower()}")
        with m.If(self.clear | self._synced):
            m.d.sync += count.eq(0)
        with m.Elif(self.engines[engine].retired & ~count.all()):
            m.d.sync += count.eq(count + 1)
        return count

    def _watch(self, m):
        """Finds out that nothing can go on any more."""
        idle = Signal(self.patience)
        moving = Cat(
            Cat(engine.busy, engine.retired, engine.issue.valid & engine.issue.ready) for engine in self.engines
        )
        moved = Signal()
        m.d.sync += moved.eq(moving.any() | ~self._quiet | ~self._reader.go)
        with m.If(moved):
            m.d.sync += idle.eq(0)
        with m.Else():
            m.d.sync += idle.eq(idle + 1)
        m.d.comb += self._stuck.eq(idle.all())

    def _bases(self, m):
        """INPUT and OUTPUT move on from run to run."""
        for name in ("input", "output"):
            m.submodules[name] = base = RunBase()
            m.d.comb += [
                base.base.eq(getattr(self, f"{name}_base")),
                base.step.eq(getattr(self, f"{name}_step")),
                base.first.eq(self._run == 0),
                base.shift.eq(self._prepare),
                base.position.eq(self._position),
                getattr(self, name).eq(base.value),
            ]
        with m.If(self._prepare | self._locate):
            m.d.sync += self._position.eq(self._position + 1)

    def _faults(self, m, capture, forget):
        """Whose fault it is now, if anyone's: (there is one, its code, who). Its index is found after `capture`.

        A fault's instruction stays at its engine's ``fault_index``, a program fault's at the reader. What a deadlock
        holds up waits at the head of its queue or has begun: the engine's ``fault_index`` then is its oldest.
        """
        reader = self._reader
        bad = reader.stopped & ~reader.at_halt & ~reader.at_sync
        stops = Signal()
        m.d.comb += stops.eq(self._stuck | (bad & self._drained))
        raised = Signal(len(self.engines))
        m.d.comb += raised.eq(Cat(engine.fault.any() for engine in self.engines))
        first = Signal.like(raised)
        m.d.comb += first.eq(raised & -raised)
        own = ~raised.any()
        sources = [(own, SEQUENCER, Mux(self._stuck, isa.Fault.DEADLOCK, reader.fault))]
        sources += [(first[n], n, engine.fault) for n, engine in enumerate(self.engines)]
        who, code = Signal(3), Signal(4)
        for target, place in ((who, 1), (code, 2)):
            masked = [Mux(source[0], source[place], 0) for source in sources]
            m.d.comb += target.eq(functools.reduce(operator.or_, masked))

        heads = self._queue.heads
        m.submodules.earliest = earliest = Earliest(count=1 + 2 * len(self.engines))
        indices = [reader.index, *(e.fault_index for e in self.engines), *(head.p.index for head in heads)]
        waiting = Cat(Const(0, 1), self._unretired, (head.valid for head in heads))
        m.d.comb += [
            *(place.eq(index) for place, index in zip(earliest.indices, indices, strict=True)),
            earliest.chosen.eq(Mux(own & self._stuck, waiting, Cat(own, first))),
            earliest.choose.eq(capture),
            earliest.scan.eq(self._locate),
            earliest.position.eq(self._position),
            earliest.clear.eq(forget),
            self.fault_index.eq(earliest.index),
        ]
        return stops | raised.any(), code, who

    def _control(self, m):
        outcome = Signal(State)  # of the run that is being stopped
        ending = Signal()
        wait = Signal(range(_QUIET_CYCLES))
        capture, begin_anew, forget = Signal(), Signal(), Signal()
        m.d.sync += forget.eq(begin_anew)  # a cycle later: a register write decides it, and it reaches far
        faulted, code, who = self._faults(m, capture, forget)
        halting, going, clearing = Signal(), Signal(), Signal()
        # halt and clear reach far, so they are registers beside the state. Each engine's halt holds itself, as what
        # depends on nothing but itself is not merged with its like.
        m.d.sync += [halt.eq(halting | (halt & ~going)) for halt in (self.halt, *(e.halt for e in self.engines))]
        m.d.sync += self.clear.eq(clearing)

        def clear():
            m.d.comb += clearing.eq(1)
            m.next = "Clear"

        def stop(final, *, first="Stop"):
            m.d.comb += [halting.eq(1), clearing.eq(0)]
            m.d.sync += outcome.eq(final)
            m.next = first

        with m.If(forget):
            m.d.sync += [self.fault_code.eq(isa.Fault.NONE), self.fault_engine.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                with m.If(self.reset):
                    m.d.sync += [ending.eq(1), outcome.eq(State.IDLE)]
                    clear()
                with m.Elif(self.start):
                    m.d.comb += self.restart.eq(1)
                    m.d.sync += [ending.eq(0), self._run.eq(0), self.status.eq(State.RUNNING)]
                    m.d.comb += begin_anew.eq(1)
                    clear()
            with m.State("Clear"):
                m.next = "Prepare"
                with m.If(ending):
                    m.d.sync += self.status.eq(outcome)
                    with m.If(self.reset | (outcome == State.IDLE)):
                        m.d.sync += self.status.eq(State.IDLE)
                        m.d.comb += [self.restart.eq(1), begin_anew.eq(1)]
                    m.next = "Idle"
                with m.Elif(self.reset):
                    stop(State.IDLE)
            with m.State("Prepare"):
                m.d.comb += self._prepare.eq(1)
                with m.If(self._position.all()):
                    m.next = "Run"
                with m.If(self.reset):
                    m.d.sync += self._position.eq(0)
                    stop(State.IDLE)
            with m.State("Run"):
                m.d.comb += self._reader.go.eq(1)
                self._finish(m, clear)
                with m.If(faulted):
                    m.d.comb += capture.eq(1)
                    m.d.sync += [self.fault_code.eq(code), self.fault_engine.eq(who)]
                    stop(State.FAULT, first="Locate")
                with m.If(self.reset):
                    stop(State.IDLE)
            with m.State("Locate"):
                m.d.comb += self._locate.eq(1)
                with m.If(self._position.all()):
                    m.next = "Stop"
                with m.If(self.reset):
                    m.d.sync += self._position.eq(0)
                    stop(State.IDLE)
            with m.State("Stop"):
                m.d.sync += [ending.eq(1), wait.eq(wait + 1)]
                with m.If(~self._quiet):
                    m.d.sync += wait.eq(0)
                with m.Elif(wait == _QUIET_CYCLES - 1):
                    m.d.comb += going.eq(1)
                    clear()
                with m.If(self.reset):
                    m.d.sync += outcome.eq(State.IDLE)

    def _finish(self, m, clear):
        """What HALT and SYNC do when all before them has retired."""
        reader = self._reader
        with m.If(reader.stopped & self._drained):
            with m.If(reader.at_sync):
                m.d.comb += self._synced.eq(1)
            with m.Elif(reader.at_halt):
                m.d.sync += self._run.eq(self._run + 1)
                with m.If(self._run + 1 >= self.runs):
                    m.d.sync += self.status.eq(State.DONE)
                    m.next = "Idle"
                with m.Else():
                    clear()
