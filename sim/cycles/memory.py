"""The memory behind the AXI port, burst by burst: the same bookkeeping as ``sim/verilated/memory.h``, in cycles."""

from __future__ import annotations

from hw.boards.memory import BANKS, PAGE_BYTES, Memory

__all__ = ["Bus"]


class Bus:
    """One data bus; bursts are booked in the order of their times."""

    def __init__(self, model: Memory, word_bytes: int) -> None:
        self.model, self._word = model, word_bytes
        self._free = 0
        self._refresh = model.refresh_period
        self._writing = False
        self._open = [-1] * BANKS
        self._read_end = 0  # cycle after the last read beat so far

    def page_words(self, address: int) -> int:
        """Words from byte `address` to the end of its page."""
        return (PAGE_BYTES - address % PAGE_BYTES) // self._word

    def _book(self, address: int, words: int, write: bool, now: int) -> int:
        """First bus cycle of a burst (or of several, one after the other, in one page) that is ready in cycle `now`."""
        model = self.model
        at = max(now, self._free)
        if model.refresh and at >= self._refresh:
            self._refresh += (at - self._refresh) // model.refresh_period * model.refresh_period
            at = max(at, max(self._refresh, self._free) + model.refresh)
            self._refresh += model.refresh_period
        if write != self._writing:
            at += model.turnaround
            self._writing = write
        page = address // PAGE_BYTES
        if self._open[page % BANKS] != page:
            at += model.row_miss
            self._open[page % BANKS] = page
        self._free = at + words * 100 // model.rate
        return at

    def accepts(self, now: int, burst: int) -> int:
        """The cycle, `now` or later, from which a read is accepted although bursts of `burst` words are under way."""
        return max(now, self._read_end - self.model.outstanding * burst)

    def read(self, address: int, words: int, now: int) -> int:
        """Cycle of the first word of a read accepted in cycle `now`; words follow each other (at `rate` 100)."""
        first = max(self._book(address, words, False, now) + self.model.latency, now + 1, self._read_end)
        self._read_end = first + words * 100 // self.model.rate
        return first

    def write(self, address: int, words: int, now: int) -> int:
        """Cycle of the response to a burst whose last word is taken in cycle `now`."""
        at = self._book(address, words, True, now)
        return max(at + words * 100 // self.model.rate + self.model.write_latency, now + 1)
