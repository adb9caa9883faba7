"""The shell of a board: clocks, memory controller and Ethernet, as one Verilog module that LiteX generates.

It has no processor and no bus master: whoever trains the memory controller does so through `csr_*`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from firmware.files import write

__all__ = [
    "CONSTRAINTS",
    "CSR_ADDRESS_BITS",
    "ETHERNET",
    "ETHERNET_CONSTRAINTS",
    "ID_BITS",
    "IP_ADDRESS",
    "MEMORY_PORTS",
    "Ports",
    "Shell",
    "ShellError",
    "available",
    "ddr3_pins",
    "generate",
    "generate_ethernet",
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

    def ports(self, *, ethernet: bool = False) -> dict[str, tuple[str, int]]:
        """All ports; with `ethernet`, also of the MII and of UDP port `hw.spec.link.UDP_PORT`.

        ``csr_*``: AXI4-Lite subordinate of LiteX's registers. ``memory_*``, ``link_*``: AXI4 subordinates, from the
        memory's address 0. ``udp_rx_*``, ``udp_tx_*``: bytes of datagrams, with the other side's address and port and
        the datagram's length beside every byte. ``user_clk``, ``user_rst``: clock and reset of all of these.
        """
        full = {"addr": (self.memory_bytes - 1).bit_length(), "burst": 2, "len": 8, "size": 3, "id": ID_BITS, "lock": 1,
                "prot": 3, "cache": 4, "qos": 4, "region": 4, "user": 1}  # fmt: skip
        lite = {"addr": CSR_ADDRESS_BITS, "prot": 3}
        ports: dict[str, tuple[str, int]] = {
            **{"clk": ("i", 1), "rst": ("i", 1), "user_clk": ("o", 1), "user_rst": ("o", 1)},
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

CONSTRAINTS = """\
# Reset synchronizers and multi-bit crossings of LiteX, which marks them in shell.v.
set_false_path -quiet -through [get_nets -hierarchical -filter {mr_ff == TRUE}]
set_false_path -quiet -to [get_pins -filter {REF_PIN_NAME == PRE} -of_objects \
[get_cells -hierarchical -filter {ars_ff1 == TRUE || ars_ff2 == TRUE}]]
set_max_delay 2 -quiet -from [get_pins -filter {REF_PIN_NAME == C} -of_objects \
[get_cells -hierarchical -filter {ars_ff1 == TRUE}]] -to [get_pins -filter {REF_PIN_NAME == D} -of_objects \
[get_cells -hierarchical -filter {ars_ff2 == TRUE}]]
"""
"""For Vivado."""

ETHERNET_CONSTRAINTS = """\
# The MII's clocks; what crosses between them and the others is in FIFOs.
create_clock -name eth_rx -period 40 [get_ports eth_mii_0__rx_clk__io]
create_clock -name eth_tx -period 40 [get_ports eth_mii_0__tx_clk__io]
set_clock_groups -asynchronous -group [get_clocks eth_rx -include_generated_clocks] \
-group [get_clocks eth_tx -include_generated_clocks]
"""
"""For Vivado, with Ethernet."""

_DIRECTIONS = {"input": "i", "output": "o", "inout": "io"}
_COMMENT = re.compile(r"^/\*.*?^\*/\n|^//[^\n]*\n", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^ *(input|output|inout) +(?:wire|reg)? *(?:\[(\d+):0\])? *(\w+)", re.MULTILINE)


class ShellError(RuntimeError):
    """LiteX failed, or made a shell with other ports than ours."""


def available(*, ethernet: bool = False) -> bool:
    """Is LiteX installed?"""
    packages = ("migen", "litex", "litedram", *(("liteeth",) if ethernet else ()))
    return all(importlib.util.find_spec(name) for name in packages)


def generate(board: Any, directory: Path, *, ethernet: bool = False) -> None:
    """Writes ``shell.v`` and what a host starts the memory with into `directory`.

    That is ``csr.json``, the addresses of the controller's registers, and ``dram.json``, the PHY's numbers and the
    commands of the start.
    Equal inputs give equal bytes. Raises ShellError.
    """
    described = {
        "part": board.part, "clock_hz": board.clock_hz, "fabric": board.fabric.name, "shell": asdict(board.shell),
        "ethernet": ethernet,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        _litex("litex_shell", name, json.dumps(described))
        verilog = (Path(name) / "gateware" / "shell.v").read_text()
        found = {file: (Path(name) / file).read_text() for file in ("csr.json", "dram.json")}
    verilog = _COMMENT.sub("", verilog)  # with the date, and a tree that is printed in another order every time
    ports = board.shell.ports(ethernet=ethernet)
    for name, (way, _) in ports.items():
        if way == "io":  # LiteX takes a bus whose every bit has a Lattice pad of its own for an input
            verilog = re.sub(rf"^( *)input( +wire[^,]* {name}\b)", r"\1inout\2", verilog, count=1, flags=re.MULTILINE)
    _check(verilog, "shell", ports)
    for name, text in {"shell.v": verilog, **found}.items():
        write(directory / name, text)


def generate_ethernet(clock_hz: float) -> str:
    """Verilog of the module ``ethernet`` with the ports `ETHERNET`, for a simulator: what a shell has of LiteEth.

    Equal inputs give equal text. Raises ShellError.
    """
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "ethernet.v")
        _litex("litex_ethernet", str(file), str(clock_hz))
        verilog = _COMMENT.sub("", file.read_text(encoding="utf-8"))
    _check(verilog, "ethernet", ETHERNET)
    return verilog


def _litex(module: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"hw.shell.{module}", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ShellError(f"LiteX could not make the shell: {done.stderr.strip().splitlines()[-1]}")


def _check(verilog: str, module: str, ports: Ports) -> None:
    header = verilog[verilog.index(f"module {module}") : verilog.index(");")]
    found = {name: (_DIRECTIONS[kind], int(high or 0) + 1) for kind, high, name in _PORT.findall(header)}
    if found != ports:
        other = sorted(name for name in found.keys() | ports.keys() if found.get(name) != ports.get(name))
        raise ShellError(f"this LiteX makes a shell with other ports than expected: {', '.join(other)}")
