"""Estimated clock of a mapped 7-series netlist: its longest paths between registers.

Routing is guessed from how many cells a net drives and from how many units of the hierarchy it touches. docs/timing.md
says what the guess was fitted to, and how far it is off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

__all__ = ["Path", "Step", "TimingError", "longest_paths"]

# Nanoseconds at speed grade -1, rounded. A comparison of designs, not the vendor's model: nothing is placed here.
_LUT, _MUX = 0.13, 0.24
_CARRY_STAGE, _CARRY_IN, _CARRY_OUT = 0.12, 0.40, 0.35  # CI to CO; S or DI to CO or O; CI to O
_NET, _NET_LOADS, _NET_UNITS = 0.59, 0.06, 0.14  # of a net; more for each doubling of its loads, and of its units
_CLOCK_TO_OUTPUT = {"FD": 0.46, "SRL": 1.5, "RAMB": 2.46, "RAM": 1.3, "DSP48E1": 0.44}
_REGISTERED_RAMB = 0.89  # with its output register
_SETUP = {
    "FD": {"D": 0.07, "CE": 0.2, "R": 0.43, "S": 0.43, "CLR": 0.43, "PRE": 0.43},
    "SRL": {"D": 0.2, "CE": 0.4},
    "RAMB": {"ADDR": 0.57, "WE": 0.53, "EN": 0.44, "DI": 0.44, "REGCE": 0.4, "RST": 0.4},
    "RAM": {"DI": 0.25, "D": 0.25, "WE": 0.45, "ADDRD": 0.3, "A": 0.3},
}
_DSP_REGISTERS = {"A": "AREG", "B": "BREG", "C": "CREG", "D": "DREG"}
_DSP_SETUP, _DSP_CASCADE, _DSP_CONTROL, _DSP_ADD, _DSP_MULTIPLY = 0.35, 1.3, 1.6, 1.7, 3.5
_LOGIC = ("LUT", "MUXF", "INV", "CARRY4")
_CASCADES = ("PCIN", "ACIN", "BCIN", "CARRYCASCIN", "MULTSIGNIN")


class TimingError(ValueError):
    """A netlist that cannot be read; the message names the cell."""


@dataclass(frozen=True)
class Step:
    """A signal of a path: when it is valid in ns after the clock's edge, what drives it, and how many it drives.

    ``units`` counts the units among which its driver and its loads are.
    """

    at: float
    cell: str
    signal: str
    loads: int
    units: int


@dataclass(frozen=True)
class Path:
    """From a register's output to an input that the next edge captures; `nanoseconds` includes the setup time."""

    nanoseconds: float
    start: str
    end: str
    steps: tuple[Step, ...]


def longest_paths(netlist: Mapping[str, Any], top: str, count: int = 10) -> list[Path]:
    """The longest paths of module `top` of a yosys JSON netlist, longest first, one per pair of registers.

    Registers whose names differ only in numbers count as one. Paths that begin or end at ports are left out: what is
    around the design is unknown. Raises TimingError for a cell that is not a 7-series primitive as yosys maps to them.
    """
    return _Analysis(netlist["modules"][top]).longest(count)


