"""The MATMUL engine: weight stream times scratchpad rows, through array, accumulators and drain, to the scratchpad."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.matmul.accumulator import Accumulator
from hw.matmul.array import Array
from hw.matmul.drain import Drain
from hw.matmul.feeder import Feeder
from hw.matmul.gatherer import Gatherer
from hw.matmul.result_writer import ResultWriter
from hw.matmul.row_max import RowMax
from hw.matmul.streamer import Streamer
from hw.spec.isa import TOGETHER, Fault, Kind, Op, layout
from hw.units.ports import INDEX_BITS, ISSUE, ScratchRead, ScratchWrite, engine_members

__all__ = ["MatmulEngine"]


def _operands(instruction):
    fields = layout(Op.MATMUL)
    return fields(instruction.operands[: fields.size])


class MatmulEngine(wiring.Component):
    """Executes MATMUL instructions, see docs/architecture.md; successive ones follow without a gap.

    Feeder and streamer work on an instruction while the drain finishes the one before. An instruction is accepted as
    soon as both have begun the former one. It retires the cycle after its last scratchpad write was granted. Beyond
    the common rules, ILLEGAL_OPERAND is: ``transpose`` or ``track_max`` with a kind other than int8, ``transpose`` with
    ``dest_row`` other than 1 or ``dest_col`` not a multiple of `TOGETHER`, a ``row_max`` bank that does not exist,
    ``dest`` or ``dest_row`` not a multiple of the element size, of a plane's with two planes.

    Parameters
    ----------
    rows, cols, mapping, primitives: see :class:`hw.matmul.array.Array`
    tokens: most tokens of an instruction
    drain_lanes: outputs per cycle
    row_max_banks: row-maximum vectors
    scratch_words, scratch_latency: words of the scratchpad, a power of two; cycles from grant to answer
    number: of its slice

    Members
    -------
    ``stream``: weight stream. ``scratch_read``, ``scratch_write``: scratchpad. ``beat``: a token enters the array.
    ``row_max_address`` (bank * tokens + token), ``row_max_data``: row maxima, `row_max_latency` cycles later.
    """

    row_max_latency = RowMax.latency
    slots = 4  # parameter sets: of the next tile, the current one, the one draining, and one being filled

    def __init__(
        self, *, rows, cols, tokens, drain_lanes, row_max_banks, scratch_words, mapping, primitives=False,
        scratch_latency=2, number=0,
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
            cols=cols, sum_bits=array.sum_bits, tokens=tokens, array_latency=array.latency
        )  # fmt: skip
        self._drain = Drain(
            cols=cols, tokens=tokens, lanes=drain_lanes, slots=self.slots, banks=row_max_banks
        )  # fmt: skip
        self._gatherer = Gatherer(lanes=drain_lanes, groups=cols // drain_lanes)
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
        array, accumulator, row_max, gatherer = self._array, self._accumulator, self._row_max, self._gatherer
        m.submodules.feeder, m.submodules.streamer, m.submodules.array = feeder, streamer, array
        m.submodules.accumulator, m.submodules.drain, m.submodules.writer = accumulator, drain, writer
        m.submodules.row_max, m.submodules.gatherer = row_max, gatherer

        wiring.connect(m, wiring.flipped(self.stream), feeder.words)
        wiring.connect(m, wiring.flipped(self.scratch_read), streamer.read)
        wiring.connect(m, wiring.flipped(self.scratch_write), writer.write)
        wiring.connect(m, drain.o, gatherer.items)
        wiring.connect(m, gatherer.o, writer.items)
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
        begin, end = ("feeder", "streamer", "second"), ("drain", "gatherer", "writer")
        waiting = {name: Signal(name=f"{name}_waits") for name in (*begin, *end)}
        parity = {name: Signal(name=f"{name}_parity") for name in ("drain", "writer")}
        first_taken, second_taken = (Cat(waiting[name] for name in names).any() for names in (begin, end))
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
            ("gatherer", self._gatherer, second),
            ("writer", self._writer, second),
        ):
            operands = _operands(source)
            m.d.comb += unit.i.valid.eq(waiting[name])
            for field, _ in unit.i.payload.shape():
                if field != "first":
                    m.d.comb += unit.i.p[field].eq(source.index if field == "index" else operands[field])
            with m.If(unit.i.ready):
                m.d.sync += waiting[name].eq(0)
            if name in parity:
                m.d.sync += parity[name].eq(parity[name] ^ (waiting[name] & unit.i.ready))
        self._transpose(m, _operands(second))
        with m.If(move):
            m.d.sync += [waiting["second"].eq(0), *(waiting[name].eq(1) for name in end), second.eq(first)]
        with m.If(accept):
            m.d.sync += first.eq(self.issue.payload)
            m.d.sync += [waiting[name].eq(~illegal) for name in begin]
        self._faults(m, stopped, accept, accept & illegal)
        return first_taken

    def _transpose(self, m, operands):
        """What the writer sees of transposed results are elements of a few tokens' bytes.

        They begin where those of the slices before this one end, within a word.
        """
        writer = self._writer.i.p
        begin = Signal(self._byte_bits)
        m.d.comb += [
            begin.eq(operands.dest + self._number * (operands.rows + 1)),
            self._gatherer.i.p.first.eq(begin),
        ]
        with m.If(operands.transpose):
            m.d.comb += [
                writer.dest[: self._byte_bits].eq(begin & -TOGETHER),
                writer.dest_row.eq(TOGETHER),
                writer.kind.eq(Kind.INT32),
            ]

    def _illegal(self, op, operands):
        """Operands that this build cannot execute, or that make no sense together."""
        other = operands.kind != Kind.INT8
        scattered = (operands.dest_row != 1) | operands.dest_col[: exact_log2(TOGETHER)].any()
        misaligned = ((operands.kind == Kind.INT16) & (operands.dest[0] | operands.dest_row[0])) | (
            (operands.kind == Kind.INT32) & (operands.dest[:2] | operands.dest_row[:2]).any()
        )
        return (
            (op != Op.MATMUL)
            | (other & (operands.transpose | operands.track_max))
            | (operands.transpose & scattered)
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
