"""The VECTOR engine: Shiftmax, ShiftGELU, I-LayerNorm and the residual addition."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.isa import Fault
from hw.units.moments import Moments
from hw.units.norm_table import NormTable
from hw.units.normalize import Normalize
from hw.units.packer import Packer
from hw.units.ports import INDEX_BITS, ScratchRead, ScratchWrite, engine_members
from hw.units.read_queues import ReadQueues
from hw.units.requantizer import Requantizer
from hw.units.result_clamp import ResultClamp
from hw.units.row_reader import RowReader
from hw.units.row_writer import RowWriter
from hw.units.shift_gelu import ShiftGelu
from hw.units.shiftmax import Shiftmax
from hw.units.shiftmax_sum import ShiftmaxSum
from hw.units.unpacker import Unpacker
from hw.units.vector_command import VectorCommand

__all__ = ["STATISTICS", "VectorEngine"]

STATISTICS = data.StructLayout({"mean": signed(17), "factor": unsigned(25)})  # of I-LayerNorm; Shiftmax: factor only
RESULT_BITS = 27  # of a requantized value, saturated: the sum of two still clamps to int16 as the exact sum does
QUEUE_SLACK = 6  # words a read queue holds beyond those under way


class VectorEngine(wiring.Component):
    """Executes the VECTOR instructions of `hw.spec.isa` one after the other, as docs/architecture.md defines them.

    ::

        scratch_read -> ReadQueues -> Unpacker --+-> ShiftmaxSum, Moments -> statistics RAM
                            |                    +-> Shiftmax -------------------------------------+
                            |                    +-> Normalize --+                                 |
                            |                    +-> ShiftGelu --+-> Requantizers -> ResultClamp --+-> Packer
                            +-> second Unpacker (ADD) -----------+                                      |
                            +-> NormTable -------^                                    scratch_write <- RowWriter

    Rate: `lanes` elements per cycle (SHIFT_GELU, ADD: one), without gaps from row to row; scratchpad and row
    units may stall it. The next instruction begins when the previous one has retired, 3 cycles later. The row-maximum
    RAM answers one cycle after ``row_max_address`` (bank*tokens + row).

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
        self._statistics(m)
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
        m.submodules.reader = self.reader = RowReader()
        m.submodules.other_reader = self.other_reader = RowReader()
        m.submodules.queues = self.queues = ReadQueues(
            word_bits=8 * rows,
            depth=self.scratch_latency + QUEUE_SLACK,
            scratch_words=self.scratch_words,
            scratch_latency=self.scratch_latency,
        )
        m.submodules.unpacker = self.unpacker = Unpacker(rows=rows, lanes=lanes)
        m.submodules.other_unpacker = self.other_unpacker = Unpacker(rows=rows, lanes=1)
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
        self.requantizers = []
        for lane in range(max(2, lanes)):
            tag = data.StructLayout({"mask": lanes, "last": 1}) if lane == 0 else None
            requantizer = Requantizer(
                value_bits=35, mult_bits=33, shift_bits=6, out_bits=RESULT_BITS, mult_signed=True, tag=tag
            )
            m.submodules[f"requantizer{lane}"] = requantizer
            self.requantizers.append(requantizer)
        m.submodules.clamp = self.clamp = ResultClamp(bits=RESULT_BITS, lanes=lanes)
        m.submodules.packer = self.packer = Packer(rows=rows, lanes=lanes)
        m.submodules.writer = self.writer = RowWriter(rows=rows, scratch_words=self.scratch_words)

    def _control(self, m):
        """Takes an instruction, checks it, starts every block, waits for the last effect."""
        self.command = self.decoder.command
        self.start = Signal()
        self.active = Signal()
        self.rows_done = Signal()  # the last row's statistics are written
        index = Signal(INDEX_BITS, reset_less=True)
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
                    m.d.comb += self.fault.eq(Fault.ILLEGAL_OPERAND)
                    m.next = "STOPPED"
                with m.Else():
                    m.d.comb += self.start.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.active.eq(1)
                with m.If(self.queues.outside | self.writer.outside):
                    m.d.comb += self.fault.eq(Fault.SCRATCH_ADDRESS)
                    m.next = "STOPPED"
                with m.Elif(self.rows_done | self.writer.done):
                    m.d.comb += self.retired.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):
                pass  # until reset

    def _sources(self, m):
        """What is read: the source, and the identity operand or the norm table."""
        command, reader, other = self.command, self.reader, self.other_reader
        word_bits = exact_log2(self.rows)
        words_m1, other_words_m1 = Signal(12), Signal(13)
        m.d.comb += words_m1.eq(
            Mux(command.wide_source, command.length >> (word_bits - 1), command.length >> word_bits)
        )
        entries_m1 = Cat(1, command.length) if self.rows < 16 else command.length  # an entry is 16 bytes
        with m.If(command.add):
            m.d.comb += other_words_m1.eq(
                Mux(command.wide_other, command.length >> (word_bits - 1), command.length >> word_bits)
            )
        with m.Else():
            m.d.comb += other_words_m1.eq(entries_m1)

        self.groups_m1 = Signal(12)
        m.d.comb += [
            self.groups_m1.eq(Mux(command.layer_norm, words_m1, 0)),
            reader.start.eq(self.start),
            reader.walk.base.eq(command.source),
            reader.walk.stride.eq(command.source_row),
            reader.walk.words_m1.eq(Mux(command.layer_norm, 0, words_m1)),
            reader.walk.rows_m1.eq(command.rows),
            reader.walk.groups_m1.eq(self.groups_m1),
            other.start.eq(self.start & (command.add | command.layer_norm)),
            other.walk.base.eq(command.other),
            other.walk.stride.eq(command.other_row),
            other.walk.words_m1.eq(other_words_m1),
            other.walk.rows_m1.eq(Mux(command.add, command.rows, 0)),
            self.queues.halt.eq(self.halt),
        ]
        wiring.connect(m, reader.o, self.queues.addresses)
        wiring.connect(m, other.o, self.queues.other_addresses)
        wiring.connect(m, self.queues.port, wiring.flipped(self.scratch_read))

        for unpacker, wide in ((self.unpacker, command.wide_source), (self.other_unpacker, command.wide_other)):
            m.d.comb += [
                unpacker.start.eq(self.start),
                unpacker.wide.eq(wide),
                unpacker.single.eq(command.shift_gelu | command.add),
                unpacker.grouped.eq(command.layer_norm),
                unpacker.length_m1.eq(command.length),
                unpacker.rows_m1.eq(command.rows),
            ]
        wiring.connect(m, self.queues.words, self.unpacker.i)
        table = self.norm_table
        m.d.comb += [
            table.start.eq(self.start),
            table.wide.eq(command.wide_source),
            table.length_m1.eq(command.length),
            table.i.payload.eq(self.queues.other_words.payload),
            table.i.valid.eq(self.queues.other_words.valid & command.layer_norm),
            self.other_unpacker.i.payload.eq(self.queues.other_words.payload),
            self.other_unpacker.i.valid.eq(self.queues.other_words.valid & command.add),
            self.queues.other_words.ready.eq(Mux(command.layer_norm, table.i.ready, self.other_unpacker.i.ready)),
        ]

    def _rows(self, m):
        """Row after row: what the units with a row stream must know, two cycles each."""
        command = self.command
        self.row = row = Signal(8, reset_less=True)
        more, valid, ready = Signal(), Signal(), Signal()
        consumers = (
            (self.shiftmax_sum, command.shiftmax_sum),
            (self.shiftmax, command.shiftmax),
            (self.shift_gelu, command.shift_gelu),
            (self.moments, command.moments),
        )
        for unit, mine in consumers:
            m.d.comb += unit.rows.valid.eq(valid & mine)
            if unit is self.moments:
                m.d.comb += unit.rows.payload.length.eq(command.length + 1)
            else:
                m.d.comb += [unit.rows.payload.row_max.eq(self.row_max_data), unit.rows.payload.i0.eq(command.i0)]
        m.d.comb += [
            self.row_max_address.eq(
                Cat(row[: exact_log2(self.tokens)], command.row_max[: exact_log2(self.row_max_banks)])
            ),
            ready.eq(Cat(unit.rows.ready & mine for unit, mine in consumers).any()),
            self.shiftmax.rows.payload.wide.eq(command.planes),
        ]
        with m.If(valid & ready):
            m.d.sync += [valid.eq(0), row.eq(row + 1), more.eq(row != command.rows)]
        with m.Elif(more):
            m.d.sync += valid.eq(1)
        with m.If(self.start):
            m.d.sync += [row.eq(0), valid.eq(0), more.eq(~command.layer_norm & ~command.add)]

    def _statistics(self, m):
        """The statistics RAM: written per row by SHIFTMAX_SUM and MOMENTS, read by SHIFTMAX and LAYER_NORM."""
        command = self.command
        m.submodules.statistics = statistics = memory.Memory(
            shape=STATISTICS, depth=self.stat_banks * self.tokens, init=[]
        )
        write, read = statistics.write_port(), statistics.read_port()
        bank = command.stats[: exact_log2(self.stat_banks)]
        row_bits = exact_log2(self.tokens)
        written = Signal(8, reset_less=True)
        with m.If(write.en):
            m.d.sync += written.eq(written + 1)
        with m.If(self.start):
            m.d.sync += written.eq(0)
        m.d.comb += [
            self.shiftmax_sum.o.ready.eq(1),
            self.moments.o.ready.eq(1),
            write.en.eq(self.shiftmax_sum.o.valid | self.moments.o.valid),
            write.addr.eq(Cat(written[:row_bits], bank)),
            write.data.mean.eq(self.moments.o.payload.mean),
            write.data.factor.eq(Mux(command.moments, self.moments.o.payload.factor, self.shiftmax_sum.o.payload)),
            self.rows_done.eq(write.en & (written == command.rows)),
            # LAYER_NORM: the row of the beat that leaves the unpacker in the next cycle
            read.en.eq(Mux(command.layer_norm, self.unpacker.advance, 1)),
            read.addr.eq(Cat(Mux(command.layer_norm, self.unpacker.row, self.row)[:row_bits], bank)),
            self.shiftmax.rows.payload.factor.eq(read.data.factor),
            self.normalize.i.payload.mean.eq(read.data.mean),
            self.normalize.i.payload.factor.eq(read.data.factor),
        ]

    def _elements(self, m):
        """Beats from the unpackers to the unit of the instruction."""
        command, table = self.command, self.norm_table
        beat, valid = self.unpacker.o.payload, self.unpacker.o.valid
        parity = beat.index[-1]
        normalize = self.normalize.i
        lanes_of_rows = (self.shiftmax_sum, self.shiftmax, self.moments)
        for unit in lanes_of_rows:
            m.d.comb += [unit.i.payload.mask.eq(beat.mask), unit.i.payload.last.eq(beat.last)]
            m.d.comb += [unit.i.payload.x[lane].eq(beat.x[lane]) for lane in range(self.lanes)]
        m.d.comb += [normalize.payload.x[lane].eq(beat.x[lane]) for lane in range(self.lanes)]
        m.d.comb += [
            self.shiftmax_sum.i.valid.eq(valid & command.shiftmax_sum),
            self.shiftmax.i.valid.eq(valid & command.shiftmax),
            self.moments.i.valid.eq(valid & command.moments),
            self.shift_gelu.i.valid.eq(valid & command.shift_gelu),
            self.shift_gelu.i.payload.x.eq(beat.x[0]),
            self.shift_gelu.i.payload.last.eq(beat.last),
            table.bias_index.eq(beat.index),
            normalize.valid.eq(valid & command.layer_norm & table.filled.bit_select(parity, 1)),
            normalize.payload.bias.eq(table.bias),
            normalize.payload.tag.index.eq(beat.index),
            normalize.payload.tag.mask.eq(beat.mask),
            normalize.payload.tag.last.eq(beat.last),
            normalize.payload.tag.group_last.eq(beat.group_last),
        ]
        used = normalize.valid & normalize.ready & beat.group_last
        m.d.comb += table.used.eq(Cat(used & ~parity, used & parity))
        self.add_pair = Signal()  # both operands of ADD are there
        self.add_ready = Signal()  # and taken
        m.d.comb += [
            self.add_pair.eq(valid & self.other_unpacker.o.valid & command.add),
            self.other_unpacker.o.ready.eq(self.add_pair & self.add_ready),
            self.unpacker.o.ready.eq(
                (command.shiftmax_sum & self.shiftmax_sum.i.ready)
                | (command.shiftmax & self.shiftmax.i.ready)
                | (command.moments & self.moments.i.ready)
                | (command.shift_gelu & self.shift_gelu.i.ready)
                | (normalize.valid & normalize.ready)
                | (self.add_pair & self.add_ready)
            ),
        ]

    def _requantize(self, m):
        """The requantizers, in lockstep, and the clamp behind them."""
        command, table, lanes = self.command, self.norm_table, self.lanes
        normalized, gelu = self.normalize.o, self.shift_gelu.o
        first = self.requantizers[0]
        tag = first.i.payload.tag
        valid = Signal()
        m.d.comb += [
            valid.eq((command.layer_norm & normalized.valid) | (command.shift_gelu & gelu.valid) | self.add_pair),
            normalized.ready.eq(command.layer_norm & first.i.ready),
            gelu.ready.eq(command.shift_gelu & first.i.ready),
            self.add_ready.eq(first.i.ready),
            table.factor_index.eq(normalized.payload.tag.index),
        ]
        parity = normalized.payload.tag.index[-1]
        release = normalized.valid & normalized.ready & normalized.payload.tag.group_last
        m.d.comb += table.release.eq(Cat(release & ~parity, release & parity))
        with m.If(command.layer_norm):
            m.d.comb += [tag.mask.eq(normalized.payload.tag.mask), tag.last.eq(normalized.payload.tag.last)]
        with m.Else():
            m.d.comb += [tag.mask.eq(1), tag.last.eq(Mux(command.add, self.unpacker.o.payload.last, gelu.payload.last))]

        for lane, requantizer in enumerate(self.requantizers):
            beat = requantizer.i.payload
            m.d.comb += requantizer.i.valid.eq(valid)
            if lane == 0:
                single = Mux(command.add, self.unpacker.o.payload.x[0], gelu.payload.y), command.mult, command.shift
            else:
                single = self.other_unpacker.o.payload.x[0], command.mult_other, command.shift_other
            with m.If(command.layer_norm):
                if lane < lanes:
                    factors = table.factors[lane]
                    m.d.comb += [
                        beat.value.eq(normalized.payload.z[lane]),
                        beat.mult.eq(factors.mult),
                        beat.shift.eq(factors.shift),
                    ]
            with m.Elif(lane < 2):
                m.d.comb += [beat.value.eq(single[0]), beat.mult.eq(single[1]), beat.shift.eq(single[2])]
            m.d.comb += [
                requantizer.o.ready.eq(self.clamp.i.ready),
                self.clamp.i.payload.value[lane].eq(requantizer.o.payload.value),
            ]
        m.d.comb += [
            self.clamp.wide.eq(command.wide_dest),
            self.clamp.add.eq(command.add),
            self.clamp.i.valid.eq(first.o.valid),
            self.clamp.i.payload.mask.eq(first.o.payload.tag.mask),
            self.clamp.i.payload.last.eq(first.o.payload.tag.last),
        ]

    def _results(self, m):
        """The results into words, the words into the scratchpad; the performance counters' view."""
        command, packer, writer = self.command, self.packer, self.writer
        probabilities, clamped = self.shiftmax.o, self.clamp.o
        with m.If(command.shiftmax):
            m.d.comb += [
                packer.i.valid.eq(probabilities.valid),
                probabilities.ready.eq(packer.i.ready),
                packer.i.payload.mask.eq(probabilities.payload.mask),
                packer.i.payload.last.eq(probabilities.payload.last),
                *(packer.i.payload.x[lane].eq(probabilities.payload.p[lane]) for lane in range(self.lanes)),
            ]
        with m.Else():
            m.d.comb += [
                packer.i.valid.eq(clamped.valid),
                clamped.ready.eq(packer.i.ready),
                packer.i.payload.eq(clamped.payload),
            ]
        m.d.comb += [
            packer.start.eq(self.start),
            packer.planes.eq(command.planes),
            packer.wide.eq(command.wide_dest),
            packer.pad.eq(command.shiftmax),
            packer.halves.eq(command.layer_norm & command.wide_source & ~command.wide_dest),
            packer.single.eq(command.shift_gelu | command.add),
            packer.rows_m1.eq(command.rows),
            packer.groups_m1.eq(self.groups_m1),
            writer.start.eq(self.start),
            writer.dest.eq(command.dest),
            writer.dest_row.eq(command.dest_row),
            writer.dest_plane.eq(command.dest_plane),
            writer.planes.eq(command.planes),
            writer.halt.eq(self.halt),
        ]
        wiring.connect(m, packer.o, writer.i)
        wiring.connect(m, writer.port, wiring.flipped(self.scratch_write))

        consumed = self.unpacker.o.valid & self.unpacker.o.ready
        produced = packer.i.valid & packer.i.ready
        blocked = self.scratch_write.request.valid & ~self.scratch_write.request.ready
        m.d.comb += [
            self.busy.eq(self.active & (consumed | produced)),
            self.wait_out.eq(self.active & ~self.busy & blocked),
            self.wait_in.eq(self.active & ~self.busy & ~blocked),
        ]
