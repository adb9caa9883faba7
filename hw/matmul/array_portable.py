"""Weight-stationary array on plain multipliers: for ASICs, other FPGA families, simulation and formal proofs."""

from amaranth.hdl import Module, Signal, signed

from hw.matmul.stationary_array import StationaryArray
from hw.units.pipe import delay

__all__ = ["ArrayPortable"]


class ArrayPortable(StationaryArray):
    """See :class:`hw.matmul.stationary_array.StationaryArray`; every product is a multiplication of its own."""

    def elaborate(self, _platform):
        m = Module()
        tokens, weights, swaps, enables = self.waves(m)
        sums = [0] * self.cols
        for row in range(self.rows):
            token = delay(m, tokens[row], 1, f"token{row}")
            for c in range(self.cols):
                sums[c] = self._cell(m, (row, c), token, weights[row], enables[row][c], swaps[row], sums[c])
        for c, total in enumerate(sums):
            m.d.comb += self.sums.data[c].eq(delay(m, total, 2, f"sum{c}"))
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
