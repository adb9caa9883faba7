"""The operands of a VECTOR instruction, in the same place for every opcode."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.spec.isa import OPCODE_BITS, OPERAND_BITS, OPERANDS, Engine, Op, engine_of, layout

__all__ = ["COMMAND", "VectorCommand"]

COMMAND = data.StructLayout({
    "shiftmax_sum": 1, "shiftmax": 1, "moments": 1, "layer_norm": 1, "shift_gelu": 1, "add": 1, "add_max": 1,
    "source": 16, "source_row": 12, "dest": 16, "dest_row": 12, "dest_plane": 16, "rows": 8, "length": 12,
    "i0": 10, "row_max": 4, "stats": 4, "mult": 32, "shift": 6,
    "other": 16, "other_row": 12, "mult_other": 32, "shift_other": 6,
    "wide_source": 1, "wide_other": 1, "wide_dest": 1, "planes": 1, "own_max": 1,
})  # fmt: skip

# Operand name in the instruction set -> field above, where they differ.
_RENAMED = {
    "wide": "planes", "params": "other", "identity": "other", "identity_row": "other_row",
    "mult_identity": "mult_other", "shift_identity": "shift_other", "wide_identity": "wide_other", "start": "mult",
}  # fmt: skip


class VectorCommand(wiring.Component):
    """Holds one instruction and says whether this engine can execute it.

    In the cycle after ``load``, ``command`` has the operands and ``illegal`` is valid. Counts stay minus one. One of
    the opcode bits is high, of ADD_MAX ``add`` too; ``wide_*``, ``planes`` and ``own_max`` are low where the opcode has
    none; other fields that the opcode does not have keep old values.

    Parameters
    ----------
    tokens, max_row, row_max_banks, stat_banks : int
        Limits of rows, length and bank numbers; powers of two.

    Members
    -------
    load : In(1), op, operands : In
    command : Out(COMMAND)
    illegal : Out(1)
        More rows or elements than built, a bank that is not there, or I0 = 0.
    """

    def __init__(self, *, tokens, max_row, row_max_banks, stat_banks):
        self.tokens = tokens
        self.max_row = max_row
        self.row_max_banks = row_max_banks
        self.stat_banks = stat_banks
        super().__init__({
            "load": In(1),
            "op": In(OPCODE_BITS),
            "operands": In(OPERAND_BITS),
            "command": Out(COMMAND),
            "illegal": Out(1),
        })

    def elaborate(self, _platform):
        m = Module()
        held = Signal(COMMAND, reset_less=True)
        m.d.comb += self.command.eq(held)
        ops = [op for op in Op if engine_of(op) is Engine.VECTOR]
        flags = ("wide_source", "wide_other", "wide_dest", "planes", "own_max")
        with m.If(self.load):
            m.d.sync += [held[name].eq(0) for name in (*flags, *(op.name.lower() for op in ops))]
            with m.Switch(self.op):
                for op in ops:
                    with m.Case(op):
                        view = data.View(layout(op), self.operands[: layout(op).size])
                        m.d.sync += held[op.name.lower()].eq(1)
                        if op is Op.ADD_MAX:
                            m.d.sync += held.add.eq(1)
                        for field in OPERANDS[op]:
                            m.d.sync += held[_RENAMED.get(field.name, field.name)].eq(view[field.name])

        uses_row_max = held.shiftmax_sum | held.shiftmax | held.shift_gelu
        uses_stats = held.shiftmax_sum | held.shiftmax | held.moments | held.layer_norm | held.add_max
        m.d.comb += self.illegal.eq(
            held.rows[exact_log2(self.tokens) :].any()
            | held.length[exact_log2(self.max_row) :].any()
            | (uses_row_max & (held.row_max[exact_log2(self.row_max_banks) :].any() | (held.i0 == 0)))
            | (uses_stats & held.stats[exact_log2(self.stat_banks) :].any())
        )
        return m
