"""Statistics of rows, kept from the instruction that computes them to the one that applies them."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["KNOWN", "STATISTICS", "WRITTEN", "RowStatistics"]

STATISTICS = data.StructLayout({"mean": signed(17), "factor": unsigned(25)})  # of I-LayerNorm; Shiftmax: factor only
KNOWN = data.StructLayout({"row_max": signed(8), "factor": unsigned(25)})
WRITTEN = data.StructLayout({"valid": 1, "mean": 1, "factor": 1, "value": STATISTICS})


class RowStatistics(wiring.Component):
    """The statistics RAM, and what is known of each row of a tensor, in row order.

    With ``walk`` in the cycle of ``start``, stream ``o`` delivers ``rows`` times a row's maximum, read from an external
    RAM that answers one cycle after its address, and the row's statistics: a row per two cycles at most, the
    first one 2 cycles after ``start``. Statistics written are those of row 0, 1, ... after ``start``. With ``own_max``
    the maximum is what was written as the row's mean.

    Parameters
    ----------
    tokens, row_max_banks, stat_banks : int
        Entries of a bank, banks of the two RAMs; powers of two.

    Members
    -------
    start, walk : In(1)
    rows_m1, row_max_bank, stat_bank, own_max : In
        Stable from ``start`` on.
    row_max_address : Out, row_max_data : In(signed(8))
        Address bank*tokens + row.
    o : Out(stream of KNOWN)
    write : In(WRITTEN)
        Statistics of the next row: the mean, the factor or both of them.
    done : Out(1)
        The last row's statistics are being written.
    lookup, row : In
        Unless walking: read the statistics of ``row``.
    found : Out(STATISTICS)
        What was looked up, from the next cycle until the next lookup.
    """

    def __init__(self, *, tokens, row_max_banks, stat_banks):
        self.tokens = tokens
        self.row_max_banks = row_max_banks
        self.stat_banks = stat_banks
        super().__init__({
            "start": In(1),
            "walk": In(1),
            "rows_m1": In(8),
            "row_max_bank": In(exact_log2(row_max_banks)),
            "stat_bank": In(exact_log2(stat_banks)),
            "row_max_address": Out(exact_log2(row_max_banks * tokens)),
            "row_max_data": In(signed(8)),
            "own_max": In(1),
            "o": Out(stream.Signature(KNOWN)),
            "write": In(WRITTEN),
            "done": Out(1),
            "lookup": In(1),
            "row": In(8),
            "found": Out(STATISTICS),
        })

    def elaborate(self, _platform):
        m = Module()
        depth = self.stat_banks * self.tokens
        m.submodules.means = means = memory.Memory(shape=signed(17), depth=depth, init=[])
        m.submodules.factors = factors = memory.Memory(shape=unsigned(25), depth=depth, init=[])
        mean_write, mean_read = means.write_port(), means.read_port()
        factor_write, factor_read = factors.write_port(), factors.read_port()
        row_bits = exact_log2(self.tokens)
        row = Signal(8, reset_less=True)  # of `o`
        more = Signal()
        m.d.comb += [
            self.row_max_address.eq(Cat(row[:row_bits], self.row_max_bank)),
            self.found.mean.eq(mean_read.data),
            self.found.factor.eq(factor_read.data),
            self.o.payload.row_max.eq(Mux(self.own_max, mean_read.data[:8].as_signed(), self.row_max_data)),
            self.o.payload.factor.eq(factor_read.data),
        ]
        for read in (mean_read, factor_read):
            m.d.comb += [
                read.addr.eq(Cat(Mux(more, row, self.row)[:row_bits], self.stat_bank)),
                read.en.eq(more | self.lookup),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.valid.eq(0), row.eq(row + 1), more.eq(row != self.rows_m1)]
        with m.Elif(more):
            m.d.sync += self.o.valid.eq(1)

        written = Signal(8, reset_less=True)
        m.d.comb += [
            mean_write.en.eq(self.write.valid & self.write.mean),
            mean_write.data.eq(self.write.value.mean),
            factor_write.en.eq(self.write.valid & self.write.factor),
            factor_write.data.eq(self.write.value.factor),
            self.done.eq(self.write.valid & (written == self.rows_m1)),
        ]
        m.d.comb += [write.addr.eq(Cat(written[:row_bits], self.stat_bank)) for write in (mean_write, factor_write)]
        with m.If(self.write.valid):
            m.d.sync += written.eq(written + 1)

        with m.If(self.start):
            m.d.sync += [row.eq(0), written.eq(0), self.o.valid.eq(0), more.eq(self.walk)]
        return m
