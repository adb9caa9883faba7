"""Opens ``sim:BOARD?key=value,...`` (see the package for the keys)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from amaranth.lib import wiring

import hw
from firmware.caches import sources
from firmware.transport import DeviceError, Target, number
from hw.boards.board import Board, config_and_memory
from hw.boards.memory import Memory
from hw.spec.config import Config, ConfigError
from sim.verilated.build import BuildError
from sim.verilated.pins import PinError
from sim.verilated.simulation import SETTINGS, Simulation

__all__ = ["open_transport", "source_key"]

_CONFIG = {field.name for field in fields(Config)}
_OWN = ("memory", "waves", "trace", "states", "chunk", "cache", "clock")


def _accelerator(config: Config, trace: bool) -> wiring.Component:
    from hw.accelerator import Accelerator  # elaborating takes seconds: only when there is something to compile

    return Accelerator(config, primitives=False, trace=trace)


def source_key(*parts: object) -> str:
    """Changes with `parts`, the gateware's sources and Amaranth's version: all that emitted gateware depends on."""
    digest = hashlib.sha256(sources(Path(hw.__file__).parent).encode()).hexdigest()
    return " ".join(map(str, (*parts, digest, importlib.metadata.version("amaranth"), sys.version)))


def _described(target: Target, wanted: Board | Config | None) -> tuple[Config, Memory]:
    """What is simulated: `wanted` if given, a bare Config with the memory of the board that `target` names."""
    if isinstance(wanted, Board):
        return config_and_memory(wanted)
    try:
        board = target.board
    except ConfigError as error:
        raise DeviceError(str(error)) from error
    if board is None:
        raise DeviceError(f"a simulation is written sim:BOARD, not {target.scheme}:{target.name}")
    return config_and_memory(board.configured(wanted) if wanted else board)


def open_transport(target: Target, wanted: Board | Config | None = None) -> Simulation:
    """The simulation of `wanted`, or of the board `target` names. Raises DeviceError for what it cannot understand."""
    chosen, timing = _described(target, wanted)
    unknown = [key for key in target.options if key not in (*_CONFIG, *_OWN, *SETTINGS)]
    if unknown:
        raise DeviceError(f"unknown simulation option {unknown[0]!r}; known options: {', '.join((*_OWN, *SETTINGS))}")
    texts = {key: text for key, text in target.options.items() if key not in _CONFIG}
    numbers = {key: number(key, text) for key, text in texts.items() if key not in ("clock", "waves", "cache")}
    others = {key: value for key, value in numbers.items() if key in SETTINGS and key not in asdict(timing)}

    trace = bool(numbers.get("trace", 1))
    try:
        return Simulation(
            partial(_accelerator, chosen, trace),
            key=source_key(chosen, trace),
            memory_size=numbers.get("memory", 256) << 20,
            settings={**asdict(timing), **others},
            waves=texts.get("waves"),
            log_states=bool(numbers.get("states")),
            chunk=numbers.get("chunk", 250_000),
            cache=texts.get("cache"),
        )
    except (BuildError, PinError) as error:
        raise DeviceError(str(error)) from error
