"""Engines of several slices as one: what the sequencer hands out goes to all of them and is done when all are."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Signature

from hw.units.ports import engine_members

__all__ = ["Lockstep"]


class Lockstep(wiring.Component):
    """One engine to the sequencer, `slices` of them behind it that execute the same instructions.

    An instruction is taken a cycle after every slice could take one, and issued ``issue_latency`` cycles later, so that
    neither a slice's state nor the sequencer's reaches all slices in a cycle. A slice that can take one can until it
    has, unless it faults or is halted; what is issued then is lost, as everything is that comes after a fault. It
    retires ``latency`` cycles after the last slice has retired it; slices may be up to `ahead` instructions apart.
    ``started`` and the performance counters' view are slice 0's. A fault is that of the first slice that has one, of
    several in one cycle the lowest slice's, told in the next one: all address the same words of their own scratchpads,
    so it is one of the instruction, not of the slice.

    Parameters
    ----------
    slices : int
    ahead : int
        Most instructions that a slice has retired and another has not.

    Members
    -------
    engine_members()
    slices : array of engine_members(), as the sequencer has them
    """

    latency = 1
    issue_latency = 1

    def __init__(self, *, slices, ahead=7):
        self.count, self.ahead = slices, ahead
        super().__init__({**engine_members(), "slices": In(Signature(engine_members())).array(slices)})

    def elaborate(self, _platform):
        m = Module()
        ready, taken, issued = Signal(), Signal(), Signal()
        instruction = Signal.like(self.issue.payload, reset_less=True)
        m.d.comb += taken.eq(self.issue.valid & ready)
        m.d.sync += [
            ready.eq(Cat(part.issue.ready for part in self.slices).all() & ~taken & ~issued),
            issued.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += instruction.eq(self.issue.payload)
        m.d.comb += [
            self.issue.ready.eq(ready),
            self.quiet.eq(Cat(part.quiet for part in self.slices).all()),
            *(getattr(self, name).eq(getattr(self.slices[0], name)) for name in (
                "started", "busy", "wait_in", "wait_out")),
        ]  # fmt: skip
        for part in self.slices:
            m.d.comb += [
                part.issue.valid.eq(issued),
                part.issue.payload.eq(instruction),
                part.halt.eq(self.halt),
            ]
        self._retire(m)
        self._fault(m)
        return m

    def _retire(self, m):
        """Counts what each slice has retired and some other may not have."""
        levels = [Signal(range(self.ahead + 1), name=f"retired_{k}") for k in range(self.count)]
        m.d.comb += self.retired.eq(Cat(level.any() for level in levels).all())
        for level, part in zip(levels, self.slices, strict=True):
            m.d.sync += level.eq(level + part.retired - self.retired)

    def _fault(self, m):
        """The index stays that of the slice that faulted."""
        who = Signal(range(self.count))
        m.d.sync += self.fault.eq(0)
        for number, part in reversed(list(enumerate(self.slices))):
            with m.If(part.fault.any()):
                m.d.sync += [who.eq(number), self.fault.eq(part.fault)]
        index = self.slices[-1].fault_index
        for number, part in reversed(list(enumerate(self.slices[:-1]))):
            index = Mux(who == number, part.fault_index, index)
        m.d.comb += self.fault_index.eq(index)
