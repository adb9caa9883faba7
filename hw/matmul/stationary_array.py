"""What the mappings of the weight-stationary array share: the wave front that travels down the rows."""

from amaranth.hdl import Cat, Signal, signed
from amaranth.lib import wiring

from hw.matmul.skew import Skew
from hw.spec.timing import Timing
from hw.units.pipe import delay
from hw.units.ports import stationary_members

__all__ = ["StationaryArray"]


class StationaryArray(wiring.Component):
    """``sums[c]`` = sum over r of ``token[r] * weight[r][c]``, one token per cycle, nothing stalls.

    Row r works r cycles after row 0: tokens, weights being loaded and the swap travel down together, so a tile may be
    loaded from the cycle in which the former one was swapped in. Every mapping has the same latency.

    Parameters
    ----------
    rows, cols: products per sum, sums per token
    sum_bits: width of a sum

    Members: see :func:`hw.units.ports.stationary_members`. Tokens are -255..255.
    """

    def __init__(self, *, rows, cols, sum_bits):
        self.rows = rows
        self.cols = cols
        self.sum_bits = sum_bits
        super().__init__(stationary_members(rows=rows, cols=cols, sum_bits=sum_bits))

    @staticmethod
    def timing(*, rows):
        """From a token to its sums: down the rows, and four cycles from the operand of the last row to its sum."""
        return Timing(latency=rows + 4)

    @property
    def latency(self):
        """Cycles from a token to its sums."""
        return self.timing(rows=self.rows).latency

    def waves(self, m):
        """Delays everything that enters, and ``valid`` to where it leaves.

        Returns (tokens, weights, swaps, enables): entry r of each is for row r; `enables` has a bit per column. The
        last two have one entry more.
        """
        m.submodules.tokens = tokens = Skew(lanes=self.rows, shape=signed(9))
        m.submodules.weights = weights = Skew(lanes=self.rows, shape=signed(8))
        m.d.comb += [tokens.i.eq(self.token.data), weights.i.eq(self.load.data)]

        valid = Signal(self.latency)
        m.d.sync += valid.eq(Cat(self.token.valid, valid))
        m.d.comb += self.sums.valid.eq(valid[-1])

        swaps = self._wave(m, self.token.valid & self.token.swap, "swap")
        enables = self._wave(m, Cat(self.load.valid & (self.load.col == c) for c in range(self.cols)), "enable")
        return tokens.o, weights.o, swaps, enables

    def _wave(self, m, value, name):
        """`value` and its copies delayed by 1 to `rows` cycles."""
        wave = [Signal(value.shape(), name=f"{name}0")]
        m.d.comb += wave[0].eq(value)
        for row in range(1, self.rows + 1):
            wave.append(delay(m, wave[-1], 1, f"{name}{row}"))
        return wave
