"""The VECTOR engine: Shiftmax, ShiftGELU, I-LayerNorm and the residual addition."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.isa import Fault
from hw.units.credit_queue import CreditQueue
from hw.units.ports import INDEX_BITS, ScratchRead, ScratchWrite, engine_members
from hw.units.register_slice import RegisterSlice
from hw.vector.command import VectorCommand
from hw.vector.moments import Moments
from hw.vector.norm_table import NormTable
from hw.vector.normalize import Normalize
from hw.vector.packer import Packer, result_layout
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.result_max import ResultMax
from hw.vector.row_statistics import RowStatistics
from hw.vector.row_writer import RowWriter
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from hw.vector.shiftmax_sum import ShiftmaxSum
from hw.vector.source import VectorSource

__all__ = ["VectorEngine"]


class VectorEngine(wiring.Component):
    """Executes the VECTOR instructions of `hw.spec.isa` one after the other, as docs/architecture.md defines them.

    ::

        scratch_read -> ReadQueues -> Unpacker --+-> ShiftmaxSum, Moments -> statistics RAM
                            |                    +-> Shiftmax -------------------------------------+
                            |                    +-> Normalize --+                                 |
                            |                    +-> ShiftGelu --+-> Requantizers -> ResultClamp --+-> CreditQueue
                            +-> second Unpacker (ADD) -----------+              |                       |
                            +-> NormTable -------^             statistics RAM <- ResultMax              |
                                                                    scratch_write <- RowWriter <- Packer

    Nothing stalls between the unpackers and the queue of results, which has room for every beat that enters.
    Rate: `lanes` elements per cycle (SHIFT_GELU, ADD, ADD_MAX: one), without gaps from row to row; scratchpad and row
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

    Members
    -------
    engine_members(), scratch_read, scratch_write, row_max_address, row_max_data
    """

    def __init__(self, *, rows, lanes, tokens, row_max_banks, stat_banks, max_row, scratch_words, scratch_latency):
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
        self._sources(m)
        self._rows(m)
        self._elements(m)
        self._requantize(m)
        self._results(m)
        return m

    def _instances(self, m):
        rows, lanes = self.rows, self.lanes
        m.submodules.decoder = self.decoder = VectorCommand(
            tokens=self.tokens,
            max_row=self.max_row,
            row_max_banks=self.row_max_banks,
            stat_banks=self.stat_banks,
        )
        m.submodules.source = self.source = VectorSource(
            rows=rows, lanes=lanes, scratch_words=self.scratch_words, scratch_latency=self.scratch_latency
        )
        m.submodules.statistics = self.statistics = RowStatistics(
            tokens=self.tokens, row_max_banks=self.row_max_banks, stat_banks=self.stat_banks
        )
        m.submodules.norm_table = self.norm_table = NormTable(rows=rows, lanes=lanes)
        m.submodules.shiftmax_sum = self.shiftmax_sum = ShiftmaxSum(lanes=lanes, max_row=self.max_row)
        m.submodules.shiftmax = self.shiftmax = Shiftmax(lanes=lanes)
        m.submodules.shift_gelu = self.shift_gelu = ShiftGelu()
        m.submodules.moments = self.moments = Moments(lanes=lanes, max_row=self.max_row)
        self.tag = data.StructLayout({
            "index": len(self.norm_table.factor_index),
            "mask": lanes,
            "last": 1,
            "group_last": 1,
        })
        m.submodules.normalize = self.normalize = Normalize(lanes=lanes, tag=self.tag)
        m.submodules.requantize = self.requantize = RequantizeLanes(lanes=lanes)
        m.submodules.result_max = self.result_max = ResultMax()
        longest = max(self.shiftmax.latency, self.shift_gelu.latency + self.requantize.latency)
        m.submodules.results = self.results = CreditQueue(
            shape=result_layout(lanes=lanes), depth=CreditQueue.depth_behind(longest)
        )
        m.submodules.packer = self.packer = Packer(rows=rows, lanes=lanes)
        m.submodules.writer = self.writer = RowWriter(rows=rows, scratch_words=self.scratch_words)

    def _control(self, m):
        """Takes an instruction, checks it, starts every block, waits for the last effect."""
        self.command = self.decoder.command
        self.start = Signal()
        self.active = Signal()
        index = Signal(INDEX_BITS, reset_less=True)
        m.d.sync += [self.start.eq(0), self.retired.eq(0), self.fault.eq(Fault.NONE)]
        m.d.comb += [
            self.quiet.eq(1),
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
                with m.Elif((self.statistics.done & ~self.command.add_max) | self.writer.done):
                    m.d.sync += self.retired.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass  # until reset

    def _sources(self, m):
        """What is read from the scratchpad, and the norm table."""
        source, table = self.source, self.norm_table
        m.d.comb += [
            source.start.eq(self.start),
            source.command.eq(self.command),
            source.halt.eq(self.halt),
            table.start.eq(self.start),
            table.wide.eq(self.command.wide_source),
            table.length_m1.eq(self.command.length),
        ]
        wiring.connect(m, source.port, wiring.flipped(self.scratch_read))
        wiring.connect(m, source.table, table.i)

    def _rows(self, m):
        """What the units must know of each row, and the statistics that they find."""
        command, statistics = self.command, self.statistics
        m.d.comb += [
            statistics.start.eq(self.start),
            statistics.walk.eq(~command.layer_norm & ~command.add),
            statistics.rows_m1.eq(command.rows),
            statistics.row_max_bank.eq(command.row_max),
            statistics.stat_bank.eq(command.stats),
            self.row_max_address.eq(statistics.row_max_address),
            statistics.row_max_data.eq(self.row_max_data),
            statistics.own_max.eq(command.own_max),
            # LAYER_NORM: the row of the beat that leaves the unpacker in the next cycle
            statistics.lookup.eq(self.source.advance),
            statistics.row.eq(self.source.row),
            self.normalize.i.payload.mean.eq(statistics.found.mean),
            self.normalize.i.payload.factor.eq(statistics.found.factor),
        ]
        consumers = (
            (self.shiftmax_sum, command.shiftmax_sum),
            (self.shiftmax, command.shiftmax),
            (self.shift_gelu, command.shift_gelu),
            (self.moments, command.moments),
        )
        row_slice = RegisterSlice(shape=statistics.o.payload.shape())  # from the memories to long adders
        m.submodules.row_slice = ResetInserter(self.start)(row_slice)
        wiring.connect(m, statistics.o, row_slice.i)
        row = row_slice.o
        for unit, mine in consumers:
            m.d.comb += unit.rows.valid.eq(row.valid & mine)
            if unit is self.moments:
                m.d.comb += unit.rows.payload.length.eq(command.length + 1)
            else:
                m.d.comb += [unit.rows.payload.row_max.eq(row.payload.row_max), unit.rows.payload.i0.eq(command.i0)]
        m.d.comb += [
            self.shiftmax.rows.payload.factor.eq(row.payload.factor),
            self.shiftmax.rows.payload.wide.eq(command.planes),
            row.ready.eq(Cat(unit.rows.ready & mine for unit, mine in consumers).any()),
        ]

        sums, moments, maxima = self.shiftmax_sum.o, self.moments.o, self.result_max.o
        m.d.comb += [
            self.shiftmax_sum.start.eq(command.mult),
            sums.ready.eq(1),
            moments.ready.eq(1),
            statistics.write.valid.eq(sums.valid | moments.valid | maxima.valid),
            statistics.write.mean.eq(command.moments | command.add_max),
            statistics.write.factor.eq(~command.add_max),
            statistics.write.value.mean.eq(Mux(command.add_max, maxima.x, moments.payload.mean)),
            statistics.write.value.factor.eq(Mux(command.moments, moments.payload.factor, sums.payload)),
        ]

    def _elements(self, m):
        """Beats from the unpackers to the unit of the instruction."""
        command, table = self.command, self.norm_table
        beat, valid, room = self.source.o.payload, self.source.o.valid, self.results.room
        parity = beat.index[-1]
        normalize = self.normalize.i
        lanes_of_rows = (self.shiftmax_sum, self.shiftmax, self.moments)
        for unit in lanes_of_rows:
            m.d.comb += [unit.i.payload.mask.eq(beat.mask), unit.i.payload.last.eq(beat.last)]
            m.d.comb += [unit.i.payload.x[lane].eq(beat.x[lane]) for lane in range(self.lanes)]
        m.d.comb += [normalize.payload.x[lane].eq(beat.x[lane]) for lane in range(self.lanes)]
        m.d.comb += [
            self.shiftmax_sum.i.valid.eq(valid & command.shiftmax_sum),
            self.shiftmax.i.valid.eq(valid & command.shiftmax & room),
            self.moments.i.valid.eq(valid & command.moments),
            self.shift_gelu.i.valid.eq(valid & command.shift_gelu & room),
            self.shift_gelu.i.payload.x.eq(beat.x[0]),
            self.shift_gelu.i.payload.last.eq(beat.last),
            table.bias_index.eq(beat.index),
            normalize.valid.eq(valid & command.layer_norm & room & table.filled.bit_select(parity, 1)),
            normalize.payload.bias.eq(table.bias),
            normalize.payload.tag.index.eq(beat.index),
            normalize.payload.tag.mask.eq(beat.mask),
            normalize.payload.tag.last.eq(beat.last),
            normalize.payload.tag.group_last.eq(beat.group_last),
        ]
        used = normalize.valid & beat.group_last
        m.d.comb += table.used.eq(Cat(used & ~parity, used & parity))
        self.add_pair = Signal()  # both operands of ADD are there, and taken
        begin = Signal()  # of a beat of results
        m.d.comb += [
            self.add_pair.eq(valid & self.source.identity.valid & command.add & room),
            self.source.identity.ready.eq(self.add_pair),
            begin.eq(
                (self.shiftmax.i.valid & self.shiftmax.i.ready)
                | (self.shift_gelu.i.valid & self.shift_gelu.i.ready)
                | normalize.valid
                | self.add_pair
            ),
            self.results.begin.eq(begin),
            self.source.o.ready.eq(
                begin | (command.shiftmax_sum & self.shiftmax_sum.i.ready) | (command.moments & self.moments.i.ready)
            ),
        ]

    def _requantize(self, m):
        """Normalized elements with their channels' factors, or what the operands say, to the requantizers."""
        command, table, lanes = self.command, self.norm_table, self.lanes
        normalized, gelu, requantize = self.normalize.o, self.shift_gelu.o, self.requantize
        beat, tag = requantize.i.payload, normalized.payload.tag
        source, identity = self.source.o.payload, self.source.identity.payload
        release = normalized.valid & normalized.ready & tag.group_last
        m.d.comb += [
            requantize.wide.eq(command.wide_dest),
            requantize.add.eq(command.add),
            requantize.i.valid.eq(
                (command.layer_norm & normalized.valid) | (command.shift_gelu & gelu.valid) | self.add_pair
            ),
            normalized.ready.eq(1),
            gelu.ready.eq(1),
            table.factor_index.eq(tag.index),
            table.release.eq(Cat(release & ~tag.index[-1], release & tag.index[-1])),
        ]
        with m.If(command.layer_norm):
            m.d.comb += [beat.mask.eq(tag.mask), beat.last.eq(tag.last)]
            for lane in range(lanes):
                m.d.comb += [
                    beat.value[lane].eq(normalized.payload.z[lane]),
                    beat.mult[lane].eq(table.factors[lane].mult),
                    beat.shift[lane].eq(table.factors[lane].shift),
                ]
        with m.Else():
            m.d.comb += [
                beat.mask.eq(1),
                beat.last.eq(Mux(command.add, source.last, gelu.payload.last)),
                beat.value[0].eq(Mux(command.add, source.x[0], gelu.payload.y)),
                beat.mult[0].eq(command.mult),
                beat.shift[0].eq(command.shift),
                beat.value[1].eq(identity.x[0]),
                beat.mult[1].eq(command.mult_other),
                beat.shift[1].eq(command.shift_other),
            ]

    def _results(self, m):
        """The results into words, the words into the scratchpad; the performance counters' view."""
        command, packer, writer, arriving = self.command, self.packer, self.writer, self.results.i
        probabilities, clamped = self.shiftmax.o, self.requantize.o
        with m.If(command.shiftmax):
            m.d.comb += [
                arriving.valid.eq(probabilities.valid),
                arriving.payload.mask.eq(probabilities.payload.mask),
                arriving.payload.last.eq(probabilities.payload.last),
                *(arriving.payload.x[lane].eq(probabilities.payload.p[lane]) for lane in range(self.lanes)),
            ]
        with m.Else():
            m.d.comb += [arriving.valid.eq(clamped.valid), arriving.payload.eq(clamped.payload)]
        wiring.connect(m, self.results.o, packer.i)
        m.d.comb += [
            self.result_max.i.valid.eq(clamped.valid & command.add_max),
            self.result_max.i.x.eq(clamped.payload.x[0][:8]),
            self.result_max.i.last.eq(clamped.payload.last),
            probabilities.ready.eq(1),
            clamped.ready.eq(1),
            packer.start.eq(self.start),
            packer.planes.eq(command.planes),
            packer.wide.eq(command.wide_dest),
            packer.pad.eq(command.shiftmax),
            packer.halves.eq(command.layer_norm & command.wide_source & ~command.wide_dest),
            packer.single.eq(command.shift_gelu | command.add),
            packer.rows_m1.eq(command.rows),
            packer.groups_m1.eq(self.source.groups_m1),
            writer.start.eq(self.start),
            writer.dest.eq(command.dest),
            writer.dest_row.eq(command.dest_row),
            writer.dest_plane.eq(command.dest_plane),
            writer.planes.eq(command.planes),
            writer.halt.eq(self.halt),
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
