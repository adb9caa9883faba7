"""RowJoin against a loop."""

import random

import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from hw.vector.row_join import RowJoin
from tests.support.streams import PRESSURES, run_streams


@pytest.mark.parametrize("pressure", PRESSURES)
def test_joins_rows_and_elements(pressure):
    rng = random.Random(1)
    rows = [rng.randrange(256) for _ in range(40)]
    joined = []
    for row in rows:
        for left in reversed(range(rng.choice([1, 1, 2, 7]))):
            joined.append({"row": row, "element": {"x": rng.randrange(16), "last": int(left == 0)}})
    dut = RowJoin(row=unsigned(8), element=data.StructLayout({"x": 4, "last": 1}))
    items = {"rows": rows, "i": [x["element"] for x in joined]}
    got, cycles = run_streams(dut, items, {"o": len(joined)}, pressure=pressure)
    assert got["o"] == joined
    if not pressure:
        assert cycles["o"] == list(range(dut.latency, dut.latency + len(joined)))
