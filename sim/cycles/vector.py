"""Cycles of a VECTOR instruction, which depend on nothing but its operands: VECTOR has priority on the scratchpad."""

from __future__ import annotations

from collections.abc import Mapping

from hw.spec.config import Config
from hw.spec.memory import param_words
from hw.spec.timing import Timing
from hw.spec.vector import Second, VectorOp, built, result_bytes
from hw.units.credit_queue import CreditQueue
from hw.units.scratchpad import Scratchpad
from hw.vector.packer import Packer
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.row_units import longest, unit_timing
from hw.vector.row_writer import RowWriter
from hw.vector.source import QUEUE_SLACK

__all__ = ["VectorTiming"]

_FILL = Scratchpad.latency + 5  # first beat: latency + 5 after the start cycle (VectorSource)
_QUEUE = Scratchpad.latency + QUEUE_SLACK  # words of a read queue
_OUT = CreditQueue.latency + Packer.latency + RowWriter.latency


class VectorTiming:
    """Cycles from start to retirement of the VECTOR instructions of one `Config`: the table and its units' `Timing`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        rows = built(config.vector)
        self._units: dict[str, Timing] = {
            row.name: unit_timing(row, lanes=config.lanes, max_row=config.max_row) for row in rows
        }
        self._room = CreditQueue.depth_behind(longest(rows, lanes=config.lanes, max_row=config.max_row))

    def cycles(self, row: VectorOp, o: Mapping[str, int]) -> int:
        """From ``started`` to ``retired``."""
        unit = self._units[row.name]
        beats = self._beats(o["length"])
        if not row.results:
            return _FILL + unit.lead + self._rows(o["rows"], beats, unit.interval) + unit.latency
        stream = self._rows(o["rows"], beats + self._late(row, o), unit.interval) - self._first_late(row, o)
        if row.second is Second.IDENTITY:  # its words are read first, until its queue is full
            words, source = (
                -(-(o["length"] << o.get(name, 0)) // self._config.rows) * o["rows"]
                for name in ("wide_identity", "wide_source")
            )
            stream = max(stream + min(_QUEUE, words), words + source)  # one word read per cycle
        elif row.second is Second.PARAMETERS:
            stream = self._behind_parameters(o, stream)
        return _FILL + unit.lead + stream + self._depth(row) + _OUT + o.get("planes", 0)

    def _beats(self, elements: int) -> int:
        """Cycles in which they enter."""
        return -(-elements // self._config.lanes)

    def _depth(self, row: VectorOp) -> int:
        """Cycles from an element to its result."""
        return self._units[row.name].latency + (RequantizeLanes.latency if row.requantized else 0)

    def _late(self, row: VectorOp, o: Mapping[str, int]) -> int:
        """Cycles a row loses because the writer takes longer for its words than the elements in them come."""
        word = self._word(row, o)
        full, rest = divmod(o["length"] - 1, word)
        return full * self._word_late(o, word) + self._word_late(o, rest + 1)

    def _first_late(self, row: VectorOp, o: Mapping[str, int]) -> int:
        """Those of them that the first word does not lose: no former one is being written."""
        return self._word_late(o, min(o["length"], self._word(row, o)))

    def _word(self, row: VectorOp, o: Mapping[str, int]) -> int:
        """Elements of a word that is written."""
        return self._config.rows // max(result_bytes(o), 1 + o.get("wide_source", 0) if row.grouped else 1)

    def _word_late(self, o: Mapping[str, int], elements: int) -> int:
        return max(0, 2 + o.get("planes", 0) - self._beats(elements))

    @staticmethod
    def _rows(rows: int, beats: int, least: int) -> int:
        """Cycles in which `rows` rows enter a unit that takes one per `least` cycles."""
        return (rows - 1) * max(beats, least) + beats

    def _behind_parameters(self, o: Mapping[str, int], stream: int) -> int:
        """Words of the norm table are read before anything else, until both its buffers and the queue are full."""
        config, entry = self._config, param_words(self._config)
        group = config.rows >> o["wide_source"]  # channels
        groups = -(-o["length"] // group)
        first = min(o["length"], 2 * group) * entry + min(_QUEUE, max(0, o["length"] - 2 * group) * entry)
        if groups > 2:  # a group's words and its rows' share the read port
            stream = max(stream, groups * (group * entry + o["rows"]))
        return first + stream

    def busy(self, row: VectorOp, o: Mapping[str, int]) -> int:
        """Cycles of them in which an element entered a unit or a result left the last one."""
        each = self._beats(o["length"])
        beats = o["rows"] * each
        if not row.results:
            return beats
        depth, interval = self._depth(row), self._units[row.name].interval
        if interval > each:
            return self._apart(o["rows"], each, interval, depth + CreditQueue.latency)
        return beats + min(beats, depth + CreditQueue.latency) + self._backlog(row, o, depth)

    @staticmethod
    def _apart(rows: int, each: int, interval: int, depth: int) -> int:
        """Those of rows of `each` beats with gaps between them, whose results come `depth` cycles later."""
        busy = end = 0
        entries = range(0, rows * interval, interval)
        for start in sorted([*entries, *(entry + depth for entry in entries)]):
            busy += max(0, start + each - max(start, end))
            end = start + each
        return busy

    def _backlog(self, row: VectorOp, o: Mapping[str, int], latency: int) -> int:
        """Cycles in which elements enter while results wait: all until the queue is full, then one for each row."""
        late = self._late(row, o)
        if not late:
            return 0
        waits, room = o["rows"] - 1, self._room - latency
        filling = min(waits, room // late)
        return filling * late + waits - filling
