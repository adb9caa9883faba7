"""An AXI4 manager in one clock domain, its memory in another."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.axi.crossing_reset import CrossingReset
from hw.axi.signature import AXI4

__all__ = ["AxiCrossing"]

_REQUESTS, _WORDS, _ANSWERS = 4, 16, 4  # entries: what keeps requests, words and responses flowing at any ratio
_BURSTS = 16  # of each kind that the memory may owe


class _BlockFIFO(AsyncFIFO):
    """One in block RAM, however short: words are 128 bits and more, and LUTs are what the smallest part lacks."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.submodules.storage.attrs["ram_style"] = "block"
        return m


class AxiCrossing(wiring.Component):
    """Carries bursts from the domain ``core`` to ``sync`` and their answers back, whatever the clocks' ratio and phase.

    Words of a write go to the memory with all their bytes, and only behind their request. A reset of ``core`` in the
    middle of bursts ends them for the memory: every request that was accepted is carried out, words that the core did
    not give any more go with no byte enabled, and answers are dropped; then the core may begin again. A reset of
    ``sync`` is one of the core, too. See `CrossingReset`.

    Parameters
    ----------
    word_bits : int
    id_bits : int
        Of reads.
    address_bits : int
        Of byte addresses; what is above is dropped.
    burst_beats : int
        Of the longest burst, a power of two.

    Members
    -------
    core : In(AXI4(word_bits, id_bits))
        Of ``core``. Strobes and ``last`` of words are not looked at: words are whole, and as many as were asked for.
    memory : Out(AXI4(word_bits, id_bits))
        Of ``sync``.
    open : Out(1)
        Of ``sync``: the core is not in reset.
    hold : Out(1)
        Of ``core``, and to be its reset.
    """

    fifos = ("ar", "r", "aw", "w", "b")  # as they are called in the netlist, for its constraints

    def __init__(self, *, word_bits, id_bits, address_bits, burst_beats):
        self.word_bits, self.id_bits, self.address_bits = word_bits, id_bits, address_bits
        self._low, self._length_bits = exact_log2(word_bits // 8), exact_log2(burst_beats)
        super().__init__({
            "core": In(AXI4(word_bits, id_bits)),
            "memory": Out(AXI4(word_bits, id_bits)),
            "open": Out(1),
            "hold": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        m.submodules.reset = self._reset = reset = CrossingReset()
        m.domains.near = near = ClockDomain(local=True)  # halves of FIFOs that the core and the memory write
        m.domains.far = far = ClockDomain(local=True)
        m.d.comb += [
            near.clk.eq(ClockSignal("core")),
            near.rst.eq(reset.clear),
            far.clk.eq(ClockSignal()),
            far.rst.eq(reset.flush | ResetSignal()),
            self.open.eq(reset.open & ~reset.drain),
            self.hold.eq(reset.hold),
        ]
        reads, asked = self._read(m)
        writes, announced = self._write(m)
        m.d.comb += reset.drained.eq(~Cat(reads, writes, asked, announced).any())
        return m

    def _forward(self, m, name, stream, payload, *, kind, depth):
        """A FIFO from the core; what is in it when ``core`` is reset still comes out of it."""
        m.submodules[name] = fifo = kind(width=len(payload), depth=depth, w_domain="near", r_domain="sync")
        m.d.comb += [
            fifo.w_data.eq(payload),
            fifo.w_en.eq(stream.valid & ~self._reset.blocked),
            stream.ready.eq(fifo.w_rdy & ~self._reset.blocked),
        ]
        return fifo

    def _back(self, m, name, ours, theirs, *, kind, depth):
        """A FIFO of answers, which are dropped while requests are ended. A register is behind it.

        A block RAM's output is late: 5.8 ns on an ECP5 of speed grade 6.
        """
        payload = Value.cast(theirs.p)
        held, answer = Signal(name=f"{name}_held"), Signal(len(payload), name=f"{name}_answer", reset_less=True)
        m.submodules[name] = fifo = kind(width=len(payload), depth=depth, w_domain="far", r_domain="core")
        m.d.comb += [
            fifo.w_data.eq(payload),
            fifo.w_en.eq(theirs.valid & ~self._reset.drain),
            theirs.ready.eq(fifo.w_rdy | self._reset.drain),
            fifo.r_en.eq(ours.ready | ~held),
            Value.cast(ours.p).eq(answer),
            ours.valid.eq(held),
        ]
        with m.If(fifo.r_en):
            m.d.core += [held.eq(fifo.r_rdy), answer.eq(fifo.r_data)]
        with m.If(self._reset.hold):
            m.d.core += held.eq(0)

    def _owed(self, m, name, taken, answered):
        """Bursts that the memory has taken and not answered."""
        owed = Signal(range(_BURSTS + 1), name=name)
        with m.If(taken & ~answered):
            m.d.sync += owed.eq(owed + 1)
        with m.Elif(answered & ~taken):
            m.d.sync += owed.eq(owed - 1)
        return owed

    def _request(self, m, name, ours, theirs, extra=()):
        payload = Cat(ours.p.address[self._low : self.address_bits], ours.p.last[: self._length_bits], *extra)
        fifo = self._forward(m, name, ours, payload, kind=AsyncFIFO, depth=_REQUESTS)
        width = self.address_bits - self._low
        m.d.comb += [
            theirs.p.address.eq(fifo.r_data[:width] << self._low),
            theirs.p.last.eq(fifo.r_data[width : width + self._length_bits]),
            fifo.r_en.eq(theirs.valid & theirs.ready),
        ]
        return fifo

    def _read(self, m):
        """Bursts owed, and whether more are waiting."""
        ours, theirs = self.core.read, self.memory.read
        requests = self._request(m, "ar", ours.ar, theirs.ar, [ours.ar.p.id])
        if self.id_bits:
            m.d.comb += theirs.ar.p.id.eq(requests.r_data[-self.id_bits :])
        self._back(m, "r", ours.r, theirs.r, kind=_BlockFIFO, depth=_WORDS)
        owed = self._owed(
            m, "reads", theirs.ar.valid & theirs.ar.ready, theirs.r.valid & theirs.r.ready & theirs.r.p.last
        )
        m.d.comb += theirs.ar.valid.eq(requests.r_rdy & self._reset.open & ~owed[-1])
        return owed, requests.r_rdy

    def _write(self, m):
        """Bursts owed, and whether more are waiting. A burst's words follow its request, one burst at a time."""
        ours, theirs = self.core.write, self.memory.write
        requests = self._request(m, "aw", ours.aw, theirs.aw)
        words = self._forward(m, "w", ours.w, ours.w.p.data, kind=_BlockFIFO, depth=_WORDS)
        self._back(m, "b", ours.b, theirs.b, kind=AsyncFIFO, depth=_ANSWERS)
        owed = self._owed(m, "writes", theirs.aw.valid & theirs.aw.ready, theirs.b.valid & theirs.b.ready)
        begun, left = Signal(), Signal(self._length_bits, reset_less=True)
        m.d.comb += [
            theirs.aw.valid.eq(requests.r_rdy & self._reset.open & ~owed[-1] & ~begun),
            theirs.w.valid.eq(begun & (words.r_rdy | self._reset.drain)),
            theirs.w.p.data.eq(words.r_data),
            theirs.w.p.strobe.eq(words.r_rdy.replicate(self.word_bits // 8)),
            theirs.w.p.last.eq(left == 0),
            words.r_en.eq(begun & theirs.w.ready),
        ]
        with m.If(theirs.aw.valid & theirs.aw.ready):
            m.d.sync += [begun.eq(1), left.eq(theirs.aw.p.last)]
        with m.Elif(theirs.w.valid & theirs.w.ready):
            m.d.sync += [begun.eq(left != 0), left.eq(left - 1)]
        return owed, requests.r_rdy
