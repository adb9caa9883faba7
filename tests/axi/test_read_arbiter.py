# amaranth: UnusedElaboratable=no
"""AxiReadArbiter: addresses by turns, data by id."""

import pytest

from hw.axi.read_arbiter import AxiReadArbiter
from tests.support.streams import PRESSURES, run_streams, simulate


def addresses(master, count):
    return [{"address": master << 20 | n << 4, "last": n % 16, "id": 3} for n in range(count)]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("masters", [2, 3, 4])
def test_addresses(masters, pressure):
    """Every master's bursts in its own order, marked with its number; while all ask, all get the same share."""
    dut = AxiReadArbiter(word_bits=64, masters=masters)
    inputs = {f"master{n}.ar": addresses(n, 40) for n in range(masters)}
    results, _ = run_streams(dut, inputs, {"bus.ar": 40 * masters}, pressure=pressure)
    for n in range(masters):
        mine = [burst for burst in results["bus.ar"] if burst["id"] == n]
        assert mine == [{**burst, "id": n} for burst in addresses(n, 40)]


@pytest.mark.parametrize("masters", [2, 3, 4])
def test_turns(masters):
    """All ask all the time: one burst per cycle, in a fixed rotation."""
    dut = AxiReadArbiter(word_bits=64, masters=masters)
    granted = []

    async def testbench(ctx):
        for master in dut.masters:
            ctx.set(master.ar.valid, 1)
        ctx.set(dut.bus.ar.ready, 1)
        for cycle in range(5 * masters + 1):
            if cycle:
                assert ctx.get(dut.bus.ar.valid)
                granted.append(ctx.get(dut.bus.ar.p.id))
            await ctx.tick()

    simulate(dut, testbench)
    start = granted[0]
    assert granted == [(start + k) % masters for k in range(5 * masters)]


@pytest.mark.parametrize("pressure", PRESSURES)
def test_data(pressure):
    dut = AxiReadArbiter(word_bits=64)
    beats = [{"data": 1000 + n, "id": n * n % 3, "error": n % 5 == 0, "last": n % 4 == 0} for n in range(90)]
    outputs = {f"master{k}.r": [beat for beat in beats if beat["id"] == k] for k in range(3)}
    beats[0]["error"] = True
    results, _ = run_streams(dut, {"bus.r": beats}, {k: len(v) for k, v in outputs.items()}, pressure=pressure)
    assert results == outputs


def test_masters_are_checked():
    with pytest.raises(ValueError, match="from 2 to 4, not 5"):
        AxiReadArbiter(word_bits=64, masters=5)
