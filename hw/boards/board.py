"""What a board is, to the build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hw.boards.shell import Shell
from hw.build.synthesis import Family
from hw.spec.config import PRESETS, Config
from hw.spec.link import BAUD

__all__ = ["Board"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A supported board, or none in particular; its default Config is the preset of the same name."""

    name: str
    title: str
    clock_hz: int  # of the accelerator
    family: Family
    part: str = ""
    capacity: Mapping[str, float] = field(default_factory=dict)  # of the part; empty if there is none
    reserve: Mapping[str, float] = field(default_factory=dict)  # set aside for the shell until that is counted
    reserve_source: str = ""
    platform: Callable[[], Any] | None = None  # makes the Amaranth platform; None: no pins, only the IP core
    shell: Shell | None = None  # with it
    reset: str = "rst"  # the button that restarts everything
    high: Mapping[str, str] = field(default_factory=dict)  # resource -> its signal that has to be driven high
    baud: int = BAUD  # of the UART
    link: str = "uart"  # unless the build says otherwise
    toolchains: tuple[str, ...] = ()  # that make its bitstream
    seed: int = 1  # with which the placer of nextpnr-ecp5 meets timing
    programmer: str = ""  # openFPGALoader's name of it
    primitives: bool = False  # the family has the array's multipliers

    @property
    def config(self) -> Config:
        return PRESETS[self.name]