class _Analysis:
    def __init__(self, module: Mapping[str, Any]) -> None:
        self._cells: Mapping[str, Any] = module["cells"]
        self._names = _signal_names(module["netnames"])
        self._loads: dict[int, list[str]] = {}  # bit -> cells, one for each input
        self._driver: dict[int, tuple[str, str]] = {}  # bit -> cell, port
        self._launch: dict[int, float] = {}
        self._arcs: dict[int, list[tuple[int, float, str]]] = {}  # output bit -> (input bit, delay, input port)
        self._captures: list[tuple[int, float, str, str]] = []  # bit, setup, cell, port
        for name, cell in self._cells.items():
            for _, bit in _bits(cell, "input"):
                self._loads.setdefault(bit, []).append(name)
            for port, bit in _bits(cell, "output"):
                self._driver[bit] = name, port
            self._model(name, cell)
        self._units = self._places()
        # bit -> when, and the bit before it on the path; None: it comes from a port or a constant only
        self._arrival: dict[int, tuple[float, int | None] | None] = {}
        self._reached: dict[int, int] = {}

    def longest(self, count: int) -> list[Path]:
        ends = []
        for bit, setup, name, port in self._captures:
            if arrival := self._arrive(bit):
                ends.append((arrival[0] + self._wire(bit, name, port) + setup, bit, name, port))
        ends.sort(key=lambda end: (-end[0], end[2:]))
        paths: list[Path] = []
        seen: set[tuple[str, ...]] = set()
        for total, bit, name, port in ends:
            path = self._path(total, bit, name, port)
            kind = tuple(re.sub(r"\d+", "#", text) for text in (path.start, path.end))
            if kind not in seen:
                seen.add(kind)
                paths.append(path)
            if len(paths) == count:
                break
        return paths

    def _path(self, total: float, bit: int, name: str, port: str) -> Path:
        steps: list[Step] = []
        at: int | None = bit
        while at is not None:
            when, before = self._arrive(at) or (0.0, None)
            cell = self._cells[self._driver[at][0]]["type"]
            steps.append(Step(round(when, 2), cell, self._name(at), len(self._loads[at]), self._reach(at)))
            at = before
        outputs = [out for _, out in _bits(self._cells[name], "output")]
        end = _word(self._name(outputs[0])) if self._cells[name]["type"].startswith("FD") else name
        return Path(round(total, 2), _word(steps[-1].signal), f"{end}.{port}", tuple(reversed(steps)))

    def _name(self, bit: int) -> str:
        return self._names.get(bit, "?")

    def _places(self) -> dict[str, str]:
        """The unit of each cell.

        Registers, memories and multipliers are in the one that their name tells. Logic, whose names the mapper makes,
        is where most of its loads are: a placer pulls it there.
        """
        units: dict[str, str] = {}
        for name in self._cells:
            stack = [name]
            while stack:
                at = stack[-1]
                outputs = [bit for _, bit in _bits(self._cells[at], "output")]
                if not self._cells[at]["type"].startswith(_LOGIC):
                    written = self._name(outputs[0]) if at.startswith("$") and outputs else at
                    units[at] = written.rpartition(".")[0]
                elif missing := [load for bit in outputs for load in self._loads.get(bit, ()) if load not in units]:
                    stack += missing
                    continue
                else:
                    found = Counter(units[load] for bit in outputs for load in self._loads.get(bit, ()))
                    units[at] = min(found, key=lambda unit: (-found[unit], unit), default="")
                stack.pop()
        return units

    def _reach(self, bit: int) -> int:
        """Units that the net touches."""
        if bit not in self._reached:
            cells = [*self._loads[bit], *([self._driver[bit][0]] if bit in self._driver else [])]
            self._reached[bit] = len({self._units[cell] for cell in cells})
        return self._reached[bit]

    def _arrive(self, bit: int) -> tuple[float, int | None] | None:
        """When `bit` is valid; a mapped design has no loops of wires."""
        stack = [bit]
        while stack:
            at = stack[-1]
            missing = [i for i, _, _ in self._arcs.get(at, ()) if i not in self._arrival]
            if missing and at not in self._arrival:
                stack += missing
                continue
            stack.pop()
            found: list[tuple[float, int | None]] = [(self._launch[at], None)] if at in self._launch else []
            for i, delay, port in self._arcs.get(at, ()):
                before = self._arrival[i]
                if before:
                    found.append((before[0] + self._wire(i, self._driver[at][0], port) + delay, i))
            self._arrival[at] = max(found, key=lambda item: item[0], default=None)
        return self._arrival[bit]

    def _wire(self, bit: int, name: str, port: str) -> float:
        """Routing from the driver of `bit` to `port` of cell `name`."""
        driver, output = self._driver.get(bit, ("", ""))
        source = self._cells[driver]["type"] if driver else ""
        sink = self._cells[name]["type"]
        if sink.startswith("MUXF") and port != "S":
            return 0.0
        if port in _CASCADES or (source, output, port) == ("CARRY4", "CO", "CI"):
            return 0.0
        loads = len(self._loads[bit])
        alone = loads == 1
        if alone and (
            (sink == "CARRY4" and source.startswith("LUT"))
            or (sink.startswith("FD") and port == "D" and source.startswith(("LUT", "MUXF", "CARRY4")))
        ):
            return 0.1  # in the same slice
        return _NET + _NET_LOADS * log2(loads) + _NET_UNITS * log2(self._reach(bit))

    def _model(self, name: str, cell: Mapping[str, Any]) -> None:
        kind = cell["type"]
        inputs, outputs = list(_bits(cell, "input")), list(_bits(cell, "output"))
        if kind.startswith(_LOGIC) and kind != "CARRY4":
            delay = _MUX if kind.startswith("MUXF") else _LUT
            self._through(inputs, outputs, lambda *_: delay)
        elif kind == "CARRY4":
            self._through(inputs, outputs, _carry)
        elif kind.startswith("DSP48"):
            self._dsp(name, cell, inputs, outputs)
        elif family := next((f for f in _CLOCK_TO_OUTPUT if kind.startswith(f)), None):
            registered = any(str(cell["parameters"].get(f"DO{side}_REG", "0")).endswith("1") for side in "AB")
            launch = _REGISTERED_RAMB if family == "RAMB" and registered else _CLOCK_TO_OUTPUT[family]
            self._launch |= {bit: launch for _, bit in outputs}
            for port, bit in inputs:
                setup = next((s for p, s in _SETUP[family].items() if port.startswith(p)), None)
                if setup is not None:
                    self._captures.append((bit, setup, name, port))
            if family in ("SRL", "RAM"):  # reading is combinational
                self._through([(p, b) for p, b in inputs if p.startswith(("A", "DPRA"))], outputs, _read)
        elif kind not in ("BUFG", "IBUF", "OBUF", "GND", "VCC"):
            raise TimingError(f"no delays are known for cell {name} of type {kind}")

    def _through(self, inputs: Any, outputs: Any, delay: Any) -> None:
        for out, output in outputs:
            for port, bit in inputs:
                ns = delay(port, out)
                if ns is not None:
                    self._arcs.setdefault(output, []).append((bit, ns, port))

    def _dsp(self, name: str, cell: Mapping[str, Any], inputs: Any, outputs: Any) -> None:
        def has(register: str) -> bool:
            return int(str(cell["parameters"].get(register, "0")), 2) > 0

        late = 0.0 if has("PREG") else _DSP_ADD + (0.0 if has("MREG") else _DSP_MULTIPLY - _DSP_ADD)
        self._launch |= {bit: _CLOCK_TO_OUTPUT["DSP48E1"] + late for _, bit in outputs}
        for port, bit in inputs:
            register = _DSP_REGISTERS.get(port)
            if port == "CLK":
                continue
            if port in _CASCADES:
                setup = _DSP_CASCADE
            elif register and not has(register):
                setup = _DSP_ADD if port in "CD" else _DSP_MULTIPLY - (_DSP_ADD if has("MREG") else 0)
            else:
                setup = _DSP_CONTROL if port in ("OPMODE", "ALUMODE", "CARRYIN") else _DSP_SETUP
            self._captures.append((bit, setup, name, port))


