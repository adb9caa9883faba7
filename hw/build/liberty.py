"""Cell libraries: what Liberty files say of areas, gates and memory macros, and how yosys maps to them.

A gate equivalent (GE) is the library's smallest two-input NAND. Of the format (Liberty User Guide, Synopsys) only what
these need is looked at: each cell's area, the functions of its outputs, whether it is a flip-flop, its `memory` group.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from firmware.errors import UserError
from firmware.files import write
from hw.boards.fabric import Family

__all__ = ["CONSTRAINTS", "NETLIST", "Library", "Macro", "family", "read", "tiled"]

CONSTRAINTS = "cells.constr"  # what drives inputs, for abc
NETLIST = "mapped.v"

_CELL = re.compile(r'\bcell\s*\(\s*"?([\w.$\[\]]+)"?\s*\)\s*\{')
_AREA = re.compile(r'\barea\s*:\s*"?([\d.eE+-]+)')
_FUNCTION = re.compile(r'\bfunction\s*:\s*"([^"]*)"')
_STATE = re.compile(r"\b(?:ff|latch|ff_bank|latch_bank|statetable)\s*\(")
_MEMORY = re.compile(r"\bmemory\s*\(\s*\)\s*\{([^}]*)\}")
_PORT = re.compile(r"\bmemory_(read|write)\s*\(\s*\)\s*\{[^}]*?\baddress\s*:\s*\"?([\w.]+)")
_BUS = re.compile(r"\bbus_type\s*:\s*\"?(\w+)")
_TIME = re.compile(r'\btime_unit\s*:\s*"\s*1\s*([pn]s)"')
_TOKEN = re.compile(r"[\w.\[\]]+|[!'&*|+^()]")


@dataclass(frozen=True)
class Macro:
    """A memory with a read and a write port of their own."""

    name: str
    words: int
    bits: int
    masked: bool  # bits can be written one by one
    area: float


@dataclass(frozen=True)
class Library:
    """Liberty files of one process."""

    names: tuple[str, ...]  # of the user's files
    texts: Mapping[str, str] = field(repr=False)  # of those with gates, by their names in a build's directory
    nand2: float  # area
    buffer: str
    time_unit: str  # "ps" or "ns"
    timed: bool  # the cells have tables of delays
    macros: tuple[Macro, ...]

    def put(self, directory: Path) -> None:
        """Copies the files to where yosys, which sees only its working directory, finds them."""
        for name, text in self.texts.items():
            write(directory / name, text)
        write(directory / CONSTRAINTS, f"set_driving_cell {self.buffer}\nset_load 0\n")


def read(paths: Sequence[Path]) -> Library:
    """Reads Liberty files, gzipped or not; raises UserError for what cannot be mapped to."""
    gates: dict[str, tuple[float, str]] = {}  # truth table -> the smallest cell that has it
    names, macros, texts, unit, flops = [], list[Macro](), dict[str, str](), "", False
    for path in paths:
        text = _text(path)
        names.append(path.name)
        cells = list(_cells(text))
        if not cells:
            raise UserError(f"--liberty wants cells, and {path} has none")
        found = [macro for name, body in cells if (macro := _macro(name, body))]
        macros += found
        if any(_MEMORY.search(body) for _, body in cells):
            continue
        unit = unit or (match[1] if (match := _TIME.search(text)) else "ns")
        for name, body in cells:
            functions = _FUNCTION.findall(body)
            if _STATE.search(body):
                flops = flops or bool(re.search(r"\bff\s*\(", body))
            elif len(functions) == 1 and (area := _AREA.search(body)):
                table = _table(functions[0])
                gates[table] = min(gates.get(table, (float("inf"), "")), (float(area[1]), name))
        texts[f"cells{len(texts)}.lib"] = text
    given, timed = ", ".join(names), all(re.search(r"\bcell_rise\b", text) for text in texts.values())
    if not flops:
        raise UserError(f"--liberty wants a library with flip-flops, and {given} has none")
    for what, table in (("a two-input NAND", "1110"), ("a buffer", "01")):
        if table not in gates:
            raise UserError(f"--liberty wants a library with {what}, and {given} has none")
    return Library(tuple(names), texts, gates["1110"][0], gates["01"][1], unit, timed, tuple(macros))


def family(library: Library, is_macro: Callable[[str], bool], *, period: float) -> Family:
    """How yosys maps to `library` for a clock of `period` ns; cells that `is_macro` knows are memories without an area.

    Leaves the whole design as a netlist of cells in `NETLIST`.
    """
    given = "".join(f" -liberty {name}" for name in library.texts)
    mapping = " -script +strash;dc2;&get,-n;&nf;&put"
    if library.timed:
        mapping += ";buffer,-N,16;topo;upsize,{{D}};dnsize,{{D}}"
        mapping += f" -constr {CONSTRAINTS} -D {round(1000 * period)}"
    return Family(
        columns={"area": "area", "cell": "cells", "macro": "SRAM macros"},
        # abc's own scripts sweep by SAT, for which wide multipliers take hours
        commands=f"""\
