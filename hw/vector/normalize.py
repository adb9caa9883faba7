"""Second pass of I-LayerNorm: centred, scaled and biased elements."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import Pipe
from hw.units.ports import lanes_of

__all__ = ["Normalize"]

Z_BITS = 35  # |((x - mean)*factor) >> 1| < 2**30 with the row's own statistics, and a bias of 34 bits


class Normalize(wiring.Component):
    """Computes :func:`arith.normalize`, z = (((x - mean) * factor) >> 1) + bias, `lanes` elements per cycle.

    With y = x - mean and F = 2*h + f: (y*F) >> 1 = (2*y*h + y*f) >> 1 = y*h + ((y >> 1) if f else 0), an unsigned 24 by
    signed 17 product and an addend: one DSP48E1 per lane, which adds too. z is right modulo 2**35. A result leaves
    ``latency`` cycles after its elements enter; a stalled output stalls the whole pipe.

    Parameters
    ----------
    lanes : int
    tag : shape-like or None
        Side data that leaves with the result.

    Members
    -------
    i : {"x", "mean", "factor", "bias", "tag" if any}
    o : {"z", "tag" if any}
    """

    latency = 4

    def __init__(self, *, lanes, tag=None):
        if lanes < 1:
            raise ValueError(f"lanes must be positive, not {lanes}")
        self.lanes = lanes
        tags = {} if tag is None else {"tag": tag}
        operands = data.StructLayout({
            "x": lanes_of(lanes, signed(16)),
            "mean": signed(17),
            "factor": 25,
            "bias": lanes_of(lanes, signed(34)),
            **tags,
        })
        super().__init__({
            "i": In(stream.Signature(operands)),
            "o": Out(stream.Signature(data.StructLayout({"z": lanes_of(lanes, signed(Z_BITS)), **tags}))),
        })

    def elaborate(self, _platform):
        m = Module()

        pipe = Pipe(m, self.i, self.o, self.latency)
        pipe.carry("tag")
        factor = pipe.hold(self.i.p.factor, "factor")
        for lane in range(self.lanes):
            difference = Signal(signed(17), name=f"difference{lane}", reset_less=True)
            bias = Signal(signed(34), name=f"bias{lane}", reset_less=True)
            y = Signal(signed(17), name=f"y{lane}", reset_less=True)
            half = Signal(24, name=f"half{lane}", reset_less=True)
            addend = [Signal(signed(Z_BITS), name=f"addend{lane}_{k}", reset_less=True) for k in range(2)]
            product = Signal(signed(41), name=f"product{lane}", reset_less=True)
            z = Signal(signed(Z_BITS), name=f"z{lane}", reset_less=True)
            with m.If(pipe.step):
                m.d.sync += [
                    difference.eq(self.i.p.x[lane] - self.i.p.mean),
                    bias.eq(self.i.p.bias[lane]),
                    y.eq(difference),
                    half.eq(factor >> 1),
                    addend[0].eq(bias + Mux(factor[0], difference >> 1, 0)),
                    product.eq(y * half),
                    addend[1].eq(addend[0]),
                    z.eq(product + addend[1]),
                ]
            m.d.comb += self.o.p.z[lane].eq(z)

        return m
