"""LiteEth as a shell has it, with the bridge behind it or its datagrams on pins: what the Ethernet bench drives."""

from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.pins import axi_pins, connect_axi_pins, pins_of
from hw.shell.shell import ETHERNET
from hw.soc import Datagrams
from sim.board.bench import LinkMachine

__all__ = ["WORD_BITS", "EthernetTop"]

WORD_BITS = 128
_UDP = {name: port for name, port in ETHERNET.items() if name.startswith("udp_")}
_MII = {name: port for name, port in ETHERNET.items() if name.startswith("eth_") and port[0] != "io"}


class EthernetTop(wiring.Component):
    """The Verilog module ``ethernet``, `hw.soc.Datagrams` and `sim.board.bench.LinkMachine`.

    Members are the MII ``eth_*`` without its management, the memory ``m_axi_*``, and ``udp_*``, which has the datagrams
    while ``direct`` is high; else the bridge has them.
    """

    def __init__(self):
        super().__init__({
            "direct": In(1),
            **{name: In(bits) if way == "i" else Out(bits) for name, (way, bits) in (_MII | _UDP).items()},
            **axi_pins(WORD_BITS),
        })

    def elaborate(self, _platform):
        m = Module()
        udp = {name: Signal(bits, name=f"ethernet_{name}") for name, (_, bits) in _UDP.items()}
        mii = {name: getattr(self, name) for name in _MII}
        m.submodules.ethernet = Instance(
            "ethernet", i_clk=ClockSignal(), i_rst=ResetSignal(),
            **{f"{ETHERNET[name][0]}_{name}": signal for name, signal in (mii | udp).items()},
        )  # fmt: skip
        m.submodules.datagrams = datagrams = Datagrams(ETHERNET)
        m.submodules.machine = machine = LinkMachine(word_bits=WORD_BITS)
        for name, (way, _) in _UDP.items():
            pin, inner = getattr(self, name), getattr(datagrams, name)
            if way == "i":
                m.d.comb += udp[name].eq(Mux(self.direct, pin, inner))
            elif name == "udp_rx_valid":
                m.d.comb += [pin.eq(udp[name] & self.direct), inner.eq(udp[name] & ~self.direct)]
            else:
                m.d.comb += [pin.eq(udp[name]), inner.eq(udp[name])]
        wiring.connect(m, datagrams.o, machine.rx)
        wiring.connect(m, machine.tx, datagrams.i)
        m.d.comb += datagrams.length.eq(machine.tx_length)
        connect_axi_pins(m, pins_of(self, "m_axi_"), machine.memory)
        return m
