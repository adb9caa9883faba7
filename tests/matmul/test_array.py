# amaranth: UnusedElaboratable=no
"""The array equals a matrix product, whatever its multipliers are mapped to."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from hw.boards.fabric import ECP5, SERIES7
from hw.matmul.array import Array
from hw.matmul.dsp48 import DSP48
from hw.units.ports import stationary_members
from sim.netlist.cells import cells
from tests.support.cocotb import run_bench
from tests.support.streams import reset_and_silent, simulate

MAPPINGS = ("dsp48", "ecp5", "portable")


def run_array(dut, tiles, *, rows, cols, gap=0.0, load_gap=0.0, seed=0, warm=0):
    """Loads and swaps in each of `tiles` ([rows, cols] weights, [n, rows] tokens), loading the next one as early as
    the contract allows. Returns ([sums of each token], cycle of each token, cycle of each sum)."""
    rng = np.random.default_rng(seed)
    swaps = [0]  # index of the last tile swapped in, counted from 1
    sums, entered, left = [], [], []
    loaded = [0]

    async def drive(ctx):
        # Loads and tokens are decided together, cycle by cycle, from what has been issued so far.
        loads = [(k, c) for k in range(len(tiles)) for c in range(cols)]
        tokens = [(k, n) for k, (_, xs) in enumerate(tiles) for n in range(len(xs))]
        cycle = 0
        while tokens:
            k, n = tokens[0]
            may_send = n > 0 or loaded[0] >= (k + 1) * cols
            send = may_send and cycle >= warm and rng.random() >= gap
            swapping = send and n == 0
            ctx.set(dut.token.valid, int(send))
            ctx.set(dut.token.swap, int(swapping if send else rng.integers(2)))  # swap alone means nothing
            ctx.set(dut.token.data, [int(x) for x in tiles[k][1][n]] if send else [0] * rows)
            if swapping:
                swaps[0] = k + 1
            # A load belongs to the tile after the one swapped in, the swap's own cycle included.
            load = loads and loads[0][0] <= swaps[0] and rng.random() >= load_gap
            ctx.set(dut.load.valid, int(bool(load)))
            if load:
                tile, c = loads.pop(0)
                ctx.set(dut.load.col, c)
                ctx.set(dut.load.data, [int(w) for w in tiles[tile][0][:, c]])
            _, _, valid, data = await ctx.tick().sample(dut.sums.valid, dut.sums.data)
            if valid:
                sums.append([data[c] for c in range(cols)])
                left.append(cycle)
            if send:
                tokens.pop(0)
                entered.append(cycle)
            loaded[0] += bool(load)
            cycle += 1
        ctx.set(dut.token.valid, 0)
        ctx.set(dut.load.valid, 0)
        for _ in range(dut.latency + 2):
            _, _, valid, data = await ctx.tick().sample(dut.sums.valid, dut.sums.data)
            if valid:
                sums.append([data[c] for c in range(cols)])
                left.append(cycle)
            cycle += 1

    simulate(dut, drive)
    return np.array(sums), np.array(entered), np.array(left)


def random_tiles(rng, rows, cols, counts):
    """Tiles whose weights and tokens are often extreme; tokens are int8 or unsigned bytes, as planes are."""

    def often(extremes, low, high, shape):
        return np.where(rng.random(shape) < 0.5, rng.choice(extremes, shape), rng.integers(low, high + 1, shape))

    tiles = []
    for n in counts:
        low, high = [(-128, 127), (0, 255)][rng.integers(2)]
        worst = rng.random() < 0.3  # a tile of nothing but extremes of one sign
        weights = np.full((rows, cols), -128) if worst else often([-128, 127, 0, -1], -128, 127, (rows, cols))
        xs = np.full((n, rows), rng.choice([low, high])) if worst else often([low, high, 0], low, high, (n, rows))
        tiles.append((weights, xs))
    return tiles


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize(("rows", "cols"), [(8, 4), (16, 8), (32, 2)])
@pytest.mark.parametrize(("gap", "load_gap"), [(0.0, 0.0), (0.3, 0.2)])
def test_equals_matrix_product(mapping, rows, cols, gap, load_gap):
    rng = np.random.default_rng(rows + cols)
    tiles = random_tiles(rng, rows, cols, [int(n) for n in rng.integers(1, 2 * cols, 6)])
    dut = Array(rows=rows, cols=cols, mapping=mapping)
    sums, entered, left = run_array(dut, tiles, rows=rows, cols=cols, gap=gap, load_gap=load_gap)
    assert (sums == np.concatenate([xs @ weights for weights, xs in tiles])).all()
    assert (left - entered == dut.latency).all()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_no_cycle_is_lost(mapping):
    """Tiles of as many tokens as columns, each loaded while the former one works, follow without a gap."""
    rng = np.random.default_rng(3)
    tiles = random_tiles(rng, 8, 4, [4] * 8)
    sums, entered, left = run_array(Array(rows=8, cols=4, mapping=mapping), tiles, rows=8, cols=4)
    assert (np.diff(entered) == 1).all()
    assert (np.diff(left) == 1).all()
    assert (sums == np.concatenate([xs @ weights for weights, xs in tiles])).all()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_reset_forgets_every_token(mapping):
    """However far they have come, no sums of them are valid afterwards."""
    dut, reset = Array(rows=8, cols=4, mapping=mapping), Signal()

    async def bench(ctx):
        ctx.set(dut.token.valid, 1)
        await ctx.tick().repeat(dut.latency + 1)
        assert ctx.get(dut.sums.valid)
        ctx.set(dut.token.valid, 0)
        await reset_and_silent(ctx, reset, dut.latency + 1, dut.sums.valid)

    simulate(dut, bench, reset=reset)


def test_refuses_unknown_mapping():
    with pytest.raises(ValueError, match="mapping must be 'dsp48', 'ecp5' or 'portable', not 'lut'"):
        Array(rows=8, cols=4, mapping="lut")


def as_signed(value, bits):
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


@pytest.mark.parametrize("first", [False, True])
def test_a_slice_of_all_operands(first):
    """Of the whole width that each register has, taken when it is enabled and only then."""
    dut, rng = DSP48(first=first), np.random.default_rng(1)
    widths = {"a": 25, "d": 25, "b": 18, "cascade": 48}
    kept = dict.fromkeys(("a", "d", "ad", "b", "product", "p"), 0)

    def operand(bits):
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        return int(rng.choice([low, high, 0, -1, rng.integers(low, high + 1)]))

    async def bench(ctx):
        for _ in range(2000):
            given = {name: operand(bits) for name, bits in widths.items()}
            loads = {name: int(rng.integers(2)) for name in ("a", "d", "ad")}
            for name, value in given.items():
                ctx.set(getattr(dut, name), value)
            for name, value in loads.items():
                ctx.set(getattr(dut, f"load_{name}"), value)
            await ctx.tick()
            sums = {"ad": as_signed(kept["a"] + kept["d"], 25), "a": given["a"], "d": given["d"]}
            kept["p"] = as_signed(kept["product"] + (0 if first else given["cascade"]), 48)
            kept["product"] = kept["ad"] * kept["b"]
            kept["b"] = given["b"]
            kept.update({name: sums[name] for name, load in loads.items() if load})
            assert ctx.get(dut.p) == ctx.get(dut.below) == kept["p"]

    simulate(dut, bench)


class Lockstep(wiring.Component):
    """A mapping's instances; ``agree`` is high while their behavioural model and plain multipliers do the same."""

    def __init__(self, *, rows, cols, mapping):
        self.arrays = [
            Array(rows=rows, cols=cols, mapping=mapping, primitives=True),
            Array(rows=rows, cols=cols, mapping=mapping),
            Array(rows=rows, cols=cols, mapping="portable"),
        ]
        first = self.arrays[0]
        super().__init__(stationary_members(rows=rows, cols=cols, sum_bits=first.sum_bits) | {"agree": Out(1)})

    def elaborate(self, _platform):
        m = Module()
        m.submodules += self.arrays
        for array in self.arrays:
            m.d.comb += [array.load.eq(self.load), array.token.eq(self.token)]
        first, *others = (array.sums for array in self.arrays)
        same = [(x.valid == first.valid) & (~x.valid | (x.data.as_value() == first.data.as_value())) for x in others]
        m.d.comb += [self.sums.eq(first), self.agree.eq(Cat(same).all())]
        return m


@pytest.mark.parametrize(("mapping", "fabric"), [("dsp48", SERIES7), ("ecp5", ECP5)])
def test_verilog_with_instances_equals_matrix_product(mapping, fabric):
    """The Verilog we ship, its vendor cells simulated by a model, against NumPy and the other mappings."""
    dut = Lockstep(rows=8, cols=4, mapping=mapping)
    sizes = {"ROWS": 8, "COLS": 4, "LATENCY": dut.arrays[0].latency, "TILES": 200}
    assert run_bench(dut, "sim.bench.array", name=f"array_{mapping}", env=sizes, cells=cells(fabric)) == 1
