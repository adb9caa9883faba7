import random

import numpy as np
import pytest

from hw.spec import arith
from hw.spec.isa import Op
from hw.spec.vector import Given, row_of
from hw.vector.requantize_lanes import RequantizeLanes
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize(("lanes", "add", "wide"), [(1, 1, 0), (1, 0, 1), (2, 1, 1), (2, 0, 0), (4, 0, 1), (4, 1, 1)])
def test_requantizes_like_the_law(lanes, add, wide, pressure):
    rng = random.Random(lanes + add)
    bits = 16 if wide else 8
    other = {"mult_other": rng.randrange(1 << 30, (1 << 31) + 1), "shift_other": rng.randrange(25, 40)}
    items = [
        {
            "value": [rng.randrange(-(1 << 15), 1 << 15) << (0 if add else rng.randrange(19)) for _ in range(lanes)],
            "mult": [rng.randrange(0 if add else -(1 << 31), (1 << 31) + 1) for _ in range(lanes)],
            "shift": [rng.randrange(21, 64) for _ in range(lanes)],
            "other": [rng.randrange(-(1 << 15), 1 << 15) for _ in range(lanes)],
            "mask": rng.randrange(1 << lanes),
            "last": rng.randrange(2),
        }
        for _ in range(100)
    ]
    dut = RequantizeLanes(lanes=lanes)
    results, cycles = run_stream(dut, items, pressure=pressure, constants={"wide": wide, "add": add, **other})
    for item, result in zip(items, results, strict=True):
        expected = []
        for value, mult, shift, x in zip(item["value"], item["mult"], item["shift"], item["other"], strict=True):
            identity = {"identity": x, "mult_identity": other["mult_other"], "shift_identity": other["shift_other"]}
            expected.append(arith.requantize(value, mult, shift, bits, **(identity if add else {})))
        assert result["x"] == [int(value) & 0xFFFF for value in expected]
        assert (result["mask"], result["last"]) == (item["mask"], item["last"])
    if not pressure:
        assert cycles == [dut.latency + number for number in range(len(items))]


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("mult_other", [1 << 31, 1 << 30, 12345, 0])
@pytest.mark.parametrize("shift_other", [0, 5, 20, 30, 45, 46, 47, 48, 63])
def test_addends_saturate_as_the_table_says(mult_other, shift_other, wide):
    """Both of them, to the same side and to opposite ones, whose sum is -1; ties of large shifts."""
    rng, law = random.Random(3), row_of(Op.ADD).law
    items, expected = [], []
    for _ in range(60):
        value, other = (rng.choice([-(1 << 15), (1 << 15) - 1, 1 << 14, rng.randrange(-300, 300)]) for _ in range(2))
        mult, shift = rng.choice([1 << 31, 1 << 30, 12345]), rng.choice([0, 5, 20, 30, 46, 47])
        item = {"value": value, "mult": mult, "shift": shift, "other": other}
        items.append({name: [number] for name, number in item.items()} | {"mask": 1, "last": 1})
        operands = {"mult": mult, "shift": shift, "mult_identity": mult_other, "shift_identity": shift_other}
        given = Given(x=np.array([value]), identity=np.array([other]), operands=operands | {"wide_dest": wide})
        expected.append(int(law(given).results[0]))
    factor = {"mult_other": mult_other, "shift_other": shift_other}
    results, _ = run_stream(RequantizeLanes(lanes=1), items, constants={"wide": wide, "add": 1, **factor})
    assert [item["x"][-1] for item in results] == [value & 0xFFFF for value in expected]
    if shift_other == 0 and mult_other > 12345:
        assert -1 in expected
