"""The operands of a VECTOR instruction, in the same place for every opcode."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.isa import OPCODE_BITS, OPERAND_BITS, layout
from hw.spec.vector import Second, rows
from hw.spec.vector_ops import UNITS

__all__ = ["FLAGS", "VectorCommand", "command_layout", "flag"]

FLAGS = {
    "grouped": lambda row: row.grouped,
    "identity": lambda row: row.second is Second.IDENTITY,
    "parameters": lambda row: row.second in (Second.PARAMETERS, Second.TABLE),
    "table": lambda row: row.second is Second.TABLE,
    "padded": lambda row: row.padded,
    "adds": lambda row: row.adds,
}
"""What the table says of an opcode, as a bit of the command."""


def flag(row):
    """The command's bit that is high for the opcode of `row`."""
    return f"is_{row.name.lower()}"


def command_layout(table):
    """A bit per opcode of the rows `table`, `FLAGS`, and the operands by their slots.

    The slots of the machine's own opcodes are always there, so that the engine need not ask; they are constant where
    no opcode of `table` has them.
    """
    slots = {}
    own = [row for row in rows() if row.is_in(UNITS)]
    for row in (*own, *table):
        for field in row.operands:
            slots[field.slot] = max(field.bits, slots.get(field.slot, 0))
    return data.StructLayout({**{flag(row): 1 for row in table}, **dict.fromkeys(FLAGS, 1), **slots})


class VectorCommand(wiring.Component):
    """Holds one instruction and says whether this engine can execute it.

    In the cycle after ``load``, ``command`` has the operands and ``illegal`` is valid. Counts stay minus one. One of
    the opcodes' bits is high; operands of one bit are low where the opcode has none, others keep old values then.

    Parameters
    ----------
    table : sequence of VectorOp
        The opcodes that are built; no other comes.
    tokens, max_row, row_max_banks, stat_banks : int
        Limits of rows, length and bank numbers; powers of two.

    Members
    -------
    load : In(1), op, operands : In
    command : Out(command_layout)
    illegal : Out(1)
        More rows or elements than built, a bank that is not there, or 0 where that has no meaning (I0).
    """

    def __init__(self, *, table, tokens, max_row, row_max_banks, stat_banks):
        self.table = table
        self.limits = {
            "tokens": tokens, "max_row": max_row, "row_max_banks": row_max_banks, "stat_banks": stat_banks,
        }  # fmt: skip
        super().__init__({
            "load": In(1),
            "op": In(OPCODE_BITS),
            "operands": In(OPERAND_BITS),
            "command": Out(command_layout(table)),
            "illegal": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        held = Signal.like(self.command, reset_less=True)
        m.d.comb += self.command.eq(held)
        with m.If(self.load):
            m.d.sync += [held[name].eq(0) for name, field in held.shape() if field.width == 1]
            with m.Switch(self.op):
                for row in self.table:
                    with m.Case(row.number):
                        view = data.View(layout(row.op), self.operands[: layout(row.op).size])
                        m.d.sync += held[flag(row)].eq(1)
                        m.d.sync += [held[name].eq(1) for name, says in FLAGS.items() if says(row)]
                        m.d.sync += [held[field.slot].eq(view[field.name]) for field in row.operands]
        m.d.comb += self.illegal.eq(self._illegal(held))
        return m

    def _illegal(self, held):
        """Every operand that has a limit or must not be zero, where an opcode has it."""
        checked = {}  # (slot, limit, nonzero) -> rows that have it so
        for row in self.table:
            for field in row.operands:
                if field.limit or field.nonzero:
                    checked.setdefault((field.slot, field.limit, field.nonzero), []).append(row)
        illegal = 0
        for (slot, limit, nonzero), having in checked.items():
            value = held[slot]
            wrong = value[exact_log2(self.limits[limit]) :].any() if limit else 0
            if nonzero:
                wrong |= value == 0
            used = 1
            if len(having) < len(self.table):
                used = 0
                for row in having:
                    used |= held[flag(row)]
            illegal |= used & wrong
        return illegal
