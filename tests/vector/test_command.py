import pytest

from hw.spec.isa import OPCODE_BITS, WAIT_BITS, WAITED, Op, encode
from hw.spec.vector import built, row_of, rows
from hw.vector.command import FLAGS, VectorCommand, command_layout, flag
from tests.support.streams import simulate

SHAPE = {"rows": 16, "length": 64}
POLYNOMIAL = {"ln2": 255, "b": 1023, "c": (1 << 18) - 1, "fraction": 5}
EXPONENT = {"ln2": 255, "b": 1023, "c": (1 << 18) - 1, "exp_mult": (1 << 31) - 1, "exp_shift": 31, "fraction": 6}
FULL = {
    Op.SHIFTMAX_SUM: SHAPE
    | {"source": 1, "source_row": 2, "i0": 3, "row_max": 1, "stats": 3, "start": 99, "fraction": 5},
    Op.SHIFTMAX: SHAPE
    | {"source": 9, "dest": 8, "dest_row": 7, "i0": 1023, "planes": 1, "dest_plane": 77, "own_max": 1, "fraction": 7},
    Op.MOMENTS: SHAPE | {"source": 5, "stats": 2, "wide_source": 1},
    Op.LAYER_NORM: SHAPE | {"source": 5, "stats": 2, "wide_dest": 1, "params": 999, "planes": 1, "dest_plane": 1234},
    Op.SHIFT_GELU: SHAPE
    | {"dest": 6, "i0": 16, "row_max": 1, "mult": 1 << 31, "shift": 63, "planes": 1, "dest_plane": 65535},
    Op.TABLE: SHAPE | {"source": 9, "dest": 8, "dest_row": 7, "wide_dest": 1, "params": 4096, "planes": 1},
    Op.ADD: SHAPE | {"identity": 44, "identity_row": 3, "mult_identity": 5, "shift_identity": 6, "wide_identity": 1},
    Op.ADD_MAX: SHAPE | {"identity": 44, "identity_row": 3, "mult_identity": 5, "shift_identity": 6, "stats": 3},
    Op.ROW_MEAN: SHAPE | {"source": 5, "stats": 2, "wide_source": 1},
    Op.L1_DEVIATION: SHAPE | {"source": 5, "stats": 2, "wide_source": 1},
    Op.INT_DEVIATION: SHAPE | {"source": 5, "stats": 2, "wide_source": 1, "norm_shift": 7},
    Op.POWER_FACTORS: SHAPE | {"source": 5, "dest": 6, "wide_source": 1, "norm_shift": 7, "params": 999},
    Op.INT_SOFTMAX_SUM: SHAPE | EXPONENT | {"source": 1, "source_row": 2, "row_max": 1, "stats": 3, "own_max": 1},
    Op.INT_SOFTMAX: SHAPE | EXPONENT | {"dest": 8, "row_max": 1, "stats": 3, "planes": 1, "dest_plane": 77, "halve": 1},
    Op.LOG_SOFTMAX_SUM: SHAPE | POLYNOMIAL | {"source": 1, "source_row": 2, "row_max": 1, "stats": 3, "own_max": 1},
    Op.LOG_SOFTMAX: SHAPE | POLYNOMIAL | {"dest": 8, "row_max": 1, "stats": 3, "planes": 1, "offset": 15},
    Op.INT_GELU: SHAPE | {"dest": 6, "mult": 1 << 31, "shift": 63, "wide_source": 1, "b": 32767, "c": (1 << 31) - 1},
}


def load(cases, table=None):
    """[(command fields, illegal)] of each (op, operands) loaded in turn; what else is at the inputs changes nothing."""
    dut = VectorCommand(table=table or rows(), tokens=16, max_row=64, row_max_banks=2, stat_banks=4)
    seen = []

    async def testbench(ctx):
        for op, operands in cases:
            word = int.from_bytes(encode(op, **operands), "little")
            ctx.set(dut.op, op)
            ctx.set(dut.operands, word >> (OPCODE_BITS + len(WAITED) * WAIT_BITS))
            ctx.set(dut.load, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            command = ctx.get(dut.command)
            seen.append(({name: command[name] for name, _ in command.shape()}, ctx.get(dut.illegal)))
            for other in cases:
                ctx.set(dut.op, other[0])
                ctx.set(dut.operands, -1)
                await ctx.tick()
                assert ctx.get(dut.command) == command

    simulate(dut, testbench)
    return seen


def test_every_operand_reaches_its_slot():
    assert set(FULL) == {row.op for row in rows()}
    bits = [name for name, field in command_layout(rows()) if field.width == 1]
    for (op, operands), (command, illegal) in zip(FULL.items(), load(FULL.items()), strict=True):
        assert not illegal
        row = row_of(op)
        assert [name for name in command if name.startswith("is_") and command[name]] == [flag(row)]
        assert {name for name in FLAGS if command[name]} == {name for name, says in FLAGS.items() if says(row)}
        for field in row.operands:
            value = operands.get(field.name, 1 if field.count else 0) - field.count
            assert command[field.slot] == value, (op, field.name)
        slots = {field.slot for field in row.operands}
        assert not any(command[name] for name in bits if name not in {flag(row), *FLAGS, *slots})


def test_slots_of_what_is_not_built_are_there():
    table = built(("shift_gelu",))
    ((command, illegal),) = load([(Op.SHIFT_GELU, FULL[Op.SHIFT_GELU])], table)
    assert not illegal
    assert [name for name in command if name.startswith("is_")] == ["is_shift_gelu"]
    assert set(command) >= {"other", "other_row", "wide_other", "stats", "planes"}


@pytest.mark.parametrize(("op", "change"), [
    *[(op, {"rows": 17}) for op in FULL],
    *[(op, {"length": 65}) for op in FULL],
    *[(op, {"row_max": 2}) for op in (Op.SHIFTMAX_SUM, Op.SHIFTMAX, Op.SHIFT_GELU)],
    *[(op, {"i0": 0}) for op in (Op.SHIFTMAX_SUM, Op.SHIFTMAX, Op.SHIFT_GELU)],
    *[(op, {"ln2": 0}) for op in (Op.INT_SOFTMAX_SUM, Op.INT_SOFTMAX)],
    *[(op, {"stats": 4}) for op in (Op.SHIFTMAX_SUM, Op.SHIFTMAX, Op.MOMENTS, Op.LAYER_NORM, Op.ADD_MAX)],
])  # fmt: skip
def test_refuses_what_is_not_built(op, change):
    fine, refused, again = load([(op, FULL[op]), (op, FULL[op] | change), (op, FULL[op])])
    assert (fine[1], refused[1], again[1]) == (0, 1, 0)
