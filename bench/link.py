"""How much of a host link's rate the driver and the gateware make of it: simulated, exact to the cycle."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench import page
from firmware.link.client import Link
from firmware.progress import step
from hw.spec.link import BAUD
from sim.board.bench import PLAIN, open_link_bench
from sim.board.channel import CLOCK_HZ

__all__ = ["CASES", "Case", "Result", "register", "run_case"]

_REGISTERS = 256


@dataclass(frozen=True)
class Case:
    name: str
    link: str
    divisor: int  # of a UART


CASES = (
    Case(f"UART, {BAUD:,} baud", "uart", round(CLOCK_HZ / BAUD)),
    Case("UDP payload, 100 Mb/s", "udp", 4),
)


@dataclass(frozen=True)
class Result:
    """One transfer; `share` is its payload against what the line carries at best in one direction."""

    line: str
    what: str
    bytes: int
    seconds: float
    share: float


def run_case(case: Case, size: int) -> list[Result]:
    """Writes and reads `size` bytes, then registers. Raises AssertionError for wrong bytes."""
    channel = open_link_bench(case.link, divisor=case.divisor)
    link = Link(channel, seed=0)
    link.hello()
    data = random.Random(0).randbytes(size)
    results = []

    def measure(what: str, moved: int, action: Callable[[], object]) -> object:
        before = link.channel.now()
        result = action()
        seconds = link.channel.now() - before
        results.append(Result(case.name, what, moved, seconds, moved * link.channel.pace / seconds))
        return result

    measure("write memory", size, lambda: link.write_memory(0, data))
    assert measure("read memory", size, lambda: link.read_memory(0, size)) == data
    measure("write registers", 4 * _REGISTERS, lambda: link.write_registers([(PLAIN, 1)] * _REGISTERS))
    measure(
        "read registers, one by one", 4 * _REGISTERS, lambda: [link.read_register(PLAIN) for _ in range(_REGISTERS)]
    )
    channel.close()
    return results


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    text = "bulk transfers and registers over the host links, against the line's rate"
    line = page.add_command(commands, "link", text, _command)
    line.add_argument("--kib", type=int, default=64, help="bytes of each transfer, in KiB (default 64)")


def _command(arguments: argparse.Namespace) -> int:
    results: list[Result] = []
    for case in CASES:
        with step(case.name):
            results += run_case(case, arguments.kib << 10)
    body = [
        (r.line, r.what, f"{r.bytes:,}", f"{r.seconds * 1e3:.2f}", f"{r.bytes / r.seconds / 1e3:.0f}", f"{r.share:.1%}")
        for r in results
    ]
    text = page.table(("line", "transfer", "bytes", "ms", "kB/s", "of the line's rate"), body)
    page.publish(arguments, text, {"transfers": [asdict(result) for result in results]})
    return 0
