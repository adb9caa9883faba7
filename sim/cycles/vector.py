"""Cycles of a VECTOR instruction, which depend on nothing but its operands: VECTOR has priority on the scratchpad."""

from __future__ import annotations

from collections.abc import Mapping

from hw.spec.config import Config
from hw.spec.isa import Op
from hw.spec.memory import param_words
from hw.units.credit_queue import CreditQueue
from hw.units.scratchpad import Scratchpad
from hw.vector.moments import Moments
from hw.vector.normalize import Normalize
from hw.vector.packer import Packer
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.row_writer import RowWriter
from hw.vector.shift_gelu import ShiftGelu
from hw.vector.shiftmax import Shiftmax
from hw.vector.shiftmax_sum import ShiftmaxSum
from hw.vector.source import QUEUE_SLACK

__all__ = ["VectorTiming"]

_FILL = Scratchpad.latency + 5  # first beat: latency + 5 after the start cycle (VectorSource)
_QUEUE = Scratchpad.latency + QUEUE_SLACK  # words of a read queue
_OUT = CreditQueue.latency + Packer.latency + RowWriter.latency


class VectorTiming:
    """Cycles from start to retirement of the VECTOR instructions of one `Config`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._moments, self._sum = Moments.timing(max_row=config.max_row), ShiftmaxSum.timing()
        self._shiftmax, self._gelu, self._requantize = Shiftmax.timing(), ShiftGelu.timing(), RequantizeLanes

    def cycles(self, op: Op, o: Mapping[str, int]) -> int:
        """From ``started`` to ``retired``."""
        row = -(-o["length"] // self._config.lanes)
        match op:
            case Op.SHIFTMAX_SUM:
                return _FILL + self._rows(o["rows"], row, self._sum.interval) + self._sum.latency
            case Op.MOMENTS:
                return _FILL + self._rows(o["rows"], row, self._moments.interval) + self._moments.latency
            case Op.SHIFTMAX:
                beats = o["rows"] * (row + self._late(o["length"], self._config.lanes, 0, o["wide"]))
                return _FILL + beats + self._shiftmax.latency + _OUT + o["wide"]
            case Op.LAYER_NORM:
                return self._layer_norm(o, row)
            case Op.SHIFT_GELU:
                beats = self._rows(o["rows"], o["length"] + self._late(o["length"], 1, 0), self._gelu.interval)
                return _FILL + self._gelu.lead + beats + self._gelu.latency + self._requantize.latency + _OUT
            case Op.ADD | Op.ADD_MAX:
                words = -(-(o["length"] << o.get("wide_identity", 0)) // self._config.rows) * o["rows"]
                beats = o["rows"] * (o["length"] + self._late(o["length"], 1, o.get("wide_dest", 0)))
                return _FILL + min(_QUEUE, words) + beats + self._requantize.latency + _OUT
            case _:
                raise ValueError(f"{op.name} is not a VECTOR instruction")

    def _late(self, length: int, lanes: int, wide: int, planes: int = 0) -> int:
        """Cycles a row loses because the writer takes longer for its last word than the elements in it come."""
        word = self._config.rows >> wide
        return max(0, 2 + planes - -(-((length - 1) % word + 1) // lanes))

    @staticmethod
    def _rows(rows: int, beats: int, least: int) -> int:
        """Cycles in which `rows` rows enter a unit that takes one per `least` cycles."""
        return (rows - 1) * max(beats, least) + beats

    def _layer_norm(self, o: Mapping[str, int], row: int) -> int:
        """Words of the norm table are read before anything else, until both its buffers and the queue are full."""
        config, entry = self._config, param_words(self._config)
        group = config.rows >> o["wide_source"]  # channels
        groups = -(-o["length"] // group)
        first = min(o["length"], 2 * group) * entry + min(_QUEUE, max(0, o["length"] - 2 * group) * entry)
        beats = o["rows"] * (row + self._late(o["length"], config.lanes, o["wide_dest"]))
        if groups > 2:  # a group's words and its rows' share the read port
            beats = max(beats, groups * (group * entry + o["rows"]))
        return _FILL + first + beats + Normalize.latency + self._requantize.latency + _OUT

    def busy(self, op: Op, o: Mapping[str, int]) -> int:
        """Cycles of them in which an element entered a unit or a result left the last one."""
        single = op in (Op.SHIFT_GELU, Op.ADD, Op.ADD_MAX)
        beats = o["rows"] * (o["length"] if single else -(-o["length"] // self._config.lanes))
        depth = {
            Op.SHIFTMAX: self._shiftmax.latency,
            Op.LAYER_NORM: Normalize.latency + self._requantize.latency,
            Op.SHIFT_GELU: self._gelu.latency + self._requantize.latency,
            Op.ADD: self._requantize.latency,
            Op.ADD_MAX: self._requantize.latency,
        }
        if op not in depth:
            return beats
        return beats + min(beats, depth[op] + CreditQueue.latency) + self._backlog(op, o, depth[op])

    def _backlog(self, op: Op, o: Mapping[str, int], latency: int) -> int:
        """Cycles in which elements enter while results wait: all until the queue is full, then one for each row."""
        lanes = 1 if op in (Op.SHIFT_GELU, Op.ADD) else self._config.lanes
        late = self._late(o["length"], lanes, o.get("wide_dest", 0), o.get("wide", 0))
        if not late:
            return 0
        longest = max(self._shiftmax.latency, self._gelu.latency + self._requantize.latency)
        waits, room = o["rows"] - 1, CreditQueue.depth_behind(longest) - latency
        filling = min(waits, room // late)
        return filling * late + waits - filling
