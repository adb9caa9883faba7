"""Weight-stationary array on ECP5's MULT18X18D: one product per multiplier, sums in the fabric."""

from amaranth.hdl import Module, Mux, Signal, signed

from hw.matmul.mult18 import MULT18
from hw.matmul.stationary_array import StationaryArray
from hw.units.pipe import delay

__all__ = ["ArrayECP5"]


class ArrayECP5(StationaryArray):
    """See :class:`hw.matmul.stationary_array.StationaryArray`; the working weights are registers of the fabric, and the
    multipliers' own, which follow them in every cycle.

    A sum goes down through one fabric adder and register per row, which follows the multiplier's output register.

    Parameters
    ----------
    rows, cols, sum_bits: see StationaryArray
    primitives: instantiate MULT18X18D, else its behavioural model
    """

    def __init__(self, *, rows, cols, sum_bits, primitives=False):
        self.primitives = primitives
        super().__init__(rows=rows, cols=cols, sum_bits=sum_bits)

    def elaborate(self, _platform):
        m = Module()
        tokens, weights, swaps, enables = self.waves(m)
        sums = [0] * self.cols
        for row in range(self.rows):
            for c in range(self.cols):
                shadow = Signal(signed(8), name=f"shadow{row}_{c}", reset_less=True)
                with m.If(enables[row][c]):
                    m.d.sync += shadow.eq(weights[row])
                cell = MULT18(a_bits=8, b_bits=9, primitive=self.primitives)
                m.submodules[f"mult{row}_{c}"] = cell
                weight = Signal(signed(8), name=f"weight{row}_{c}", reset_less=True)
                m.d.sync += weight.eq(cell.a)
                m.d.comb += [cell.a.eq(Mux(swaps[row], shadow, weight)), cell.b.eq(tokens[row])]
                total = Signal(signed(self.sum_bits), name=f"total{row}_{c}", reset_less=True)
                m.d.sync += total.eq(sums[c] + cell.p)
                sums[c] = total
        for c, total in enumerate(sums):
            m.d.comb += self.sums.data[c].eq(delay(m, total, 1, f"sum{c}"))
        return m
