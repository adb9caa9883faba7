"""Division by a power of two, rounded half to even, then saturated: every requantization ends here."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import delay

__all__ = ["RoundSaturate"]


class RoundSaturate(wiring.Component):
    """``o`` = ``arith.saturate(arith.round_shift(i, shift), out_bits)``, ``latency`` steps later; one per step.

    The shift is done two of its bits at a time, the largest first. What falls out below is only remembered as one
    sticky bit, what no longer fits above as one overflow bit, so no more than ``out_bits``, a half bit and what is
    still to be shifted out are kept.

    Parameters
    ----------
    value_bits, shift_bits, out_bits: widths

    Members
    -------
    step: In(1); i: In(signed(value_bits)); shift: In(shift_bits); o: Out(signed(out_bits))
    """

    latency = 4

    def __init__(self, *, value_bits, shift_bits, out_bits):
        self.shift_bits = shift_bits
        self.out_bits = out_bits
        super().__init__({
            "step": In(1),
            "i": In(signed(value_bits)),
            "shift": In(shift_bits),
            "o": Out(signed(out_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        coarse = min(self.shift_bits, 4)  # bits of the shift left to the second step
        sign = self.i[-1]
        state = Cat(Const(0, 1), self.i).as_signed(), Const(0, 1), Const(0, 1)
        state = self._shift(m, "coarse", state, sign, self.shift[coarse:], coarse)
        sign, fine, *state = self._register(m, "coarse", sign, self.shift[:coarse], *state)
        middle = min(coarse, 2)
        state = self._shift(m, "middle", state, sign, fine[middle:], middle)
        state = self._shift(m, "fine", state, sign, fine[:middle], 0)
        sign, x, sticky, overflow = self._register(m, "fine", sign, *state)

        floor = x[1:].as_signed()
        total = floor + (x[0] & (sticky | floor[0]))
        sign, overflow, total = self._register(m, "round", sign, overflow, total)
        # Rounding never goes down, so only the positive end can be left by it.
        over = overflow | (total[-1] != total[-2])
        limit = Cat((~sign).replicate(self.out_bits - 1), sign)
        result = Signal(signed(self.out_bits), reset_less=True)
        with m.If(self.step):
            m.d.sync += result.eq(total)
            with m.If(over):
                m.d.sync += result.eq(limit)
        m.d.comb += self.o.eq(result)
        return m

    def _shift(self, m, name, state, sign, select, lowest):
        """`state` = (number with a half bit, sticky, overflow) shifted right by select << lowest.

        Keeps as many bits as the shifts below `lowest` may still need. The number is right where nothing overflowed.
        """
        x, sticky, overflow = state
        width = self.out_bits + (1 << lowest)
        amounts = [k << lowest for k in range(1 << len(select))]
        kept = Signal(signed(width), name=f"{name}_kept")
        lost = Signal(name=f"{name}_lost")
        excess = Signal(name=f"{name}_excess")
        missing = max(0, amounts[-1] + width - len(x))
        wide = Cat(x, x[-1].replicate(missing))
        differs = Signal(len(wide), name=f"{name}_differs")
        m.d.comb += differs.eq(wide ^ sign.replicate(len(wide)))
        with m.Switch(select):
            for k, amount in enumerate(amounts):
                with m.Case(k) if len(select) else m.Default():
                    m.d.comb += [
                        kept.eq(wide[amount : amount + width]),
                        lost.eq(wide[:amount].any()),
                        excess.eq(differs[amount + width - 1 :].any()),
                    ]
        return kept, sticky | lost, overflow | excess

    def _register(self, m, name, *values):
        return [delay(m, value, 1, f"{name}{k}", step=self.step) for k, value in enumerate(values)]
