"""One MULT18X18D of an ECP5 as the array uses it: a held operand, a moving one, their product two cycles later."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULT18"]

_REGISTERS = ("INPUTB", "PIPELINE", "OUTPUT")


class MULT18(wiring.Component):
    """``p`` = ``a`` * B, where B takes ``b`` in every cycle and reaches ``p`` two cycles later. Nothing is reset.

    ``a`` has no register here: one that holds needs a clock enable, of which a multiplier's block routes few, so that
    rows with enables of their own could hardly be placed. It comes straight from the caller's register.

    Parameters
    ----------
    primitive: instantiate MULT18X18D, else its behavioural model, equal in every cycle

    Members
    -------
    a, b: In(signed(18))
    p: Out(signed(36))
    """

    def __init__(self, *, primitive=False):
        self.primitive = primitive
        super().__init__({"a": In(signed(18)), "b": In(signed(18)), "p": Out(signed(36))})

    def elaborate(self, _platform):
        return self._primitive() if self.primitive else self._model()

    def _model(self):
        m = Module()
        b = Signal(signed(18), reset_less=True)
        product = Signal(signed(36), reset_less=True)
        p = Signal(signed(36), reset_less=True)
        m.d.sync += [b.eq(self.b), product.eq(self.a * b), p.eq(product)]
        m.d.comb += self.p.eq(p)
        return m

    def _primitive(self):
        m = Module()
        m.submodules.mult = Instance(
            "MULT18X18D",
            **{f"p_REG_{name}_CLK": "CLK0" for name in _REGISTERS},
            **{f"p_REG_{name}_RST": "RST0" for name in _REGISTERS},
            p_GSR="DISABLED",
            **{f"i_A{bit}": self.a[bit] for bit in range(18)},
            **{f"i_B{bit}": self.b[bit] for bit in range(18)},
            i_SIGNEDA=Const(1, 1),
            i_SIGNEDB=Const(1, 1),
            i_SOURCEA=Const(0, 1),  # the operands above, not the shift chain
            i_SOURCEB=Const(0, 1),
            i_CLK0=ClockSignal(),
            i_CE0=Const(1, 1),
            i_RST0=Const(0, 1),
            **{f"o_P{bit}": self.p[bit] for bit in range(36)},
        )
        return m
