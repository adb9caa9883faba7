"""What is built: the parameters of one accelerator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from hw.spec import vector
from hw.spec.vector_ops import UNITS

__all__ = ["ARRAY_MAPPINGS", "Config", "ConfigError", "changes", "override", "parse_settings"]

AHEAD_WORDS = 33  # what one LUT RAM and a register hold
ARRAY_MAPPINGS = ("dsp48", "ecp5", "portable")


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the field, its value and the limit."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """One accelerator. Two equal configs make the same gateware and the same fingerprint.

    ``rows`` is three things at once: products summed per array pass, bytes per scratchpad word and
    bytes per AXI beat; the machine moves one such word per cycle everywhere. All other numbers are those of one slice.
    """

    rows: int = 16  # reduction depth of one array pass = bytes of a scratchpad word = AXI beat
    cols: int = 8  # output channels of one array tile
    tokens: int = 64  # most tokens (matrix rows) of one instruction: depth of the accumulators
    drain_lanes: int = 2  # requantized outputs per cycle leaving the array
    lanes: int = 2  # elements per cycle in the VECTOR engine
    banks: int = 4  # scratchpad banks, each with one read and one write port
    bank_words: int = 2048  # words per scratchpad bank
    stream_words: int = 512  # weight stream FIFO, words
    queue_depth: int = 32  # instructions waiting per engine
    row_max_banks: int = 8  # row-maximum vectors, `tokens` entries each
    stat_banks: int = 4  # row-statistics vectors (Shiftmax, I-LayerNorm), `tokens` entries each
    max_row: int = 4096  # longest VECTOR row, elements
    burst_beats: int = 16  # longest AXI burst
    vector: tuple[str, ...] = UNITS  # units of the VECTOR engine; the opcodes of others are illegal
    slices: int = (
        1  # copies of array, VECTOR and scratchpad, each with its share of the tokens; they get the same weights
    )
    small_products: str = "dsp"  # of VECTOR's units, but its requantizers: in DSP slices, "dsp", or in LUTs, "lut"
    array: str = "dsp48"  # multipliers: "dsp48" (two products per DSP48E1), "ecp5" (one per MULT18X18D), "portable"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rows", 8, 32),
            ("lanes", 1, 8),
            ("drain_lanes", 1, 8),
            ("tokens", 16, 256),
            ("banks", 2, 8),
            ("bank_words", 64, 16384),
            ("stream_words", 64, 8192),
            ("queue_depth", 4, 64),
            ("row_max_banks", 2, 16),
            ("stat_banks", 2, 16),
            ("max_row", 64, 4096),
            ("burst_beats", 4, 256),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high or not _power_of_two(value):
                raise ConfigError(f"{name} must be a power of two from {low} to {high}, not {value}")
        if not isinstance(self.cols, int) or self.cols % 2 or not 2 <= self.cols <= 64:
            raise ConfigError(f"cols must be even and from 2 to 64, not {self.cols}")
        if self.cols % self.drain_lanes:
            raise ConfigError(f"cols must be a multiple of drain_lanes ({self.drain_lanes}), not {self.cols}")
        if 2 * self.lanes > self.rows:
            raise ConfigError(f"lanes must be at most rows / 2 ({self.rows // 2}), not {self.lanes}")
        if self.scratch_words > 1 << 16:
            raise ConfigError(f"banks x bank_words must be at most 65536 words, not {self.scratch_words}")
        if self.stream_words < 4 * self.cols:
            raise ConfigError(f"stream_words must hold four tiles ({4 * self.cols}), not {self.stream_words}")
        if self.stream_words < self.burst_beats:
            raise ConfigError(f"stream_words must hold a burst ({self.burst_beats}), not {self.stream_words}")
        known = vector.unit_names()
        strange = [name for name in self.vector if name not in known]
        if strange or not self.vector:
            raise ConfigError(f"vector must list units of {', '.join(known)}, not {', '.join(strange) or 'none'}")
        object.__setattr__(self, "vector", tuple(name for name in known if name in self.vector))
        if not isinstance(self.slices, int) or not 1 <= self.slices <= 8:
            raise ConfigError(f"slices must be from 1 to 8, not {self.slices}")
        if self.small_products not in vector.PRODUCT_PLACES:
            places = vector.PRODUCT_PLACES
            raise ConfigError(f"small_products must be one of {', '.join(places)}, not {self.small_products!r}")
        if self.array not in ARRAY_MAPPINGS:
            raise ConfigError(f"array must be one of {', '.join(ARRAY_MAPPINGS)}, not {self.array!r}")

    @property
    def word_bytes(self) -> int:
        return self.rows

    @property
    def word_bits(self) -> int:
        return 8 * self.rows

    @property
    def scratch_words(self) -> int:
        return self.banks * self.bank_words

    @property
    def scratch_bytes(self) -> int:
        return self.scratch_words * self.word_bytes

    @property
    def macs_per_cycle(self) -> int:
        return self.slices * self.rows * self.cols

    @property
    def array_text(self) -> str:
        """``16 x 8``; of several slices ``3 x 16 x 8``."""
        return f"{f'{self.slices} x ' if self.slices > 1 else ''}{self.rows} x {self.cols}"

    @property
    def part_bytes(self) -> int:
        """A STORE leaves out fewer bytes of a word: only slices need parts of words."""
        return self.word_bytes if self.slices > 1 else 1

    @property
    def ahead_words(self) -> int:
        """Words of the weight stream that wait before each of several slices."""
        return AHEAD_WORDS if self.slices > 1 else 0

    @property
    def program_burst(self) -> int:
        """Instructions of the program reader's bursts: a quarter of a queue, at most 4, and what a burst may have."""
        from hw.spec import isa

        return max(1, min(4, self.queue_depth // 4, self.burst_beats * self.word_bytes // isa.INSTRUCTION_BYTES))

    @property
    def fingerprint(self) -> int:
        """32 bits that change with the config, the ISA or the register map."""
        from hw.spec import isa, regs

        text = json.dumps([asdict(self), isa.describe(self.vector), regs.describe()], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """``key=value`` texts of a command line as a dictionary. Raises ConfigError for one without ``=``."""
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set wants key=value, not {text!r}")
        settings[key] = value
    return settings


def override(config: Config, settings: dict[str, str]) -> Config:
    """`config` with ``key=value`` texts applied.

    A value that is a list has its items between commas. Raises ConfigError for an unknown key, a value that is not a
    number, or an impossible result.
    """
    return replace(config, **changes(config, settings))


def changes(config: Config, settings: dict[str, str]) -> dict[str, Any]:
    """``key=value`` texts as values of fields, possible or not. Raises ConfigError for an unknown key or no number."""
    known: dict[str, Any] = asdict(config)
    found: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in known:
            raise ConfigError(f"unknown config key {key!r}; known keys: {', '.join(known)}")
        if isinstance(known[key], tuple):
            found[key] = tuple(text.split(",")) if text else ()
            continue
        try:
            found[key] = text if isinstance(known[key], str) else int(text, 0)
        except ValueError:
            raise ConfigError(f"{key} must be an integer, not {text!r}") from None
    return found
