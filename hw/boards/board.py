"""What a board is, to the build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hw.spec.config import PRESETS, Config

__all__ = ["Board", "Capacity"]


@dataclass(frozen=True)
class Capacity:
    """Resources: of a part, of a part of a design, or set aside."""

    lut: int
    ff: int
    dsp: int
    bram36: float

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.lut - other.lut, self.ff - other.ff, self.dsp - other.dsp, self.bram36 - other.bram36)


@dataclass(frozen=True)
class Board:
    """A supported board; its default Config is the preset of the same name."""

    name: str
    title: str
    part: str
    clock_hz: int  # of the accelerator
    synthesis: str  # yosys command that maps to the part's family
    capacity: Capacity
    reserve: Capacity  # set aside for the memory controller and the host link
    reserve_source: str
    platform: Callable[[str], Any]  # toolchain name -> Amaranth platform
    primitives: bool  # the family has the array's DSP48E1

    @property
    def config(self) -> Config:
        return PRESETS[self.name]
