"""What a board is: fabric, memory, shell and configuration, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hw.boards.fabric import Fabric
from hw.boards.memory import Memory
from hw.shell.shell import Shell
from hw.spec.config import Config, ConfigError, override
from hw.spec.link import BAUD

__all__ = ["Board", "config_and_memory"]

_SLOWEST, _FASTEST = 10_000_000, 400_000_000  # what any of the parts' PLLs and any accelerator have between them


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, or none in particular: data only, importable without gateware and without the boards' platforms.

    A new one is a file of its own: in this folder, or anywhere (`hw.boards.registry`). Raises ConfigError for a Config
    that the fabric cannot build.
    """

    name: str
    title: str
    clock_hz: int  # of the accelerator
    system_hz: int = 0  # of memory controller, bridge and links; 0: the accelerator's
    config: Config  # of the accelerator, unless the build says otherwise
    fabric: Fabric
    memory: Memory = field(
        default_factory=Memory
    )  # behind the accelerator's port, in words of `config` and cycles of `system_hz`
    part: str = ""
    capacity: Mapping[str, float] = field(default_factory=dict)  # of the part; empty if there is none
    platform: Callable[[], Any] | None = None  # makes the Amaranth platform; None: no pins, only the IP core
    shell: Shell | None = None  # with it
    reset: str = "rst"  # the button that restarts everything
    high: Mapping[str, str] = field(default_factory=dict)  # resource -> its signal that has to be driven high
    baud: int = BAUD  # of the UART
    link: str = "uart"  # unless the build says otherwise
    toolchains: tuple[str, ...] = ()  # that make its bitstream
    seed: int = 1  # with which the placer of nextpnr-ecp5 meets timing
    programmer: str = ""  # openFPGALoader's name of it

    def __post_init__(self) -> None:
        if not self.system_hz:
            object.__setattr__(self, "system_hz", self.clock_hz)
        if self.config.array not in self.fabric.products:
            raise ConfigError(
                f"array must be {' or '.join(self.fabric.products)} on {self.name}, whose fabric is "
                f"{self.fabric.title}, not {self.config.array}"
            )

    @property
    def crossed(self) -> bool:
        """Has the accelerator a clock of its own?"""
        return self.clock_hz != self.system_hz

    @property
    def core_memory(self) -> Memory:
        """`memory` as the accelerator sees it, in cycles of its clock."""
        return self.memory.at_clock(self.clock_hz, self.system_hz) if self.crossed else self.memory

    def configured(self, config: Config) -> Board:
        """The same board with another accelerator, whose words its memory moves at the rate of its own bus."""
        memory = self.memory.for_words(config.word_bits, self.config.word_bits)
        return replace(self, config=config, memory=memory)

    def override(self, settings: Mapping[str, str]) -> Board:
        """The same board with ``key=value`` texts applied to its Config; ``clock``: the accelerator's, in MHz.

        Raises ConfigError.
        """
        others = {key: text for key, text in settings.items() if key != "clock"}
        board = self.configured(override(self.config, others))
        return replace(board, clock_hz=_hertz(settings["clock"])) if "clock" in settings else board

    def check_ports(self) -> None:
        """Raises ConfigError if the board's memory ports are wider than the accelerator's words."""
        if self.shell and self.config.word_bits < self.shell.data_bits:
            raise ConfigError(
                f"the board's memory ports have {self.shell.data_bits} bits and rows={self.config.rows} needs "
                f"{self.config.word_bits}"
            )

    def check_capacity(self) -> None:
        """Raises ConfigError if already array or scratchpad are more than the part has."""
        for resource, number in self.fabric.least(self.config).items():
            if number > self.capacity.get(resource, number):
                what = "array" if resource == "dsp" else "scratchpad"
                raise ConfigError(
                    f"the {what} alone takes {number:g} {self.fabric.columns[resource]}, and {self.name} "
                    f"({self.part}) has {self.capacity[resource]:g}"
                )


def config_and_memory(target: Board | Config) -> tuple[Config, Memory]:
    """Those of a board, in cycles of the accelerator, or a Config with the memory of `Memory`'s defaults."""
    return (target.config, target.core_memory) if isinstance(target, Board) else (target, Memory())


def _hertz(text: str) -> int:
    """Of a clock in MHz. Raises ConfigError."""
    try:
        hertz = round(float(text) * 1e6)
    except (ValueError, OverflowError):
        hertz = 0
    if not _SLOWEST <= hertz <= _FASTEST:
        raise ConfigError(f"clock must be a number of MHz from {_SLOWEST / 1e6:g} to {_FASTEST / 1e6:g}, not {text!r}")
    return hertz
