"""The MATMUL engine: weight stream times scratchpad rows, through array, accumulators and drain, to the scratchpad."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.matmul.accumulator import Accumulator
from hw.matmul.array import Array
from hw.matmul.drain import Drain
from hw.matmul.feeder import Feeder
from hw.matmul.result_writer import ResultWriter
from hw.matmul.row_max import RowMax
from hw.matmul.streamer import Streamer
from hw.spec.isa import Fault, Kind, Op, layout
from hw.units.ports import INDEX_BITS, ISSUE, ScratchRead, ScratchWrite, engine_members

__all__ = ["MatmulEngine"]


def _operands(instruction):
    fields = layout(Op.MATMUL)
    return fields(instruction.operands[: fields.size])


class MatmulEngine(wiring.Component):
    """Executes MATMUL instructions, see docs/architecture.md; successive ones follow without a gap.

    Feeder and streamer work on an instruction while the drain finishes the one before. An instruction is accepted as
    soon as both have begun the former one. It retires the cycle after its last scratchpad write was granted. Beyond
    the common rules, ILLEGAL_OPERAND is: ``transpose`` or ``track_max`` with a kind other than int8, a ``row_max`` bank
    that does not exist, ``dest`` or ``dest_row`` not a multiple of the element size, of a plane's with two planes.

    Parameters
    ----------
    rows, cols, mapping, primitives: see :class:`hw.matmul.array.Array`
    tokens: most tokens of an instruction
    drain_lanes: outputs per cycle
    row_max_banks: row-maximum vectors
    scratch_words, scratch_latency: words of the scratchpad, a power of two; cycles from grant to answer
    number: of its slice
    sums_memory: "block" or "distributed" RAM for accumulators and completed sums, twice 32 bits x cols x tokens

    Members
    -------
    ``stream``: weight stream. ``scratch_read``, ``scratch_write``: scratchpad. ``beat``: a token enters the array.
    ``row_max_address`` (bank * tokens + token), ``row_max_data``: row maxima, `row_max_latency` cycles later.
    """

    row_max_latency = RowMax.latency
    slots = 4  # parameter sets: of the next tile, the current one, the one draining, and one being filled

    def __init__(
        self, *, rows, cols, tokens, drain_lanes, row_max_banks, scratch_words, mapping, primitives=False,
        scratch_latency=2, sums_memory="block", number=0,
    ):  # fmt: skip
        if scratch_words & (scratch_words - 1):
            raise ValueError(f"scratch_words must be a power of two, not {scratch_words}")
        self.tokens, self.row_max_banks = tokens, row_max_banks
        self._byte_bits, self._number = exact_log2(rows), number
        self._array = array = Array(rows=rows, cols=cols, mapping=mapping, primitives=primitives)
        self._feeder = Feeder(rows=rows, cols=cols, slots=self.slots)
        self._streamer = Streamer(
            rows=rows, cols=cols, tokens=tokens, words=scratch_words, distance=Accumulator.distance,
            depth=Streamer.ahead(scratch_latency=scratch_latency),
        )  # fmt: skip
        self._accumulator = Accumulator(
            cols=cols, sum_bits=array.sum_bits, tokens=tokens, array_latency=array.latency, style=sums_memory,
        )  # fmt: skip
        self._drain = Drain(
            cols=cols, tokens=tokens, lanes=drain_lanes, slots=self.slots, banks=row_max_banks, style=sums_memory,
        )  # fmt: skip
        self._writer = ResultWriter(rows=rows, words=scratch_words, lanes=drain_lanes)
        self._row_max = RowMax(tokens=tokens, banks=row_max_banks, lanes=drain_lanes)
        super().__init__(engine_members() | {
            "stream": In(stream.Signature(unsigned(8 * rows))),
            "scratch_read": Out(ScratchRead(8 * rows)),
            "scratch_write": Out(ScratchWrite(8 * rows)),
            "row_max_address": In(range(row_max_banks * tokens)),
            "row_max_data": Out(signed(8)),
            "beat": Out(1),
        })  # fmt: skip

    def elaborate(self, _platform):
        m = Module()
        feeder, streamer, drain, writer = self._feeder, self._streamer, self._drain, self._writer
        array, accumulator, row_max = self._array, self._accumulator, self._row_max
        m.submodules.feeder, m.submodules.streamer, m.submodules.array = feeder, streamer, array
        m.submodules.accumulator, m.submodules.drain, m.submodules.writer = accumulator, drain, writer
        m.submodules.row_max = row_max

        wiring.connect(m, wiring.flipped(self.stream), feeder.words)
        wiring.connect(m, wiring.flipped(self.scratch_read), streamer.read)
        wiring.connect(m, wiring.flipped(self.scratch_write), writer.write)
        wiring.connect(m, drain.o, writer.items)
        m.d.comb += [
            array.load.eq(feeder.load),
            feeder.swap.eq(streamer.swap),
            streamer.loaded.eq(feeder.loaded),
            array.token.eq(streamer.token),
            accumulator.beat.eq(streamer.beat),
            accumulator.sums.eq(array.sums),
            drain.sums.eq(accumulator.o),
            drain.reserve.eq(streamer.reserve),
            streamer.room.eq(drain.room),
            drain.params.eq(feeder.params),
            feeder.release.eq(drain.release),
            row_max.i.eq(drain.maximum),
            row_max.address.eq(self.row_max_address),
            self.row_max_data.eq(row_max.data),
            streamer.halt.eq(self.halt),
            writer.halt.eq(self.halt),
            self.retired.eq(writer.retired),
            self.quiet.eq(streamer.quiet),
        ]
        working = self._issue(m)
        m.d.comb += [
            self.beat.eq(streamer.token.valid),
            self.busy.eq(streamer.token.valid),
            self.wait_out.eq(streamer.blocked),
            self.wait_in.eq((working | streamer.working) & ~streamer.token.valid & ~streamer.blocked),
        ]
        return m

    def _issue(self, m):
        """Two slots: one for feeder and streamer, then one for drain and writer. Returns whether the first is taken."""
        first = Signal(ISSUE, reset_less=True)
        second = Signal(ISSUE, reset_less=True)
        stopped, move, accept = Signal(), Signal(), Signal()
        waiting = {name: Signal(name=f"{name}_waits") for name in ("feeder", "streamer", "second", "drain", "writer")}
        parity = {name: Signal(name=f"{name}_parity") for name in ("drain", "writer")}
        first_taken = waiting["feeder"] | waiting["streamer"] | waiting["second"]
        second_taken = waiting["drain"] | waiting["writer"]
        illegal = self._illegal(self.issue.p.op, _operands(self.issue.p))
        m.d.comb += [
            self.issue.ready.eq(~first_taken & ~stopped & ~self.halt),
            accept.eq(self.issue.valid & self.issue.ready),
            self.started.eq(accept),
            move.eq(waiting["second"] & ~second_taken),
            self._drain.same.eq(parity["drain"] == parity["writer"]),
        ]
        for name, unit, source in (
            ("feeder", self._feeder, first),
            ("streamer", self._streamer, first),
            ("drain", self._drain, second),
            ("writer", self._writer, second),
        ):
            operands = _operands(source)
            m.d.comb += unit.i.valid.eq(waiting[name])
            for field, _ in unit.i.payload.shape():
                m.d.comb += unit.i.p[field].eq(source.index if field == "index" else operands[field])
            if name == "writer" and self._number:
                self._move(m, operands, unit.i.p.dest)
            with m.If(unit.i.ready):
                m.d.sync += waiting[name].eq(0)
            if name in parity:
                m.d.sync += parity[name].eq(parity[name] ^ (waiting[name] & unit.i.ready))
        with m.If(move):
            m.d.sync += [waiting["second"].eq(0), waiting["drain"].eq(1), waiting["writer"].eq(1), second.eq(first)]
        with m.If(accept):
            m.d.sync += first.eq(self.issue.payload)
            m.d.sync += [waiting[name].eq(~illegal) for name in ("feeder", "streamer", "second")]
        self._faults(m, stopped, accept, accept & illegal)
        return first_taken

    def _move(self, m, operands, dest):
        """Transposed results of this slice's tokens begin where those of the slices before it end, within a word."""
        moved = operands.dest[: self._byte_bits] + self._number * (operands.rows + 1)
        with m.If(operands.transpose):
            m.d.comb += dest[: self._byte_bits].eq(moved[: self._byte_bits])

    def _illegal(self, op, operands):
        """Operands that this build cannot execute, or that make no sense together."""
        other = operands.kind != Kind.INT8
        misaligned = ((operands.kind == Kind.INT16) & (operands.dest[0] | operands.dest_row[0])) | (
            (operands.kind == Kind.INT32) & (operands.dest[:2] | operands.dest_row[:2]).any()
        )
        return (
            (op != Op.MATMUL)
            | (other & (operands.transpose | operands.track_max))
            | misaligned
            | (operands.rows >= self.tokens)  # counts are stored minus one
            | (operands.row_max >= self.row_max_banks)
        )

    def _faults(self, m, stopped, accept, illegal):
        """One fault ends everything: the first one, and of several in one cycle the oldest instruction's."""
        code = Signal(self.fault.shape())
        index = Signal(INDEX_BITS, reset_less=True)
        m.d.comb += [self.fault.eq(code), self.fault_index.eq(index)]
        m.d.sync += code.eq(Fault.NONE)
        address = self._writer.fault | self._streamer.fault
        with m.If(~stopped):  # without a fault it is the oldest instruction's
            m.d.sync += index.eq(self._writer.index)
            with m.If(~self._writer.fault & self._streamer.fault):
                m.d.sync += index.eq(self._streamer.index)
            with m.Elif(~self._writer.fault & accept):
                m.d.sync += index.eq(self.issue.p.index)
        with m.If((address | illegal) & ~stopped & ~self.halt):
            m.d.sync += [stopped.eq(1), code.eq(Mux(address, Fault.SCRATCH_ADDRESS, Fault.ILLEGAL_OPERAND))]
