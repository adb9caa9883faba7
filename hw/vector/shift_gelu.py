"""ShiftGELU: a table of its 256 results, made for every row, and read by every lane."""

from amaranth import *
from amaranth.lib import memory, wiring

from hw.spec.timing import Timing
from hw.units.memory_attributes import NEVER_TOGETHER
from hw.vector.gelu_max_exp import GeluMaxExp
from hw.vector.gelu_products import ENTRIES, PRODUCT_BITS, GeluProducts
from hw.vector.row_unit import RowUnit

__all__ = ["ShiftGelu"]

TABLES = 2


class ShiftGelu(RowUnit):
    """Computes :func:`arith.shift_gelu` of rows whose maximum is known, `lanes` elements per cycle.

    An int8 x and its row's maximum determine the result, so a table is filled for each row, whatever is in it, while
    the row before is looked up in the other table: results take the same time for all data. Every lane has a copy of
    both. Rows of at least ``row_cycles`` beats, the cycles that a table takes, follow each other without a gap, shorter
    ones at that distance. Results leave ``latency`` cycles after their elements enter; a stalled output stalls them.

    Parameters
    ----------
    lanes : int
    products : str
        Where those of the table are, see `product_terms`.

    Members
    -------
    rows : {"row_max", "i0"}
        Taken ahead of the row.
    i : {"x", "mask", "last"}
    o : {"x": x * sigma, "mask", "last"}
        Of the mask's lanes only.
    """

    places_products = True

    def __init__(self, *, lanes, max_row=4096, products="dsp"):
        super().__init__(
            lanes=lanes,
            x=signed(8),
            timing=self.timing(max_row=max_row),
            rows={"row_max": signed(8), "i0": 10},
            results=signed(PRODUCT_BITS),
        )
        self._products = products

    @staticmethod
    def timing(**_sizes):
        """The first row is known 4 cycles before its elements are there, which wait for the whole table."""
        products = GeluProducts.timing()
        lead = GeluMaxExp.latency + products.latency + ENTRIES - 4
        return Timing(latency=1, interval=products.interval, lead=lead)

    def elaborate(self, _platform):
        m = Module()
        m.submodules.max_exp = max_exp = GeluMaxExp()
        m.submodules.products = products = GeluProducts(products=self._products)
        wiring.connect(m, wiring.flipped(self.rows), max_exp.i)
        room, ready = Signal(range(TABLES + 1), init=TABLES), Signal(range(TABLES + 1))
        filling, reading = Signal(), Signal()  # which table
        begin, filled, take, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            products.i.p.eq(max_exp.o.p),
            products.i.valid.eq(max_exp.o.valid & (room != 0)),
            max_exp.o.ready.eq(begin),
            begin.eq(products.i.valid & products.i.ready),
            filled.eq(products.o.valid & products.o.last),
            self.i.ready.eq((ready != 0) & (self.o.ready | ~self.o.valid)),
            take.eq(self.i.valid & self.i.ready),
            done.eq(take & self.i.p.last),
        ]
        m.d.sync += [
            room.eq(room + done - begin),
            ready.eq(ready + filled - done),
            filling.eq(filling ^ filled),
            reading.eq(reading ^ done),
        ]
        with m.If(take):
            m.d.sync += [self.o.p.mask.eq(self.i.p.mask), self.o.p.last.eq(self.i.p.last)]
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += self.o.valid.eq(take)

        for lane in range(self.lanes):
            m.submodules[f"copy{lane}"] = copy = memory.Memory(
                shape=signed(PRODUCT_BITS),
                depth=TABLES * ENTRIES,
                init=[],
                attrs={"ram_style": "block", **NEVER_TOGETHER},
            )
            write, read = copy.write_port(), copy.read_port()
            m.d.comb += [
                write.en.eq(products.o.valid),
                write.addr.eq(Cat(products.o.x, filling)),
                write.data.eq(products.o.y),
                read.en.eq(take),
                read.addr.eq(Cat(self.i.p.x[lane], reading)),
                self.o.p.x[lane].eq(read.data),
            ]
        return m
