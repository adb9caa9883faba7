"""The shell of a board, as data: clocks, memory controller and Ethernet, one Verilog module that LiteX generates.

It has no processor and no bus master: whoever trains the memory controller does so through `csr_*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = [
    "CSR_ADDRESS_BITS",
    "ETHERNET",
    "ID_BITS",
    "IP_ADDRESS",
    "MEMORY_PORTS",
    "Ports",
    "Shell",
    "ddr3_pins",
    "sdram_pins",
]

Ports = Mapping[str, tuple[str, int]]
"""Port -> direction as the shell sees it ("i", "o" or "io"), bits."""

CSR_ADDRESS_BITS = 16
ID_BITS = 4
IP_ADDRESS = "192.168.1.50"  # of the Ethernet; a shell answers to no other
MEMORY_PORTS = ("memory", "link")  # the accelerator's, the bridge's


def ddr3_pins(*, rows: int, chips: int) -> Ports:
    """Pins of a DDR3 memory of `rows` address bits and `chips` bytes of data."""
    outputs = {"a": rows, "ba": 3, "ras_n": 1, "cas_n": 1, "we_n": 1, "cs_n": 1, "dm": chips, "clk_p": 1, "clk_n": 1,
               "cke": 1, "odt": 1, "reset_n": 1}  # fmt: skip
    both = {"dq": 8 * chips, "dqs_p": chips, "dqs_n": chips}
    return {f"ddram_{name}": ("o", bits) for name, bits in outputs.items()} | {
        f"ddram_{name}": ("io", bits) for name, bits in both.items()
    }


def sdram_pins(*, rows: int, chips: int) -> Ports:
    """Pins of an SDRAM of `rows` address bits and `chips` bytes of data."""
    outputs = {"a": rows, "ba": 2, "ras_n": 1, "cas_n": 1, "we_n": 1, "cs_n": 1, "dm": chips, "cke": 1, "clock": 1}
    return {f"sdram_{name}": ("o", bits) for name, bits in outputs.items()} | {"sdram_dq": ("io", 8 * chips)}


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What LiteX has to know about a board, and the ports of what it makes of it."""

    input_hz: float  # of the board's oscillator
    speed_grade: int
    phy: str  # LiteDRAM's
    kind: str  # "DDR3", with four memory clocks in one of the system, or "SDR", with two
    module: str  # LiteDRAM's memory module
    chips: int  # bytes of data pins
    rows: int  # address pins
    memory_bytes: int
    data_bits: int  # of a memory port: the controller's own width
    mii: bool = False  # has 100 Mb Ethernet behind an MII
    simulated: bool = False  # LiteDRAM's model in place of PHY and memory

    def __post_init__(self) -> None:
        if self.kind not in {"DDR3", "SDR"}:
            raise ValueError(f"a shell's memory must be of kind DDR3 or SDR, not {self.kind}")

    def simulation(self, memory_bytes: int) -> Shell:
        """The same without pins, for a simulator: ``clk`` is the clock of everything, and of the memory's rows there
        are only as many as `memory_bytes`, a power of two, take. Only for DDR3.
        """
        return replace(self, memory_bytes=memory_bytes, simulated=True)

    @property
    def dram(self) -> Ports:
        if self.simulated:
            return {}
        pins = ddr3_pins if self.kind == "DDR3" else sdram_pins
        return pins(rows=self.rows, chips=self.chips)

    def ports(self, *, ethernet: bool = False, crossed: bool = False) -> dict[str, tuple[str, int]]:
        """All ports; with `ethernet`, also of the MII and of UDP port `hw.spec.link.UDP_PORT`.

        `crossed`: there are ``core_clk`` and ``core_rst``, of a PLL for the accelerator; a simulated shell has none.

        ``csr_*``: AXI4-Lite subordinate of LiteX's registers. ``memory_*``, ``link_*``: AXI4 subordinates, from the
        memory's address 0. ``udp_rx_*``, ``udp_tx_*``: bytes of datagrams, with the other side's address and port and
        the datagram's length beside every byte. ``user_clk``, ``user_rst``: clock and reset of all of these.
        """
        full = {"addr": (self.memory_bytes - 1).bit_length(), "burst": 2, "len": 8, "size": 3, "id": ID_BITS, "lock": 1,
                "prot": 3, "cache": 4, "qos": 4, "region": 4, "user": 1}  # fmt: skip
        lite = {"addr": CSR_ADDRESS_BITS, "prot": 3}
        ports: dict[str, tuple[str, int]] = {
            **{"clk": ("i", 1), "rst": ("i", 1), "user_clk": ("o", 1), "user_rst": ("o", 1)},
            **({"core_clk": ("o", 1), "core_rst": ("o", 1)} if crossed and not self.simulated else {}),
            **{"init_done": ("o", 1), "init_error": ("o", 1)},
            **self.dram,
            **_subordinate("csr", {
                "aw": lite, "w": {"data": 32, "strb": 4}, "b": {"resp": 2}, "ar": lite, "r": {"data": 32, "resp": 2},
            }),
        }  # fmt: skip
        for name in MEMORY_PORTS:
            ports |= _subordinate(name, {
                "aw": full,
                "w": {"data": self.data_bits, "strb": self.data_bits // 8, "last": 1, "user": 1},
                "b": {"resp": 2, "id": ID_BITS, "user": 1},
                "ar": full,
                "r": {"data": self.data_bits, "resp": 2, "id": ID_BITS, "last": 1, "user": 1},
            })  # fmt: skip
        return {**ports, **(_ETHERNET if ethernet else {})}


def _subordinate(prefix: str, channels: dict[str, dict[str, int]]) -> dict[str, tuple[str, int]]:
    ports = {}
    for channel, payload in channels.items():
        way, back = ("i", "o") if channel in {"aw", "w", "ar"} else ("o", "i")
        for name, bits in {"valid": 1, **payload}.items():
            ports[f"{prefix}_{channel}{name}"] = (way, bits)
        ports[f"{prefix}_{channel}ready"] = (back, 1)
    return ports


_DATAGRAM = {"valid": 1, "last": 1, "data": 8, "ip_address": 32, "port": 16, "length": 16}
_ETHERNET: Ports = {
    **{"eth_clocks_tx": ("i", 1), "eth_clocks_rx": ("i", 1), "eth_ref_clk": ("o", 1)},
    **{f"eth_{name}": ("o", bits) for name, bits in {"rst_n": 1, "mdc": 1, "tx_en": 1, "tx_data": 4}.items()},
    **{f"eth_{name}": ("i", bits) for name, bits in {"rx_dv": 1, "rx_er": 1, "rx_data": 4, "col": 1, "crs": 1}.items()},
    "eth_mdio": ("io", 1),
    **{f"udp_rx_{name}": ("o", bits) for name, bits in _DATAGRAM.items()},
    "udp_rx_ready": ("i", 1),
    **{f"udp_tx_{name}": ("i", bits) for name, bits in _DATAGRAM.items()},
    "udp_tx_ready": ("o", 1),
}

ETHERNET: Ports = {
    **{"clk": ("i", 1), "rst": ("i", 1)},
    **{name: port for name, port in _ETHERNET.items() if name != "eth_ref_clk"},
}
"""Ports of the Verilog module ``ethernet``: what is between MII and datagrams, see :meth:`Shell.ports`."""
