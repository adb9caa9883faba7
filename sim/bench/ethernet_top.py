"""LiteEth as a shell has it, with the bridge behind it or its datagrams on pins: what the Ethernet bench drives."""

from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.pins import axi_pins
from hw.shell.shell import ETHERNET
from hw.soc import Datagrams
from sim.board.bench import LinkTop

__all__ = ["WORD_BITS", "EthernetTop"]

WORD_BITS = 128
_UDP = {name: port for name, port in ETHERNET.items() if name.startswith("udp_")}
_MII = {name: port for name, port in ETHERNET.items() if name.startswith("eth_") and port[0] != "io"}


class EthernetTop(wiring.Component):
    """The Verilog module ``ethernet``, `hw.soc.Datagrams` and `sim.board.bench.LinkTop`.

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
        m.submodules.link = link = LinkTop(link="udp", word_bits=WORD_BITS)
        for name, (way, _) in _UDP.items():
            pin, inner = getattr(self, name), getattr(datagrams, name)
            if way == "i":
                m.d.comb += udp[name].eq(Mux(self.direct, pin, inner))
            elif name == "udp_rx_valid":
                m.d.comb += [pin.eq(udp[name] & self.direct), inner.eq(udp[name] & ~self.direct)]
            else:
                m.d.comb += [pin.eq(udp[name]), inner.eq(udp[name])]
        m.d.comb += [
            link.link_rx_valid.eq(datagrams.o.valid),
            link.link_rx_data.eq(datagrams.o.p.data),
            link.link_rx_last.eq(datagrams.o.p.last),
            datagrams.o.ready.eq(link.link_rx_ready),
            datagrams.i.valid.eq(link.link_tx_valid),
            datagrams.i.p.data.eq(link.link_tx_data),
            datagrams.i.p.last.eq(link.link_tx_last),
            link.link_tx_ready.eq(datagrams.i.ready),
            datagrams.length.eq(link.link_tx_length),
        ]
        for name, member in axi_pins(WORD_BITS).items():
            pin, inner = getattr(self, name), getattr(link, name)
            m.d.comb += pin.eq(inner) if member.flow is Out else inner.eq(pin)
        return m
