"""A compiled simulation as a Transport: registers, memory, clock, trace."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware.transport import DeviceError, TransportError
from hw.boards.memory import Memory
from hw.spec.config import ConfigError
from hw.spec.isa import Engine
from sim.libraries import load
from sim.verilated.build import Top, build

__all__ = ["EVENTS", "SETTINGS", "Event", "Simulation", "Statistics"]

_TIMING = tuple(field.name for field in fields(Memory))
SETTINGS = (*_TIMING, "random", "interleave", "error_base", "error_size")
"""Settings of the memory model: those of `hw.boards.memory.Memory`, and memory.h's own: a seed, a flag, bytes."""

EVENTS = ("started", "retired", "busy", "wait_in", "wait_out", "idle")
_EVENT = np.dtype([("cycle", "<u8"), ("kind", "<u4"), ("engine", "<u4")])
_RECEIVE_BYTES = 4096
_CHANGE = re.compile(r"\x01o\x02([^\x01]+?)(?:\[(\d+)\])?:(0->1|1->0)\x01[^']*' (\d+)$", re.MULTILINE)
_LETTER = re.compile(r"__0([0-9a-fA-F]{2})")  # as Verilator writes one that no C++ name has
_SLICE = 5000  # cycles: a tenth of a second of the largest accelerators
_STATISTICS = ("read_bursts", "read_beats", "write_bursts", "write_beats", "read_stalls", "write_stalls")


@dataclass(frozen=True)
class Event:
    """An engine started or retired an instruction, or (with `log_states`) changed what it is doing."""

    engine: Engine
    event: str
    cycle: int


@dataclass(frozen=True)
class Statistics:
    """What the memory model served since it was opened."""

    read_bursts: int
    read_beats: int
    write_bursts: int
    write_beats: int
    read_stalls: int  # cycles a read beat waited for rready
    write_stalls: int  # cycles a write beat waited for wready


