"""A run as a trace for Perfetto or chrome://tracing: who executed what, when, and when it moved data or waited.

One cycle is shown as one microsecond. Every engine has a track of its instructions from issue to retirement (more than
one where they overlap), named after the model's layer; a track of its waits, for the results of other instructions and,
if the device recorded states, for data and room; and a counter of the share of cycles it was busy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firmware.planner.program import Program
from firmware.profile import Interval
from hw.spec.isa import Engine, engine_of

__all__ = ["STATES", "States", "build_trace", "busy_share", "check_intervals", "tracks", "waits", "write_trace"]

STATES = ("busy", "wait_in", "wait_out", "idle")
States = Sequence[NDArray[np.int64]]
"""Per engine, rows (cycle, index in STATES): what it does from that cycle on."""

_TRACKS = 16  # track numbers kept for one engine
_WAITS = _TRACKS - 1  # the last one shows waits
_LONG = 32  # cycles: shorter waits are in the counters only
_POINTS = 2000  # of every counter


def build_trace(
    program: Program, intervals: Sequence[Sequence[Interval]], states: States | None = None, *, runs: int = 1
) -> dict[str, Any]:
    """Trace events of `runs` runs of `program`, in the Trace Event format.

    Raises ValueError when `intervals` does not hold exactly their instructions.
    """
    names = _names(program)
    check_intervals({engine: len(names[engine]) for engine in Engine}, intervals, runs)
    events: list[dict[str, Any]] = [_named("process_name", 0, f"{program.model.name} on {program.config.rows}"
                                           f"x{program.config.cols} array")]  # fmt: skip
    stop = 0
    for engine in Engine:
        spans = intervals[engine]
        stop = max([stop, *(end + 1 for _, end in spans)])
        events += _instructions(engine, spans, names[engine])
        events.append(_named("thread_name", _track(engine, _WAITS), f"{engine.name} waits"))
    events += _dependencies(program, intervals, names, runs)
    if states is not None:
        begin = min((spans[0][0] for spans in intervals if spans), default=0)
        for engine in Engine:
            events += _waits(engine, states[engine], stop)
            events += _counter(engine, states[engine], begin, stop)
    return {
        "displayTimeUnit": "ms",
        "otherData": {"unit": "1 us shown is 1 clock cycle", "model": program.model.name, "images": program.images},
        "traceEvents": events,
    }


def check_intervals(counts: Mapping[Engine, int], intervals: Sequence[Sequence[Interval]], runs: int) -> None:
    """Raises ValueError unless `intervals` has those of `runs` runs of that many instructions for each engine."""
    for engine in Engine:
        found, wanted = len(intervals[engine]), runs * counts[engine]
        if found != wanted:
            raise ValueError(f"{engine.name} has {found} intervals for {wanted} instructions")


def _names(program: Program) -> dict[Engine, list[tuple[str, dict[str, Any]]]]:
    """Per engine, in its order: layer and operation, and what is worth knowing of an instruction."""
    layers = {
        (engine, ordinal): layer.name
        for layer in program.layers
        for engine, ordinals in layer.instructions.items()
        for ordinal in ordinals
    }
    result: dict[Engine, list[tuple[str, dict[str, Any]]]] = {engine: [] for engine in Engine}
    for index, instruction in enumerate(program.disassemble()):
        engine = engine_of(instruction.op)
        if engine is None:
            continue
        layer = layers.get((engine, len(result[engine])), "")
        waits = {f"wait {other.name}": count for other, count in instruction.waits.items()}
        arguments = {"index": index, "layer": layer, "op": instruction.op.name, **instruction.operands, **waits}
        result[engine].append((f"{layer} {instruction.op.name}".strip(), arguments))
    return result


def _instructions(
    engine: Engine, spans: Sequence[Interval], names: Sequence[tuple[str, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    named = 0
    for number, ((start, end), track) in enumerate(zip(spans, tracks(spans), strict=True)):
        if track == named:
            named += 1
            yield _named("thread_name", _track(engine, track), engine.name + (f" ({track + 1})" if track else ""))
        name, arguments = names[number % len(names)]
        yield {
            "ph": "X", "pid": 0, "tid": _track(engine, track), "ts": start, "dur": end + 1 - start, "name": name,
            "cat": engine.name, "args": arguments,
        }  # fmt: skip


def tracks(spans: Sequence[Interval]) -> list[int]:
    """A number for each interval: those that overlap have different ones, first fit."""
    ends: list[int] = []
    found = []
    for start, end in spans:
        track = next((t for t, last in enumerate(ends) if last <= start), len(ends))
        ends[track : track + 1] = [end + 1]
        found.append(track)
    return found


def waits(states: NDArray[np.int64], stop: int) -> list[tuple[int, int, str]]:
    """(start, end, state) of every interval in which the engine had work but did not move data."""
    ends = np.append(states[1:, 0], stop) if len(states) else np.zeros(0, np.int64)
    return [
        (int(start), int(end), STATES[kind])
        for (start, kind), end in zip(states, ends, strict=True)
        if STATES[kind].startswith("wait") and end > start
    ]


def _waits(engine: Engine, states: NDArray[np.int64], stop: int) -> Iterator[dict[str, Any]]:
    texts = {"wait_in": "waits for input", "wait_out": "waits for room"}
    for start, end, state in waits(states, stop):
        if end - start >= _LONG:
            yield _wait(engine, start, end, texts[state])


def _wait(engine: Engine, start: int, end: int, name: str) -> dict[str, Any]:
    return {
        "ph": "X", "pid": 0, "tid": _track(engine, _WAITS), "ts": start, "dur": end - start, "name": name,
        "cat": "wait",
    }  # fmt: skip


def _dependencies(
    program: Program, intervals: Sequence[Sequence[Interval]], names: dict[Engine, list[tuple[str, dict[str, Any]]]],
    runs: int,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Times in which an engine had nothing started, named after the result its next instruction waited for last."""
    position = dict.fromkeys(Engine, 0)  # in all runs
    free = dict.fromkeys(Engine, 0)  # cycle after the last retirement so far
    for _ in range(runs):
        base = dict(position)
        for instruction in program.disassemble():
            engine = engine_of(instruction.op)
            if engine is None:
                base = dict(position)  # SYNC and HALT: counters restart
                continue
            start, end = intervals[engine][position[engine]]
            if start - free[engine] >= _LONG and position[engine]:
                last = [(intervals[e][base[e] + n - 1][1], e, base[e] + n - 1) for e, n in instruction.waits.items()]
                done, other, ordinal = max(last, default=(0, engine, 0))
                if done > free[engine]:
                    yield _wait(
                        engine, free[engine], start, f"waits for {names[other][ordinal % len(names[other])][0]}"
                    )
            free[engine] = max(free[engine], end + 1)
            position[engine] += 1


