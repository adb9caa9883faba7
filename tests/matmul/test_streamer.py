"""The streamer sends the right words in the right order, full speed where nothing hinders it."""

import random

import pytest
from amaranth.hdl import Cat, Signal

from hw.matmul.streamer import Streamer
from tests.support.streams import PRESSURES, simulate

ROWS, COLS, TOKENS, WORDS, DISTANCE = 4, 4, 8, 1024, 4


def streamer(words=WORDS):
    return Streamer(rows=ROWS, cols=COLS, tokens=TOKENS, words=words, depth=16, distance=DISTANCE)


def beats(o):
    """(address, unsigned, swap, tag) of every beat of an instruction with natural counts."""
    for _ in range(0, o["outputs"], COLS):
        for k in range(o["passes"]):
            for plane in range(1 + o["two_planes"]):
                for token in range(o["rows"]):
                    address = o["source"] + token * o["source_row"] + k + plane * o["source_plane"]
                    last = k == o["passes"] - 1 and plane == o["two_planes"]
                    tag = {"token": token, "first": int(k == plane == 0), "last": int(last)}
                    tag["high"] = int(o["two_planes"] and not plane)
                    yield address, plane == 1, token == plane == 0, tag


def run(dut, operands, *, latency, pressure, seed=0, until=None, before=0):
    """Sent beats [(word, swap, tag)], their cycles, and whether `fault` was raised.

    First the last instruction runs for `before` cycles, if any, without leave to send, and is reset.
    """
    rng = random.Random(seed)
    memory = [rng.getrandbits(8 * ROWS) for _ in range(dut.words)]
    sent, stamps, faults = [], [], []
    total, reset = sum(1 for o in operands for _ in beats(o)), Signal()

    async def bench(ctx):
        if before:
            counts = {name: operands[-1][name] - 1 for name in ("rows", "passes", "outputs")}
            ctx.set(dut.i.payload, operands[-1] | counts | {"index": 99})
            ctx.set(Cat(dut.i.valid, dut.read.request.ready, dut.read.valid), 0b111)
            await ctx.tick().repeat(before)
            ctx.set(Cat(dut.i.valid, dut.read.request.ready, dut.read.valid, reset), 0b1000)
            await ctx.tick()
            ctx.set(reset, 0)
        answers, issued, cycle, kept = [None] * latency, 0, 0, 0
        while len(sent) < total and cycle < (until or 30 * total + 100):
            ctx.set(dut.i.valid, issued < len(operands))
            if issued < len(operands):
                counts = {name: operands[issued][name] - 1 for name in ("rows", "passes", "outputs")}
                ctx.set(dut.i.payload, operands[issued] | counts | {"index": issued})
            loaded, room = rng.random() >= pressure, rng.random() >= pressure
            ready = rng.random() >= pressure
            ctx.set(dut.loaded, loaded)
            ctx.set(dut.room, room)
            ctx.set(dut.read.request.ready, ready)
            answer = answers.pop(0)
            ctx.set(dut.read.valid, answer is not None)
            ctx.set(dut.read.data, answer or 0)
            _, _, taken, asked, address, swap, reserve, token, beat, fault = await ctx.tick().sample(
                dut.i.ready, dut.read.request.valid, dut.read.request.payload, dut.swap, dut.reserve, dut.token,
                dut.beat, dut.fault,
            )  # fmt: skip
            issued += issued < len(operands) and bool(taken)
            answers.append(memory[address] if asked and ready else None)
            assert not swap or loaded
            assert not reserve or room
            kept += bool(reserve)
            if token.valid:
                tag = {name: int(beat[name]) for name in ("token", "first", "high", "last")}
                sent.append(([token.data[r] for r in range(ROWS)], bool(token.swap), tag))
                stamps.append(cycle)
            if fault:
                faults.append(ctx.get(dut.index))
            cycle += 1
        assert kept == sum(tag["last"] for _, _, tag in sent)

    simulate(dut, bench, reset=reset)
    expected = []
    for o in operands:
        for address, unsigned, swap, tag in beats(o):
            raw = [memory[address % dut.words] >> 8 * r & 255 for r in range(ROWS)]
            expected.append(([x - 256 * (x > 127 and not unsigned) for x in raw], swap, tag))
    return sent, expected, stamps, faults


def random_operands(seed, count=8):
    rng = random.Random(seed)
    result = []
    for _ in range(count):
        result.append({
            "rows": rng.choice([1, 2, 3, TOKENS, rng.randint(1, TOKENS)]), "passes": rng.randint(1, 3),
            "outputs": rng.randint(1, 3 * COLS), "two_planes": rng.randint(0, 1), "source": rng.randrange(256),
            "source_row": rng.randrange(40), "source_plane": rng.randrange(256),
        })  # fmt: skip
    return result


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("latency", [1, 3])
def test_order_and_distance(pressure, latency):
    operands = random_operands(latency)
    sent, expected, stamps, faults = run(streamer(), operands, latency=latency, pressure=pressure)
    assert sent == expected
    assert not faults
    latest = {}
    for (_, _, tag), cycle in zip(sent, stamps, strict=True):
        if not tag["first"]:  # adds to what the former beat of this token has left
            assert cycle - latest[tag["token"]] >= DISTANCE
        latest[tag["token"]] = cycle


@pytest.mark.parametrize("before", [1, 2, 3, 6, 30])
def test_a_reset_forgets_what_was_read_ahead(before):
    """Words, and the tag that waits beside them."""
    operands = random_operands(4)
    sent, expected, _, faults = run(streamer(), operands, latency=2, pressure=0.5, before=before)
    assert sent == expected
    assert not faults


def test_every_number_of_outputs():
    """Up to some tiles and one more."""
    operands = [o | {"outputs": outputs} for outputs, o in enumerate(random_operands(5, 3 * COLS + 1), 1)]
    sent, expected, _, faults = run(streamer(), operands, latency=2, pressure=0)
    assert sent == expected
    assert not faults


@pytest.mark.parametrize("rows", [TOKENS, DISTANCE, 1])
def test_rate(rows):
    """A beat per cycle across passes, planes, tiles and instructions; a single token waits for its own sums."""
    operands = [o | {"rows": rows} for o in random_operands(7)]
    _, _, stamps, _ = run(streamer(), operands, latency=3, pressure=0)
    assert stamps[-1] - stamps[0] == (len(stamps) - 1) * (1 if rows >= DISTANCE else DISTANCE)


@pytest.mark.parametrize("latency", [1, 3])
def test_latency(latency):
    """From the operands, which are taken in the first cycle, to the first token."""
    _, _, stamps, _ = run(streamer(), random_operands(7)[:1], latency=latency, pressure=0)
    assert stamps[0] == Streamer.timing(scratch_latency=latency).latency


@pytest.mark.parametrize("words", [WORDS, 1 << 16])
def test_stops_at_the_border(words):
    """The last instruction's second token lies outside: its first word is the last one sent."""
    good = random_operands(3, 1)[0]
    bad = good | {"source": words - 2, "source_row": 2, "rows": 2, "passes": 1, "two_planes": 0}
    sent, expected, _, faults = run(streamer(words), [good, bad], latency=2, pressure=0, until=300)
    assert sent == expected[: len(sent)]
    assert len(sent) == sum(1 for _ in beats(good)) + 1
    assert set(faults) == {1}