def _load(path: Path) -> ctypes.CDLL:
    library = load(path)
    handle, text, number, large = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint64
    for name, result, arguments in (
        ("open", handle, (large,)), ("close", None, (handle,)), ("reset", None, (handle,)),
        ("set", ctypes.c_int, (handle, text, ctypes.c_int64)), ("run", ctypes.c_int64, (handle, large)),
        ("read32", ctypes.c_int, (handle, number, ctypes.POINTER(number))),
        ("write32", ctypes.c_int, (handle, number, number)), ("memory", handle, (handle,)),
        ("cycle", large, (handle,)), ("error", text, (handle,)), ("statistics", ctypes.POINTER(large), (handle,)),
        ("events", large, (handle, ctypes.POINTER(handle))), ("clear_events", None, (handle,)),
        ("log_states", None, (handle, ctypes.c_int)), ("waves", ctypes.c_int, (handle, text)),
        ("period", None, (handle, large)), ("serve", ctypes.c_int64, (handle, large)),
        ("send", None, (handle, text, large)), ("receive", large, (handle, text, large)),
        ("link_idle", ctypes.c_int, (handle,)), ("core_clock", None, (handle, large, large)),
        ("coverage", None, (handle, text)),
    ):  # fmt: skip
        if not hasattr(library, f"sim_{name}"):
            continue  # of a link, a second clock or counts of changes, which this top level does not have
        function = getattr(library, f"sim_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Simulation:
    """The gateware of `component`, compiled, with a memory of `memory_size` bytes behind its AXI port.

    A component with its memory inside (see `header`) needs no `memory_size`: it is zero then, and that memory is
    reached over the link only. `component`, `key` and `verilog` are as for `build`, `settings` are those of the memory
    model, `waves` is a VCD file to write and `coverage` counts changes for `changes` (from separate, slower libraries),
    `log_states` records every change between busy, waiting and idle. `wait` simulates at most `chunk` cycles. Raises
    BuildError, PinError, or DeviceError for an unknown setting.
    """

    simulated = True

    def __init__(
        self,
        component: Top,
        *,
        key: str = "",
        verilog: str = "",
        memory_size: int = 256 << 20,
        settings: Mapping[str, int] | None = None,
        waves: str | os.PathLike[str] | None = None,
        coverage: bool = False,
        log_states: bool = False,
        chunk: int = 250_000,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self._handle: int | None = None
        path, self.compiled = build(
            component, key=key, verilog=verilog, waves=waves is not None, coverage=coverage, cache=cache
        )
        self._library = _load(path)
        self._handle = self._library.sim_open(memory_size)
        if not self._handle:
            raise DeviceError(f"cannot allocate {memory_size} bytes for the simulated memory")
        inside = not self._library.sim_memory(self._handle)
        self.memory_size, self.chunk = 0 if inside else memory_size, chunk
        self._timing = Memory()
        self.configure(**{**asdict(self._timing), **(settings or {})})
        if waves is not None and self._library.sim_waves(self._handle, os.fsencode(waves)):
            raise DeviceError(f"cannot write waves to {os.fspath(waves)}")
        self._library.sim_log_states(self._handle, log_states)
        self.memory: NDArray[np.uint8] = np.zeros(0, np.uint8)
        if not inside:
            pointer = ctypes.cast(self._library.sim_memory(self._handle), ctypes.POINTER(ctypes.c_uint8))
            self.memory = np.ctypeslib.as_array(pointer, (memory_size,))
        self.reset()

    def configure(self, **settings: int) -> None:
        """Changes settings of the memory model; `random` takes effect at the next reset."""
        for name, value in settings.items():
            if name not in SETTINGS:
                raise DeviceError(f"unknown simulation setting {name!r}; known settings: {', '.join(SETTINGS)}")
            if not 0 <= value < 1 << 62:
                raise DeviceError(f"simulation setting {name} cannot be {value}")
        timing = {name: value for name, value in settings.items() if name in _TIMING}
        try:
            self._timing = replace(self._timing, **timing)
        except ConfigError as error:
            raise DeviceError(str(error)) from error
        for name, value in settings.items():
            if self._library.sim_set(self._open(), name.encode(), value):
                raise DeviceError(f"the compiled memory model has no setting {name}")

    def reset(self) -> None:
        """Pulls the reset pin for a few cycles and forgets all traffic in flight; memory keeps its contents."""
        self._library.sim_reset(self._open())

    def read32(self, address: int) -> int:
        value = ctypes.c_uint32()
        self._check(self._library.sim_read32(self._open(), address, ctypes.byref(value)))
        return value.value

    def write32(self, address: int, value: int) -> None:
        self._check(self._library.sim_write32(self._open(), address, value & 0xFFFFFFFF))

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        self._range(address, size)
        return self.memory[address : address + size].copy()

    def write(self, address: int, data: bytes | NDArray[np.uint8]) -> None:
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
        self._range(address, len(array))
        self.memory[address : address + len(array)] = array

    def run(self, cycles: int) -> bool:
        """Simulates until the interrupt pin is high (True), or `cycles` cycles (False)."""
        return self._check(self._library.sim_run(self._open(), cycles)) == 1

    def wait(self) -> bool:
        """As `run`, of `chunk` cycles; an interrupt from the keyboard is heard between slices of it."""
        return any(self.run(min(_SLICE, self.chunk - start)) for start in range(0, self.chunk, _SLICE))

    def send(self, data: bytes) -> None:
        """To the device over its link: bytes of a serial line, or one datagram. They go on their way with `serve`."""
        self._library.sim_send(self._open(), data, len(data))

    def receive(self) -> bytes:
        """What has come from the device over its link: bytes, or one datagram; nothing if nothing has."""
        buffer = ctypes.create_string_buffer(_RECEIVE_BYTES)
        size = self._library.sim_receive(self._open(), buffer, _RECEIVE_BYTES)
        return buffer.raw[:size]

    def serve(self, cycles: int) -> bool:
        """Simulates until there is something to `receive` (True), or `cycles` cycles (False)."""
        return self._check(self._library.sim_serve(self._open(), cycles)) == 1

    def pace(self, cycles: int) -> None:
        """Cycles per bit of the serial line, or per byte of a datagram."""
        self._library.sim_period(self._open(), cycles)

    def core_clock(self, ratio: Fraction) -> None:
        """The clock of ``core_clk`` over that of ``clk``, whose cycles are all others here."""
        self._library.sim_core_clock(self._open(), ratio.denominator, ratio.numerator)

    @property
    def link_idle(self) -> bool:
        """Nothing is on its way over the link."""
        return bool(self._library.sim_link_idle(self._open()))

    @property
    def cycle(self) -> int:
        """Cycles simulated so far."""
        return int(self._library.sim_cycle(self._open()))

    @property
    def statistics(self) -> Statistics:
        values = self._library.sim_statistics(self._open())
        return Statistics(*(int(values[i]) for i in range(len(_STATISTICS))))

    def _events(self) -> NDArray[np.void]:
        pointer = ctypes.c_void_p()
        count = self._library.sim_events(self._open(), ctypes.byref(pointer))
        if not count:
            return np.zeros(0, _EVENT)
        raw = (ctypes.c_uint8 * (count * _EVENT.itemsize)).from_address(pointer.value or 0)
        return np.frombuffer(raw, _EVENT).copy()

    def events(self) -> list[Event]:
        """Everything the trace pins told since `clear_trace`, in order."""
        return [Event(Engine(int(e["engine"])), EVENTS[e["kind"]], int(e["cycle"])) for e in self._events()]

    def intervals(self) -> list[list[tuple[int, int]]]:
        """Per engine, (cycle of start, cycle of retirement) of the instructions that retired, in program order."""
        events, pairs = self._events(), []
        for engine in Engine:
            own = events[events["engine"] == engine]
            edges = [own["cycle"][own["kind"] == EVENTS.index(kind)].tolist() for kind in ("started", "retired")]
            pairs.append(list(zip(edges[0], edges[1], strict=False)))
        return pairs

    def states(self) -> list[NDArray[np.int64]]:
        """Per engine, rows (cycle, 0 busy | 1 wait_in | 2 wait_out | 3 idle): every change, with `log_states`."""
        events, first = self._events(), EVENTS.index("busy")
        result = []
        for engine in Engine:
            own = events[(events["engine"] == engine) & (events["kind"] >= first)]
            result.append(np.stack([own["cycle"].astype(np.int64), own["kind"].astype(np.int64) - first], axis=1))
        return result

    def changes(self) -> Counter[tuple[str, int, str]]:
        """With `coverage`, how often each bit of each named signal rose (``0->1``) and fell (``1->0``).

        By signal, bit and direction, of all that was simulated since this was made, changes within a cycle included.
        """
        with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
            path = Path(folder, "coverage.dat")
            self._library.sim_coverage(self._open(), os.fsencode(path))
            text = path.read_text(encoding="latin-1")
        found = Counter[tuple[str, int, str]]()
        for name, bit, direction, count in _CHANGE.findall(text):
            plain = _LETTER.sub(lambda letter: chr(int(letter[1], 16)), name)
            found[plain, int(bit or 0), direction] += int(count)
        return found

    def clear_trace(self) -> None:
        self._library.sim_clear_events(self._open())

    def close(self) -> None:
        if self._handle is not None:
            self.memory = np.zeros(0, np.uint8)  # the mapping goes away with the library's object
            self._library.sim_close(self._handle)
            self._handle = None

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._handle is None:
            raise TransportError("the simulation is closed")
        return self._handle

    def _check(self, status: int) -> int:
        if status < 0:
            raise TransportError(self._library.sim_error(self._open()).decode())
        return status

    def _range(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.memory_size:
            raise TransportError(
                f"{size} bytes at {address:#x} lie outside the device memory of {self.memory_size:#x} bytes"
            )
