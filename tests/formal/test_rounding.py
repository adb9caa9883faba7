"""Rounding half to even and saturation, for every product and shift at real widths."""

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cat, Module, Mux, Signal, signed

from hw.units.round_saturate import RoundSaturate
from tests.support.formal import prove


@pytest.mark.parametrize(("value_bits", "out_bits"), [(66, 17), (68, 27)])
def test_equals_definition(value_bits, out_bits):
    """Against the definition: the remainder is compared with half of 2^shift."""
    m = Module()
    m.submodules.dut = dut = RoundSaturate(value_bits=value_bits, shift_bits=6, out_bits=out_bits)
    value, shift = AnyConst(signed(value_bits)), AnyConst(6)
    floor = Signal(signed(value_bits))
    remainder, half = Signal(value_bits), Signal(value_bits)
    rounded = Signal(signed(value_bits + 1))
    limit = 1 << (out_bits - 1)
    m.d.comb += [
        floor.eq(value >> shift),
        remainder.eq(value - (floor << shift)),
        half.eq((1 << shift) >> 1),
        rounded.eq(floor + ((shift != 0) & ((remainder > half) | ((remainder == half) & floor[0])))),
        dut.i.eq(value),
        dut.shift.eq(shift),
        dut.step.eq(1),
    ]
    clamped = Mux(rounded >= limit, limit - 1, Mux(rounded < -limit, -limit, rounded))
    filled = Signal(dut.latency)
    m.d.sync += filled.eq(Cat(1, filled))
    with m.If(filled[-1]):
        m.d.comb += Assert(dut.o == clamped)
    prove(m, ports=[], depth=dut.latency + 1)
