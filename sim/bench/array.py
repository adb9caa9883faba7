"""cocotb bench of the weight-stationary array's mappings: random tiles without a lost cycle, against NumPy."""

import os

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from sim.bench.limit import END

ROWS = int(os.environ["ROWS"])
COLS = int(os.environ["COLS"])
LATENCY = int(os.environ["LATENCY"])
SUM_BITS = 16 + ROWS.bit_length()
COL_BITS = (COLS - 1).bit_length()


def packed(values, bits):
    """`values` side by side, the first lowest."""
    return sum((int(value) & ((1 << bits) - 1)) << (bits * k) for k, value in enumerate(values))


def unpacked(word, bits, count):
    """`count` signed numbers that stand side by side in `word`."""
    fields = [(word >> (bits * k)) & ((1 << bits) - 1) for k in range(count)]
    return [field - ((field >> (bits - 1)) << bits) for field in fields]


@cocotb.test(**END)
async def equals_matrix_product(dut):
    """Tiles of `COLS` tokens or a few more: each is loaded while the former one works, from its swap on."""
    rng = np.random.default_rng(int(os.environ["TILES"]))
    tiles = []
    for _ in range(int(os.environ["TILES"])):
        low, high = [(-128, 127), (0, 255)][rng.integers(2)]
        shape = int(COLS + rng.integers(3)), ROWS
        weights = np.where(rng.random((ROWS, COLS)) < 0.4, -128, rng.integers(-128, 128, (ROWS, COLS)))
        tokens = np.where(rng.random(shape) < 0.4, high, rng.integers(low, high + 1, shape))
        tiles.append((weights, tokens))
    schedule = [(None, (0, c)) for c in range(COLS)]  # (token, load) of each cycle
    for k, (_, tokens) in enumerate(tiles):
        for n in range(len(tokens)):
            schedule.append(((k, n), (k + 1, n) if k + 1 < len(tiles) and n < COLS else None))
    schedule += [(None, None)] * (LATENCY + 1)

    dut.load.value = dut.token.value = 0
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    got = []
    for cycle, (token, load) in enumerate(schedule):
        word = 0
        if token:
            k, n = token
            word = 1 | (n == 0) << 1 | packed(tiles[k][1][n], 9) << 2
        dut.token.value = word
        dut.load.value = 1 | load[1] << 1 | packed(tiles[load[0]][0][:, load[1]], 8) << (1 + COL_BITS) if load else 0
        await ReadOnly()
        sums = int(dut.sums.value)
        assert int(dut.agree.value), f"the mappings differ in cycle {cycle}"
        if sums & 1:
            got.append((cycle, unpacked(sums >> 1, SUM_BITS, COLS)))
        await RisingEdge(dut.clk)
    sent = [(cycle + LATENCY, token) for cycle, (token, _) in enumerate(schedule) if token]
    assert got == [(cycle, (tiles[k][1][n] @ tiles[k][0]).tolist()) for cycle, (k, n) in sent]
