# amaranth: UnusedElaboratable=no
"""Wide bursts over a narrow port: every byte, strobe, response and burst boundary, with pauses on both sides."""

import numpy as np
import pytest

from hw.axi.narrower import AxiNarrower
from tests.support.streams import PRESSURES, run_streams

RATIOS = [(128, 32), (64, 32), (32, 8)]


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
@pytest.mark.parametrize("pressure", PRESSURES)
def test_writes(wide, narrow, pressure):
    rng = np.random.default_rng(wide + narrow)
    dut = AxiNarrower(wide_bits=wide, narrow_bits=narrow)
    ratio, size, small = wide // narrow, wide // 8, narrow // 8
    lengths = [int(n) for n in rng.integers(1, 9, 6)] + [256 // ratio]
    words = [rng.bytes(size) for n in lengths for _ in range(n)]
    strobes = [int(rng.integers(1 << size)) for _ in words]
    lasts = [k == n - 1 for n in lengths for k in range(n)]
    requests = [{"address": 4096 * k, "last": n - 1} for k, n in enumerate(lengths)]
    beats = [{"data": int.from_bytes(w, "little"), "strobe": s, "last": int(last)}
             for w, s, last in zip(words, strobes, lasts, strict=True)]  # fmt: skip
    answers = [{"error": k % 2} for k in range(len(lengths))]
    results, _ = run_streams(
        dut,
        {"wide.write.aw": requests, "wide.write.w": beats, "narrow.write.b": answers},
        {"narrow.write.aw": len(requests), "narrow.write.w": len(beats) * ratio, "wide.write.b": len(answers)},
        pressure=pressure,
    )
    assert results["narrow.write.aw"] == [
        {**request, "last": n * ratio - 1} for request, n in zip(requests, lengths, strict=True)
    ]
    got = results["narrow.write.w"]
    assert b"".join(beat["data"].to_bytes(small, "little") for beat in got) == b"".join(words)
    masks = [(s >> (small * part)) & ((1 << small) - 1) for s in strobes for part in range(ratio)]
    assert [beat["strobe"] for beat in got] == masks
    assert [beat["last"] for beat in got] == [
        int(last and part == ratio - 1) for last in lasts for part in range(ratio)
    ]
    assert results["wide.write.b"] == answers


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
@pytest.mark.parametrize("pressure", PRESSURES)
def test_reads(wide, narrow, pressure):
    rng = np.random.default_rng(wide + narrow)
    dut = AxiNarrower(wide_bits=wide, narrow_bits=narrow, id_bits=2)
    ratio, small = wide // narrow, narrow // 8
    lengths = [int(n) for n in rng.integers(1, 9, 8)]
    requests = [{"address": 4096 * k, "last": n - 1, "id": k % 4} for k, n in enumerate(lengths)]
    beats = []
    for k, n in enumerate(lengths):
        for part in range(n * ratio):
            data = int.from_bytes(rng.bytes(small), "little")
            error = int(rng.random() < 0.05)
            beats.append({"data": data, "error": error, "id": k % 4, "last": int(part == n * ratio - 1)})
    results, _ = run_streams(
        dut,
        {"wide.read.ar": requests, "narrow.read.r": beats},
        {"narrow.read.ar": len(requests), "wide.read.r": len(beats) // ratio},
        pressure=pressure,
    )
    assert results["narrow.read.ar"] == [
        {**request, "last": n * ratio - 1} for request, n in zip(requests, lengths, strict=True)
    ]
    wanted = []
    for start in range(0, len(beats), ratio):
        parts = beats[start : start + ratio]
        data = sum(beat["data"] << (narrow * k) for k, beat in enumerate(parts))
        error = int(any(beat["error"] for beat in parts))
        wanted.append({"data": data, "error": error, "id": parts[-1]["id"], "last": parts[-1]["last"]})
    assert results["wide.read.r"] == wanted


def test_a_narrow_beat_every_cycle():
    """Back to back words leave no gap in either direction."""
    dut = AxiNarrower(wide_bits=128, narrow_bits=32)
    beats = [{"data": k, "last": int(k % 4 == 3), "error": 0, "id": 0} for k in range(64)]
    words = [{"data": k, "strobe": 1, "last": 1} for k in range(16)]
    _, cycles = run_streams(
        dut, {"narrow.read.r": beats, "wide.write.w": words}, {"narrow.write.w": 64, "wide.read.r": 16}
    )
    assert (np.diff(cycles["narrow.write.w"]) == 1).all()
    assert (np.diff(cycles["wide.read.r"]) == 4).all()


@pytest.mark.parametrize(("wide", "narrow", "what"), [(128, 48, "must be a multiple"), (96, 32, "power of 2")])
def test_refuses_other_ratios(wide, narrow, what):
    with pytest.raises(ValueError, match=what):
        AxiNarrower(wide_bits=wide, narrow_bits=narrow)
