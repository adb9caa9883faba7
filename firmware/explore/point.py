"""One configuration: what it is, what it takes, what it does, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firmware.explore.space import Settings
from hw.boards.board import Board

__all__ = ["FATES", "Area", "Point"]

FATES = ("front", "fits", "too large", "no program", "impossible")
"""Best of all that fit; beaten by another; more than the part; refused by the compiler; no Config."""


@dataclass(frozen=True)
class Area:
    """Resources of a configuration: of the accelerator, and of everything that shares the part with it."""

    core: Mapping[str, float]
    system: Mapping[str, float]
    fitted: tuple[str, ...]  # units of the core whose figures a model gives, not a synthesis


@dataclass(frozen=True, kw_only=True)
class Point:
    """A combination of settings. `reason` says why it is not on the front, if not because another one is better."""

    settings: Settings
    fate: str
    reason: str = ""
    board: Board | None = None  # None where the settings are impossible
    area: Area | None = None
    cycles: float = 0.0  # per image; 0 where that was not found out
    macs: int = 0  # executed, per image
    columns: tuple[str, ...] = field(default=(), repr=False)  # resources

    @property
    def images_per_second(self) -> float:
        """At the board's clock; 0 where the cycles are not known."""
        return self.board.clock_hz / self.cycles if self.board and self.cycles else 0.0

    @property
    def lut(self) -> float:
        assert self.area is not None
        return self.area.system["lut"]

    def row(self) -> dict[str, Any]:
        """Everything, flat: None for what is not known."""
        known = bool(self.board and self.cycles)
        config = self.board.config if self.board else None
        return {
            **dict(self.settings),
            "fate": self.fate,
            "reason": self.reason,
            "clock_mhz": self.board.clock_hz / 1e6 if self.board else None,
            "macs_per_cycle": config.macs_per_cycle if config else None,
            "cycles_per_image": self.cycles if known else None,
            "images_per_second": self.images_per_second if known else None,
            "utilisation": self.macs / (self.cycles * config.macs_per_cycle) if known and config else None,
            **{f"core_{name}": self.area.core[name] if self.area else None for name in self.columns},
            **{name: self.area.system[name] if self.area else None for name in self.columns},
            "fitted_units": "+".join(self.area.fitted) if self.area else None,
        }
