# amaranth: UnusedElaboratable=no
import random

import numpy as np
import pytest

from hw.vector.unpacker import Unpacker
from tests.support.started import Started
from tests.support.streams import PRESSURES, run_streams


def expected_beats(matrix, *, rows, lanes, wide, grouped):
    """(elements, last, group_last, index) of each beat, by definition."""
    per_word = rows // 2 if wide else rows
    count, length = matrix.shape
    starts = range(0, length, per_word)
    order = (
        [(g, r, (s,)) for g, s in enumerate(starts) for r in range(count)]
        if grouped
        else [(0, r, starts) for r in range(count)]
    )
    for group, row, words in order:
        for word in words:
            end = min(word + per_word, length)
            for at in range(word, end, lanes):
                last = at + lanes >= end and word == words[-1]
                index = (at - word) // lanes + (group % 2) * (rows // lanes)
                yield matrix[row, at : min(at + lanes, end)].tolist(), last, last and row == count - 1, index


def words_of(matrix, *, rows, wide, grouped):
    kind = np.dtype("<i2") if wide else np.dtype("i1")
    count, length = matrix.shape
    raw = np.zeros((count, -(-length * kind.itemsize // rows) * rows), np.uint8)
    raw[:, : length * kind.itemsize] = matrix.astype(kind).view(np.uint8).reshape(count, -1)
    words = raw.reshape(count, -1, rows)
    if grouped:
        words = words.transpose(1, 0, 2)
    return [int.from_bytes(word.tobytes(), "little") for word in words.reshape(-1, rows)]


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("wide", "grouped"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(("rows", "lanes"), [(8, 2), (16, 4), (8, 1), (16, 8)])
def test_cuts_words_into_beats(rows, lanes, wide, grouped, pressure):
    rng = random.Random(hash((rows, lanes, wide, grouped)))
    for count, length in ((1, 1), (3, rows), (2, rng.randrange(1, 40)), (rng.randrange(1, 4), 2 * rows + 1)):
        limit = 1 << (15 if wide else 7)
        matrix = np.array([[rng.randrange(-limit, limit) for _ in range(length)] for _ in range(count)])
        shape = {"rows": rows, "lanes": lanes}
        mode = {"wide": wide, "grouped": grouped}
        expected = list(expected_beats(matrix, **shape, **mode))
        dut = Started(Unpacker(**shape), "i")
        constants = mode | {"length_m1": length - 1, "rows_m1": count - 1}
        results, cycles = run_streams(
            dut, {"i": words_of(matrix, rows=rows, **mode)}, {"o": len(expected)}, pressure=pressure,
            constants=constants,
        )  # fmt: skip
        got = []
        for beat in results["o"]:
            active = [x for lane, x in enumerate(beat["x"]) if beat["mask"] >> lane & 1]
            got.append((active, bool(beat["last"]), bool(beat["group_last"]), beat["index"]))
        assert got == [(list(x), bool(last), bool(end), *rest) for x, last, end, *rest in expected]
        if not pressure:
            assert np.diff(cycles["o"]).tolist() == [1] * (len(expected) - 1)  # a word is taken with its last element


def test_refuses_lanes_that_no_word_fills():
    with pytest.raises(ValueError, match="lanes must be at most half the 8 bytes of a word, not 8"):
        Unpacker(rows=8, lanes=8)
