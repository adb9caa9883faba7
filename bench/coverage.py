"""Which signals of the gateware change at all while random programs run: toggle coverage, counted by Verilator."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import page
from bench.trust.programs import Programs
from firmware.errors import UserError
from firmware.progress import shown

__all__ = ["Unit", "register", "table", "units"]

_CHANGES = Counter[tuple[str, int, str]]
_SLICE = re.compile(r"^core\.(matmul|vector|scratchpad)_\d+")  # another slice is the same unit again
_INNER = re.compile(r"(?:matmul|vector)\.(?!i\b|o\b|found\b|\w*__)\w+$")  # parts that have rows of their own
_FIRST = 2_000_000  # a seed that no campaign comes to


@dataclass(frozen=True)
class Unit:
    """Bits of the signals that have a name in the source of one unit."""

    name: str
    bits: int
    changed: int  # that rose and fell
    constant: tuple[str, ...]  # signals of which no bit did either, in any configuration


def units(found: Iterable[_CHANGES]) -> list[Unit]:
    """By name; a bit changes if it does in one of the simulations that have it."""
    bits: dict[str, dict[tuple[str, int], set[str]]] = {}
    for changes in found:
        for (signal, bit, direction), count in changes.items():
            signal = _SLICE.sub(r"core.\1", signal)
            place = bits.setdefault(_unit(signal), {}).setdefault((signal, bit), set())
            if count:
                place.add(direction)
    return [_of(name, own) for name, own in sorted(bits.items())]


def _unit(signal: str) -> str:
    """Of the core; of MATMUL and VECTOR, whichever of their parts has it; what is in none is the core's own."""
    parts = [part for part in signal.split(".")[1:-1] if "$" not in part]
    inner = ".".join(parts[:2])
    return inner if _INNER.match(inner) else parts[0] if parts else "core"


def _of(name: str, own: Mapping[tuple[str, int], set[str]]) -> Unit:
    alive = {signal for (signal, _), directions in own.items() if directions}
    constant = sorted({signal for signal, _ in own} - alive)
    return Unit(name, len(own), sum(len(directions) == 2 for directions in own.values()), tuple(constant))


def table(found: Sequence[Unit]) -> str:
    """Markdown; the last row is all of them."""
    whole = Unit("all", sum(u.bits for u in found), sum(u.changed for u in found), sum((u.constant for u in found), ()))
    body = [
        (f"`{u.name}`" if u is not whole else "all", f"{u.bits:,}", f"{u.changed:,}", f"{u.changed / u.bits:.1%}",
         str(len(u.constant)))
        for u in (*found, whole)
    ]  # fmt: skip
    return page.table(("unit", "bits", "rose and fell", "share", "signals that never changed"), body)


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(commands, "coverage", "signals of the gateware that random programs change", _command)
    command.add_argument("--programs", type=int, default=300, metavar="N", help="how many (default 300)")


def _command(arguments: argparse.Namespace) -> int:
    if arguments.programs < 1:
        raise UserError(f"--programs {arguments.programs}: at least 1 is wanted")
    campaign = Programs(coverage=True)
    try:
        with shown("random programs", "programs") as update:
            for number in range(arguments.programs):
                campaign.case(_FIRST + number)
                update(number + 1, arguments.programs)
        found = units(rig.sim.changes() for rig in campaign.rigs.values())
        ran = f"{arguments.programs} programs on {len(campaign.rigs)} configurations, seeds from {_FIRST:,}."
    finally:
        campaign.close()
    page.publish(
        arguments, f"{ran}\n\n{table(found)}", {"programs": arguments.programs, "units": [asdict(u) for u in found]}
    )
    return 0
