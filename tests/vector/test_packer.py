import random

import pytest

from hw.vector.packer import Packer
from tests.support.started import Started
from tests.support.streams import PRESSURES, run_streams

MODES = [  # planes, wide, pad, halves
    (0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (1, 0, 0, 1),
]  # fmt: skip


def segments_of(rng, *, mode, rows, count):
    """[(first byte, results, last of its group, column, final)] as the engine sends them."""
    halves, wide = mode[3], mode[1]
    if not halves:
        length = rng.randrange(1, 3 * rows)
        return [(0, length, row == count - 1, 1, row == count - 1) for row in range(count)]
    assert not wide
    groups = 3
    return [
        (group % 2 * rows // 2, rows // 2 if group < 2 else rng.randrange(1, rows // 2 + 1), row == count - 1,
         group % 2, row == count - 1 and group == groups - 1)
        for group in range(groups) for row in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rows", "lanes"), [(8, 2), (8, 4), (16, 1)])
def test_packs_beats_into_words(rows, lanes, mode, pressure):
    planes, wide, pad, halves = mode
    rng = random.Random(str((rows, lanes, mode)))
    count = rng.randrange(1, 4)
    beats, expected = [], []
    for first, length, group_last, column, final in segments_of(rng, mode=mode, rows=rows, count=count):
        values = [rng.randrange(1 << 16) for _ in range(length)]
        for at in range(0, length, lanes):
            part = values[at : at + lanes]
            x = part + [rng.randrange(1 << 16) for _ in range(lanes - len(part))]
            beats.append({"x": x, "mask": (1 << len(part)) - 1, "last": int(at + lanes >= length)})
        size = 2 if wide else 1
        body = b"".join(v.to_bytes(2, "little")[:size] if not planes else bytes([v >> 8]) for v in values)
        low = bytes(v & 255 for v in values)
        for at in range(0, first + len(body), rows):
            end = at + rows >= first + len(body)
            padded, padded_low = bytes(first) + body, bytes(first) + low
            mask = sum(1 << k for k in range(rows) if first <= at + k < first + len(body))
            flags = int(end), int(end and group_last), column, int(end and final)
            word = int.from_bytes(padded[at : at + rows], "little")
            expected.append((word, int.from_bytes(padded_low[at : at + rows], "little"),
                             (1 << rows) - 1 if pad else mask, *flags))  # fmt: skip
    constants = dict(zip(("planes", "wide", "pad", "halves"), mode, strict=True))
    constants |= {"rows_m1": count - 1, "groups_m1": 2 if halves else 0}
    dut = Started(Packer(rows=rows, lanes=lanes), "i")
    results, cycles = run_streams(dut, {"i": beats}, {"o": len(expected)}, pressure=pressure, constants=constants)
    got = [
        (r["word"], r["low"] if planes else e[1], r["mask"], r["last"], r["group_last"], r["column"], r["final"])
        for r, e in zip(results["o"], expected, strict=True)
    ]
    assert got == expected
    if not pressure:
        assert cycles["o"][-1] == len(beats) - 1 + dut.latency
