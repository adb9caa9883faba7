"""cocotb bench of the requantizer: the law under random stalls on both sides."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.spec import arith
from sim.bench.limit import END

VALUE_BITS = int(os.environ["VALUE_BITS"])
MULT_BITS = int(os.environ["MULT_BITS"])
MULT_SIGNED = int(os.environ["MULT_SIGNED"])
OUT_BITS = int(os.environ["OUT_BITS"])


def operands():
    """Value, mult and shift; most results in range, some extreme, some exact ties."""
    low = -(1 << (MULT_BITS - 1)) if MULT_SIGNED else 0
    value = random.randrange(-(1 << (VALUE_BITS - 1)), 1 << (VALUE_BITS - 1)) >> random.randrange(VALUE_BITS)
    mult = random.randrange(low, low + (1 << MULT_BITS)) >> random.choice([0, 0, random.randrange(MULT_BITS)])
    if random.random() < 0.3:
        mult = 1 << random.randrange(MULT_BITS - 1)
        return value, mult, mult.bit_length()
    return value, mult, min(63, max(0, (abs(value * mult)).bit_length() - random.randrange(OUT_BITS + 2)))


def law(value, mult, shift):
    return int(arith.saturate(arith.rounded(value, mult, shift), OUT_BITS))


@cocotb.test(**END)
async def equals_law(dut):
    items = [operands() for _ in range(int(os.environ["ITEMS"]))]
    dut.rst.value = 1
    dut.i__valid.value = dut.o__ready.value = dut.i__payload.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    sent, got, offered = 0, [], False
    while len(got) < len(items):
        pressure = (len(got) // 500) % 2 * 0.5  # full speed and stalls by turns
        if not offered and sent < len(items) and random.random() >= pressure:
            value, mult, shift = items[sent]
            word = value & ((1 << VALUE_BITS) - 1) | (mult & ((1 << MULT_BITS) - 1)) << VALUE_BITS
            dut.i__payload.value = word | shift << (VALUE_BITS + MULT_BITS)
            offered = True
        dut.i__valid.value = int(offered)
        dut.o__ready.value = ready = int(random.random() >= pressure)
        await ReadOnly()
        if offered and int(dut.i__ready.value):
            offered = False
            sent += 1
        if ready and int(dut.o__valid.value):
            field = int(dut.o__payload.value)
            got.append(field - ((field >> (OUT_BITS - 1)) << OUT_BITS))
        await RisingEdge(dut.clk)
    assert got == [law(*item) for item in items]