def _carry(port: str, out: str) -> float:
    if port in ("CI", "CYINIT"):
        return _CARRY_STAGE if out == "CO" else _CARRY_OUT
    return _CARRY_IN


def _read(port: str, out: str) -> float | None:
    """Of a RAM's address: port D of RAM32M reads at ADDRD, the first port of a dual-port RAM at A."""
    if port.startswith("ADDR"):
        return _LUT if out == "DO" + port[4:] else None
    return _LUT if out.startswith("DPO") == port.startswith("DPRA") else None


def _bits(cell: Mapping[str, Any], direction: str) -> Iterator[tuple[str, int]]:
    """Ports and the wires on them, constants left out."""
    for port, bits in cell["connections"].items():
        if cell["port_directions"][port] == direction:
            yield from ((port, bit) for bit in bits if isinstance(bit, int))


def _signal_names(nets: Mapping[str, Any]) -> dict[int, str]:
    """The shortest name of each wire that somebody wrote, else one that yosys made."""
    names: dict[int, str] = {}
    for name, net in nets.items():
        for k, bit in enumerate(net["bits"]):
            text = f"{name}[{k}]" if len(net["bits"]) > 1 else name
            if isinstance(bit, int) and (bit not in names or _rank(text) < _rank(names[bit])):
                names[bit] = text
    return names


def _rank(name: str) -> tuple[bool, int]:
    return "$" in name, len(name)


def _word(signal: str) -> str:
    return re.sub(r"\[\d+\]$", "", signal)
