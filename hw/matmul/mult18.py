"""One MULT18X18D of an ECP5 as the array uses it: two operands, their product three cycles later, nothing held."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULT18"]

_REGISTERS = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
_SIDE = 18  # bits of a primitive's operand


class MULT18(wiring.Component):
    """``p`` = ``a`` * ``b`` of three cycles before, in every cycle. Nothing is reset.

    No register has an enable: a multiplier's block routes few, so that rows with enables of their own could hardly be
    placed. Who holds an operand offers it again.

    The operands stand at the top of the primitive's 18 bits, above zeros: a constant input is a bit of the
    configuration, where each copy of a sign would be one more wire to route into the multiplier's crowded tiles. Its
    controls have no such bits: they come from a VLO and a VHI of its own, of which `hw.build.ecp5_map` makes LUTs.

    Parameters
    ----------
    a_bits, b_bits: widths of the operands, 1 to 18
    primitive: instantiate MULT18X18D, else its behavioural model, equal in every cycle

    Members
    -------
    a: In(signed(a_bits))
    b: In(signed(b_bits))
    p: Out(signed(a_bits + b_bits))
    """

    def __init__(self, *, a_bits, b_bits, primitive=False):
        self.primitive = primitive
        super().__init__({"a": In(signed(a_bits)), "b": In(signed(b_bits)), "p": Out(signed(a_bits + b_bits))})

    def elaborate(self, _platform):
        return self._primitive() if self.primitive else self._model()

    def _model(self):
        m = Module()
        a = Signal(self.a.shape(), reset_less=True)
        b = Signal(self.b.shape(), reset_less=True)
        product = Signal(self.p.shape(), reset_less=True)
        p = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b), p.eq(product)]
        m.d.comb += self.p.eq(p)
        return m

    def _primitive(self):
        m = Module()
        a, b = (Cat(Const(0, _SIDE - len(operand)), operand) for operand in (self.a, self.b))
        p = Signal(2 * _SIDE)
        m.d.comb += self.p.eq(p[-len(self.p) :])
        zero, one = Signal(name="zero"), Signal(name="one")
        m.submodules.zero, m.submodules.one = Instance("VLO", o_Z=zero), Instance("VHI", o_Z=one)
        m.submodules.mult = Instance(
            "MULT18X18D",
            **{f"p_REG_{name}_CLK": "CLK0" for name in _REGISTERS},
            **{f"p_REG_{name}_RST": "RST0" for name in _REGISTERS},
            p_GSR="DISABLED",
            **{f"i_A{bit}": a[bit] for bit in range(_SIDE)},
            **{f"i_B{bit}": b[bit] for bit in range(_SIDE)},
            i_SIGNEDA=one,
            i_SIGNEDB=one,
            i_SOURCEA=zero,  # the operands above, not the shift chain
            i_SOURCEB=zero,
            i_CLK0=ClockSignal(),
            i_CE0=one,
            i_RST0=zero,
            **{f"o_P{bit}": p[bit] for bit in range(2 * _SIDE)},
        )
        return m
