"""Everything that a VECTOR instruction reads from the scratchpad, as beats of elements."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.units.ports import ScratchRead
from hw.vector.command import COMMAND
from hw.vector.read_queues import ReadQueues
from hw.vector.row_reader import RowReader
from hw.vector.unpacker import Unpacker, beat_layout

__all__ = ["VectorSource"]

QUEUE_SLACK = 6  # words a read queue holds beyond those under way


class VectorSource(wiring.Component):
    """Reads and unpacks the source and, for ADD, the identity operand; for LAYER_NORM, reads the norm table.

    Rate: `lanes` elements per cycle of the source, one with SHIFT_GELU and ADD. The first beat comes
    ``scratch_latency`` + 5 cycles after ``start`` when every read is granted at once.

    Parameters
    ----------
    rows : int
        Bytes of a word.
    lanes : int
    scratch_words, scratch_latency : int

    Members
    -------
    start : In(1), command : In(COMMAND)
        The command is stable from ``start`` on.
    o, identity : Out(stream of beats)
    table : Out(stream of words)
    row, advance : Out
        See Unpacker, of ``o``.
    groups_m1 : Out(12)
        Groups that the tensor is processed in, minus one: LAYER_NORM's are the words of a row.
    port : Out(ScratchRead)
    halt : In(1), outside : Out(1)
        No reads; an address is beyond the scratchpad.
    """

    def __init__(self, *, rows, lanes, scratch_words, scratch_latency):
        self.rows = rows
        self.lanes = lanes
        self.scratch_words = scratch_words
        self.scratch_latency = scratch_latency
        super().__init__({
            "start": In(1),
            "command": In(COMMAND),
            "o": Out(stream.Signature(beat_layout(rows=rows, lanes=lanes))),
            "identity": Out(stream.Signature(beat_layout(rows=rows, lanes=1))),
            "table": Out(stream.Signature(8 * rows)),
            "row": Out(8),
            "advance": Out(1),
            "groups_m1": Out(12),
            "port": Out(ScratchRead(8 * rows)),
            "halt": In(1),
            "outside": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        command = self.command
        m.submodules.reader = reader = RowReader()
        m.submodules.other_reader = other_reader = RowReader()
        m.submodules.queues = queues = ReadQueues(
            word_bits=8 * self.rows,
            depth=self.scratch_latency + QUEUE_SLACK,
            scratch_words=self.scratch_words,
            scratch_latency=self.scratch_latency,
        )
        m.submodules.unpacker = unpacker = Unpacker(rows=self.rows, lanes=self.lanes)
        m.submodules.identity_unpacker = identity_unpacker = Unpacker(rows=self.rows, lanes=1)

        words_m1 = self._words(m, "words_m1", command.wide_source)
        identity_words_m1 = self._words(m, "identity_words_m1", command.wide_other)
        entries_m1 = Cat(1, command.length) if self.rows < 16 else command.length  # an entry has 16 bytes
        m.d.comb += [
            self.groups_m1.eq(Mux(command.layer_norm, words_m1, 0)),
            reader.start.eq(self.start),
            reader.walk.base.eq(command.source),
            reader.walk.stride.eq(command.source_row),
            reader.walk.words_m1.eq(Mux(command.layer_norm, 0, words_m1)),
            reader.walk.rows_m1.eq(command.rows),
            reader.walk.groups_m1.eq(self.groups_m1),
            other_reader.start.eq(self.start & (command.add | command.layer_norm)),
            other_reader.walk.base.eq(command.other),
            other_reader.walk.stride.eq(command.other_row),
            other_reader.walk.words_m1.eq(Mux(command.add, identity_words_m1, entries_m1)),
            other_reader.walk.rows_m1.eq(Mux(command.add, command.rows, 0)),
            queues.halt.eq(self.halt),
            self.outside.eq(queues.outside),
        ]
        wiring.connect(m, reader.o, queues.addresses)
        wiring.connect(m, other_reader.o, queues.other_addresses)
        wiring.connect(m, queues.port, wiring.flipped(self.port))

        for unit, wide in ((unpacker, command.wide_source), (identity_unpacker, command.wide_other)):
            m.d.comb += [
                unit.start.eq(self.start),
                unit.wide.eq(wide),
                unit.length_m1.eq(command.length),
                unit.rows_m1.eq(command.rows),
            ]
        m.d.comb += [
            unpacker.single.eq(command.shift_gelu | command.add),
            unpacker.grouped.eq(command.layer_norm),
            identity_unpacker.single.eq(1),
        ]
        other = queues.other_words
        m.d.comb += [
            self.table.payload.eq(other.payload),
            self.table.valid.eq(other.valid & command.layer_norm),
            identity_unpacker.i.payload.eq(other.payload),
            identity_unpacker.i.valid.eq(other.valid & command.add),
            other.ready.eq(Mux(command.layer_norm, self.table.ready, identity_unpacker.i.ready)),
            self.row.eq(unpacker.row),
            self.advance.eq(unpacker.advance),
        ]
        wiring.connect(m, queues.words, unpacker.i)
        wiring.connect(m, unpacker.o, wiring.flipped(self.o))
        wiring.connect(m, identity_unpacker.o, wiring.flipped(self.identity))
        return m

    def _words(self, m, name, wide):
        """Words of a row, minus one."""
        bits = exact_log2(self.rows)
        length = self.command.length
        words_m1 = Signal(12, name=name)
        m.d.comb += words_m1.eq(Mux(wide, length >> (bits - 1), length >> bits))
        return words_m1
