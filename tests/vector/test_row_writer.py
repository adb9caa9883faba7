import random

import pytest

from hw.vector.row_writer import RowWriter
from tests.support.started import Started
from tests.support.streams import PRESSURES, run_streams, simulate


def packed(rng, *, last, group_last, column, final):
    return {"word": rng.randrange(1 << 64), "low": rng.randrange(1 << 64), "mask": rng.randrange(256), "last": last,
            "group_last": group_last, "column": column, "final": final}  # fmt: skip


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize(("rows", "groups", "words", "halves"), [
    (3, 1, 4, 0), (2, 3, 1, 0), (3, 3, 2, 0), (2, 5, 1, 1), (1, 1, 1, 0),
])  # fmt: skip
def test_writes_every_word_once(rows, groups, words, halves, planes, pressure):
    rng = random.Random(rows)
    dest, dest_row, plane = 100, 37, 500
    items, expected = [], []
    for group in range(groups):
        for row in range(rows):
            for word in range(words):
                last = word == words - 1
                end = last and row == rows - 1
                column = 1 - halves * (group % 2 == 0)
                item = packed(rng, last=last, group_last=end, column=column, final=end and group == groups - 1)
                items.append(item)
                address = dest + row * dest_row + (group // 2 if halves else group * words + word)
                expected.append({"address": address, "data": item["word"], "mask": item["mask"]})
                if planes:
                    expected.append({"address": address + plane, "data": item["low"], "mask": item["mask"]})
    constants = {"dest": dest, "dest_row": dest_row, "dest_plane": plane, "planes": planes}
    dut = Started(RowWriter(rows=8, scratch_words=1024), "i")
    out = "port.request"
    results, cycles = run_streams(dut, {"i": items}, {out: len(expected)}, pressure=pressure, constants=constants)
    assert results[out] == expected
    if not pressure:
        writes = planes + 1  # of a word, then one cycle to take the next
        assert cycles[out] == [
            dut.latency + k * (writes + 1) + plane for k in range(len(items)) for plane in range(writes)
        ]


@pytest.mark.parametrize("planes", [0, 1])
def test_done_with_the_last_write_of_a_tensor(planes):
    """In the cycle in which it is granted, and in no other one; of two tensors."""
    rng, dut, seen = random.Random(3), RowWriter(rows=8, scratch_words=1024), []
    lengths = [3, 1]

    async def bench(ctx):
        request = dut.port.request
        for length in lengths:
            for name, value in {"dest": 5, "dest_row": 1, "dest_plane": 100, "planes": planes, "start": 1}.items():
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            ctx.set(dut.start, 0)
            items = [packed(rng, last=1, group_last=0, column=1, final=n == length - 1) for n in range(length)]
            for _ in range(60):
                ctx.set(dut.i.valid, bool(items))
                if items:
                    ctx.set(dut.i.payload, items[0])
                ctx.set(request.ready, rng.random() < 0.5)
                sampled = await ctx.tick().sample(dut.i.ready, request.valid & request.ready, dut.done)
                _, _, taken, granted, done = sampled
                if taken and items:
                    items.pop(0)
                assert granted or not done
                if granted:
                    seen.append(done)

    simulate(dut, bench)
    assert seen == [int(n == length * (1 + planes) - 1) for length in lengths for n in range(length * (1 + planes))]


def test_nothing_is_written_outside():
    rng = random.Random(1)
    items = [packed(rng, last=1, group_last=0, column=1, final=0) for _ in range(2)]
    dut = Started(RowWriter(rows=8, scratch_words=128), "i")
    constants = {"dest": 127, "dest_row": 1}
    with pytest.raises(AssertionError, match=r"delivered \{.port.request.: 1\}"):
        run_streams(dut, {"i": items}, {"port.request": 2}, constants=constants, patience=20)
