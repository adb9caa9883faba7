"""What the memory behind the accelerator's port costs in time."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from hw.spec.config import ConfigError

__all__ = ["BANKS", "PAGE_BYTES", "Memory"]

PAGE_BYTES, BANKS = 2048, 8  # DRAM pages; consecutive ones are in consecutive banks


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A DRAM and its controller as the port sees them: one data bus, booked burst by burst.

    A beat is a word of the accelerator, cycles are those of the bus, whose clock may be another (`at_clock`). Compiler,
    cycle model, simulator and roofline read these. The defaults imitate LiteDRAM on the Arty's DDR3
    (docs/simulation.md compares).
    """

    latency: int = 21  # cycles from an accepted read address to its first beat, idle bus, open page
    write_latency: int = 5  # cycles from a write burst's last slot on the bus to its response
    row_miss: int = 11  # bus cycles lost when a burst needs another 2 KiB page of one of 8 banks
    turnaround: int = 14  # bus cycles lost between reading and writing
    refresh: int = 30  # bus cycles lost per refresh; 0: no refresh
    refresh_period: int = 780  # cycles from one to the next
    rate: int = 100  # beats per 100 bus cycles
    outstanding: int = 16  # bursts accepted and not finished, per direction

    def __post_init__(self) -> None:
        for field in fields(self):
            value, low = getattr(self, field.name), int(field.name in _POSITIVE)
            if not isinstance(value, int) or value < low:
                raise ConfigError(f"{field.name} of a memory must be a whole number from {low}, not {value}")
        if self.rate > 100:
            raise ConfigError(f"rate of a memory must be at most 100 beats per 100 cycles, not {self.rate}")
        if self.refresh >= self.refresh_period:
            raise ConfigError(
                f"refresh of a memory must be shorter than refresh_period ({self.refresh_period}), not {self.refresh}"
            )

    def word_cycles(self, word_bytes: int) -> float:
        """Cycles of the bus per word of a long sequential read: a new page now and then, and refreshes."""
        page = self.row_miss * word_bytes / PAGE_BYTES
        return (100 / self.rate + page) / (1 - self.refresh / self.refresh_period)

    def for_words(self, bits: int, others: int) -> Memory:
        """This memory, seen with words of `bits` where it was described with words of `others` bits."""
        return replace(self, rate=max(1, min(100, self.rate * others // bits)))

    def at_clock(self, clock_hz: int, bus_hz: int) -> Memory:
        """This memory, whose bus has `bus_hz`, in cycles of an accelerator at `clock_hz` behind a clock crossing.

        The port then moves no more than a word in a cycle of either clock. Rounded to whole cycles.
        """
        ratio = clock_hz / bus_hz
        times = {name: round(getattr(self, name) * ratio) for name in ("row_miss", "turnaround", "refresh")}
        ways = {name: round((getattr(self, name) + _CROSSED) * ratio + _CROSSED + _HELD) for name in _ANSWERED}
        rate, period = max(1, min(100, round(self.rate / ratio))), max(1, round(self.refresh_period * ratio))
        return replace(self, **times, **ways, rate=rate, refresh_period=period)


_CROSSED = 2.5  # cycles of the domain arrived in: two registers, and half a cycle on average to the next edge
_HELD = 1  # cycle of the accelerator: the register behind its answers
_ANSWERED = ("latency", "write_latency")
_POSITIVE = {"latency", "refresh_period", "rate", "outstanding"}
