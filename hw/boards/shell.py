"""The shell of a board with DDR3: clocks, memory controller and host link, as one Verilog module LiteX generates.

Seen by the host, over the UART bridge: the memory controller's registers from 0, the memory, and the accelerator's
registers. Seen by the accelerator: its registers as an AXI4-Lite subordinate and the memory, from address 0, as AXI4.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = [
    "BOARD_CLOCK_HZ",
    "CONSTRAINTS",
    "CONTROL_BASE",
    "DATA_BITS",
    "ID_BITS",
    "MEMORY_BASE",
    "MEMORY_BYTES",
    "PORTS",
    "ShellError",
    "available",
    "generate",
]

BOARD_CLOCK_HZ = 100e6
MEMORY_BASE = 0x4000_0000  # as the host sees it
MEMORY_BYTES = 1 << 28
CONTROL_BASE = 0x8000_0000
DATA_BITS = 128  # of the memory port: 16 pins, two edges, four memory clocks per clock
ID_BITS = 4
_ADDRESS_BITS = (MEMORY_BYTES - 1).bit_length()


def _axi(prefix: str, channels: dict[str, dict[str, int]], manager: bool) -> dict[str, tuple[str, int]]:
    ports = {}
    for channel, payload in channels.items():
        ours = manager == (channel in {"aw", "w", "ar"})  # does the payload leave the shell
        for name, bits in {"valid": 1, **payload}.items():
            ports[f"{prefix}_{channel}{name}"] = ("o" if ours else "i", bits)
        ports[f"{prefix}_{channel}ready"] = ("i" if ours else "o", 1)
    return ports


_LITE = {"addr": 32, "prot": 3}
_FULL = {"addr": _ADDRESS_BITS, "burst": 2, "len": 8, "size": 3, "id": ID_BITS, "lock": 1, "prot": 3, "cache": 4,
         "qos": 4, "region": 4, "user": 1}  # fmt: skip

PORTS: dict[str, tuple[str, int]] = {
    **{"clk": ("i", 1), "rst": ("i", 1), "user_clk": ("o", 1), "user_rst": ("o", 1)},
    **{"init_done": ("o", 1), "init_error": ("o", 1), "serial_tx": ("o", 1), "serial_rx": ("i", 1)},
    **{f"ddram_{name}": ("o", bits) for name, bits in {
        "a": 14, "ba": 3, "ras_n": 1, "cas_n": 1, "we_n": 1, "cs_n": 1, "dm": 2, "clk_p": 1, "clk_n": 1, "cke": 1,
        "odt": 1, "reset_n": 1,
    }.items()},
    **{f"ddram_{name}": ("io", bits) for name, bits in {"dq": 16, "dqs_p": 2, "dqs_n": 2}.items()},
    **_axi("control", {
        "aw": _LITE, "w": {"data": 32, "strb": 4}, "b": {"resp": 2}, "ar": _LITE, "r": {"data": 32, "resp": 2},
    }, manager=True),
    **_axi("memory", {
        "aw": _FULL, "w": {"data": DATA_BITS, "strb": DATA_BITS // 8, "last": 1, "user": 1},
        "b": {"resp": 2, "id": ID_BITS, "user": 1}, "ar": _FULL,
        "r": {"data": DATA_BITS, "resp": 2, "id": ID_BITS, "last": 1, "user": 1},
    }, manager=False),
}  # fmt: skip
"""Port -> direction as the shell sees it, bits. `generate` refuses a shell that has others."""

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

_DIRECTIONS = {"input": "i", "output": "o", "inout": "io"}
_COMMENT = re.compile(r"^/\*.*?^\*/\n|^//[^\n]*\n", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^ *(input|output|inout) +(?:wire|reg)? *(?:\[(\d+):0\])? *(\w+)", re.MULTILINE)


class ShellError(RuntimeError):
    """LiteX failed, or made a shell with other ports than ours."""


def available() -> bool:
    """Is LiteX installed?"""
    return all(importlib.util.find_spec(name) for name in ("migen", "litex", "litedram"))


def generate(directory: Path, *, clock_hz: int, baud: int) -> None:
    """Writes ``shell.v`` and ``csr.json`` (addresses of the memory controller's registers) into `directory`.

    Equal inputs give equal bytes. Raises ShellError.
    """
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-m", "hw.boards.litex_shell", name, str(clock_hz), str(baud)],
            env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ShellError(f"LiteX could not make the shell: {done.stderr.strip().splitlines()[-1]}")
        verilog = (Path(name) / "gateware" / "shell.v").read_text()
        registers = (Path(name) / "csr.json").read_text()
    verilog = _COMMENT.sub("", verilog)  # with the date, and a tree that is printed in another order every time
    _check(verilog)
    (directory / "shell.v").write_text(verilog)
    (directory / "csr.json").write_text(registers)


def _check(verilog: str) -> None:
    header = verilog[verilog.index("module shell") : verilog.index(");")]
    found = {name: (_DIRECTIONS[kind], int(high or 0) + 1) for kind, high, name in _PORT.findall(header)}
    if found != PORTS:
        other = sorted(name for name in found.keys() | PORTS.keys() if found.get(name) != PORTS.get(name))
        raise ShellError(f"this LiteX makes a shell with other ports than expected: {', '.join(other)}")
