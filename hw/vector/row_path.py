"""What computes in the VECTOR engine: the row units, the norm table, the requantizers behind them."""

from amaranth.hdl import Cat, Const, Signal
from amaranth.lib import data

from hw.spec.vector import Second
from hw.vector.command import flag
from hw.vector.norm_table import NormTable
from hw.vector.requantize_lanes import RequantizeLanes
from hw.vector.result_max import ResultMax
from hw.vector.row_statistics import KNOWN
from hw.vector.row_units import make_unit

__all__ = ["RowPath"]


class RowPath:
    """Beats of elements to the unit of the instruction's opcode, its results or statistics back.

    ::

        beats --+-> units of statistics ------------------------------------------------> write
                +-> units of results -------------------------------------------+-------> results
                +-> units of results ----+                                      |
                +-> (additions) ---------+-> requantizers and clamp ------------+-> ResultMax -> write
        identity ------------------------+         ^
        words -> NormTable ------------------------+

    `hw.spec.vector` has the opcodes, `hw.vector.row_units` the unit of each, and `RowUnit` says how one is joined:
    everything here follows from the table's rows, and what none of them asks for is not built. ``results`` cannot be
    stalled: a beat is taken when ``room`` says that its results have room, ``begin`` tells that one was.

    Parameters
    ----------
    m : Module
        The engine's, of which everything here becomes a submodule.
    rows, lanes, max_row
        See VectorEngine.
    table : sequence of VectorOp
        The opcodes that are built.
    start, command : Signal
        See VectorSource, as of ``beats``, ``identity`` and ``words``, its outputs, which are taken here.
    known, found, write
        RowStatistics' ``o``, ``found`` and ``write``.
    room, begin, results
        CreditQueue's ``room``, ``begin`` and ``i``.
    products : str
        See VectorEngine.

    Attributes
    ----------
    walk : Signal
        The unit asks for ``known``.
    looks : Signal
        A unit that has results, or looks up its rows, takes a beat, if there is one.
    """

    def __init__(
        self, m, *, rows, lanes, max_row, table, start, command, beats, identity, words, known, found, write,
        room, begin, results, products="dsp",
    ):  # fmt: skip
        self.rows, self.lanes = rows, lanes
        self.max_row, self.ops, self.products = max_row, table, products
        self.start, self.command = start, command
        self.beats, self.identity, self.words = beats, identity, words
        self.known, self.found, self.write = known, found, write
        self.room, self.begin, self.results = room, begin, results
        self.walk = Signal()
        self.looks = Signal()
        self._instances(m)
        self._rows(m)
        self._elements(m)
        self._requantize(m)
        self._results(m)
        self._find(m)

    def _is(self, condition):
        """Whether the instruction's opcode is one for whose row of the table `condition` holds."""
        return _any(self.command[flag(row)] for row in self.ops if condition(row))

    def _instances(self, m):
        rows, lanes, ops = self.rows, self.lanes, self.ops
        self.norm_table = None
        if any(row.second is Second.PARAMETERS for row in ops):
            m.submodules.norm_table = self.norm_table = NormTable(rows=rows, lanes=lanes)
            m.d.comb += [
                self.norm_table.start.eq(self.start),
                self.norm_table.wide.eq(self.command.wide_source),
                self.norm_table.length_m1.eq(self.command.length),
            ]
        tag = data.StructLayout({"index": len(self.beats.payload.index), "group_last": 1})
        self.units = []  # (row, its unit); additions have none
        for row in ops:
            if not row.adds:
                unit = make_unit(
                    row, lanes=lanes, max_row=self.max_row, tag=tag, word_bits=8 * rows, products=self.products
                )
                m.submodules[row.name.lower()] = unit
                m.d.comb += unit.o.ready.eq(1)
                self.units.append((row, unit))
        self._tables(m)
        self.requantize = self.result_max = None
        scaled = [row for row in ops if row.requantized]
        if scaled:
            m.submodules.requantize = self.requantize = RequantizeLanes(
                lanes=lanes, adds=any(row.adds for row in scaled)
            )
        if any(row.results and row.writes for row in ops):
            m.submodules.result_max = self.result_max = ResultMax(lanes=lanes)

    def _tables(self, m):
        """The words of the norm table, or of a unit's own, to whom the instruction makes take them."""
        takers = [(self.command[flag(row)], unit.words) for row, unit in self.units if row.second is Second.TABLE]
        m.d.comb += [unit.start.eq(self.start) for row, unit in self.units if row.second is Second.TABLE]
        if self.norm_table is not None:
            takers.append((self._is(lambda row: row.second is Second.PARAMETERS), self.norm_table.i))
        for mine, words in takers:
            m.d.comb += [words.valid.eq(self.words.valid & mine), words.payload.eq(self.words.payload)]
        m.d.comb += self.words.ready.eq(_any(mine & words.ready for mine, words in takers))

    def _operand(self, row, name):
        """An operand by its name; of a count, the count."""
        field = row.operand(name)
        if field is None:
            raise ValueError(f"the unit of {row.name} asks for {name}, which is no operand of it")
        return self.command[field.slot] + field.count

    def _rows(self, m):
        """What the units must know of each row, and the operands they ask for."""
        command, known = self.command, self.known
        asking = [(row, unit) for row, unit in self.units if "rows" in unit.signature.members]
        m.d.comb += [
            self.walk.eq(_any(command[flag(row)] for row, _ in asking)),
            known.ready.eq(_any(unit.rows.ready & command[flag(row)] for row, unit in asking)),
        ]
        for row, unit in asking:
            if row.grouped or {"mean", "factor"} & {*unit.i.payload.shape().members}:
                raise ValueError(f"the unit of {row.name} asks for rows, so it takes them in order, each once")
            m.d.comb += unit.rows.valid.eq(known.valid & command[flag(row)])
            for name in unit.rows.payload.shape().members:
                value = known.payload[name] if name in KNOWN.members else self._operand(row, name)
                m.d.comb += unit.rows.payload[name].eq(value)
        for row, unit in self.units:
            if "operands" in unit.signature.members:
                m.d.comb += [unit.operands[name].eq(self._operand(row, name)) for name in unit.operands.shape().members]

    def _elements(self, m):
        """Beats from the unpackers to the unit of the instruction; ``taken``: one that has results is."""
        command, beats, identity, table = self.command, self.beats, self.identity, self.norm_table
        beat = beats.payload
        parity = beat.index[-1]
        self.offered, self.pair = Signal(), Signal()  # both operands of an addition are there; and taken
        # What takes a beat does not ask whether one is there: `ready` reaches the read queues, and is late.
        both = identity.valid & command.adds & self.room
        ready = Const(1) if self.requantize is None else self.requantize.i.ready
        takes, passed, looking = [(Second.IDENTITY, both & ready)], [], []
        m.d.comb += [self.offered.eq(beats.valid & both), self.pair.eq(self.offered & ready)]
        for row, unit in self.units:
            into = unit.i.payload
            values = {
                "x": beat.x, "mask": beat.mask, "last": beat.last, "mean": self.found.mean,
                "factor": self.found.factor, "identity": identity.payload.x,
            }  # fmt: skip
            there = command[flag(row)]
            if row.results:
                there &= self.room
            if row.second is Second.IDENTITY:
                there &= identity.valid
            if row.second is Second.PARAMETERS:
                there &= table.filled.bit_select(parity, 1)
                values["bias"] = table.bias
            m.d.comb += unit.i.valid.eq(beats.valid & there)
            for name in into.shape().members:
                if name in ("x", "identity"):
                    m.d.comb += [mine.eq(x) for mine, x in zip(into[name], values[name], strict=True)]
                elif name == "tag":
                    m.d.comb += [into.tag.index.eq(beat.index), into.tag.group_last.eq(beat.group_last)]
                else:
                    m.d.comb += into[name].eq(values[name])
            if row.results:
                takes.append((row.second, there & unit.i.ready))
            else:
                passed.append(command[flag(row)] & unit.i.ready)
                if {"mean", "factor"} & {*into.shape().members}:
                    looking.append(passed[-1])
        taken = Signal()
        m.d.comb += [
            taken.eq(_any(each for _, each in takes)),
            self.looks.eq(taken | _any(looking)),
            self.begin.eq(beats.valid & taken),
            beats.ready.eq(taken | _any(passed)),
            identity.ready.eq(beats.valid & _any(each for second, each in takes if second is Second.IDENTITY)),
        ]
        if table is not None:
            used = beats.valid & _any(each for second, each in takes if second is Second.PARAMETERS) & beat.group_last
            m.d.comb += [table.bias_index.eq(beat.index), table.used.eq(Cat(used & ~parity, used & parity))]

    def _requantize(self, m):
        """Results that are to be scaled, with their channels' factors or what the operands say, to the requantizers."""
        if self.requantize is None:
            return
        command, requantize, table = self.command, self.requantize, self.norm_table
        beat = requantize.i.payload
        scaled = [(row, unit) for row, unit in self.units if row.requantized]
        m.d.comb += [
            requantize.wide.eq(command.wide_dest | command.planes),
            requantize.i.valid.eq(self.offered | _any(command[flag(row)] & unit.o.valid for row, unit in scaled)),
        ]
        options = []  # (condition, statements)
        if any(row.adds for row in self.ops):
            source, other = self.beats.payload, self.identity.payload
            m.d.comb += [
                requantize.add.eq(command.adds),
                requantize.mult_other.eq(command.mult_other),
                requantize.shift_other.eq(command.shift_other),
                *(mine.eq(x) for mine, x in zip(beat.other, other.x, strict=True)),
            ]
            options.append((command.adds, self._scaled(source)))
        for row, unit in scaled:
            mine, out = command[flag(row)], unit.o.payload
            options.append((mine, self._scaled(out, table.factors if row.second is Second.PARAMETERS else None)))
        _choose(m, options)
        self._release(m, [(row, unit) for row, unit in scaled if row.second is Second.PARAMETERS])

    def _release(self, m, readers):
        """Factors for the results of the unit that reads parameters, and their groups given back behind the last."""
        if not readers:
            return
        table, command = self.norm_table, self.command
        ends = [(unit.o.valid & unit.o.p.tag.group_last, unit.o.p.tag.index) for _, unit in readers]
        m.d.comb += table.release.eq(Cat(
            _any(end & ~index[-1] for end, index in ends), _any(end & index[-1] for end, index in ends)
        ))  # fmt: skip
        _choose(m, [
            (command[flag(row)], [table.factor_index.eq(unit.o.p.tag.index)]) for row, unit in readers
        ])  # fmt: skip

    def _scaled(self, results, factors=None):
        """A beat of results, or of elements, with channels' factors or the instruction's."""
        beat, statements = self.requantize.i.payload, []
        for lane, x in enumerate(results.x):
            mine = self.command if factors is None else factors[lane]
            statements += [
                beat.value[lane].eq(x), beat.mult[lane].eq(mine.mult), beat.shift[lane].eq(mine.shift)
            ]  # fmt: skip
        return [*statements, beat.mask.eq(results.mask), beat.last.eq(results.last)]

    def _results(self, m):
        """What is offered: the results of units, or requantized ones."""
        options = [
            (self.command[flag(row)], self._arrive(unit.o))
            for row, unit in self.units
            if row.results and not row.requantized
        ]
        if self.requantize is not None:
            m.d.comb += self.requantize.o.ready.eq(1)
            options.append((self._is(lambda row: row.requantized), self._arrive(self.requantize.o)))
        _choose(m, options)

    def _arrive(self, results):
        out, mine = results.payload, self.results
        return [
            mine.valid.eq(results.valid),
            mine.payload.mask.eq(out.mask),
            mine.payload.last.eq(out.last),
            *(mine.eq(x) for mine, x in zip(mine.payload.x, out.x, strict=True)),
        ]

    def _find(self, m):
        """Statistics of rows: those that units find, and the largest results."""
        write = self.write
        found = [(row, unit.o.valid, unit.o.payload) for row, unit in self.units if not row.results]
        if self.result_max is not None:
            maxima, into, clamped = self.result_max.o, self.result_max.i, self.requantize.o
            m.d.comb += [
                into.valid.eq(clamped.valid & self._is(lambda row: row.results and row.writes)),
                *(mine.eq(x[:8]) for mine, x in zip(into.x, clamped.payload.x, strict=True)),
                into.mask.eq(clamped.payload.mask),
                into.last.eq(clamped.payload.last),
            ]
            found += [
                (row, maxima.valid, {"mean": maxima.x}) for row in self.ops if row.results and row.writes
            ]  # fmt: skip
        m.d.comb += write.valid.eq(_any(valid for _, valid, _ in found))
        for name in ("mean", "factor"):
            m.d.comb += write[name].eq(self._is(lambda row, name=name: name in row.writes))
            _choose(m, [
                (self.command[flag(row)], [write.value[name].eq(values[name])])
                for row, _, values in reversed(found) if name in row.writes
            ])  # fmt: skip


def _any(bits):
    """Whether one of them is high; none is, of none."""
    return Cat(bits).any() if (bits := list(bits)) else Const(0)


def _choose(m, options):
    """The statements of the first option (condition, statements) whose condition is high, or else the last one's."""
    for number, (condition, statements) in enumerate(options):
        last = number == len(options) - 1
        if number == 0 and last:
            m.d.comb += statements
            continue
        with m.Else() if last else m.Elif(condition) if number else m.If(condition):
            m.d.comb += statements
