"""The feeder takes every word of the stream to its place, a word per cycle, and never ahead of what is free."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Signal

from hw.boards.registry import BOARDS
from hw.matmul.feeder import Feeder
from hw.spec.memory import channel_params, pack_stream
from tests.support.streams import PRESSURES, simulate


def sizes_of(config, rng, count):
    """Passes and outputs of so many instructions, some tiles of each."""
    return [(rng.randint(1, 3), rng.randint(1, 3 * config.cols)) for _ in range(count)]


def instructions(config, rng, sizes, seed):
    """Operands, stream words, and per tile (parameters of its columns, weight words of its passes)."""
    numbers = np.random.default_rng(seed)
    operands, words, tiles = [], [], []
    for passes, outputs in sizes:
        per_channel = rng.randint(0, 1)
        mult, shift = rng.getrandbits(32), rng.getrandbits(6)
        operands.append({
            "passes": passes - 1, "outputs": outputs - 1, "per_channel": per_channel, "mult": mult, "shift": shift,
        })  # fmt: skip
        weights = numbers.integers(-128, 128, (outputs, passes * config.rows)).astype(np.int8)
        bias, mults = numbers.integers(-(2**31), 2**31, outputs), numbers.integers(0, 2**32, outputs)
        entries = channel_params(bias, mults, numbers.integers(0, 64, outputs), config) if per_channel else None
        raw = pack_stream(weights, config, entries).tobytes()
        own = [int.from_bytes(raw[k : k + config.rows], "little") for k in range(0, len(raw), config.rows)]
        words += own
        per_tile = len(own) * config.cols // (-(-outputs // config.cols) * config.cols)
        for first in range(0, len(own), per_tile):
            tile = own[first : first + per_tile]
            heads = tile[: per_tile - passes * config.cols]
            size = len(heads) // config.cols
            params = [(0, mult, shift)] * config.cols
            if per_channel:
                whole = [
                    sum(heads[c * size + k] << 8 * config.rows * k for k in range(size)) for c in range(config.cols)
                ]
                params = [(x & 0xFFFFFFFF, x >> 32 & 0xFFFFFFFF, x >> 64 & 63) for x in whole]
            body = tile[len(heads) :]
            tiles.append((params, [body[k : k + config.cols] for k in range(0, len(body), config.cols)]))
    return operands, words, tiles


@pytest.mark.parametrize("rows", [8, 16])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_everything_in_its_place(rows, pressure):
    """Under pressure it is reset in mid-operation before, twice."""
    config = replace(BOARDS["tiny"].config, rows=rows)
    rng = random.Random(rows)
    fed(config, rng, sizes_of(config, rng, 8), pressure)


def test_the_largest_instructions():
    """As many outputs, and as many passes, as 13 and 9 bits can say."""
    fed(BOARDS["tiny"].config, random.Random(0), [(1, 1 << 13), (1 << 9, 1)], pressure=0)


def test_every_number_of_outputs():
    """Up to some tiles and one more: the last one may have a single column, or all."""
    config = BOARDS["tiny"].config
    fed(config, random.Random(2), [(1, outputs) for outputs in range(1, 3 * config.cols + 2)], pressure=0)


def fed(config, rng, sizes, pressure):
    """Instructions of these `sizes`, fed and taken at random."""
    rows = config.rows
    slots, reset = 3, Signal()
    dut = Feeder(rows=rows, cols=config.cols, slots=slots)
    operands, words, tiles = instructions(config, rng, sizes, rows)
    swaps = [body for _, bodies in tiles for body in bodies]  # the weights of every swap
    log = {"cycles": 0, "accepted": 0}

    async def go(ctx, cycles=None):
        log["cycles"] = 0
        issued = taken = swapped = released = passes = 0
        offered = False
        shadow, ring, shown = {}, {}, 0
        while (swapped < len(swaps) or released < len(tiles)) and log["cycles"] != cycles:
            ctx.set(dut.i.valid, issued < len(operands))
            if issued < len(operands):
                ctx.set(dut.i.payload, operands[issued])
            offered = taken < len(words) and (offered or rng.random() >= pressure)
            ctx.set(dut.words.valid, offered)
            ctx.set(dut.words.payload, words[taken] if offered else 0)
            # A swap needs a whole tile; the slot is free when the drain is done, some time after the tile's first swap.
            swap = bool(ctx.get(dut.loaded)) and rng.random() >= pressure
            ctx.set(dut.swap, swap)
            done = released < shown and rng.random() >= pressure
            ctx.set(dut.release, done)
            _, _, ready, accept, load, params, loaded = await ctx.tick().sample(
                dut.i.ready, dut.words.ready, dut.load, dut.params, dut.loaded
            )
            issued += issued < len(operands) and bool(ready)
            if load.valid:
                data = sum((load.data[r] & 255) << 8 * r for r in range(rows))
                assert load.col not in shadow
                shadow[load.col] = data
            if params.valid:
                assert (params.slot, params.col) not in ring
                ring[params.slot, params.col] = (params.bias, params.mult, params.shift)
            if swap:
                assert loaded
                assert [shadow.pop(c) for c in range(config.cols)] == swaps[swapped]
                assert not shadow
                swapped, passes = swapped + 1, passes + 1
                if passes == len(tiles[shown][1]):
                    slot = shown % slots
                    assert [ring.pop((slot, c)) for c in range(config.cols)] == tiles[shown][0]
                    shown, passes = shown + 1, 0
            released += done
            if offered and accept:
                taken, offered = taken + 1, False
            log["cycles"] += 1
            assert log["cycles"] < 40 * len(words)

    async def bench(ctx):
        for cycles in (rng.randrange(5, 40), rng.randrange(40, 200)) if pressure else ():
            await go(ctx, cycles)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
        await go(ctx)

    simulate(dut, bench, reset=reset)
    if not pressure:  # one word per cycle, after the first issue and until the last swap and release
        assert log["cycles"] <= len(words) + 5
