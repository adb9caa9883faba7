"""One DSP48E1 slice as the array uses it: two weights, two products, one cascade."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DSP48"]

_REGISTERS = {
    **dict.fromkeys(("AREG", "ACASCREG", "ADREG", "BREG", "BCASCREG", "CREG", "DREG", "MREG", "PREG"), 1),
    **dict.fromkeys(("ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "INMODEREG", "OPMODEREG"), 0),
}
_CLOCK_ENABLES = ("ALUMODE", "CARRYIN", "CTRL", "INMODE", "A1", "B1", "C")
_RESETS = ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")


class DSP48(wiring.Component):
    """``p`` = ``cascade`` + (A + D) * B, each operand through its registers; wraps at 48 bits.

    A and D take ``a`` and ``d`` when enabled, AD takes A + D (25 bits) when enabled, B takes ``b`` in every cycle;
    B and AD reach ``p`` two cycles later. Nothing is reset, as in the slice when its resets are tied low.

    Parameters
    ----------
    first: top of a cascade, ``cascade`` is not connected
    primitive: instantiate DSP48E1, else its behavioural model, equal in every cycle

    Members
    -------
    a, d: In(signed(25)) with load_a, load_d; b: In(signed(18)); load_ad: In(1)
    cascade: In(signed(48)), ``below`` of the slice above and of nothing else
    p, below: Out(signed(48)), the same value for the fabric and for the slice below
    """

    def __init__(self, *, first, primitive=False):
        self.first = first
        self.primitive = primitive
        super().__init__({
            "a": In(signed(25)),
            "d": In(signed(25)),
            "b": In(signed(18)),
            "load_a": In(1),
            "load_d": In(1),
            "load_ad": In(1),
            "cascade": In(signed(48)),
            "p": Out(signed(48)),
            "below": Out(signed(48)),
        })

    def elaborate(self, _platform):
        return self._primitive() if self.primitive else self._model()

    def _model(self):
        m = Module()
        a = Signal(signed(25), reset_less=True)
        d = Signal(signed(25), reset_less=True)
        ad = Signal(signed(25), reset_less=True)
        b = Signal(signed(18), reset_less=True)
        product = Signal(signed(43), reset_less=True)
        p = Signal(signed(48), reset_less=True)
        with m.If(self.load_a):
            m.d.sync += a.eq(self.a)
        with m.If(self.load_d):
            m.d.sync += d.eq(self.d)
        with m.If(self.load_ad):
            m.d.sync += ad.eq(a + d)
        m.d.sync += [b.eq(self.b), product.eq(ad * b), p.eq(product + (0 if self.first else self.cascade))]
        m.d.comb += [self.p.eq(p), self.below.eq(p)]
        return m

    def _primitive(self):
        m = Module()
        a = Signal(signed(30))
        m.d.comb += a.eq(self.a)
        m.submodules.slice = Instance(
            "DSP48E1",
            **{f"p_{name}": value for name, value in _REGISTERS.items()},
            p_USE_DPORT="TRUE",
            p_USE_MULT="MULTIPLY",
            p_USE_SIMD="ONE48",
            p_A_INPUT="DIRECT",
            p_B_INPUT="DIRECT",
            **{f"i_CE{name}": Const(0, 1) for name in _CLOCK_ENABLES},
            **{f"i_RST{name}": Const(0, 1) for name in _RESETS},
            i_CLK=ClockSignal(),
            i_A=a,
            i_CEA2=self.load_a,
            i_D=self.d,
            i_CED=self.load_d,
            i_CEAD=self.load_ad,
            i_B=self.b,
            i_CEB2=Const(1, 1),
            i_CEM=Const(1, 1),
            i_CEP=Const(1, 1),
            i_C=Const(-1, 48),
            i_CARRYIN=Const(0, 1),
            i_CARRYINSEL=Const(0, 3),
            i_ALUMODE=Const(0, 4),  # Z + X + Y
            i_INMODE=Const(0b00100, 5),  # AD = A2 + D, B2
            i_OPMODE=Const(0b0000101 if self.first else 0b0010101, 7),  # Z is 0 or PCIN; X, Y the product
            i_PCIN=Const(0, 48) if self.first else self.cascade,
            o_P=self.p,
            o_PCOUT=self.below,
        )
        return m
