import pytest

from hw.units.register_slice import RegisterSlice
from tests.support.streams import PRESSURES, run_stream


@pytest.mark.parametrize("pressure", PRESSURES)
def test_keeps_order_at_half_rate(pressure):
    items = [k * 37 % 256 for k in range(60)]
    dut = RegisterSlice(shape=8)
    results, cycles = run_stream(dut, items, pressure=pressure)
    assert results == items
    if not pressure:
        assert cycles == [dut.latency + 2 * k for k in range(len(items))]
