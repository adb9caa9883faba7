"""The pins of a top level, found in Verilator's C++, as a header that gives the harness their standard names."""

from __future__ import annotations

import re

from hw.spec.isa import Engine

__all__ = ["PinError", "header", "ports"]

_PORT = re.compile(r"^\s*VL_(?:IN|OUT)\w*\(&(\w+),(\d+),0", re.MULTILINE)


def _named(**groups: str) -> list[str]:
    return [f"{prefix}{pin}" for prefix, pins in groups.items() for pin in pins.split()]


_MEMORY = _named(
    m_axi_ar="addr len valid ready", m_axi_r="data resp last valid ready", m_axi_aw="addr len valid ready",
    m_axi_w="data strb last valid ready", m_axi_b="resp valid ready",
)  # fmt: skip
_CONTROL = _named(
    s_axil_aw="addr valid ready", s_axil_w="data strb valid ready", s_axil_b="resp valid ready",
    s_axil_ar="addr valid ready", s_axil_r="data resp valid ready",
)  # fmt: skip
_SERIAL = _named(uart_="rx tx")
_PACKETS = _named(link_rx_="valid ready data last", link_tx_="valid ready data last length")
_TRACE = ("started", "retired", "busy", "wait_in", "wait_out")


class PinError(ValueError):
    """A top level that the harness cannot drive; the message names the missing pins."""


def ports(declaration: str) -> dict[str, tuple[str, int]]:
    """Standard pin name -> (C++ member, bits), from Verilator's header of the top level.

    Verilator escapes double underscores, and prefixes names that SystemC reserves.
    """
    found = {}
    for member, high in _PORT.findall(declaration):
        name = member.removeprefix("__SYM__").replace("___05F", "_")
        found[re.sub(r"_+", "_", name)] = (member, int(high) + 1)
    return found


def header(declaration: str) -> str:
    """The C++ header `pins.h`. Pins may be called ``m_axi_araddr`` or, as members of an interface, ``m_axi__araddr``.

    The host's side is AXI4-Lite ``s_axil_*``, or a UART ``uart_rx`` and ``uart_tx``, or datagrams ``link_rx_*`` and
    ``link_tx_*``. Tracing needs the five outputs ``trace_started``, ``trace_retired``, ``trace_busy``,
    ``trace_wait_in`` and ``trace_wait_out``, one bit per engine. A top level behind a link without any ``m_axi_*`` has
    its memory inside. With a pin ``core_clk`` the accelerator has a
    clock of its own. Raises PinError if a required pin is missing.
    """
    actual = ports(declaration)
    bits = {name: width for name, (_, width) in actual.items()}
    serial, packets = (all(name in actual for name in pins) for pins in (_SERIAL, _PACKETS))
    control = not serial and not packets
    memory = control or any(name.startswith("m_axi_") for name in actual)
    required = ["clk", "rst", "interrupt", *(_MEMORY if memory else ()), *(_CONTROL if control else ())]
    missing = [name for name in required if name not in actual]
    if missing:
        raise PinError(f"the top level lacks the pins {', '.join(missing)}")
    lines = ["#pragma once", '#include "Vtop.h"', f"#define HAS_MEMORY {int(memory)}"]
    lines += [f"#define DATA_BYTES {bits['m_axi_rdata'] // 8}u"] if memory else []
    lines += [f"#define {name} {member}" for name, (member, _) in actual.items() if name != member]
    for name, there in (("CONTROL", control), ("SERIAL", serial), ("PACKETS", packets), ("LINK", not control)):
        lines.append(f"#define HAS_{name} {int(there)}")
    for pin in ("awaddr", "araddr") if control else ():
        lines.append(f"#define MASK_{pin.upper()} {(1 << bits[f's_axil_{pin}']) - 1:#x}ull")
    for pin, fallback in (
        ("arsize", "__builtin_ctz(DATA_BYTES)"), ("awsize", "__builtin_ctz(DATA_BYTES)"),
        ("arburst", "1"), ("awburst", "1"), ("arid", "0"), ("awid", "0"),
    ):  # fmt: skip
        value = f"(top)->m_axi_{pin}" if f"m_axi_{pin}" in actual else fallback
        lines.append(f"#define PIN_{pin.upper()}(top) static_cast<uint32_t>({value})")
    for pin in ("rid", "bid"):
        action = f"(top)->m_axi_{pin} = (value)" if f"m_axi_{pin}" in actual else "(void)(value)"
        lines.append(f"#define SET_{pin.upper()}(top, value) {action}")
    lines.append(f"#define HAS_CORE_CLOCK {int('core_clk' in actual)}")
    traced = all(f"trace_{event}" in actual for event in _TRACE)
    lines += [f"#define HAS_TRACE {int(traced)}", f"#define ENGINES {len(Engine)}"]
    lines += [f"#define TRACE_{event.upper()}(top) (top)->trace_{event}" for event in _TRACE if traced]
    return "\n".join(lines) + "\n"
