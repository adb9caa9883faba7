"""How the passes of softmaxes reach their exponentials."""

from amaranth.lib import wiring

__all__ = ["feed"]


def feed(m, unit, join, exps):
    """Elements of `unit` less their row's maximum -> `exps`, one per lane, which go in lockstep.

    `join` brings ``unit.rows`` to ``unit.i``; both it and `exps` become submodules of `m`. An exponential gets what it
    has a place for: ``i0`` and ``fraction`` of the row, constants of the instruction. Returns the row and the element
    that enter, for the exponentials' tags; who takes their results says when they are ready.
    """
    m.submodules.join = join
    wiring.connect(m, wiring.flipped(unit.rows), join.rows)
    wiring.connect(m, wiring.flipped(unit.i), join.i)
    row, element = join.o.p.row, join.o.p.element
    m.d.comb += join.o.ready.eq(exps[0].i.ready)
    for lane, exp in enumerate(exps):
        m.submodules[f"exp{lane}"] = exp
        into = exp.i.p
        m.d.comb += [exp.i.valid.eq(join.o.valid), into.d.eq(element.x[lane] - row.row_max)]
        m.d.comb += [into[name].eq(row[name]) for name in ("i0", "fraction") if name in into.shape().members]
        if "constants" in exp.signature.members:
            m.d.comb += [exp.constants[name].eq(unit.operands[name]) for name in exp.constants.shape().members]
    return row, element
