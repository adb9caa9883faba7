"""The configurations to look at: every combination of the values that a command line lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod

from firmware.errors import UserError
from hw.boards.board import Board
from hw.boards.registry import find
from hw.spec.config import changes

__all__ = ["PART", "Settings", "combinations", "configured", "parse_over", "parse_part", "part_board"]

Settings = tuple[tuple[str, str], ...]
"""``key=value`` texts, in the order of the command line: hashable, and what a worker is sent."""

PART = "arty_a7"  # whose memory, clock and fabric a part of its own has
_MOST = 100_000  # combinations
_ALIASES = {"units": "vector"}
_RESOURCES = ("lut", "dsp", "bram36")


def parse_over(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """``KEY=VALUE,VALUE`` texts as values by key: a Config's field, ``units`` (its `vector`) or ``clock``.

    A value that is a list has its items joined by ``+``. Raises UserError for one that is not like that, or repeats
    itself, and ConfigError for an unknown key or a value that is no number.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        key, values = _ALIASES.get(name, name), tuple(listed.split(","))
        if not name or not all(values):
            raise UserError(f"--over wants KEY=VALUE,VALUE,..., not {text!r}")
        if key == "array":
            raise UserError("--over cannot list array: the board's fabric decides it")
        if key in found:
            raise UserError(f"--over lists {name} twice: {','.join(found[key])} and {listed}")
        if len({*values}) < len(values):
            repeated = next(value for value in values if values.count(value) > 1)
            raise UserError(f"--over lists {name}={repeated} twice")
        found[key] = values
        for value in values:
            _checked(key, value)
    combinations(found)
    return found


def _checked(key: str, value: str) -> None:
    """Raises ConfigError for what is wrong whatever the other values are: an unknown key, or no number."""
    board = find(PART)
    if key == "clock":
        board.override({key: value})
    else:
        changes(board.config, _texts(((key, value),)))


def parse_part(text: str) -> dict[str, float]:
    """``LUT,DSP,BRAM36`` as a capacity. Raises UserError."""
    numbers = text.split(",")
    try:
        capacity = dict(zip(_RESOURCES, map(float, numbers), strict=True))
    except ValueError:
        capacity = {}
    if not capacity or not all(0 < number < 1e9 for number in capacity.values()):
        raise UserError(f"--part wants LUT,DSP,BRAM36, three numbers larger than 0, not {text!r}")
    return capacity


def combinations(over: Mapping[str, Sequence[str]]) -> list[Settings]:
    """Every combination, the last key's values changing first. Raises UserError for more than 100,000."""
    number = prod(map(len, over.values()))
    if number > _MOST:
        raise UserError(f"--over must list at most {_MOST:,} combinations, not {number:,}")
    return [tuple(zip(over, values, strict=True)) for values in itertools.product(*over.values())]


def configured(board: Board, settings: Settings) -> Board:
    """`board` with `settings` applied. Raises ConfigError for one that cannot be built, or has no place on it."""
    found = board.override(_texts(settings))
    found.check_ports()
    return found


def _texts(settings: Settings) -> dict[str, str]:
    return {key: value.replace("+", ",") for key, value in settings}


def part_board(capacity: Mapping[str, float]) -> Board:
    """A 7-series part of that capacity with the memory and clock of `PART`, and nothing but the accelerator in it."""
    board = find(PART)
    return replace(board, name="part", title="a 7-series part", part="", capacity=capacity, shell=None, platform=None)
