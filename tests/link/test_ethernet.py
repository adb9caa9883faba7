"""LiteEth as the boards have it, on its MII's pins, against third-party models of a computer and its frames."""

import pytest

from hw.boards import shell
from tests.support.cocotb import run_bench


@pytest.fixture(scope="module")
def verilog():
    if not shell.available(ethernet=True):
        pytest.skip("needs LiteX")
    return shell.generate_ethernet(100e6)


def test_ethernet(verilog):
    from sim.bench.ethernet_top import EthernetTop

    assert run_bench(EthernetTop(), "sim.bench.ethernet", name="ethernet_top", cells=verilog) > 0
