# amaranth: UnusedElaboratable=no
"""StreamFIFO: order, depth, rate and latency of both kinds."""

import pytest
from amaranth.hdl import unsigned

from hw.units.stream_fifo import StreamFIFO
from tests.support.streams import PRESSURES, run_stream, simulate


def fifo(depth, block):
    return StreamFIFO(shape=unsigned(16), depth=depth, block=block)


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 8, 64])
@pytest.mark.parametrize("pressure", PRESSURES)
def test_keeps_order(depth, block, pressure):
    items = list(range(7, 207))
    results, cycles = run_stream(fifo(depth, block), items, pressure=pressure)
    assert results == items
    if not pressure and depth > 2:
        latency = StreamFIFO.latency
        assert cycles == list(range(latency, latency + len(items)))


@pytest.mark.parametrize(("block", "capacity"), [(False, 9), (True, 8)])
def test_depth(block, capacity):
    """Nothing leaves: it takes its depth, and the output register's word in distributed RAM."""
    dut = fifo(8, block)
    accepted = 0

    async def testbench(ctx):
        nonlocal accepted
        ctx.set(dut.i.valid, 1)
        for _ in range(20):
            accepted += ctx.get(dut.i.ready)
            await ctx.tick()

    simulate(dut, testbench)
    assert accepted == capacity


def test_depth_is_checked():
    with pytest.raises(ValueError, match="at least 2, not 1"):
        fifo(1, block=False)
