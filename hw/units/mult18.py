"""One MULT18X18D of an ECP5 as the array uses it: a held operand, a moving one, a product three cycles later."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULT18"]

_HOLD, _RUN = 0, 1  # numbers of the clock enables of operand A and of everything else
_REGISTERS = {"INPUTA": _HOLD, "INPUTB": _RUN, "PIPELINE": _RUN, "OUTPUT": _RUN}


class MULT18(wiring.Component):
    """``p`` = A * B, each through its registers. Nothing is reset.

    A takes ``a`` when enabled, B takes ``b`` in every cycle; both reach ``p`` two cycles later.

    Parameters
    ----------
    primitive: instantiate MULT18X18D, else its behavioural model, equal in every cycle

    Members
    -------
    a, b: In(signed(18)); load_a: In(1)
    p: Out(signed(36))
    """

    def __init__(self, *, primitive=False):
        self.primitive = primitive
        super().__init__({"a": In(signed(18)), "load_a": In(1), "b": In(signed(18)), "p": Out(signed(36))})

    def elaborate(self, _platform):
        return self._primitive() if self.primitive else self._model()

    def _model(self):
        m = Module()
        a = Signal(signed(18), reset_less=True)
        b = Signal(signed(18), reset_less=True)
        product = Signal(signed(36), reset_less=True)
        p = Signal(signed(36), reset_less=True)
        with m.If(self.load_a):
            m.d.sync += a.eq(self.a)
        m.d.sync += [b.eq(self.b), product.eq(a * b), p.eq(product)]
        m.d.comb += self.p.eq(p)
        return m

    def _primitive(self):
        m = Module()
        m.submodules.mult = Instance(
            "MULT18X18D",
            **{f"p_REG_{name}_CLK": "CLK0" for name in _REGISTERS},
            **{f"p_REG_{name}_CE": f"CE{enable}" for name, enable in _REGISTERS.items()},
            **{f"p_REG_{name}_RST": "RST0" for name in _REGISTERS},
            p_GSR="DISABLED",
            **{f"i_A{bit}": self.a[bit] for bit in range(18)},
            **{f"i_B{bit}": self.b[bit] for bit in range(18)},
            i_SIGNEDA=Const(1, 1),
            i_SIGNEDB=Const(1, 1),
            i_SOURCEA=Const(0, 1),  # the operands above, not the shift chain
            i_SOURCEB=Const(0, 1),
            i_CLK0=ClockSignal(),
            **{f"i_CE{_HOLD}": self.load_a, f"i_CE{_RUN}": Const(1, 1)},
            i_RST0=Const(0, 1),
            **{f"o_P{bit}": self.p[bit] for bit in range(36)},
        )
        return m
