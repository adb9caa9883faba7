import random

import pytest

from hw.vector.row_writer import RowWriter
from tests.support.started import Started
from tests.support.streams import PRESSURES, run_streams


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


def test_nothing_is_written_outside():
    rng = random.Random(1)
    items = [packed(rng, last=1, group_last=0, column=1, final=0) for _ in range(2)]
    dut = Started(RowWriter(rows=8, scratch_words=128), "i")
    constants = {"dest": 127, "dest_row": 1}
    with pytest.raises(AssertionError, match=r"delivered \{.port.request.: 1\}"):
        run_streams(dut, {"i": items}, {"port.request": 2}, constants=constants, patience=20)
