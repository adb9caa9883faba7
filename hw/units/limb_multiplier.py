"""Wide product on four cascaded DSP multipliers, nothing but registers around them."""

from amaranth.hdl import Cat, Module, Shape, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.units.pipe import delay

__all__ = ["LimbMultiplier"]


class LimbMultiplier(wiring.Component):
    """``product`` = ``value * mult``, exact, ``latency`` steps later; one per step.

    Both operands are split at ``limb_bits``; the four products are added along a cascade whose sum moves down by one
    limb at a time, which DSP48E1 slices do by themselves (P >> 17 into the next slice). Steps are cycles with ``step``
    high; without it everything stands still.

    Parameters
    ----------
    value_bits, mult_bits, mult_signed: shapes of the operands; ``value`` is signed
    limb_bits: 17 for DSP48E1, whose operands then are 18 bits signed at most

    Members
    -------
    step: In(1); value: In(signed(value_bits)); mult: In((un)signed(mult_bits)); product: Out(signed)
    """

    latency = 6

    def __init__(self, *, value_bits, mult_bits, mult_signed, limb_bits=17):
        for name, bits in (("value_bits", value_bits), ("mult_bits", mult_bits)):
            if not limb_bits < bits <= 2 * limb_bits + 1:
                raise ValueError(f"{name} must be from {limb_bits + 1} to {2 * limb_bits + 1}, not {bits}")
        self.limb_bits = limb_bits
        self.product_bits = value_bits + mult_bits
        super().__init__({
            "step": In(1),
            "value": In(signed(value_bits)),
            "mult": In(Shape(mult_bits, mult_signed)),
            "product": Out(signed(self.product_bits)),
        })

    def elaborate(self, _platform):
        m = Module()
        limb = self.limb_bits
        value = self.value[:limb], self.value[limb:].as_signed()
        upper = self.mult[limb:]
        mult = self.mult[:limb], upper.as_signed() if self.mult.shape().signed else upper

        sums = []
        above = 0
        for place, (v, f) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            a = delay(m, value[v], place + 1, f"value{place}", step=self.step)
            b = delay(m, mult[f], place + 1, f"mult{place}", step=self.step)
            product = delay(m, a * b, 1, f"product{place}", step=self.step)
            above = delay(m, product + above, 1, f"sum{place}", step=self.step)
            sums.append(above)
            if place != 1:  # the two middle products have the same weight
                above = above >> limb
        low = delay(m, sums[0][:limb], 3, "low", step=self.step)
        middle = delay(m, sums[2][:limb], 1, "middle", step=self.step)
        m.d.comb += self.product.eq(Cat(low, middle, sums[3]))
        return m
