"""ScratchWalker: addresses of the ISA's triple loop, one per cycle."""

import itertools
import random

import pytest

from hw.dma.scratch_walker import ScratchWalker
from tests.support.streams import PRESSURES, run_stream

WORDS = 1024


def walk(t):
    """All words of a walk with natural counts, in order."""
    counts = itertools.product(range(t["count2"]), range(t["count1"]), range(t["run"]))
    words = [t["scratch"] + k2 * t["scratch2"] + k1 * t["scratch1"] + k0 * t["scratch0"] for k2, k1, k0 in counts]
    final = [*[0] * (len(words) - 1), 1]
    return [{"address": w & 0xFFFF, "outside": w >= WORDS, "final": f} for w, f in zip(words, final, strict=True)]


def stored(t):
    return {name: value - (name in ("run", "count1", "count2")) for name, value in t.items()}


def transfer(rng, **changes):
    return {
        "scratch": rng.randrange(WORDS), "run": rng.randint(1, 6), "scratch0": rng.randrange(4),
        "count1": rng.randint(1, 4), "scratch1": rng.randrange(100), "count2": rng.randint(1, 4),
        "scratch2": rng.randrange(300),
    } | changes  # fmt: skip


@pytest.mark.parametrize("pressure", PRESSURES)
def test_every_small_shape(pressure):
    """All counts from 1 to 3, and random ones; the user of a walk that is outside stops, but it would go on."""
    rng = random.Random(5)
    shapes = itertools.product(range(1, 4), repeat=3)
    walks = [transfer(rng, run=run, count1=count1, count2=count2) for run, count1, count2 in shapes]
    walks += [transfer(rng) for _ in range(20)]
    expected = list(itertools.chain.from_iterable(map(walk, walks)))
    results, _ = run_stream(
        ScratchWalker(scratch_words=WORDS), map(stored, walks), count=len(expected), pressure=pressure
    )
    assert results == expected
    assert any(word["outside"] for word in expected)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_longest_stride_is_noticed(level):
    """The first word after the largest stride is outside, not wrapped to a small address."""
    t = {"scratch": 1023, "run": 1, "scratch0": 4095, "count1": 1, "scratch1": 65535, "count2": 1, "scratch2": 65535}
    t[("run", "count1", "count2")[level]] = 2
    results, _ = run_stream(ScratchWalker(scratch_words=WORDS), [stored(t)], count=2)
    assert [word["outside"] for word in results] == [0, 1]


@pytest.mark.parametrize("level", [1, 2])
def test_strides_of_all_bits(level):
    """In the largest scratchpad that can be addressed, every word of which a stride may reach."""
    t = {"scratch": 5, "run": 1, "scratch0": 0, "count1": 1, "scratch1": 0, "count2": 1, "scratch2": 0}
    t |= {f"count{level}": 2, f"scratch{level}": 0xFFF0}
    results, _ = run_stream(ScratchWalker(scratch_words=1 << 16), [stored(t)], count=2)
    assert [(word["address"], word["outside"]) for word in results] == [(5, 0), (0xFFF5, 0)]


def test_one_word_per_cycle():
    t = {"scratch": 0, "run": 10, "scratch0": 1, "count1": 10, "scratch1": 10, "count2": 5, "scratch2": 100}
    _, cycles = run_stream(ScratchWalker(scratch_words=WORDS), [stored(t)], count=500)
    assert cycles == list(range(1, 501))


def test_latency():
    walks = [transfer(random.Random(0), run=3, count1=1, count2=1)]
    _, cycles = run_stream(ScratchWalker(scratch_words=WORDS), [stored(w) for w in walks], count=3)
    assert cycles == [ScratchWalker.latency + k for k in range(3)]
