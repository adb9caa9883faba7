"""The memory that the compiled simulation has, against LiteDRAM's real controller: the same traffic on both."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench import page
from firmware.dram import load_controller, start
from firmware.link.client import Link
from firmware.progress import step
from hw.boards.memory import Memory
from hw.spec.config import Config, ConfigError
from sim.board.channel import UDP_PACE, SimulatedChannel
from sim.board.litedram import SHELL_BOARD, open_with_shell
from sim.board.traffic import CYCLES, DONE, REGISTERS, START, Traffic
from sim.verilated import Simulation

__all__ = ["CASES", "Case", "Result", "on_litedram", "on_model", "register"]

_CONFIG = Config()  # words of 128 bits, as the controller's port has
_MEMORY = 4 << 20
_LIMIT, _SLICE = 200_000, 10_000  # cycles


@dataclass(frozen=True)
class Case:
    name: str
    reads: int  # bursts
    writes: int
    beats: int = 16
    outstanding: int = 4
    scramble: int = 1


CASES = (
    Case("sequential reads, 4 bursts of 16 outstanding", 1000, 0),
    Case("sequential writes", 0, 1000),
    Case("reads and writes", 1000, 1000),
    Case("reads, one burst of 16 at a time", 1000, 0, outstanding=1),
    Case("writes, one burst of 16 at a time", 0, 1000, outstanding=1),
    Case("reads, one beat at a time", 1000, 0, beats=1, outstanding=1),
    Case("random single beats read, 4 outstanding", 1000, 0, beats=1, scramble=40503),
)


@dataclass(frozen=True)
class Result:
    """Cycles of a case's whole traffic, on the real controller and on the model."""

    case: str
    bursts: int
    beats: int
    litedram: int
    model: int


def _registers(case: Case) -> Mapping[int, int]:
    """Sequential traffic covers a quarter of a MiB for each direction; scrambled, all of the memory."""
    stride = 16 * case.beats if case.scramble == 1 else _MEMORY >> 16
    values = {"read_base": 0, "write_base": _MEMORY >> 1 if case.scramble == 1 else 0, "step": max(stride, 16)}
    values |= {name: getattr(case, name) for name in ("reads", "writes", "beats", "outstanding", "scramble")}
    return {REGISTERS[name]: value for name, value in values.items()}


def _traffic() -> Traffic:
    return Traffic(word_bits=_CONFIG.word_bits)


def on_model(memory: Memory) -> list[int]:
    """Cycles of every case, on the memory model of the compiled simulation. Raises AssertionError for a hang."""
    with Simulation(_traffic(), memory_size=_MEMORY, settings=asdict(memory)) as simulation:
        cycles = []
        for case in CASES:
            for place, value in _registers(case).items():
                simulation.write32(place, value)
            simulation.write32(START, 1)
            assert simulation.run(_LIMIT), f"{case.name}: no end in {_LIMIT} cycles"
            cycles.append(simulation.read32(CYCLES))
        return cycles


def on_litedram(ratio: Fraction) -> list[int]:
    """Cycles of every case, on LiteDRAM's controller, whose clock is 1 / `ratio`. Raises AssertionError for a hang."""
    with tempfile.TemporaryDirectory() as name:
        simulation = open_with_shell(_CONFIG, "udp", Path(name), memory_size=_MEMORY, make=_traffic, ratio=ratio)
        controller = load_controller(name)
    channel = SimulatedChannel(simulation, byte_cycles=UDP_PACE)
    link = Link(channel, seed=0)
    link.hello()
    start(link, controller, sleep=channel.sleep)
    cycles = []
    for case in CASES:
        link.write_registers([*_registers(case).items(), (START, 1)])
        for _ in range(_LIMIT // _SLICE):
            simulation.serve(_SLICE)
            done, count = link.transact((), (DONE, CYCLES))
            if done:
                break
        assert done, f"{case.name}: no end in {_LIMIT} cycles"
        cycles.append(count)
    channel.close()
    return cycles


def register(commands: Any) -> None:
    """Adds the command's grammar to argparse's sub-parsers."""
    command = page.add_command(
        commands, "memory", "the simulation's memory model against LiteDRAM's real controller", _command
    )
    command.add_argument("--clock", metavar="MHZ", help="of the port, behind a crossing (default the controller's)")


def _command(arguments: argparse.Namespace) -> int:
    """2 for a clock that is none."""
    try:
        board = SHELL_BOARD.override({"clock": arguments.clock or f"{SHELL_BOARD.system_hz / 1e6:g}"})
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with step("LiteDRAM's controller"):
        litedram = on_litedram(Fraction(board.clock_hz, board.system_hz))
    with step("the memory model"):
        model = on_model(board.core_memory)
    results = [
        Result(case.name, case.reads + case.writes, case.beats, *cycles)
        for case, *cycles in zip(CASES, litedram, model, strict=True)
    ]
    body = []
    for r in results:
        share = [f"{r.bursts * r.beats / cycles:.3f}" for cycles in (r.litedram, r.model)]
        burst = [f"{cycles / r.bursts:.1f}" for cycles in (r.litedram, r.model)]
        body.append((r.case, *share, *burst, f"{r.model / r.litedram - 1:+.1%}"))
    head = (
        "traffic",
        "LiteDRAM, of the peak",
        "model",
        "LiteDRAM, cycles a burst",
        "model",
        "model's cycles against it",
    )
    text = page.table(head, body)
    page.publish(arguments, text, {"traffic": [asdict(result) for result in results]})
    return 0
