"""Four multipliers for one wide product or for two narrow ones."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.carry_chain import plus
from hw.units.pipe import delay

__all__ = ["PairMultiplier"]


class PairMultiplier(wiring.Component):
    """``product`` = ``value * mult``, exact, ``latency`` steps later; one per step. ``apart``, two of narrow operands.

    Each limb of the value is multiplied by both of the factor's on two DSP48E1 slices, whose sum moves down by a limb
    by itself (P >> 17 into the next slice). One adder joins both. With ``apart`` it adds nothing, and the upper pair
    takes operands of its own: then ``product`` is (other * other_mult) << limb_bits and ``own`` is value * mult of a
    value that one slice takes. Otherwise ``own`` is zero. It takes as long as `LimbMultiplier`. Steps are cycles
    with ``step`` high.

    Parameters
    ----------
    value_bits, mult_bits: widths of the operands, signed
    limb_bits: ``limb`` for DSP48E1, whose operands then are 18 bits signed at most

    Members
    -------
    step, apart: In(1); ``apart`` and ``other_mult`` are stable while anything is under way
    value, mult, other, other_mult: In(signed); ``other`` has limb_bits + 1 bits
    product, own: Out(signed)
    """

    latency = 6
    limb = 17

    def __init__(self, *, value_bits, mult_bits, limb_bits=limb):
        for name, bits in (("value_bits", value_bits), ("mult_bits", mult_bits)):
            if not limb_bits + 1 < bits <= 2 * limb_bits + 1:
                raise ValueError(f"{name} must be from {limb_bits + 2} to {2 * limb_bits + 1}, not {bits}")
        self.limb_bits = limb_bits
        self.product_bits = value_bits + mult_bits
        self.own_bits = limb_bits + 1 + mult_bits
        super().__init__({
            "step": In(1),
            "apart": In(1),
            "value": In(signed(value_bits)),
            "mult": In(signed(mult_bits)),
            "other": In(signed(limb_bits + 1)),
            "other_mult": In(signed(mult_bits)),
            "product": Out(signed(self.product_bits)),
            "own": Out(signed(self.own_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        limb = self.limb_bits
        lower = Cat(self.value[:limb], self.apart & self.value[limb]).as_signed()
        upper = Mux(self.apart, self.other, self.value[limb:].as_signed())
        low, high = self._pair(m, "lower", lower, self.mult)
        wide = Cat(self._pair(m, "upper", upper, Mux(self.apart, self.other_mult, self.mult)))
        total = Signal(signed(self.product_bits - limb), reset_less=True)
        rest, own = Signal(limb, reset_less=True), Signal(self.own.shape(), reset_less=True)
        carried = Cat(high, high[-1].replicate(len(total) - len(high))) & ~self.apart.replicate(len(total))
        with m.If(self.step):
            m.d.sync += [
                total.eq(plus(wide[: len(total)], carried, 0)),
                rest.eq(Mux(self.apart, 0, low)),
                own.eq(Mux(self.apart, Cat(low, high), 0)),
            ]
        m.d.comb += [
            self.product.eq(delay(m, Cat(rest, total), 1, "product", step=self.step)),
            self.own.eq(delay(m, own, 1, "own", step=self.step)),
        ]
        return m

    def _pair(self, m, name, value, mult):
        """value * mult, four steps later, as its low limb and the rest."""
        limb = self.limb_bits
        first = self._product(m, f"{name}0", value, mult[:limb], 1)
        above = delay(m, first, 1, f"{name}_above", step=self.step)  # the slice's sum, of nothing
        second = self._product(m, f"{name}1", value, mult[limb:].as_signed(), 2)
        high = delay(m, second + (above >> limb), 1, f"{name}_high", step=self.step)
        return delay(m, above[:limb], 1, f"{name}_low", step=self.step), high

    def _product(self, m, name, value, limb, steps):
        a = delay(m, value, steps, f"{name}_value", step=self.step)
        b = delay(m, limb, steps, f"{name}_mult", step=self.step)
        return delay(m, a * b, 1, f"{name}_product", step=self.step)
