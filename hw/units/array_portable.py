"""Weight-stationary array on plain multipliers: for ASICs, other FPGA families, simulation and formal proofs."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring

from hw.units.ports import stationary_members
from hw.units.skew import Skew

__all__ = ["ArrayPortable"]


class ArrayPortable(wiring.Component):
    """``sums[c]`` = sum over r of ``token[r] * weight[r][c]``, one token per cycle, nothing stalls.

    Row r works r cycles after row 0: tokens, weights being loaded and the swap travel down together, so a tile may be
    loaded from the cycle in which the former one was swapped in. Its latency is that of the DSP48 mapping.

    Parameters
    ----------
    rows, cols: products per sum, sums per token
    sum_bits: width of a sum

    Members: see :func:`hw.units.ports.stationary_members`.
    """

    def __init__(self, *, rows, cols, sum_bits):
        self.rows = rows
        self.cols = cols
        self.sum_bits = sum_bits
        super().__init__(stationary_members(rows=rows, cols=cols, sum_bits=sum_bits))

    @property
    def latency(self):
        """Cycles from a token to its sums: down the rows; operand, product and sum; two to leave."""
        return self.rows + 4

    def elaborate(self, _platform):
        m = Module()
        m.submodules.tokens = tokens = Skew(lanes=self.rows, shape=signed(9))
        m.submodules.weights = weights = Skew(lanes=self.rows, shape=signed(8))
        m.d.comb += [tokens.i.eq(self.token.data), weights.i.eq(self.load.data)]

        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.token.valid, valid))
        m.d.comb += self.sums.valid.eq(valid[-1])

        swap = self.token.valid & self.token.swap
        enable = Cat(self.load.valid & (self.load.col == c) for c in range(self.cols))
        sums = [0] * self.cols
        for row in range(self.rows):
            token = Signal(signed(9), name=f"token{row}", reset_less=True)
            m.d.sync += token.eq(tokens.o[row])
            sums = [self._cell(m, (row, c), token, weights.o[row], enable[c], swap, sums[c]) for c in range(self.cols)]
            swap, enable = self._delay(m, swap, f"swap{row}"), self._delay(m, enable, f"enable{row}")
        for c, total in enumerate(sums):
            leaving = self._delay(m, total, f"leaving{c}")
            m.d.comb += self.sums.data[c].eq(self._delay(m, leaving, f"sum{c}"))
        return m

    def _cell(self, m, place, token, weight, enable, swap, above):
        """Adds one product to the sum from above; returns the register that holds the result."""
        name = "{}_{}".format(*place)
        shadow = Signal(signed(8), name=f"shadow{name}", reset_less=True)
        active = Signal(signed(8), name=f"active{name}", reset_less=True)
        product = Signal(signed(17), name=f"product{name}", reset_less=True)
        total = Signal(signed(self.sum_bits), name=f"total{name}", reset_less=True)
        with m.If(enable):
            m.d.sync += shadow.eq(weight)
        with m.If(swap):
            m.d.sync += active.eq(shadow)
        m.d.sync += [product.eq(token * active), total.eq(above + product)]
        return total

    @staticmethod
    def _delay(m, value, name):
        register = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register
