# amaranth: UnusedElaboratable=no
"""Wide bursts over a narrow port: every byte, strobe, response and burst boundary, with pauses on both sides."""

import numpy as np
import pytest

from hw.axi.narrower import AxiNarrower
from tests.support.streams import simulate

RATIOS = [(128, 32), (64, 32), (32, 8)]
_IDLE = 40  # cycles without a transfer after which a side is done


def sender(ports, items, rng, pause):
    """Drives a channel: `items` are dictionaries of `ports`, offered one after the other until taken."""

    async def drive(ctx):
        for item in items:
            while rng.random() < pause:
                await ctx.tick()
            for name, value in item.items():
                ctx.set(ports[name], value)
            ctx.set(ports["valid"], 1)
            _, _, ready = await ctx.tick().sample(ports["ready"])
            while not ready:
                _, _, ready = await ctx.tick().sample(ports["ready"])
            ctx.set(ports["valid"], 0)

    return drive


def taker(ports, names, got, rng, pause):
    async def drive(ctx):
        idle = 0
        while idle < _IDLE:
            ctx.set(ports["ready"], int(rng.random() >= pause))
            _, _, valid, ready, *values = await ctx.tick().sample(
                ports["valid"], ports["ready"], *(ports[name] for name in names)
            )
            idle = 0 if valid else idle + 1
            if valid and ready:
                got.append(dict(zip(names, values, strict=True)))

    return drive


def channel(dut, prefix, name):
    start = f"{prefix}_axi_{name}"
    return {key.removeprefix(start): getattr(dut, key) for key in dut.signature.members if key.startswith(start)}


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_writes(wide, narrow, pause):
    rng = np.random.default_rng(wide + narrow)
    dut = AxiNarrower(wide_bits=wide, narrow_bits=narrow)
    ratio, size = wide // narrow, wide // 8
    lengths = [int(n) for n in rng.integers(1, 9, 6)] + [256 // ratio]
    words = [rng.bytes(size) for n in lengths for _ in range(n)]
    strobes = [int(rng.integers(1 << size)) for _ in words]
    lasts = [k == n - 1 for n in lengths for k in range(n)]
    requests = [{"addr": 4096 * k, "len": n - 1, "id": k % 4, "size": size.bit_length() - 1, "burst": 1}
                for k, n in enumerate(lengths)]  # fmt: skip
    beats = [{"data": int.from_bytes(w, "little"), "strb": s, "last": int(last)}
             for w, s, last in zip(words, strobes, lasts, strict=True)]  # fmt: skip
    got_aw, got_w = [], []
    simulate(
        dut,
        sender(channel(dut, "s", "aw"), requests, rng, pause),
        sender(channel(dut, "s", "w"), beats, rng, pause),
        taker(channel(dut, "m", "aw"), ["addr", "len", "id", "size", "burst"], got_aw, rng, pause),
        taker(channel(dut, "m", "w"), ["data", "strb", "last"], got_w, rng, pause),
    )
    small = narrow // 8
    assert got_aw == [
        {**request, "len": n * ratio - 1, "size": small.bit_length() - 1}
        for request, n in zip(requests, lengths, strict=True)
    ]
    assert b"".join(beat["data"].to_bytes(small, "little") for beat in got_w) == b"".join(words)
    masks = [(s >> (small * part)) & ((1 << small) - 1) for s in strobes for part in range(ratio)]
    assert [beat["strb"] for beat in got_w] == masks
    assert [beat["last"] for beat in got_w] == [
        int(last and part == ratio - 1) for last in lasts for part in range(ratio)
    ]


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_reads(wide, narrow, pause):
    rng = np.random.default_rng(wide + narrow)
    dut = AxiNarrower(wide_bits=wide, narrow_bits=narrow)
    ratio, small = wide // narrow, narrow // 8
    lengths = [int(n) for n in rng.integers(1, 9, 8)]
    beats = []
    for k, n in enumerate(lengths):
        for part in range(n * ratio):
            error = 2 * int(rng.random() < 0.05)
            data = int.from_bytes(rng.bytes(small), "little")
            beats.append({"data": data, "resp": error, "id": k % 4, "last": int(part == n * ratio - 1)})
    got = []
    simulate(
        dut,
        sender(channel(dut, "m", "r"), beats, rng, pause),
        taker(channel(dut, "s", "r"), ["data", "resp", "id", "last"], got, rng, pause),
    )
    wanted = []
    for start in range(0, len(beats), ratio):
        parts = beats[start : start + ratio]
        data = sum(beat["data"] << (narrow * k) for k, beat in enumerate(parts))
        resp = 2 * any(beat["resp"] for beat in parts)
        wanted.append({"data": data, "resp": int(resp), "id": parts[-1]["id"], "last": parts[-1]["last"]})
    assert got == wanted


def test_a_narrow_beat_every_cycle():
    """Back to back words leave no gap in either direction."""
    rng = np.random.default_rng(0)
    dut = AxiNarrower(wide_bits=128, narrow_bits=32)
    beats = [{"data": k, "last": int(k % 4 == 3)} for k in range(64)]
    words = [{"data": k, "last": 1} for k in range(16)]
    got_r, got_w, cycles = [], [], {}

    async def count(ctx):
        for cycle in range(90):
            _, _, w, r = await ctx.tick().sample(dut.m_axi_wvalid & dut.m_axi_wready, dut.s_axi_rvalid)
            for name, seen in (("w", w), ("r", r)):
                if seen:
                    cycles.setdefault(name, []).append(cycle)

    simulate(
        dut,
        sender(channel(dut, "m", "r"), beats, rng, 0.0),
        sender(channel(dut, "s", "w"), words, rng, 0.0),
        taker(channel(dut, "s", "r"), ["data"], got_r, rng, 0.0),
        taker(channel(dut, "m", "w"), ["data"], got_w, rng, 0.0),
        count,
    )
    assert (np.diff(cycles["w"]) == 1).all()
    assert len(cycles["w"]) == 64
    assert (np.diff(cycles["r"]) == 4).all()
    assert len(cycles["r"]) == 16


@pytest.mark.parametrize(("wide", "narrow", "what"), [(128, 48, "must be a multiple"), (96, 32, "power of 2")])
def test_refuses_other_ratios(wide, narrow, what):
    with pytest.raises(ValueError, match=what):
        AxiNarrower(wide_bits=wide, narrow_bits=narrow)