synth -top {{top}} -flatten -noabc
dfflibmap{given}
abc{given}{mapping}
opt_clean
""",
        resource=lambda cell: ("macro", 1) if is_macro(cell) else None if cell.startswith("$") else ("cell", 1),
        libraries=tuple(library.texts),
        netlist=NETLIST,
    )


def tiled(macros: Iterable[Macro], words: int, bits: int, *, masked: bool) -> tuple[int, Macro] | None:
    """How many of which macro make a memory of `words` x `bits` in the least area; None if none has what it takes."""
    found = [
        (-(-words // macro.words) * -(-bits // macro.bits), macro)
        for macro in macros
        if macro.masked or not masked
    ]  # fmt: skip
    return min(found, key=lambda pair: pair[0] * pair[1].area, default=None)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        text = raw.decode()
    except IsADirectoryError:
        raise UserError(f"--liberty wants files, and {path} is a directory") from None
    except FileNotFoundError:
        raise UserError(f"--liberty wants a file, and there is no {path}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a whole Liberty file: {error}") from None
    if not re.search(r"\blibrary\s*\(", text):
        raise UserError(f"{path} is not a Liberty file: it has no library")
    return text


def _cells(text: str) -> Iterable[tuple[str, str]]:
    """Names and what follows up to the next cell."""
    starts = list(_CELL.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)] * bool(starts)
    for start, end in zip(starts, ends, strict=True):
        yield start[1], text[start.end() : end]


def _macro(name: str, body: str) -> Macro | None:
    """A memory that can be read and written at once; those of one port are of no use here."""
    memory, area = _MEMORY.search(body), _AREA.search(body)
    if not memory or not area:
        return None
    sizes = {key: int(value) for key, value in re.findall(r"(\w+)\s*:\s*(\d+)", memory[1])}
    reads, writes = ({address for kind, address in _PORT.findall(body) if kind == which} for which in ("read", "write"))
    if len(reads) < 2 and not (reads - writes and writes - reads):
        return None
    buses = Counter(_BUS.findall(body))
    masked = bool(buses) and buses.most_common(1)[0][1] > len(_PORT.findall(body))  # as wide as data, but no data
    return Macro(name, 1 << sizes["address_width"], sizes["word_width"], masked, float(area[1]))


def _table(function: str) -> str:
    """A function's values: "1110" is NAND. "" if it has more than two variables or cannot be read."""
    tokens = _TOKEN.findall(function)
    variables = sorted({token for token in tokens if re.match(r"\w", token) and token not in {"0", "1"}})
    if len(variables) > 2 or not variables:
        return ""
    try:
        inputs = product((False, True), repeat=len(variables))
        return "".join(str(int(_value(tokens, dict(zip(variables, values, strict=True))))) for values in inputs)
    except IndexError:
        return ""


def _value(tokens: list[str], values: dict[str, bool]) -> bool:
    """Evaluates an expression: ! or ' negate, & or * or nothing is and, ^ exclusive or, | or + or; in that order."""
    left = [*reversed(tokens)]

    def factor() -> bool:
        token = left.pop()
        if token == "!":
            return not factor()
        found = either() if token == "(" else values.get(token, token == "1")
        if token == "(":
            left.pop()
        while left and left[-1] == "'":
            left.pop()
            found = not found
        return found

    def both() -> bool:
        found = factor()
        while left and left[-1] not in "|+^)":
            if left[-1] in "&*":
                left.pop()
            found &= factor()
        return found

    def differ() -> bool:
        found = both()
        while left and left[-1] == "^":
            left.pop()
            found ^= both()
        return found

    def either() -> bool:
        found = differ()
        while left and left[-1] in "|+":
            left.pop()
            found |= differ()
        return found

    return either()
