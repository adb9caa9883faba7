import random

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
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


@pytest.mark.parametrize("wide", [0, 1])
def test_addends_saturate_as_the_table_says(wide):
    """Both of them, to the same side and to opposite ones, whose sum is -1."""
    rng, law = random.Random(3), row_of(Op.ADD).law
    items, expected = [], []
    for _ in range(100):
        value = [rng.choice([-(1 << 15), (1 << 15) - 1, rng.randrange(-300, 300)]) for _ in range(2)]
        mult, shift = (
            [rng.choice([1 << 31, 1 << 30, 12345]) for _ in range(2)],
            [rng.choice([0, 5, 20, 30]) for _ in range(2)],
        )
        items.append({"value": value, "mult": mult, "shift": shift, "mask": 1, "last": 1})
        operands = {"mult": mult[0], "shift": shift[0], "mult_identity": mult[1], "shift_identity": shift[1]}
        given = Given(x=np.array([value[0]]), identity=np.array([value[1]]), operands=operands | {"wide_dest": wide})
        expected.append(int(law(given).results[0]))
    results, _ = run_stream(RequantizeLanes(lanes=1), items, constants={"wide": wide, "add": 1})
    assert [item["x"][0] for item in results] == [value & 0xFFFF for value in expected]
    assert -1 in expected
