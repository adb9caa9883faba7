"""Random instructions of the rivals' units, for `sim.random_programs`: any value of any operand that is no address."""

from functools import partial

from hw.spec.isa import Op
from hw.spec.vector import built, rows
from hw.spec.vector_ops import UNITS

__all__ = ["rival_groups"]


def rival_groups(writer):
    """A function for every opcode of rivals that the Config of `writer` has; each emits one instruction."""
    own = {row.op for row in built(UNITS)}
    return tuple(partial(_emit, writer, row) for row in rows() if row.op not in own and row.is_in(writer.config.vector))


def _emit(writer, row):
    """Statistics and maxima are those of some rows written before, its own or others; in place where it can be."""
    config = writer.config
    source, dest, params = writer.areas(3)
    length = writer.number(1, 40)
    count, step = writer.rows(-(-length * 2 // config.word_bytes))
    count = max(1, count // 2)  # two planes of them fit
    operands = {f.name: writer.number(int(f.nonzero), (1 << f.bits) - 1) for f in row.operands}
    operands |= {"source": source, "source_row": step, "rows": count, "length": length}
    if "stats" in operands:
        bank = writer.written("stats", None, count)
        if bank is None:  # what no instruction has written is anything
            shape = {name: operands[name] for name in ("source", "source_row", "rows", "length")}
            bank = writer.number(0, config.stat_banks - 1)
            writer.emit(Op.MOMENTS, **shape, stats=bank, wide_source=writer.number(0, 1))
        operands["stats"] = bank
    if "row_max" in operands:
        bank = writer.written("row_max", None, count)
        operands |= {"row_max": 0, "own_max": 1} if bank is None else {"row_max": bank}
    if row.results:
        planes = writer.planes(count * step) if "planes" in operands else {}
        in_place = bool(planes) and not operands.get("wide_source", 1) and writer.chance(0.5)
        operands |= {"dest": source if in_place else dest, "dest_row": step, **planes}
    if "params" in operands:  # of any bytes
        operands["params"] = params
    writer.emit(row.op, **operands)
