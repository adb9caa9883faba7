"""The VECTOR engine: the units that a table of opcodes asks for, and what they share."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.isa import Fault
from hw.spec.vector import built
from hw.spec.vector_ops import UNITS
from hw.units.credit_queue import CreditQueue
from hw.units.ports import INDEX_BITS, ScratchRead, ScratchWrite, engine_members
from hw.units.register_slice import RegisterSlice
from hw.vector.command import VectorCommand, flag
from hw.vector.packer import Packer, result_layout
from hw.vector.row_path import RowPath
from hw.vector.row_statistics import RowStatistics
from hw.vector.row_units import longest
from hw.vector.row_writer import RowWriter
from hw.vector.source import VectorSource

__all__ = ["VectorEngine"]


class VectorEngine(wiring.Component):
    """Executes the VECTOR instructions of `hw.spec.isa` one after the other, as docs/architecture.md defines them.

    ::

        scratch_read -> VectorSource: ReadQueues -> Unpackers -> RowPath -> CreditQueue
                                                                  ^ |           |
                                   row maxima -> RowStatistics <--+-+         Packer -> RowWriter -> scratch_write

    Opcodes are the rows of `hw.spec.vector`; those of units that are not built never come. Nothing stalls between
    the unpackers and the queue of results, which has room for every beat that enters.
    Rate: `lanes` elements per cycle, without gaps from row to row; scratchpad and row
    units may stall it, and with lanes = rows/2 the writer does, which needs 3 cycles for a word of two planes. An
    instruction retires in the cycle after its last effect; the next one starts 1 cycle after that. The row-maximum RAM
    answers one cycle after ``row_max_address`` (bank*tokens + row).

    Parameters
    ----------
    rows : int
        Bytes of a scratchpad word.
    lanes : int
        Elements per cycle, at most rows/2.
    tokens, row_max_banks, stat_banks, max_row, scratch_words : int
        See Config.
    scratch_latency : int
        Cycles from a granted read to its answer.
    vector : sequence of str
        Units that are built: Config.vector.
    products : str
        Config.small_products.

    Members
    -------
    engine_members(), scratch_read, scratch_write, row_max_address, row_max_data
    """

    def __init__(
        self, *, rows, lanes, tokens, row_max_banks, stat_banks, max_row, scratch_words, scratch_latency, vector=UNITS,
        products="dsp",
    ):  # fmt: skip
        if 2 * lanes > rows:
            raise ValueError(f"lanes must be at most half the {rows} bytes of a word, not {lanes}")
        self.rows = rows
        self.lanes = lanes
        self.tokens = tokens
        self.row_max_banks = row_max_banks
        self.stat_banks = stat_banks
        self.max_row = max_row
        self.scratch_words = scratch_words
        self.scratch_latency = scratch_latency
        self.table = built(vector)
        self.products = products
        super().__init__({
            **engine_members(),
            "scratch_read": Out(ScratchRead(8 * rows)),
            "scratch_write": Out(ScratchWrite(8 * rows)),
            "row_max_address": Out(exact_log2(row_max_banks * tokens)),
            "row_max_data": In(signed(8)),
        })

    def elaborate(self, _platform):
        m = Module()
        self._instances(m)
        self._control(m)
        self._read(m)
        self._write(m)
        return m

    def _instances(self, m):
        rows, lanes, table = self.rows, self.lanes, self.table
        m.submodules.decoder = self.decoder = VectorCommand(
            table=table,
            tokens=self.tokens,
            max_row=self.max_row,
            row_max_banks=self.row_max_banks,
            stat_banks=self.stat_banks,
        )
        m.submodules.source = self.source = VectorSource(
            rows=rows, lanes=lanes, table=table, scratch_words=self.scratch_words, scratch_latency=self.scratch_latency
        )
        m.submodules.statistics = self.statistics = RowStatistics(
            tokens=self.tokens, row_max_banks=self.row_max_banks, stat_banks=self.stat_banks
        )
        m.submodules.results = self.results = CreditQueue(
            shape=result_layout(lanes=lanes),
            depth=CreditQueue.depth_behind(longest(table, lanes=lanes, max_row=self.max_row)),
        )
        m.submodules.packer = self.packer = Packer(rows=rows, lanes=lanes)
        m.submodules.writer = self.writer = RowWriter(rows=rows, scratch_words=self.scratch_words)

    def _control(self, m):
        """Takes an instruction, checks it, starts every block, waits for the last effect."""
        self.command = self.decoder.command
        self.start = Signal()
        self.active, self.stopped = Signal(), Signal()
        statistics_only = Signal()
        index = Signal(INDEX_BITS, reset_less=True)
        m.d.sync += [self.start.eq(0), self.retired.eq(0), self.fault.eq(Fault.NONE)]
        m.d.comb += [
            self.quiet.eq(1),
            statistics_only.eq(Cat(self.command[flag(row)] for row in self.table if not row.results).any()),
            self.fault_index.eq(index),
            self.decoder.op.eq(self.issue.payload.op),
            self.decoder.operands.eq(self.issue.payload.operands),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.issue.ready.eq(~self.halt), self.decoder.load.eq(self.issue.valid & ~self.halt)]
                with m.If(self.decoder.load):
                    m.d.sync += index.eq(self.issue.payload.index)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.started.eq(1)
                with m.If(self.decoder.illegal):
                    m.d.sync += self.fault.eq(Fault.ILLEGAL_OPERAND)
                    m.next = "STOPPED"
                with m.Else():
                    m.d.sync += self.start.eq(1)
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.active.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.active.eq(1)
                with m.If(self.source.outside | self.writer.outside):
                    m.d.sync += self.fault.eq(Fault.SCRATCH_ADDRESS)
                    m.next = "STOPPED"
                with m.Elif((self.statistics.done & statistics_only) | self.writer.done):
                    m.d.sync += self.retired.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):  # until reset
                m.d.comb += self.stopped.eq(1)

    def _read(self, m):
        """What is read from the scratchpad, and what is known of its rows, into the path."""
        command, source, statistics, results = self.command, self.source, self.statistics, self.results
        row_slice = RegisterSlice(shape=statistics.o.payload.shape())  # from the memories to long adders
        m.submodules.row_slice = ResetInserter(self.start)(row_slice)
        path = RowPath(
            m, rows=self.rows, lanes=self.lanes, max_row=self.max_row, table=self.table,
            start=self.start, command=command, beats=source.o, identity=source.identity, words=source.table,
            known=row_slice.o, found=statistics.found, write=statistics.write, room=results.room, begin=results.begin,
            results=results.i, products=self.products,
        )  # fmt: skip
        m.d.comb += [
            source.start.eq(self.start),
            source.command.eq(command),
            source.halt.eq(self.halt),
            statistics.start.eq(self.start),
            statistics.walk.eq(path.walk),
            statistics.rows_m1.eq(command.rows),
            statistics.row_max_bank.eq(command.row_max),
            statistics.stat_bank.eq(command.stats),
            self.row_max_address.eq(statistics.row_max_address),
            statistics.row_max_data.eq(self.row_max_data),
            statistics.own_max.eq(command.own_max),
            # for units that look up the row of each beat: of the one that leaves the unpacker in the next cycle. The
            # stalls of those that look up nothing are late
            statistics.lookup.eq(source.coming & (~source.o.valid | path.looks)),
            statistics.row.eq(source.row),
        ]
        wiring.connect(m, source.port, wiring.flipped(self.scratch_read))
        wiring.connect(m, statistics.o, row_slice.i)

    def _write(self, m):
        """The results into words, the words into the scratchpad; the performance counters' view."""
        command, packer, writer = self.command, self.packer, self.writer
        wide = command.wide_dest & ~command.planes
        wiring.connect(m, self.results.o, packer.i)
        m.d.comb += [
            packer.start.eq(self.start),
            packer.planes.eq(command.planes),
            packer.wide.eq(wide),
            packer.pad.eq(command.padded),
            packer.halves.eq(command.grouped & command.wide_source & ~wide),
            packer.rows_m1.eq(command.rows),
            packer.groups_m1.eq(self.source.groups_m1),
            writer.start.eq(self.start),
            writer.dest.eq(command.dest),
            writer.dest_row.eq(command.dest_row),
            writer.dest_plane.eq(command.dest_plane),
            writer.planes.eq(command.planes),
            writer.halt.eq(self.halt | self.stopped),
        ]
        wiring.connect(m, packer.o, writer.i)
        wiring.connect(m, writer.port, wiring.flipped(self.scratch_write))

        consumed = self.source.o.valid & self.source.o.ready
        produced = packer.i.valid & packer.i.ready
        blocked = self.scratch_write.request.valid & ~self.scratch_write.request.ready
        m.d.comb += [
            self.busy.eq(self.active & (consumed | produced)),
            self.wait_out.eq(self.active & ~self.busy & blocked),
            self.wait_in.eq(self.active & ~self.busy & ~blocked),
        ]
