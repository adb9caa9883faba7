"""Everything that a VECTOR instruction reads from the scratchpad, as beats of elements."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.memory import TABLE_ENTRIES, TABLE_ENTRY_BYTES
from hw.spec.vector import Second
from hw.units.ports import ScratchRead
from hw.vector.command import command_layout
from hw.vector.read_queues import ReadQueues
from hw.vector.row_reader import RowReader
from hw.vector.unpacker import Unpacker, beat_layout

__all__ = ["VectorSource"]

QUEUE_SLACK = 6  # words a read queue holds beyond those under way


class VectorSource(wiring.Component):
    """Reads and unpacks the source and the identity operand, of opcodes that have one; reads the table of others.

    Rate: `lanes` elements per cycle, of the identity, too, but a word read per cycle. The first beat comes
    ``scratch_latency`` + 5 cycles after ``start`` when every read is granted at once.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    lanes : int
    table : sequence of VectorOp
        The opcodes that are built; second operands that none of them has are not read.
    scratch_words, scratch_latency : int

    Members
    -------
    start : In(1), command : In(command_layout)
        The command is stable from ``start`` on.
    o, identity : Out(stream of beats)
    table : Out(stream of words)
    row, coming : Out
        See Unpacker, of ``o``.
    groups_m1 : Out(12)
        Groups that the tensor is processed in, minus one: with ``grouped`` the words of a row.
    port : Out(ScratchRead)
    halt : In(1), outside : Out(1)
        No reads; an address is beyond the scratchpad.
    """

    def __init__(self, *, rows, lanes, table, scratch_words, scratch_latency):
        self.rows = rows
        self.lanes = lanes
        self.identities = any(row.second is Second.IDENTITY for row in table)
        self.tables = any(row.second in (Second.PARAMETERS, Second.TABLE) for row in table)
        self.scratch_words = scratch_words
        self.scratch_latency = scratch_latency
        super().__init__({
            "start": In(1),
            "command": In(command_layout(table)),
            "o": Out(stream.Signature(beat_layout(rows=rows, lanes=lanes))),
            "identity": Out(stream.Signature(beat_layout(rows=rows, lanes=lanes))),
            "table": Out(stream.Signature(8 * rows)),
            "row": Out(8),
            "coming": Out(1),
            "groups_m1": Out(12),
            "port": Out(ScratchRead(8 * rows)),
            "halt": In(1),
            "outside": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        command = self.command
        m.submodules.reader = reader = RowReader()
        m.submodules.queues = queues = ReadQueues(
            word_bits=8 * self.rows,
            depth=self.scratch_latency + QUEUE_SLACK,
            scratch_words=self.scratch_words,
            scratch_latency=self.scratch_latency,
        )
        m.submodules.unpacker = unpacker = Unpacker(rows=self.rows, lanes=self.lanes)

        words_m1 = self._words(m, "words_m1", command.wide_source)
        m.d.comb += [
            self.groups_m1.eq(Mux(command.grouped, words_m1, 0)),
            reader.start.eq(self.start),
            reader.walk.base.eq(command.source),
            reader.walk.stride.eq(command.source_row),
            reader.walk.words_m1.eq(Mux(command.grouped, 0, words_m1)),
            reader.walk.rows_m1.eq(command.rows),
            reader.walk.groups_m1.eq(self.groups_m1),
            queues.halt.eq(self.halt),
            self.outside.eq(queues.outside),
            unpacker.grouped.eq(command.grouped),
            self.row.eq(unpacker.row),
            self.coming.eq(unpacker.coming),
        ]
        self._shape(m, unpacker, command.wide_source)
        wiring.connect(m, reader.o, queues.addresses)
        wiring.connect(m, queues.port, wiring.flipped(self.port))
        wiring.connect(m, queues.words, unpacker.i)
        wiring.connect(m, unpacker.o, wiring.flipped(self.o))
        if self.identities or self.tables:
            self._second(m, queues)
        return m

    def _shape(self, m, unpacker, wide):
        m.d.comb += [
            unpacker.start.eq(self.start),
            unpacker.wide.eq(wide),
            unpacker.length_m1.eq(self.command.length),
            unpacker.rows_m1.eq(self.command.rows),
        ]

    def _second(self, m, queues):
        """The second operand: rows of elements or a table's words."""
        command = self.command
        m.submodules.other_reader = reader = RowReader()
        identity_words_m1 = self._words(m, "identity_words_m1", command.wide_other)
        entries_m1 = Cat(1, command.length) if self.rows < 16 else command.length  # a norm's have 16 bytes each
        words_m1 = Mux(command.table, TABLE_ENTRIES * TABLE_ENTRY_BYTES // self.rows - 1, entries_m1)
        other = queues.other_words
        m.d.comb += [
            reader.start.eq(self.start & (command.identity | command.parameters)),
            reader.walk.base.eq(command.other),
            reader.walk.stride.eq(command.other_row),
            reader.walk.words_m1.eq(Mux(command.identity, identity_words_m1, words_m1)),
            reader.walk.rows_m1.eq(Mux(command.identity, command.rows, 0)),
        ]
        wiring.connect(m, reader.o, queues.other_addresses)
        identity_ready = 0
        if self.identities:
            m.submodules.identity_unpacker = unpacker = Unpacker(rows=self.rows, lanes=self.lanes)
            self._shape(m, unpacker, command.wide_other)
            m.d.comb += [
                unpacker.i.payload.eq(other.payload),
                unpacker.i.valid.eq(other.valid & command.identity),
            ]
            wiring.connect(m, unpacker.o, wiring.flipped(self.identity))
            identity_ready = unpacker.i.ready
        m.d.comb += [
            self.table.payload.eq(other.payload),
            self.table.valid.eq(other.valid & command.parameters),
            other.ready.eq(Mux(command.parameters, self.table.ready, identity_ready)),
        ]

    def _words(self, m, name, wide):
        """Words of a row, minus one."""
        bits = exact_log2(self.rows)
        length = self.command.length
        words_m1 = Signal(12, name=name)
        m.d.comb += words_m1.eq(Mux(wide, length >> (bits - 1), length >> bits))
        return words_m1
