"""LiteEth from an MII to one UDP port; alone as Verilog: ``python -m hw.shell.litex_ethernet FILE CLOCK_HZ``."""

import sys

from liteeth.common import eth_interpacket_gap, eth_phy_description
from liteeth.core import LiteEthUDPIPCore
from liteeth.phy.mii import LiteEthPHYMII
from litex.build.generic_platform import GenericPlatform, Pins, Subsignal
from litex.build.sim.common import sim_special_overrides
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import ClockDomain, ClockDomainsRenamer, If, Signal

from hw.shell.shell import IP_ADDRESS
from hw.spec.link import UDP_PORT

__all__ = ["MII", "Ethernet", "write"]

MII = [
    ("eth_clocks", 0, Subsignal("tx", Pins(1)), Subsignal("rx", Pins(1))),
    ("eth_ref_clk", 0, Pins(1)),
    ("eth", 0, *(Subsignal(name, Pins(bits)) for name, bits in {
        "rst_n": 1, "mdio": 1, "mdc": 1, "rx_dv": 1, "rx_er": 1, "rx_data": 4, "tx_en": 1, "tx_data": 4, "col": 1,
        "crs": 1,
    }.items())),
]  # fmt: skip
_MAC_ADDRESS = 0x10E2D5000000  # LiteX's


class _Phy(LiteEthPHYMII):
    """LiteEth's, with the pause between frames: LiteEth's own counts clocks, and a byte takes the MII two of them."""

    integrated_ifg_inserter = True  # LiteEth's is left out

    def __init__(self, clock_pads, pads):
        super().__init__(clock_pads, pads)
        self.gap = gap = ClockDomainsRenamer("eth_tx")(_Gap(2 * eth_interpacket_gap))
        self.comb += gap.source.connect(self.sink)
        self.sink = gap.sink


class _Gap(LiteXModule):
    """Takes nothing for so many clocks after a frame."""

    def __init__(self, clocks):
        self.sink, self.source = (stream.Endpoint(eth_phy_description(8)) for _ in range(2))
        left = Signal(max=clocks + 1)
        self.comb += If(left == 0, self.sink.connect(self.source))
        self.sync += If(self.sink.valid & self.sink.ready & self.sink.last, left.eq(clocks)).Elif(
            left != 0, left.eq(left - 1)
        )


class Ethernet(LiteXModule):
    """MAC, ARP, IP, ping and UDP between the platform's `MII` and its pins ``udp_rx_*`` and ``udp_tx_*``.

    It ends at the port of LiteEth's crossbar, as its streamer loses the ends of datagrams. Datagrams to other addresses
    are dropped; LiteEth takes them by default, whoever they are for.
    """

    def __init__(self, platform, clock_hz):
        self.phy = _Phy(platform.request("eth_clocks"), platform.request("eth"))
        self.core = LiteEthUDPIPCore(
            self.phy, _MAC_ADDRESS, IP_ADDRESS, clock_hz, with_icmp=True, with_ip_broadcast=False
        )
        udp = self.core.udp.crossbar.get_port(UDP_PORT)
        names = ("valid", "ready", "last", "data", "ip_address", "length")
        for name, endpoint, port in (("udp_rx", udp.source, "src_port"), ("udp_tx", udp.sink, "dst_port")):
            fields = {**{field: getattr(endpoint, field) for field in names}, "port": getattr(endpoint, port)}
            platform.add_extension([(name, 0, *(Subsignal(f, Pins(len(signal))) for f, signal in fields.items()))])
            pads = platform.request(name)
            for field, signal in fields.items():
                pad = getattr(pads, field)
                outwards = (name == "udp_rx") == (field != "ready")
                self.comb += pad.eq(signal) if outwards else signal.eq(pad)
        self.comb += [udp.sink.src_port.eq(UDP_PORT), udp.sink.last_be.eq(udp.sink.last)]


class _Alone(LiteXModule):
    """With ``clk`` and ``rst`` from outside."""

    def __init__(self, platform, clock_hz):
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("clk")), self.cd_sys.rst.eq(platform.request("rst"))]
        self.ethernet = Ethernet(platform, clock_hz)


def write(file: str, clock_hz: str) -> None:
    """Puts the Verilog module ``ethernet`` for a simulator into `file`."""
    platform = GenericPlatform("simulator", [("clk", 0, Pins(1)), ("rst", 0, Pins(1)), *MII], name="ethernet")
    alone = _Alone(platform, float(clock_hz))
    platform.get_verilog(alone, name="ethernet", special_overrides=sim_special_overrides).write(file)


if __name__ == "__main__":
    write(*sys.argv[1:])
