# amaranth: UnusedElaboratable=no
"""AxiReadArbiter: addresses by turns, data by id."""

import pytest

from hw.axi.read_arbiter import AxiReadArbiter
from tests.support.streams import PRESSURES, run_streams, simulate


def addresses(master, count):
    return [{"address": master << 20 | n << 4, "last": n % 16, "id": 0} for n in range(count)]


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
    beats[0]["error"] = True
    outputs = {f"master{k}.r": [beat | {"id": 0} for beat in beats if beat["id"] == k] for k in range(3)}
    results, _ = run_streams(dut, {"bus.r": beats}, {k: len(v) for k, v in outputs.items()}, pressure=pressure)
    assert results == outputs


def test_masters_keep_their_own_ids():
    """As a core behind a board's arbiter: its ids stand above the arbiter's."""
    dut = AxiReadArbiter(word_bits=64, masters=2, id_bits=(0, 2))
    beats = [{"data": n, "id": 2 * (n % 4) + 1 if n % 3 else 0, "error": 0, "last": 1} for n in range(40)]
    ours = [beat | {"id": beat["id"] >> 1} for beat in beats if beat["id"] & 1]
    asked = [{"address": n, "last": 0, "id": n % 4} for n in range(9)]
    outputs = {"master0.r": 40 - len(ours), "master1.r": len(ours), "bus.ar": 9}
    results, _ = run_streams(dut, {"bus.r": beats, "master1.ar": asked}, outputs, pressure=0.5)
    assert results["master1.r"] == ours
    assert results["bus.ar"] == [burst | {"id": 2 * burst["id"] + 1} for burst in asked]


def test_latency():
    _, cycles = run_streams(AxiReadArbiter(word_bits=64), {"master1.ar": addresses(1, 4)}, {"bus.ar": 4})
    assert cycles["bus.ar"] == [AxiReadArbiter.latency + k for k in range(4)]


def test_ready_does_not_depend_on_what_is_not_there():
    """Before the first beat an id may be anything, X in a four-state simulator."""
    dut = AxiReadArbiter(word_bits=64)

    async def testbench(ctx):
        for ready in range(8):
            await ctx.tick()
            seen = set()
            for number in range(4):
                ctx.set(dut.bus.r.p.id, number)
                for bit, master in enumerate(dut.masters):
                    ctx.set(master.r.ready, ready >> bit & 1)
                seen.add((ctx.get(dut.bus.r.ready), *(ctx.get(master.r.valid) for master in dut.masters)))
            assert len(seen) == 1

    simulate(dut, testbench)


def test_masters_are_checked():
    with pytest.raises(ValueError, match="from 2 to 4, not 5"):
        AxiReadArbiter(word_bits=64, masters=5)
