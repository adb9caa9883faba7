"""Programs on the gateware against the machine model: legal and mutated, hostile memories, SLVERR and RESET anywhere.

The memory keeps to AXI4 and is as unkind as that allows: any latency, stalls on every channel, bursts of different ids
out of order, their beats mixed, one burst at a time or sixteen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.trust.campaign import Campaign, Unexplained, expect
from bench.trust.cover import points_of
from hw.boards.registry import BOARDS
from hw.spec.config import Config
from hw.spec.isa import INSTRUCTION_BYTES, OPCODE_BITS, OPERANDS, Engine, Fault, Instruction, Op, Region, decode, encode
from hw.spec.regs import Control, State
from hw.spec.vector import unit_names
from hw.units.square_root import FACTOR_BITS
from sim.machine import Machine, MachineFault
from sim.random_programs import Generated, random_program
from sim.rig import BASES, PROGRAM, Rig

__all__ = ["CONFIGS", "Programs", "mutated", "predicted"]

_TINY = BOARDS["tiny"].config
CONFIGS = {
    "tiny": _TINY,
    "2 slices": replace(_TINY, slices=2),
    "3 slices": replace(_TINY, slices=3, small_products="lut"),
    "rivals": replace(_TINY, vector=unit_names()),
}
_SHARES = (20, 48, 12, 20)
_KINDS = {"legal": 70, "mutated": 14, "slverr": 8, "reset": 8}
_LIMIT = 4_000_000  # cycles in which any program of this size ends on the slowest memory
_LOOK = 50  # cycles
_MOST_MOVED = 40_000  # words that a program's transfers move, so that it ends within the limit
_UNUSED = sorted(set(range(1 << OPCODE_BITS)) - set(map(int, Op)))  # opcodes
_GUARD = 4096  # bytes beyond a region that nothing may touch
_WHO = {
    Region.MODEL: {"LOAD", "FETCH"},
    Region.INPUT: {"LOAD", "FETCH"},
    Region.OUTPUT: {"LOAD", "STORE"},
    Region.WORK: {"LOAD", "STORE"},
}

Ending = tuple[State, Fault, str, int]


def predicted(
    config: Config, program: bytes, regions: Mapping[Region, np.ndarray], leftovers: int | None = None
) -> tuple[Ending, Machine]:
    """How the machine model ends, and the model, whose hazards say whether the gateware has to end alike.

    What nothing wrote before, in scratchpads, statistics and row maxima, is zero, or random by the seed `leftovers`.
    """
    machine = Machine(config, {region: content.copy() for region, content in regions.items()}, check=True)
    if leftovers is not None:
        draw = np.random.default_rng(leftovers)
        for present in machine.slices:
            present.scratch[:] = draw.integers(0, 256, present.scratch.shape)
            present.row_max[:] = draw.integers(-128, 128, present.row_max.shape)
            present.mean[:] = draw.integers(-(1 << 15), 1 << 15, present.mean.shape)
            present.factor[:] = draw.integers(0, 1 << FACTOR_BITS, present.factor.shape)
    try:
        machine.run(program, PROGRAM)
    except MachineFault as fault:
        engine = Engine(fault.engine).name if fault.engine < len(Engine) else "sequencer"
        return (State.FAULT, fault.fault, engine, fault.index), machine
    return (State.DONE, Fault.NONE, "", 0), machine


def mutated(program: bytes, draw: random.Random) -> bytes:
    """With one instruction changed: a bit, an operand, the opcode; or lost, doubled, exchanged; or without an end."""
    size = INSTRUCTION_BYTES
    parts = [program[at : at + size] for at in range(0, len(program), size)]
    at, kind = draw.randrange(len(parts) - 1), draw.randrange(10)
    if kind == 9:
        del parts[-1]
    elif kind == 8:
        parts[at] = bytes([draw.choice(_UNUSED)]) + parts[at][1:]
    elif kind < 3:
        bit = draw.randrange(8 * size)
        parts[at] = (int.from_bytes(parts[at], "little") ^ 1 << bit).to_bytes(size, "little")
    elif kind < 5:
        old = decode(parts[at])
        if not OPERANDS[old.op]:
            return mutated(program, draw)
        field = draw.choice(OPERANDS[old.op])
        most = (1 << field.bits) - 1 + field.count
        value = draw.choice((int(field.count), most, draw.randint(int(field.count), most)))
        parts[at] = encode(old.op, old.waits, **{**old.operands, field.name: value})
    elif kind == 5:
        del parts[at]
    elif kind == 6:
        parts.insert(at, parts[at])
    else:
        parts[at : at + 2] = parts[at + 1], parts[at]
    return b"".join(parts)


class Programs(Campaign):
    """A random program each, on one of four configurations."""

    name, title, counted, goal, block = "programs", "programs on the gateware", "compared word by word", 20_000, 100
    sources = (
        "hw",
        "sim/instructions.py",
        "sim/machine.py",
        "sim/random_programs.py",
        "sim/random_rivals.py",
        "sim/rig.py",
        "bench/trust/programs.py",
    )

    def __init__(self, *, coverage: bool = False) -> None:
        """With `coverage`, on simulations that count every signal's changes (`rigs`)."""
        super().__init__()
        self.rigs: dict[str, Rig] = {}
        self._coverage = coverage

    def close(self) -> None:
        for rig in self.rigs.values():
            rig.sim.close()

    def case(self, seed: int) -> None:
        draw = random.Random(seed)
        name = draw.choices(list(CONFIGS), _SHARES)[0]
        kind = draw.choices(list(_KINDS), list(_KINDS.values()))[0]
        if name not in self.rigs:
            self.rigs[name] = Rig(CONFIGS[name], coverage=self._coverage)
        rig = self.rigs[name]
        self._hostile(rig, draw)
        generated = random_program(rig.config, seed, groups=draw.choice((4, 12, 20, 30)))
        if kind == "legal":
            self._exact(rig, name, generated)
        else:
            getattr(self, f"_{kind}")(rig, generated, draw)
            self._hostile(rig, draw, reset=False)
            self._exact(rig, name, generated)  # nothing of what was is left
        self.counts[f"{name}, {kind}"] += 1

    @staticmethod
    def _hostile(rig: Rig, draw: random.Random, reset: bool = True) -> None:
        """Any memory."""
        few = lambda most: draw.choice((0, 1, draw.randrange(most)))  # ruff: ignore[lambda-assignment]
        rig.sim.configure(
            random=draw.choice((0, draw.randrange(1, 1 << 30))), interleave=draw.randrange(2), error_size=0,
            latency=1 + few(200), write_latency=1 + few(200), row_miss=few(40), turnaround=few(40),
            rate=draw.choice((100, 100, 40, draw.randrange(10, 101))), outstanding=draw.choice((1, 2, 16)),
        )  # fmt: skip
        if reset:
            rig.sim.reset()

    def _exact(self, rig: Rig, name: str, generated: Generated) -> None:
        """The program whole, every word of every region, and nothing beyond them."""
        _load(rig, generated.program, generated.before)
        state = rig.start(_LIMIT)
        expect(state is State.DONE, f"{name}: {state.name} {rig.fault()}, not DONE")
        _equal(rig, generated.after)
        self.counts["compared word by word"] += 1
        self.counts["of slices"] += rig.config.slices > 1
        self.counts.update(points_of(generated.program, rig.config))

    def _mutated(self, rig: Rig, generated: Generated, draw: random.Random) -> None:
        """The same end as the model's, fault and place included, unless a hazard leaves it to chance."""
        program = mutated(generated.program, draw)
        while _moved(program) > _MOST_MOVED:
            program = mutated(generated.program, draw)
        wanted, machine = predicted(rig.config, program, generated.before)
        other, others = predicted(rig.config, program, generated.before, leftovers=1)
        _load(rig, program, generated.before)
        found = _ending(rig)
        same = all((machine.regions[region] == others.regions[region]).all() for region in Region)
        if machine.hazards or other != wanted or not same:
            _untouched(rig)
            self.counts[f"mutated, {'order' if machine.hazards else 'what nothing wrote'} left to chance"] += 1
            return
        both = {Fault.REGION_ADDRESS, Fault.SCRATCH_ADDRESS}
        if {found[1], wanted[1]} == both and _leaves_both(rig, program, wanted[3]):
            wanted = (wanted[0], found[1], *wanted[2:])  # whichever it met first
        expect(found == wanted, f"{_words(found)}, not {_words(wanted)}")
        self.counts["mutated, same end"] += 1
        if wanted[0] is State.DONE:
            _equal(rig, machine.regions)
            self.counts["compared word by word"] += 1
            self.counts["of slices"] += rig.config.slices > 1
        else:
            _untouched(rig)
            self.counts[f"cover fault: {wanted[1].name} {wanted[2]}"] += 1

    def _slverr(self, rig: Rig, generated: Generated, draw: random.Random) -> None:
        """FAULT, by an engine that uses the region, exactly if a word of the program's is there."""
        word, code = rig.config.word_bytes, generated.program
        region = draw.choice((*Region, None))
        size = len(code) if region is None else generated.before[region].size
        at, length = draw.randrange(size), draw.choice((1, word, 4096, draw.randrange(1, 20_000)))
        length = min(length, size - at)
        if region is None:
            hit, who = True, {"sequencer"}
        else:
            hit = bool(generated.touched[region][at // word : -(-(at + length) // word)].any())
            who = _WHO[region]
        _load(rig, code, generated.before)
        rig.sim.configure(error_base=(PROGRAM if region is None else BASES[region]) + at, error_size=length)
        state, fault, engine, index = _ending(rig)
        rig.sim.configure(error_size=0)
        where = "the program" if region is None else region.name
        found = _words((state, fault, engine, index))
        expect((state is State.FAULT) == hit, f"{found} where {where} answers errors, touched: {hit}")
        self.counts["SLVERR, touched" if hit else "SLVERR, not touched"] += 1
        if not hit:
            return _equal(rig, generated.after)
        wanted = Fault.BUS_WRITE if engine == "STORE" else Fault.BUS_READ
        expect(engine in who and fault is wanted, f"{found} where {where} answers errors")
        if region is not None:
            named = decode(code[index * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES])
            expect(named.operands.get("region") == region, f"{found} where {where} answers errors: that is {named}")
        else:
            expect(
                at // INSTRUCTION_BYTES <= index <= (at + length) // INSTRUCTION_BYTES, f"{found} for bytes from {at}"
            )
        self.counts[f"cover fault: {fault.name} {engine}"] += 1
        return None

    def _reset(self, rig: Rig, generated: Generated, draw: random.Random) -> None:
        """By the register or the pin, in any cycle, then another program's start and reset, sometimes."""
        for _ in range(draw.choice((1, 1, 2))):
            _load(rig, generated.program, generated.before)
            rig.sim.clear_trace()
            rig.write(control=Control.START)
            if draw.random() < 0.5:
                rig.sim.run(draw.randrange(1, draw.choice((100, 2000, 40_000))))
            else:
                _until(rig, draw.choice(list(Engine)), draw.randrange(20))
                rig.sim.run(draw.randrange(1, 100))
            for engine in _executing(rig):
                self.counts[f"cover reset: while {engine.name} executes"] += 1
            if draw.random() < 0.4:
                rig.sim.reset()
                self.counts["resets by the pin"] += 1
            else:
                rig.write(control=Control.RESET)
                self.counts["resets by the register"] += 1
                for _ in range(200):
                    if rig.read("status") == State.IDLE:
                        break
                    rig.sim.run(1000)
            expect(rig.read("status") == State.IDLE, f"{State(rig.read('status')).name} after a reset, not IDLE")
            expect(not any(rig.counters().values()), "counters after a reset that are not zero")
            _untouched(rig)


def _executing(rig: Rig) -> set[Engine]:
    found: Counter[Engine] = Counter()
    for event in rig.sim.events():
        found[event.engine] += {"started": 1, "retired": -1}.get(event.event, 0)
    return {engine for engine, count in found.items() if count > 0}


def _until(rig: Rig, engine: Engine, more: int) -> None:
    """Until `engine` executes for the time `more` + 1 that somebody looks, or the program ends."""
    for _ in range(_LIMIT // _LOOK):
        if rig.sim.run(_LOOK):
            return
        if engine in _executing(rig):
            if not more:
                return
            more -= 1


def _instruction(program: bytes, index: int) -> Instruction | None:
    try:
        return decode(program[index * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES])
    except ValueError:
        return None


def _moved(program: bytes) -> int:
    """Words that transfers move, if all of them are executed."""
    found = (_instruction(program, index) for index in range(len(program) // INSTRUCTION_BYTES))
    return sum(
        each.operands["run"] * each.operands["count1"] * each.operands["count2"]
        for each in found
        if each is not None and each.op in (Op.LOAD, Op.STORE)
    )


def _leaves_both(rig: Rig, program: bytes, index: int) -> bool:
    """Whether a transfer has words outside its region and others outside the scratchpad."""
    each = _instruction(program, index)
    if each is None or each.op not in (Op.LOAD, Op.STORE):
        return False
    o = each.operands
    outer = (("count1", "offset1", "scratch1"), ("count2", "offset2", "scratch2"))
    word = o["offset"] + o["run"] - 1 + sum((o[count] - 1) * o[offset] for count, offset, _ in outer)
    place = o["scratch"] + (o["run"] - 1) * o["scratch0"] + sum((o[count] - 1) * o[step] for count, _, step in outer)
    return word * rig.config.word_bytes >= rig.sizes[Region(o["region"])] and place >= rig.config.scratch_words


def _load(rig: Rig, program: bytes, regions: Mapping[Region, np.ndarray]) -> None:
    """With a guard around each region."""
    rig.load(program, regions)
    for region in Region:
        for at in (BASES[region] - _GUARD, BASES[region] + rig.sizes[region]):
            rig.sim.write(at, np.full(_GUARD, 0xA5, np.uint8))


def _untouched(rig: Rig) -> None:
    for region in Region:
        for at in (BASES[region] - _GUARD, BASES[region] + rig.sizes[region]):
            expect((rig.sim.read(at, _GUARD) == 0xA5).all(), f"bytes beside {region.name} were written")


def _equal(rig: Rig, after: Mapping[Region, np.ndarray]) -> None:
    for region, content in after.items():
        differing = np.argwhere(rig.region(region) != content)
        if len(differing):
            raise Unexplained(
                f"{region.name} differs in {len(differing)} bytes, first [word, byte] {differing[0].tolist()}"
            )
    _untouched(rig)


def _ending(rig: Rig) -> Ending:
    state = rig.start(_LIMIT)
    return (state, *rig.fault()) if state is State.FAULT else (state, Fault.NONE, "", 0)


def _words(ending: Ending) -> str:
    state, fault, engine, index = ending
    return f"{fault.name} of {engine} at instruction {index}" if state is State.FAULT else state.name
