import random

import pytest

from hw.spec import arith
from hw.vector.requantize_lanes import RequantizeLanes
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "add", "wide"), [(1, 1, 0), (1, 0, 1), (2, 1, 1), (2, 0, 0), (4, 0, 1)])
def test_requantizes_like_the_law(lanes, add, wide, pressure):
    rng = random.Random(lanes + add)
    values = max(2, lanes)
    bits = 16 if wide else 8
    items = [
        {
            "value": [rng.randrange(-(1 << 15), 1 << 15) << (0 if add else rng.randrange(19)) for _ in range(values)],
            "mult": [rng.randrange(0 if add else -(1 << 31), (1 << 31) + 1) for _ in range(values)],
            "shift": [rng.randrange(21, 64) for _ in range(values)],
            "mask": rng.randrange(1 << lanes),
            "last": rng.randrange(2),
        }
        for _ in range(100)
    ]
    dut = RequantizeLanes(lanes=lanes)
    results, cycles = run_stream(dut, items, pressure=pressure, constants={"wide": wide, "add": add})
    for item, result in zip(items, results, strict=True):
        triples = list(zip(item["value"], item["mult"], item["shift"], strict=True))[:lanes]
        expected = [arith.requantize(*triple, bits) for triple in triples]
        if add:
            names = ("mult_identity", "shift_identity")
            identity = dict(zip(names, (item["mult"][1], item["shift"][1]), strict=True))
            expected[0] = arith.requantize(
                item["value"][0], item["mult"][0], item["shift"][0], bits, identity=item["value"][1], **identity
            )
        assert result["x"] == [int(value) & 0xFFFF for value in expected]
        assert (result["mask"], result["last"]) == (item["mask"], item["last"])
    if not pressure:
        assert cycles == list(range(dut.latency, dut.latency + len(items)))
