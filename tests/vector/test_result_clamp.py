import random

import pytest

from hw.spec import arith
from hw.vector.result_clamp import ResultClamp
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("lanes", [1, 2])
def test_clamps_like_the_law(lanes, wide, pressure):
    rng = random.Random(7 * wide)
    edges = [127, 128, -128, -129, 32767, 32768, -32768, -32769, (1 << 26) - 1, -(1 << 26), 0]
    items = [
        {**{name: [rng.choice(edges) if rng.random() < 0.5 else rng.randrange(-300, 300) for _ in range(lanes)]
            for name in ("value", "other")},
         "mask": rng.randrange(1 << lanes), "last": rng.randrange(2)}
        for _ in range(150)
    ]  # fmt: skip
    items += [{"value": [a] * lanes, "other": [b] * lanes, "mask": 1, "last": 0} for a in edges for b in edges]
    dut = ResultClamp(bits=27, lanes=lanes)
    results, cycles = run_stream(dut, items, pressure=pressure, constants={"wide": wide})
    for item, result in zip(items, results, strict=True):
        values = [a + b for a, b in zip(item["value"], item["other"], strict=True)]
        bits = 16 if wide else 8
        assert result["x"] == [int(arith.saturate(value, bits)) & 0xFFFF for value in values]
        assert (result["mask"], result["last"]) == (item["mask"], item["last"])
    if not pressure:
        assert cycles == list(range(dut.latency, dut.latency + len(items)))
