"""GeluMaxExp against arith.gelu_max_exp."""

import pytest

from hw.spec import arith
from hw.vector.gelu_max_exp import GeluMaxExp
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("i0", [1, 2, 3, 8, 16, 23, 184, 255, 256, 367, 1023])
def test_equals_law_for_every_maximum(i0, pressure):
    """Full speed tries every maximum; under stalls every ninth. Each takes as long."""
    items = [{"row_max": m, "i0": i0} for m in range(-128, 128, 9 if pressure else 1)]
    dut = GeluMaxExp()
    got, cycles = run_stream(dut, items, pressure=pressure)
    assert got == [{**x, "exp": int(arith.gelu_max_exp(x["row_max"], i0))} for x in items]
    if not pressure:
        assert cycles == [dut.latency + number * (dut.latency + 1) for number in range(len(items))]
