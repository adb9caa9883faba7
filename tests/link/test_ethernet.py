"""LiteEth as the boards have it, on the pins of its MII, against third-party models of a computer and its packets."""

import pytest

from hw.shell import generator
from hw.shell.generator import ShellError, generate_ethernet
from sim.bench.ethernet_top import EthernetTop
from tests.support.cocotb import run_bench

CLOCK_HZ = 500e3  # a 200th of the clock, which only makes LiteEth's timers so much shorter


def test_on_the_pins():
    """Every test of `sim.bench.ethernet`."""
    verilog = generate_ethernet(CLOCK_HZ)
    assert run_bench(EthernetTop(), "sim.bench.ethernet", name="ethernet_top", cells=verilog) == 10


def test_generated_twice():
    assert generate_ethernet(CLOCK_HZ) == generate_ethernet(CLOCK_HZ)


def test_other_ports_are_refused(monkeypatch):
    monkeypatch.setattr(generator, "ETHERNET", {**generator.ETHERNET, "udp_rx_error": ("o", 1)})
    with pytest.raises(ShellError, match=r"with other ports than expected: udp_rx_error$"):
        generate_ethernet(CLOCK_HZ)