def busy_share(states: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of busy cycles between consecutive `edges`."""
    if not len(states):
        return np.zeros(len(edges) - 1)
    cycles, busy = states[:, 0], states[:, 1] == STATES.index("busy")
    sums = np.concatenate([[0], np.cumsum(np.diff(cycles) * busy[:-1])])  # busy cycles before each change
    at = np.searchsorted(cycles, edges, side="right") - 1
    inside = np.maximum(at, 0)
    total = sums[inside] + (edges - cycles[inside]) * busy[inside] * (at >= 0)
    return np.diff(total) / np.diff(edges)


def _counter(engine: Engine, states: NDArray[np.int64], start: int, stop: int) -> Iterator[dict[str, Any]]:
    edges = np.unique(np.linspace(start, stop, _POINTS + 1).astype(np.int64))
    if len(edges) < 2:
        return
    for at, share in zip(edges, busy_share(states, edges), strict=False):
        yield {
            "ph": "C", "pid": 0, "ts": int(at), "name": f"{engine.name} busy %",
            "args": {"busy": round(100 * float(share), 1)},
        }  # fmt: skip


def _track(engine: Engine, number: int) -> int:
    return engine * _TRACKS + min(number, _WAITS - 1 if number != _WAITS else _WAITS)


def _named(kind: str, track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": 0, "tid": track, "name": kind, "args": {"name": name}}


def write_trace(trace: dict[str, Any], file: BinaryIO) -> None:
    """Writes the trace as JSON, without spaces: whole networks have tens of thousands of events."""
    for part in json.JSONEncoder(separators=(",", ":")).iterencode(trace):
        file.write(part.encode())
    file.write(b"\n")
