"""GeluMaxExp against arith.gelu_max_exp."""

import pytest

from hw.spec import arith
from hw.vector.gelu_max_exp import GeluMaxExp
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
@pytest.mark.parametrize("i0", [1, 2, 3, 8, 16, 23, 184, 255, 256, 367, 1023])
def test_equals_law_for_every_maximum(i0, pressure):
    """Full speed tries every maximum; under stalls every ninth. No result is later than published."""
    items = [{"row_max": m, "i0": i0} for m in range(-128, 128, 9 if pressure else 1)]
    dut = GeluMaxExp()
    got, cycles = run_stream(dut, items, pressure=pressure)
    assert got == [{**x, "exp": int(arith.gelu_max_exp(x["row_max"], i0))} for x in items]
    if not pressure:
        gaps = [b - a for a, b in zip([-1, *cycles], cycles, strict=False)]
        assert max(gaps) <= dut.latency + 1


def test_latency():
    """The largest is that of a very negative maximum."""
    dut = GeluMaxExp()
    _, cycles = run_stream(dut, [{"row_max": -128, "i0": 1}])
    assert cycles == [dut.latency]
