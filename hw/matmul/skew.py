"""Delays lane k of a word by k cycles: the slanted wave front of a systolic array."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import delay

__all__ = ["Skew"]


class Skew(wiring.Component):
    """Lane k of ``o`` is lane k of ``i``, k cycles later. Nothing stalls and nothing is reset.

    Lanes without reset become shift-register LUTs on FPGAs that have them. Of two with one input and two `init` each
    has the last registers of its lanes for itself, so that each drives half of the loads from nearby.

    Parameters
    ----------
    lanes: elements of a word
    shape: shape of an element
    init: what a lane's last register powers up as

    Members
    -------
    i: In(ArrayLayout(shape, lanes))
    o: Out(ArrayLayout(shape, lanes))
    """

    def __init__(self, *, lanes, shape, init=0):
        self.lanes = lanes
        self.shape = shape
        self.init = init
        layout = data.ArrayLayout(shape, lanes)
        super().__init__({"i": In(layout), "o": Out(layout)})

    def elaborate(self, _platform):
        m = Module()
        for lane in range(self.lanes):
            m.d.comb += self.o[lane].eq(delay(m, self.i[lane], lane, f"lane{lane}", init=self.init))
        return m
