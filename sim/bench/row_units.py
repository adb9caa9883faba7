"""cocotb benches of the row units on the emitted Verilog: streams with random stalls against the laws.

The benches read packed payloads as the Verilog has them, lane 0 lowest, so that they also hold the units to the bit
order that everything around them assumes. PRESSURE is the probability of a stall on each stream in each cycle.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.spec import arith, rivals
from sim.bench.limit import END

LANES = 2
PRESSURE = float(os.environ["PRESSURE"])
DEADLINE = 20000


def pack(*fields):
    """(value, width) fields, lowest first, as one number."""
    word = at = 0
    for value, width in fields:
        word |= (int(value) & (1 << width) - 1) << at
        at += width
    return word


def unpack(word, *widths):
    """Fields of those widths, lowest first; a negative width is a signed field."""
    values = []
    for width in widths:
        size = abs(width)
        value = word & (1 << size) - 1
        values.append(value - (1 << size) if width < 0 and value >> size - 1 else value)
        word >>= size
    return values


class Bench:
    """Source and sink coroutines over `name__payload`, `name__valid`, `name__ready`."""

    def __init__(self, dut):
        self.dut, self.rng = dut, random.Random(random.random())

    def pin(self, stream, name):
        return getattr(self.dut, f"{stream}__{name}")

    async def run(self, inputs, outputs):
        """Sends all of `inputs`, returns `outputs` words of stream o."""
        cocotb.start_soon(Clock(self.dut.clk, 10, "ns").start())
        self.dut.rst.value = 1
        self.dut.o__ready.value = 0
        for stream in inputs:
            self.pin(stream, "valid").value = 0
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for stream, words in inputs.items():
            cocotb.start_soon(self.send(stream, words))
        words = []
        for _ in range(DEADLINE):
            self.dut.o__ready.value = self.rng.random() >= PRESSURE
            await ReadOnly()
            moved = int(self.dut.o__valid.value) and int(self.dut.o__ready.value)
            if moved:
                words.append(int(self.dut.o__payload.value))
            await RisingEdge(self.dut.clk)
            if len(words) == outputs:
                break
        return words

    async def send(self, stream, words):
        for word in words:
            while self.rng.random() < PRESSURE:
                await RisingEdge(self.dut.clk)
            self.pin(stream, "payload").value = word
            self.pin(stream, "valid").value = 1
            moved = False
            while not moved:
                await ReadOnly()
                moved = int(self.pin(stream, "ready").value)
                await RisingEdge(self.dut.clk)
            self.pin(stream, "valid").value = 0


def random_rows(seed, low, high, sizes):
    rng = np.random.default_rng(seed)
    tops = [rng.integers(low + 1, high + 1) for _ in sizes]
    return [rng.integers(low, top + 1, size).tolist() for top, size in zip(tops, sizes, strict=True)]


def beats(rows, bits):
    """Packed {"x", "mask", "last"} beats."""
    words = []
    for row in rows:
        for start in range(0, len(row), LANES):
            x = row[start : start + LANES]
            fields = [(value, bits) for value in x] + [(-1, bits)] * (LANES - len(x))
            words.append(pack(*fields, ((1 << len(x)) - 1, LANES), (start + LANES >= len(row), 1)))
    return words


@cocotb.test(**END)
async def shiftmax(dut):
    rows = random_rows(1, -128, 127, [197, 1, 2, 49, 17, 64])
    factors = [20, 1023, 1, 17, 45, 333]
    heads, expected = [], []
    for k, (row, i0) in enumerate(zip(rows, factors, strict=True)):
        planes, fraction = k % 2, (0, 7, 3)[k % 3]
        factor = arith.shiftmax_sum(row, max(row), i0, fraction=fraction)
        heads.append(pack((max(row), 8), (i0, 10), (fraction, 3), (factor, 16), (planes, 1)))
        expected.append(arith.shiftmax(row, i0, 16 if planes else 8, fraction=fraction).tolist())
    words = beats(rows, 8)
    got, row = [], []
    for word in await Bench(dut).run({"rows": heads, "i": words}, len(words)):
        *p, mask, last = unpack(word, 16, 16, LANES, 1)
        row += p[: mask.bit_count()]
        if last:
            got.append(row)
            row = []
    assert got == expected


@cocotb.test(**END)
async def shift_gelu(dut):
    rows = random_rows(2, -128, 127, [256, 1, 3, 90, 64])
    rows.append([-128, -90, -77])
    factors = [16, 1023, 2, 15, 255, 1]
    heads = [pack((max(row), 8), (i0, 10)) for row, i0 in zip(rows, factors, strict=True)]
    items = beats(rows, 8)
    got = []
    for word in await Bench(dut).run({"rows": heads, "i": items}, len(items)):
        *y, mask, _last = unpack(word, -18, -18, LANES, 1)
        got += y[: mask.bit_count()]
    assert got == [y for row, i0 in zip(rows, factors, strict=True) for y in arith.shift_gelu(row, i0).tolist()]


@cocotb.test(**END)
async def table(dut):
    entries = np.random.default_rng(4).integers(-32768, 32768, 256)
    rows = random_rows(4, -128, 127, [256, 1, 2, 49, 17])
    words = [pack(*((x, 16) for x in entries[k : k + 8])) for k in range(0, 256, 8)]
    items = beats(rows, 8)
    dut.start.value = 0
    got = []
    for word in await Bench(dut).run({"words": words, "i": items}, len(items)):
        *y, mask, _last = unpack(word, -16, -16, LANES, 1)
        got += y[: mask.bit_count()]
    assert got == [y for row in rows for y in arith.table(row, entries).tolist()]


@cocotb.test(**END)
async def moments(dut):
    rows = random_rows(3, -32768, 32767, [192, 1, 2, 97, 64, 33])
    rows += [[0] * 5, [32767, -32768] * 20]
    heads = [pack((len(row), 13)) for row in rows]
    words = await Bench(dut).run({"rows": heads, "i": beats(rows, 16)}, len(rows))
    expected = [[int(value) for value in arith.moments(row)] for row in rows]
    assert [unpack(word, -16, 25) for word in words] == expected


# Rivals

EXPONENT = {"ln2": 22, "b": 83, "c": 2662, "exp_mult": 1652108263, "exp_shift": 27}


def of_rows(rows, words, *widths):
    """What comes out of each row, less the lanes beyond it."""
    got, row = [], []
    for word in words:
        *x, mask, last = unpack(word, *widths, LANES, 1)
        row += x[: mask.bit_count()]
        if last:
            got.append(row)
            row = []
    assert len(got) == len(rows)
    return got


@cocotb.test(**END)
async def row_mean(dut):
    rows = [*random_rows(5, -32768, 32767, [192, 1, 2, 97, 64, 33]), [1, 0], [3, 0], [-1, 0], [-3, 0]]
    heads = [pack((len(row), 13)) for row in rows]
    words = await Bench(dut).run({"rows": heads, "i": beats(rows, 16)}, len(rows))
    assert [unpack(word, -16)[0] for word in words] == [int(arith.moments(row)[0]) for row in rows]


async def deviation(dut, law):
    rows = [*random_rows(6, -32768, 32767, [192, 1, 2, 97, 64, 33]), [0] * 5, [32767, -32768] * 20]
    words, expected = [], []
    for row in rows:
        mean = int(arith.moments(row)[0])
        for beat in beats([row], 16):
            words.append(beat | (mean & 0x1FFFF) << 16 * LANES + LANES + 1)
        expected.append(int(law(np.array(row) - mean)))
    assert await Bench(dut).run({"i": words}, len(rows)) == expected


@cocotb.test(**END)
async def l1_deviation(dut):
    await deviation(dut, rivals.l1_factor)


@cocotb.test(**END)
async def int_deviation(dut):
    dut.operands.value = 3
    await deviation(dut, lambda y: rivals.int_deviation_factor(y, 3))


@cocotb.test(**END)
async def int_softmax_sum(dut):
    rows = random_rows(7, -128, 127, [197, 1, 2, 49, 17, 64])
    dut.operands.value = pack(*zip(EXPONENT.values(), (8, 10, 18, 31, 5), strict=True))
    heads = [pack((max(row), 8), (k % 8, 3)) for k, row in enumerate(rows)]
    expected = []
    for k, row in enumerate(rows):
        exp = rivals.int_exp16((max(row) - np.array(row)) << k % 8, **EXPONENT)
        expected.append(int(rivals.int_factor(exp.sum())))
    assert await Bench(dut).run({"rows": heads, "i": beats(rows, 8)}, len(rows)) == expected


@cocotb.test(**END)
async def int_softmax(dut):
    rows = random_rows(8, -128, 127, [197, 1, 2, 49, 17, 64])
    dut.operands.value = pack(*zip(EXPONENT.values(), (8, 10, 18, 31, 5), strict=True), (1, 1), (0, 1))
    heads, expected = [], []
    for k, row in enumerate(rows):
        exp = rivals.int_exp16((max(row) - np.array(row)) << k % 8, **EXPONENT)
        heads.append(pack((max(row), 8), (k % 8, 3), (rivals.int_factor(exp.sum()), 18)))
        expected.append(rivals.int_softmax(row, **EXPONENT, fraction=k % 8, halve=1, bits=8).tolist())
    words = beats(rows, 8)
    assert of_rows(rows, await Bench(dut).run({"rows": heads, "i": words}, len(words)), -16, -16) == expected


POLYNOMIAL = {name: EXPONENT[name] for name in ("ln2", "b", "c")}


def log_factors(rows):
    """Of rows whose scores have 0 to 7 fraction bits by turns."""
    return [
        int(rivals.log_factor(rivals.log_exp((max(row) - np.array(row)) << k % 8, **POLYNOMIAL).sum()))
        for k, row in enumerate(rows)
    ]


@cocotb.test(**END)
async def log_softmax_sum(dut):
    rows = random_rows(10, -128, 127, [197, 1, 2, 49, 17, 64])
    dut.operands.value = pack(*zip(POLYNOMIAL.values(), (8, 10, 18), strict=True))
    heads = [pack((max(row), 8), (k % 8, 3)) for k, row in enumerate(rows)]
    assert await Bench(dut).run({"rows": heads, "i": beats(rows, 8)}, len(rows)) == log_factors(rows)


@cocotb.test(**END)
async def log_softmax(dut):
    rows = random_rows(11, -128, 127, [197, 1, 2, 49, 17, 64])
    dut.operands.value = pack(*zip(POLYNOMIAL.values(), (8, 10, 18), strict=True), (0, 4), (1, 1))
    factors = log_factors(rows)
    heads = [pack((max(row), 8), (k % 8, 3), (factors[k], 25)) for k, row in enumerate(rows)]
    expected = [rivals.log_softmax(row, **POLYNOMIAL, fraction=k % 8).tolist() for k, row in enumerate(rows)]
    words = beats(rows, 8)
    assert of_rows(rows, await Bench(dut).run({"rows": heads, "i": words}, len(words)), -16, -16) == expected


@cocotb.test(**END)
async def int_gelu(dut):
    rows = random_rows(9, -32768, 32767, [192, 1, 2, 97, 64, 33])
    dut.operands.value = pack((6423, 15), (45642524, 31))
    words = beats(rows, 16)
    got = of_rows(rows, await Bench(dut).run({"i": words}, len(words)), -35, -35)
    assert got == [rivals.int_gelu(row, 6423, 45642524).tolist() for row in rows]


@cocotb.test(**END)
async def power_factors(dut):
    rows = random_rows(10, -32768, 32767, [192, 1, 2, 97, 64, 33])
    biases = random_rows(11, -(1 << 33), (1 << 33) - 1, [len(row) for row in rows])
    dut.operands.value = 3
    words, expected = beats(rows, 16), []
    pairs = [bias[k : k + LANES] for bias in biases for k in range(0, len(bias), LANES)]
    for number, pair in enumerate(pairs):
        words[number] |= pack(*((b, 34) for b in pair)) << 16 * LANES + LANES + 1
    got = of_rows(rows, await Bench(dut).run({"i": words}, len(words)), -11, -11)
    for row, bias in zip(rows, biases, strict=True):
        expected.append(rivals.ptf_input(np.array(row), np.array(bias) & 3, 3).tolist())
    assert got == expected
